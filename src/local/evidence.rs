//! What is seen on the engine, in the form in which a cluster shows it. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    Pod, PodCondition, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::annotation::NAMESPACE;
use super::instance::view::{ContainerView, End, State, View};
use crate::api::label::POD_TEMPLATE_HASH;
use crate::plan::build::pod::{INITIALIZER, SERVER};
use crate::plan::seen::note::Note;

/// Annotation of a Deployment and of its `ReplicaSet` that tells which revision is current.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// The Deployment as its controller would show it: how many instances there are.
#[must_use]
pub fn deployment(mut workload: Deployment, revision: &str, views: &[View]) -> Deployment {
    let count = |test: &dyn Fn(&View) -> bool| i32::try_from(views.iter().filter(|view| test(view)).count()).ok();
    workload.metadata.annotations.get_or_insert_default().insert(REVISION.to_owned(), revision.to_owned());
    workload.status = Some(DeploymentStatus {
        observed_generation: workload.metadata.generation,
        replicas: count(&|_| true),
        updated_replicas: count(&|view| view.revision == revision),
        ready_replicas: count(&|view| view.ready),
        ..DeploymentStatus::default()
    });
    workload
}

/// The `ReplicaSet` of the current revision.
#[must_use]
pub fn replica_set(revision: &str) -> Arc<ReplicaSet> {
    Arc::new(ReplicaSet {
        metadata: ObjectMeta {
            name: Some(revision.to_owned()),
            uid: Some(revision.to_owned()),
            labels: Some([(POD_TEMPLATE_HASH.to_owned(), revision.to_owned())].into()),
            annotations: Some([(REVISION.to_owned(), revision.to_owned())].into()),
            ..ObjectMeta::default()
        },
        ..ReplicaSet::default()
    })
}

/// What happened to instances, by the uid of their pods.
#[must_use]
pub fn notes(views: &[View]) -> BTreeMap<String, Vec<Note>> {
    views.iter().map(|view| (view.name.clone(), view.notes.clone())).collect()
}

/// The pod of an instance.
#[must_use]
pub fn pod(view: &View) -> Arc<Pod> {
    let word = |is: bool| if is { "True" } else { "False" };
    let condition = |kind: &str, is: bool, since| PodCondition {
        type_: kind.to_owned(),
        status: word(is).to_owned(),
        last_transition_time: Some(Time(since)),
        ..PodCondition::default()
    };
    let is_running = matches!(view.server.state, State::Running { .. }) || view.server.last.is_some();
    Arc::new(Pod {
        metadata: ObjectMeta {
            name: Some(view.name.clone()),
            namespace: Some(NAMESPACE.to_owned()),
            uid: Some(view.name.clone()),
            labels: Some([(POD_TEMPLATE_HASH.to_owned(), view.revision.clone())].into()),
            creation_timestamp: Some(Time(view.created)),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: vec![named(SERVER)],
            init_containers: view.initializer.as_ref().map(|_| vec![named(INITIALIZER)]),
            ..PodSpec::default()
        }),
        status: Some(PodStatus {
            phase: Some(if is_running { "Running" } else { "Pending" }.to_owned()),
            conditions: Some(vec![
                condition("PodScheduled", true, view.created),
                condition("Ready", view.ready, view.ready_since),
                condition("ContainersReady", view.ready, view.ready_since),
            ]),
            init_container_statuses: view
                .initializer
                .as_ref()
                .map(|initializer| vec![container(INITIALIZER, initializer, initializer.is_done())]),
            container_statuses: Some(vec![container(SERVER, &view.server, view.ready)]),
            ..PodStatus::default()
        }),
    })
}

fn named(name: &str) -> Container {
    Container { name: name.to_owned(), ..Container::default() }
}

fn container(name: &str, view: &ContainerView, ready: bool) -> ContainerStatus {
    let mut state = ContainerState::default();
    match &view.state {
        State::Waiting { reason, message } => {
            state.waiting =
                Some(ContainerStateWaiting { reason: Some(reason.clone()), message: Some(message.clone()) });
        }
        State::Running { since } => state.running = Some(ContainerStateRunning { started_at: Some(Time(*since)) }),
        State::Ended(end) => state.terminated = Some(terminated(end)),
    }
    let last_state =
        view.last.as_ref().map(|end| ContainerState { terminated: Some(terminated(end)), ..ContainerState::default() });
    ContainerStatus {
        name: name.to_owned(),
        image: view.image.clone(),
        image_id: view.image.clone(),
        ready,
        started: Some(view.started),
        restart_count: view.restarts,
        // The end that stands in `state` is not yet one before it.
        last_state: last_state.filter(|_| !matches!(view.state, State::Ended(_))),
        state: Some(state),
        ..ContainerStatus::default()
    }
}

fn terminated(end: &End) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: end.exit_code,
        reason: Some(end.reason.clone()),
        message: Some(end.message.clone()),
        started_at: Some(Time(end.started)),
        finished_at: Some(Time(end.finished)),
        ..ContainerStateTerminated::default()
    }
}
