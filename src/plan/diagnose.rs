//! Evidence of pods and controllers → how far each stage is, and what is wrong.
//!
//! Only pods of the current revision count, present state outranks last state, and among several faults the earliest
//! stage wins.

pub mod end;
pub mod eviction;
pub mod image;
pub mod initializer;
pub mod pod;
pub mod probe;
pub mod redact;
pub mod refusal;
pub mod schedule;
mod segment;
pub mod start;
pub mod tail;
pub mod taint;
pub mod traceback;
pub mod volume;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::ResourceExt;

use super::build::pod::INITIALIZER;
use super::seen::SeenDeployment;
use super::seen::note::{Note, Topic, latest};
use crate::api::deployment::{Download, OnlineDeploymentSpec, Phase, Phases};
use crate::api::label;
use crate::catalogue::Reason;

/// Annotation of a `ReplicaSet` and of its Deployment that tells which revision is current.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Longest facts in a message, in bytes; what is longer has its middle cut out.
const MAX_FACTS: usize = 2048;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The cause.
    pub reason: Reason,
    /// The facts, in the catalogue's words.
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
    pub fn new(reason: Reason, facts: &str) -> Self {
        let message = reason.message(&shortened(facts));
        Self { reason, message, object: None, container: None, exit_code: None, log_tail: None }
    }

    /// The fault as users may read it: without secrets, escape sequences and the better part of a long log.
    #[must_use]
    pub fn told(self, spec: &OnlineDeploymentSpec) -> Self {
        let clean = |text: &str| redact::redact(&tail::plain(text), Some(spec));
        Self { message: clean(&self.message), log_tail: self.log_tail.and_then(|log| tail::tail(&clean(&log))), ..self }
    }
}

/// The beginning and the end of a long text: what it is about, and its cause.
fn shortened(facts: &str) -> String {
    if facts.len() <= MAX_FACTS {
        return facts.to_owned();
    }
    let start = facts.floor_char_boundary(MAX_FACTS / 4);
    let end = facts.ceil_char_boundary(facts.len() - MAX_FACTS / 2);
    format!("{} … {}", facts.get(..start).unwrap_or_default(), facts.get(end..).unwrap_or_default())
}

/// How far the current revision is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// The four stages, each as far as the slowest instance.
    pub phases: Phases,
    /// What is wrong, when something is.
    pub fault: Option<Fault>,
    /// When to look again though nothing changes.
    pub again: Option<Timestamp>,
    /// How far the instances are that download.
    pub download: Option<Download>,
}

/// Looks at the current revision of a deployment.
#[must_use]
pub fn current_revision(seen: &SeenDeployment, now: Timestamp) -> Diagnosis {
    let Some(deployment) = seen.deployment.ours() else { return Diagnosis::default() };
    let spec = &seen.object.spec;
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let set = current_set(&seen.replica_sets, deployment);
    let hash = set.and_then(|set| set.labels().get(label::POD_TEMPLATE_HASH));
    let pods = current_pods(seen, hash);
    let taints = template.zip(seen.tainted_nodes.as_ref()).map(|(pod, nodes)| taint::of(nodes, pod));
    let looks: Vec<pod::Look> = pods
        .iter()
        .map(|pod| {
            pod::look(
                pod,
                &pod::Surroundings {
                    spec,
                    notes: notes(seen, pod.metadata.uid.as_deref()),
                    pull_secrets: &seen.pull_secrets,
                    needs_download: template.is_some_and(downloads),
                    has_claim: template.is_some_and(has_claim),
                    taints,
                    now,
                },
            )
        })
        .collect();
    // An operator that has just started has heard nobody yet.
    let before = || seen.object.status.as_ref()?.download.clone();
    let slowest = |stage: fn(&pod::Look) -> Phase| looks.iter().map(stage).min().unwrap_or_default();
    // Until its controller has seen the last change, all evidence is of the revision before.
    let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
    let mut faults: Vec<Fault> = looks.iter().filter_map(|look| look.fault.clone()).collect();
    faults.extend(set.and_then(|set| refused_pods(seen, deployment, set)));
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
        fault: faults.into_iter().next().map(|fault| fault.told(spec)),
        again: looks.iter().filter_map(|look| look.again).min(),
        download: seen.download.clone().or_else(before).filter(|_| looks.iter().any(|look| look.downloads)),
    }
}

fn downloads(pod: &PodSpec) -> bool {
    pod.init_containers.iter().flatten().any(|container| container.name == INITIALIZER)
}

fn has_claim(pod: &PodSpec) -> bool {
    pod.volumes.iter().flatten().any(|volume| volume.persistent_volume_claim.is_some())
}

fn notes<'a>(seen: &'a SeenDeployment, uid: Option<&str>) -> &'a [Note] {
    uid.and_then(|uid| seen.notes.get(uid)).map(Vec::as_slice).unwrap_or_default()
}

/// The `ReplicaSet` of the current template.
#[must_use]
pub fn current_set<'a>(sets: &'a [Arc<ReplicaSet>], deployment: &Deployment) -> Option<&'a ReplicaSet> {
    let revision = deployment.annotations().get(REVISION)?;
    sets.iter().map(|set| &**set).find(|set| set.annotations().get(REVISION) == Some(revision))
}

/// The living pods of the current template, and those that the node ended and nothing has replaced yet.
fn current_pods<'a>(seen: &'a SeenDeployment, hash: Option<&String>) -> Vec<&'a Arc<Pod>> {
    let of_current: Vec<&Arc<Pod>> = seen
        .pods
        .iter()
        .filter(|pod| hash.is_some() && pod.labels().get(label::POD_TEMPLATE_HASH) == hash)
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .collect();
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    let born = |pod: &Pod| pod.metadata.creation_timestamp.clone();
    let is_ready = |pod: &&&Arc<Pod>| pod::condition_of(pod, "Ready").is_some_and(|ready| ready.status == "True");
    let newest_ready = of_current.iter().filter(is_ready).map(|pod| born(pod)).max().flatten();
    of_current.into_iter().filter(|pod| phase(pod).as_deref() != Some("Failed") || born(pod) > newest_ready).collect()
}

/// Pods that the API server does not let the `ReplicaSet` make. The set keeps the words of its first failure for as
/// long as it fails; the present ones are in its latest Event.
fn refused_pods(seen: &SeenDeployment, deployment: &Deployment, set: &ReplicaSet) -> Option<Fault> {
    let status = set.status.as_ref()?;
    let failing = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    let of_set = notes(seen, set.metadata.uid.as_deref()).iter().filter(|note| note.topic == Topic::FailedCreate);
    let text = latest(of_set).map(|note| note.text.as_str()).or(failing.message.as_deref()).unwrap_or_default();
    let (reason, facts) = refusal::cause(text)?;
    let mut fault = Fault::new(reason, &facts);
    fault.object = Some(format!("Deployment/{}", deployment.name_any()));
    Some(fault)
}
