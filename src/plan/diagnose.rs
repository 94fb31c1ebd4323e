//! Evidence of pods and controllers → how far each stage is, and what is wrong.
//!
//! Only pods of the current revision count, present state outranks last state, and among several faults the earliest
//! stage wins.

pub mod image;
pub mod pod;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::build::pod::{INITIALIZER, SERVER};
use super::seen::SeenDeployment;
use crate::api::deployment::{Phase, Phases};
use crate::api::label;
use crate::catalogue::Reason;

/// Annotation of a `ReplicaSet` and of its Deployment that tells which revision is current.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The cause.
    pub reason: Reason,
    /// The facts.
    pub message: String,
    /// The object that shows it, as `Pod/iris-blue-abc12`.
    pub object: Option<String>,
    /// The container that shows it.
    pub container: Option<&'static str>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// The last lines that it wrote.
    pub log_tail: Option<String>,
}

impl Fault {
    /// A fault with no container to show.
    #[must_use]
    pub const fn new(reason: Reason, message: String) -> Self {
        Self { reason, message, object: None, container: None, exit_code: None, log_tail: None }
    }
}

/// How far the current revision is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// The four stages, each as far as the slowest instance.
    pub phases: Phases,
    /// What is wrong, when something is.
    pub fault: Option<Fault>,
}

/// Looks at the current revision of a deployment.
#[must_use]
pub fn current_revision(seen: &SeenDeployment) -> Diagnosis {
    let Some(deployment) = seen.deployment.ours() else { return Diagnosis::default() };
    let needs_download = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref())
        .is_some_and(|pod| pod.init_containers.iter().flatten().any(|container| container.name == INITIALIZER));
    let pods = current_pods(seen, deployment);
    let looks: Vec<pod::Look> = pods.iter().map(|pod| pod::look(pod, needs_download)).collect();
    let slowest = |stage: fn(&pod::Look) -> Phase| looks.iter().map(stage).min().unwrap_or_default();
    // Until its controller has seen the last change, all evidence is of the revision before.
    let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
    let mut faults: Vec<Fault> = looks.iter().filter_map(|look| look.fault.clone()).collect();
    faults.extend(refused_pods(deployment));
    faults.retain(|_| observed == deployment.metadata.generation);
    // Stable among equals, so that the order of pods does not matter: by stage, cause, object.
    faults.sort_by(|left, right| {
        let key = |fault: &Fault| (fault.reason.code(), fault.reason, fault.object.clone());
        key(left).cmp(&key(right))
    });
    Diagnosis {
        phases: Phases {
            system_setup: slowest(|look| look.system_setup),
            user_container_image_pull: slowest(|look| look.image),
            model_download: slowest(|look| look.download),
            user_container_start: slowest(|look| look.start),
        },
        fault: faults.into_iter().next(),
    }
}

/// The living pods of the current template.
fn current_pods<'a>(seen: &'a SeenDeployment, deployment: &Deployment) -> Vec<&'a Arc<Pod>> {
    let revision = deployment.annotations().get(REVISION);
    let hash = seen
        .replica_sets
        .iter()
        .filter(|set| revision.is_some() && set.annotations().get(REVISION) == revision)
        .find_map(|set| set.labels().get(label::POD_TEMPLATE_HASH));
    seen.pods
        .iter()
        .filter(|pod| hash.is_some() && pod.labels().get(label::POD_TEMPLATE_HASH) == hash)
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .collect()
}

/// Pods that the API server does not let the `ReplicaSet` make.
fn refused_pods(deployment: &Deployment) -> Option<Fault> {
    let condition = deployment
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    let text = condition.message.clone().unwrap_or_default();
    // `pods "NAME" is forbidden: CAUSE`: the name is a DNS name and can't hold the words around it.
    let cause = text.split_once(" is forbidden: ").map_or(text.as_str(), |(_, cause)| cause);
    let reason = if cause.starts_with("exceeded quota: ") { Reason::OutOfResourceQuota } else { Reason::PodRejected };
    let mut fault = Fault::new(reason, cause.to_owned());
    fault.object = Some(format!("Deployment/{}", deployment.name_any()));
    Some(fault)
}

/// The container that a name of a container status means.
const fn container_name(is_initializer: bool) -> &'static str {
    if is_initializer { INITIALIZER } else { SERVER }
}
