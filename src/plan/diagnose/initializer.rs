//! Why the storage initializer ended.

use k8s_openapi::api::core::v1::ContainerStateTerminated;

use super::Fault;
use crate::api::artifact::{ArtifactKind, ArtifactReport};
use crate::catalogue::Reason;
use crate::plan::build::pod::INITIALIZER;

/// The cause, from its report; `None` for a good end and for one that is the node's.
#[must_use]
pub fn fault(end: &ContainerStateTerminated) -> Option<Fault> {
    let why = end.reason.as_deref().unwrap_or("Error");
    if end.exit_code == 0 || matches!(why, "ContainerStatusUnknown" | "Unknown") {
        return None;
    }
    let text = end.message.as_deref().unwrap_or_default();
    let report = serde_json::from_str::<ArtifactReport>(text).ok();
    let mut fault = if let Some(ArtifactReport { reason: Some(reason), artifact, uri, detail, .. }) = report {
        let what = artifact.map_or("artifact", ArtifactKind::as_str);
        let at = uri.map(|uri| format!(" at {uri}")).unwrap_or_default();
        Fault::new(reason, &format!("{what}{at}: {detail}"))
    } else {
        let facts = format!("{why}, exit code {}", end.exit_code);
        Fault { log_tail: Some(text.to_owned()), ..Fault::new(Reason::ArtifactDownloaderKilled, &facts) }
    };
    fault.container = Some(INITIALIZER);
    fault.exit_code = Some(end.exit_code);
    Some(fault)
}
