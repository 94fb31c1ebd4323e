//! What a pod says that the node has ended or never begun.

use crate::catalogue::Reason;

/// The cause of a failed pod; `None` for what the cluster replaces by itself.
#[must_use]
pub fn cause(reason: &str, message: &str, initializer_done: bool) -> Option<Reason> {
    match reason {
        "Evicted" => {
            let disk = message.starts_with("Usage of EmptyDir volume ")
                || message.starts_with("Pod ephemeral local storage usage exceeds ")
                || (message.starts_with("Container ")
                    && message.contains(" exceeded its local ephemeral storage limit "))
                || message.starts_with("The node was low on resource: ephemeral-storage.");
            Some(if disk && !initializer_done { Reason::ArtifactDiskFull } else { Reason::PodEvicted })
        }
        // The kubelet had less left than the scheduler thought.
        "UnexpectedAdmissionError" => Some(Reason::InsufficientResources),
        _ if reason.starts_with("OutOf") => Some(Reason::InsufficientResources),
        _ => None,
    }
}
