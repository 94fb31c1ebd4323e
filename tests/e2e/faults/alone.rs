//! What happens to the whole node. No other instance can start meanwhile, so `tests/run` runs them when all others are done.

use std::process::Command;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use mooring_operator::catalogue::Reason;
use serde_json::{Value, json};

use crate::support::documents::abrupt;
use crate::support::evidence::Shown;
use crate::support::history::{Sighting, is_ready, pods};
use crate::support::place::{Place, setting};
use crate::support::trial::Trial;

/// Gives the node these taints and no others.
async fn taint(place: &Place, taints: &Value) {
    let nodes: Api<Node> = Api::all(place.client.clone());
    let name = nodes.list(&ListParams::default()).await.unwrap().items[0].name_any();
    let patch = Patch::Merge(json!({"spec": {"taints": taints}}));
    nodes.patch(&name, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn every_node_has_a_taint() {
    let mut trial = Trial::new("node-taint").await;
    taint(&trial.place, &json!([{"key": "example.com/insufficient-cpu", "effect": "NoSchedule"}])).await;
    trial.apply(abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_1"), 1)).await;
    // The scheduler of Kubernetes 1.34 no longer names the taint.
    trial.fails(Reason::TaintNotTolerated, "untolerated taint", Shown::Pod).await;
    taint(&trial.place, &json!([])).await;
    trial.heals().await;
}

/// The kubelet of the only node, which says nothing more until it is dropped.
struct Silenced(String);

impl Silenced {
    fn start() -> Self {
        let kubelet = Self(setting("MOORING_TEST_KUBELET"));
        kubelet.send("-STOP");
        kubelet
    }

    fn send(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.0]).status().unwrap().success());
    }
}

impl Drop for Silenced {
    fn drop(&mut self) {
        self.send("-CONT");
    }
}

fn is_unplaced(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|it| {
        it.type_ == "PodScheduled" && it.message.as_deref().is_some_and(|why| why.contains("untolerated taint"))
    })
}

/// The node is told to be lost after its grace period, and an instance that is then replaced finds no place until it is
/// back.
#[tokio::test]
async fn the_node_is_lost_and_returns() {
    let trial = Trial::new("calm-node").await;
    trial.apply(abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_1"), 1)).await;
    trial.until_well().await;
    let silenced = Silenced::start();
    let lost = |seen: &[Sighting]| {
        let pod = pods(seen).skip_while(|pod| !is_ready(pod)).last()?;
        (!is_ready(pod)).then(|| pod.name_any())
    };
    let old = trial.history.until("an instance that is lost", lost).await;
    let at_once = DeleteParams::default().grace_period(0);
    trial.place.api::<Pod>().delete(&old, &at_once).await.unwrap();
    trial.history.until("an instance without a place", |seen| pods(seen).any(is_unplaced).then_some(())).await;
    drop(silenced);
    trial.until_well().await;
    trial.was_calm().await;
}
