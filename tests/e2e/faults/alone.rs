//! Faults of the whole node. No other instance can start meanwhile, so `tests/run` runs them when all others are done.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use mooring_operator::catalogue::Reason;
use serde_json::{Value, json};

use crate::support::documents::abrupt;
use crate::support::evidence::Shown;
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
