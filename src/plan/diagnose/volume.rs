//! What the kubelet says of a volume that it can't mount.

use crate::catalogue::Reason;
use crate::plan::build::pod::ARTIFACT_VOLUMES;

/// The cause. Volumes of the model and the code are known by their names, claims by the name of their volume in the
/// cluster, which is anything; `has_claim` says whether the pod has a claim at all.
#[must_use]
pub fn cause(message: &str, has_claim: bool) -> Reason {
    let named = between(message, "for volume \"", "\"").or_else(|| between(message, "unmounted volumes=[", "]"));
    let is_artifact = named.is_some_and(|names| {
        names.split([' ', ',']).any(|name| {
            ARTIFACT_VOLUMES.contains(&name)
                || name.starts_with("pvc-")
                || (has_claim && !name.starts_with("kube-api-access"))
        })
    });
    let attaches = message.starts_with("AttachVolume.") || message.starts_with("Multi-Attach error ");
    if is_artifact || attaches { Reason::ArtifactVolumeUnavailable } else { Reason::VolumeMountFailed }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    Some(text.split_once(start)?.1.split_once(end)?.0)
}
