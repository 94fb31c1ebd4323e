//! Where Kubernetes shows a fault, and when that arrived at a client that watches.

use std::time::Instant;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::history::{Sighting, What};

/// What shows a fault first.
#[derive(Clone, Copy, Debug)]
pub enum Shown {
    /// The status of a pod.
    Pod,
    /// The condition `ReplicaFailure` of a `ReplicaSet`.
    ReplicaSet,
    /// An Event with this reason, about a pod.
    Event(&'static str),
    /// The spec itself, against what stands beside it.
    Spec,
    /// Nothing but the time that has passed.
    Clock,
}

/// When a fault of `object` (`Pod/NAME`) was shown first.
pub fn first(seen: &[Sighting], shown: Shown, object: Option<&str>) -> Option<Instant> {
    let name = object.and_then(|object| object.strip_prefix("Pod/"));
    let is_it = |what: &What| match (shown, what) {
        (Shown::Pod, What::Pod(pod)) => name == pod.metadata.name.as_deref() && is_bad(pod),
        (Shown::Event(reason), What::Event(event)) => {
            let about = event.regarding.as_ref().and_then(|about| about.name.as_deref());
            event.reason.as_deref() == Some(reason) && about == name
        }
        (Shown::ReplicaSet, What::ReplicaSet(set)) => {
            let conditions = set.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().any(|condition| condition.type_ == "ReplicaFailure")
        }
        (Shown::Spec, What::Deployment(_)) => true,
        _ => false,
    };
    seen.iter().find(|sighting| is_it(&sighting.what)).map(|sighting| sighting.at)
}

fn is_bad(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    let containers = || status.container_statuses.iter().flatten();
    let ended = |container: &ContainerStatus| container.state.as_ref().is_some_and(|state| state.terminated.is_some());
    unscheduled
        || status.phase.as_deref() == Some("Failed")
        || containers().any(ended)
        || containers().chain(status.init_container_statuses.iter().flatten()).any(is_bad_container)
}

fn is_bad_container(container: &ContainerStatus) -> bool {
    let Some(state) = &container.state else { return false };
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
    let failed = state.terminated.as_ref().is_some_and(|end| end.exit_code != 0);
    failed || waiting.is_some_and(|why| !matches!(why, "ContainerCreating" | "PodInitializing"))
}
