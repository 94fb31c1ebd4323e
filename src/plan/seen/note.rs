//! What an Event of Kubernetes says of a pod or of a `ReplicaSet`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One Event, as far as a diagnosis reads it. Events may be lost, doubled or late: a note gives words to what an object
/// shows by itself, or is bounded by the times of the object that it speaks of.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// When it was last seen.
    pub last: Timestamp,
    /// What it is about.
    pub topic: Topic,
    /// The container, where it is about one.
    pub container: Option<String>,
    /// Its words.
    pub text: String,
    /// How often it was seen.
    pub count: i32,
}

/// What a note is about: the Event's own reason.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// A pod of a `ReplicaSet` was refused by the API server.
    FailedCreate,
    /// An image could not be pulled.
    FailedPull,
    /// A volume could not be mounted or attached.
    FailedMount,
    /// The pod's sandbox could not be made.
    FailedSandbox,
    /// A probe failed.
    Unhealthy,
    /// A container was ended because a probe failed too often.
    KilledByProbe,
}

impl Topic {
    /// The topic of an Event; `None` for those that say nothing that the objects do not say themselves.
    #[must_use]
    pub fn of(reason: &str, text: &str) -> Option<Self> {
        match reason {
            "FailedCreate" => Some(Self::FailedCreate),
            "Failed" if text.starts_with("Failed to pull image ") => Some(Self::FailedPull),
            "FailedMount" if is_behind(text.rsplit_once("\" : ").map_or(text, |(_, why)| why)) => None,
            "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" => Some(Self::FailedMount),
            "FailedCreatePodSandBox" => Some(Self::FailedSandbox),
            "Unhealthy" => Some(Self::Unhealthy),
            "Killing" if text.ends_with(" probe, will be restarted") => Some(Self::KilledByProbe),
            _ => None,
        }
    }
}

/// Whether a kubelet only says that it has not yet heard of a Secret or `ConfigMap`, or the API server that it has not
/// yet heard of the pod for which the kubelet asks: it tries again, and they know then.
#[must_use]
pub fn is_behind(text: &str) -> bool {
    let cause = text.strip_prefix("failed to sync ").and_then(|rest| rest.split_once(" cache: "));
    cause.is_some_and(|(_, why)| why == "timed out waiting for the condition")
        // The node authorizer's words (plugin/pkg/auth/authorizer/node).
        || text.contains(": no relationship found between node '") && text.ends_with("' and this object")
}

/// The latest of some notes, the same whatever their order.
#[must_use]
pub fn latest<'a>(notes: impl IntoIterator<Item = &'a Note>) -> Option<&'a Note> {
    notes.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_that_waits_for_the_kubelets_own_cache_is_no_failure() {
        let failed =
            |why: &str| Topic::of("FailedMount", &format!("MountVolume.SetUp failed for volume \"code\" : {why}"));
        assert_eq!(failed("failed to sync configmap cache: timed out waiting for the condition"), None);
        assert_eq!(failed("configmap \"code\" not found"), Some(Topic::FailedMount));
    }

    #[test]
    fn a_node_that_is_not_yet_known_to_have_the_pod_is_no_failure() {
        let unrelated = "is forbidden: User \"system:node:a\" cannot get resource \"persistentvolumeclaims\" in API group \"\" in \
                         the namespace \"team\": no relationship found between node 'a' and this object";
        let mount = |claim: &str| {
            Topic::of(
                "FailedMount",
                &format!(
                    "Unable to attach or mount volumes: unmounted volumes=[cache], unattached volumes=[], failed to process \
                     volumes=[cache]: error processing PVC team/models: {claim}"
                ),
            )
        };
        let fetching =
            |why: &str| format!("failed to fetch PVC from API server: persistentvolumeclaims \"models\" {why}");
        assert_eq!(mount(&fetching(unrelated)), None);
        assert_eq!(mount(&fetching("not found")), Some(Topic::FailedMount));
        let secret = format!("MountVolume.SetUp failed for volume \"key\" : secrets \"key\" {unrelated}");
        assert_eq!(Topic::of("FailedMount", &secret), None);
    }
}
