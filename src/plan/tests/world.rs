//! A deployment and what a cluster shows of it, from JSON.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::ReplicaSet;
use serde_json::{Value, json};

use super::example::{config, kept_deployment, kept_service, now, seen_deployment};
use crate::api::deployment::{OnlineDeployment, OnlineDeploymentStatus};
use crate::plan::change::Change;
use crate::plan::deployment::plan;
use crate::plan::diagnose;
use crate::plan::seen::note::{Note, Topic};
use crate::plan::seen::{Found, SeenDeployment};
use crate::plan::status::deployment::{self as status, Applied, Verdict};

/// What is seen at one moment.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// Seconds since the first.
    pub at: i64,
    /// Instances that exist, are of the current revision, are ready.
    pub counts: (i32, i32, i32),
    /// Whether the Deployment's controller has seen its last change.
    pub observed: bool,
    pub sets: Vec<Value>,
    pub pods: Vec<Value>,
    /// What is said of an object, by its name.
    pub notes: Vec<(&'static str, Note)>,
    /// Nodes with taints.
    pub nodes: Option<Vec<Value>>,
}

/// A moment with these pods of the current revision.
pub(super) fn moment(at: i64, counts: (i32, i32, i32), pods: impl Into<Vec<Value>>) -> Moment {
    Moment {
        at,
        counts,
        observed: true,
        sets: vec![set(1, &json!({}))],
        pods: pods.into(),
        notes: Vec::new(),
        nodes: None,
    }
}

impl Moment {
    pub fn with_notes(mut self, notes: &[(&'static str, Note)]) -> Self {
        self.notes.extend(notes.iter().cloned());
        self
    }

    pub fn with_nodes(mut self, nodes: &[Value]) -> Self {
        self.nodes = Some(nodes.to_vec());
        self
    }

    pub fn with_sets(mut self, sets: &[Value]) -> Self {
        self.sets = sets.to_vec();
        self
    }
}

pub(super) fn time(at: i64) -> Timestamp {
    now() + SignedDuration::from_secs(at)
}

/// A note about a container of the server's name, or about the object as a whole.
pub(super) fn note(at: i64, topic: Topic, text: &str) -> Note {
    let of_object = matches!(topic, Topic::FailedCreate | Topic::FailedMount | Topic::FailedSandbox);
    let container = (!of_object).then(|| "inference-server".to_owned());
    Note { last: time(at), topic, container, text: text.to_owned(), count: 1 }
}

/// The `ReplicaSet` of a revision.
pub(super) fn set(revision: i32, status: &Value) -> Value {
    json!({
        "metadata": {
            "name": format!("iris-blue-{revision}"), "uid": format!("iris-blue-{revision}"),
            "labels": {"pod-template-hash": format!("h{revision}")},
            "annotations": {"deployment.kubernetes.io/revision": revision.to_string()},
        },
        "status": status,
    })
}

/// A pod of a revision that has been placed; `changes` are merged into its status.
pub(super) fn pod(name: &str, revision: i32, changes: &Value) -> Value {
    let mut status = json!({
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}],
    });
    status.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    json!({
        "metadata": {
            "name": name, "uid": name, "labels": {"pod-template-hash": format!("h{revision}")},
            "creationTimestamp": time(0).to_string(),
        },
        "status": status,
    })
}

/// A pod whose initializer and server are in these states.
pub(super) fn containers(name: &str, initializer: &Value, server: &Value) -> Value {
    let ready = server["ready"] == json!(true);
    let word = if ready { "True" } else { "False" };
    let phase = if server["state"].get("running").is_some() { "Running" } else { "Pending" };
    pod(
        name,
        1,
        &json!({
            "phase": phase,
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": word}, {"type": "ContainersReady", "status": word},
            ],
            "initContainerStatuses": [container("storage-initializer", initializer)],
            "containerStatuses": [container("inference-server", server)],
        }),
    )
}

fn container(name: &str, changes: &Value) -> Value {
    let mut status = json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0});
    status.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    status
}

pub(super) fn waiting(reason: &str, message: &str) -> Value {
    json!({"state": {"waiting": {"reason": reason, "message": message}}})
}

pub(super) fn running(since: i64, ready: bool) -> Value {
    json!({"state": {"running": {"startedAt": time(since).to_string()}}, "ready": ready, "started": true, "imageID": "i"})
}

pub(super) fn ended(code: i32, reason: &str, log: &str) -> Value {
    json!({"state": {"terminated": end(code, reason, log)}, "imageID": "i"})
}

pub(super) fn crash_loop(code: i32, reason: &str, log: &str) -> Value {
    json!({
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}},
        "lastState": {"terminated": end(code, reason, log)}, "restartCount": 2, "imageID": "i",
    })
}

pub(super) fn end(code: i32, reason: &str, log: &str) -> Value {
    json!({
        "exitCode": code, "reason": reason, "message": log,
        "startedAt": time(10).to_string(), "finishedAt": time(20).to_string(),
    })
}

pub(super) fn done() -> Value {
    ended(0, "Completed", "")
}

/// `changes` merged into an object, one level deep.
pub(super) fn with(mut object: Value, part: &str, changes: &Value) -> Value {
    object[part].as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    object
}

/// On its way out.
pub(super) fn going(pod: Value) -> Value {
    with(pod, "metadata", &json!({"deletionTimestamp": time(5).to_string()}))
}

/// The status after a moment.
pub(super) fn live_through(object: &OnlineDeployment, moment: &Moment) -> OnlineDeploymentStatus {
    plan(time(moment.at), &config(), &seen(object, moment)).status
}

/// The status after a moment, without the making of objects before it.
pub(super) fn told(object: &OnlineDeployment, moment: &Moment) -> OnlineDeploymentStatus {
    let seen = seen(object, moment);
    let diagnosis = diagnose::current_revision(&seen, time(moment.at));
    let deployment = seen.deployment.ours();
    let verdict = Verdict::Running { diagnosis, deployment, applied: Applied::Whole, needs_download: true };
    status::of(object, &verdict, time(moment.at))
}

/// What is made of a spec; remembered, since some tests look at the same one many thousand times.
fn made(object: &OnlineDeployment) -> Vec<Change> {
    static MADE: Mutex<BTreeMap<String, Vec<Change>>> = Mutex::new(BTreeMap::new());
    let mut fresh = object.clone();
    fresh.status = None;
    let key = serde_json::to_string(&fresh.spec).unwrap();
    let mut known = MADE.lock().unwrap();
    known.entry(key).or_insert_with(|| plan(now(), &config(), &seen_deployment(fresh)).changes).clone()
}

pub(super) fn seen(object: &OnlineDeployment, moment: &Moment) -> SeenDeployment {
    let made = made(object);
    let (replicas, updated, ready) = moment.counts;
    let mut deployment = kept_deployment(&made, replicas, updated, ready).unwrap();
    let annotations = deployment.metadata.annotations.as_mut().unwrap();
    // The newest set is the current one.
    annotations.insert("deployment.kubernetes.io/revision".to_owned(), moment.sets.len().to_string());
    if !moment.observed {
        deployment.metadata.generation = Some(2);
    }
    let mut notes: BTreeMap<String, Vec<Note>> = BTreeMap::new();
    for (uid, note) in &moment.notes {
        notes.entry((*uid).to_owned()).or_default().push(note.clone());
    }
    let sets = moment.sets.iter().map(|set| Arc::new(serde_json::from_value::<ReplicaSet>(set.clone()).unwrap()));
    SeenDeployment {
        deployment: Found::Ours(Arc::new(deployment)),
        service: Found::Ours(Arc::new(kept_service(&made).unwrap())),
        replica_sets: sets.collect(),
        pods: moment.pods.iter().map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap())).collect(),
        notes,
        tainted_nodes: moment
            .nodes
            .as_ref()
            .map(|nodes| nodes.iter().map(|node| Arc::new(serde_json::from_value(node.clone()).unwrap())).collect()),
        ..seen_deployment(object.clone())
    }
}
