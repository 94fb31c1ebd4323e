//! What is no fault is told as none, not for a moment: the status is watched from the first to the last.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, EvictParams};
use mooring_operator::api::deployment::{OnlineDeployment, Phase, Phases};
use serde_json::{Value, json};

use crate::support::documents::{abrupt, changed, faulty};
use crate::support::history::{Sighting, deployments, is_ready, pods};
use crate::support::node;
use crate::support::place::setting;
use crate::support::registry::{self, Registry};
use crate::support::store::{self, Store};
use crate::support::trial::{DEPLOYMENT, Trial, is_well};

fn instances(number: i32) -> Value {
    abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_1"), number)
}

/// Waits until the status says of a stage that it is under way.
async fn in_progress(trial: &Trial, stage: fn(&Phases) -> Phase) {
    let is = |it: &OnlineDeployment| {
        let phases = it.status.as_ref().and_then(|status| status.phases.as_ref());
        phases.is_some_and(|phases| stage(phases) == Phase::InProgress)
    };
    trial.history.until("in progress", |seen| deployments(seen).any(is).then_some(())).await;
}

/// The names of the pods that are ready in their latest version.
fn ready_pods(seen: &[Sighting]) -> Vec<String> {
    let mut ready = Vec::new();
    for pod in pods(seen) {
        ready.retain(|name| *name != pod.name_any());
        if pod.metadata.deletion_timestamp.is_none() && is_ready(pod) {
            ready.push(pod.name_any());
        }
    }
    ready
}

/// One instance goes in some way, and another takes its place.
async fn replaced(name: &'static str, take: impl AsyncFn(&Trial, &str)) {
    let trial = Trial::new(name).await;
    trial.apply(instances(1)).await;
    trial.until_well().await;
    let old = trial.history.until("an instance", |seen| ready_pods(seen).pop()).await;
    take(&trial, &old).await;
    trial
        .history
        .until("another instance", |seen| {
            let well = deployments(seen).last().is_some_and(is_well);
            (well && ready_pods(seen).iter().any(|name| *name != old)).then_some(())
        })
        .await;
    trial.was_calm().await;
}

#[tokio::test]
async fn a_registry_takes_its_time() {
    let mut registry = Registry::faulty(&setting("MOORING_TEST_ABRUPT_IMAGE_1"), registry::Fault::Silent).await;
    let trial = Trial::new("calm-pull").await;
    trial.apply(abrupt("iris", "blue", &registry.image(), 1)).await;
    registry.asked().await;
    in_progress(&trial, |phases| phases.user_container_image_pull).await;
    registry.heal();
    trial.until_well().await;
    trial.was_calm().await;
}

/// The store says nothing more after half of the object, and the second try gets the rest.
#[tokio::test]
async fn a_store_takes_its_time() {
    let trial = Trial::new("calm-download").await;
    let store = Store::start(node::address(&trial.place).await).await;
    store.put("models", "iris/model.bin", "model");
    store.fail("/models/iris/", store::Fault::Stalled);
    let model = json!({"name": "iris", "uri": store.url("models", "iris/model.bin")});
    trial.apply(changed(instances(1), json!({"spec": {"model": model}}))).await;
    store.asked().await;
    in_progress(&trial, |phases| phases.model_download).await;
    store.heal("/models/iris/");
    trial.until_well().await;
    trial.was_calm().await;
}

#[tokio::test]
async fn a_new_revision_rolls_out() {
    let trial = Trial::new("calm-roll").await;
    trial.apply(instances(2)).await;
    trial.until_well().await;
    trial.apply(abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_2"), 2)).await;
    trial.place.ready("iris", &[DEPLOYMENT]).await;
    trial.place.instances_left(DEPLOYMENT, 2).await;
    trial.was_calm().await;
}

#[tokio::test]
async fn all_instances_go_and_come_back() {
    let trial = Trial::new("calm-zero").await;
    for number in [1, 0, 2] {
        trial.apply(instances(number)).await;
        trial.place.ready("iris", &[DEPLOYMENT]).await;
    }
    trial.was_calm().await;
}

#[tokio::test]
async fn an_instance_is_deleted_by_hand() {
    replaced("calm-delete", async |trial, pod| trial.place.delete::<Pod>(pod).await).await;
}

/// As `kubectl drain` does it.
#[tokio::test]
async fn an_instance_is_asked_to_leave_its_node() {
    replaced("calm-evict", async |trial, pod| {
        trial.place.api::<Pod>().evict(pod, &EvictParams::default()).await.unwrap();
    })
    .await;
}

/// As the pod collector does it when a node is gone for good.
#[tokio::test]
async fn an_instance_is_lost_at_once() {
    replaced("calm-lost", async |trial, pod| {
        let at_once = DeleteParams::default().grace_period(0);
        trial.place.api::<Pod>().delete(pod, &at_once).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_server_starts_slowly_within_its_startup_probe() {
    let trial = Trial::new("calm-startup").await;
    let patient = json!({"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 60, "timeoutSeconds": 1});
    trial.apply(changed(faulty("slow-start:6"), json!({"spec": {"startupProbe": patient}}))).await;
    trial.until_well().await;
    trial.was_calm().await;
}

#[tokio::test]
async fn a_server_is_not_ready_in_its_first_seconds() {
    let trial = Trial::new("calm-readiness").await;
    trial.apply(faulty("slow-start:6")).await;
    trial.until_well().await;
    trial.was_calm().await;
}
