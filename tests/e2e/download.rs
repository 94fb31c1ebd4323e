//! Downloads, as their deployments see them.

use std::time::Duration;

use kube::ResourceExt;
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::fetch::transfer::chunk::CHUNK;
use serde_json::json;

use crate::support::claim;
use crate::support::documents::{abrupt, changed};
use crate::support::history::deployments;
use crate::support::node;
use crate::support::place::setting;
use crate::support::trial::Trial;
use crate::support::vast::Vast;

fn serves(image: &str, instances: i32, vast: &Vast) -> serde_json::Value {
    let model = json!({"name": "iris", "uri": vast.url()});
    changed(abrupt("iris", "blue", image, instances), json!({"spec": {"model": model}}))
}

#[tokio::test]
async fn the_status_says_how_far_a_download_is() {
    let trial = Trial::new("download-status").await;
    let size = 8 * CHUNK;
    let vast = Vast::at(node::address(&trial.place).await, size, Duration::from_millis(100), |_, _| {});
    trial.apply(serves(&setting("MOORING_TEST_ABRUPT_IMAGE_1"), 1, &vast)).await;
    let total = i64::try_from(size).unwrap();
    let under_way = |deployment: &OnlineDeployment| {
        let download = deployment.status.as_ref().and_then(|status| status.download.as_ref());
        download.is_some_and(|it| it.bytes_total == Some(total) && it.bytes_done > 0 && it.bytes_done < total)
    };
    trial.history.until("under way", |seen| deployments(seen).any(under_way).then_some(())).await;
    trial.until_well().await;
    let over =
        |deployment: &OnlineDeployment| deployment.status.as_ref().is_some_and(|status| status.download.is_none());
    trial.history.until("over", |seen| deployments(seen).last().is_some_and(over).then_some(())).await;
    trial.was_calm().await;
}

#[tokio::test]
async fn instances_share_one_download_through_a_cache() {
    let trial = Trial::new("download-cache").await;
    claim::of_models(&trial.place).await;
    let size = 3 * CHUNK + 5;
    let vast = Vast::at(node::address(&trial.place).await, size, Duration::from_millis(5), |_, _| {});
    let deployment = serves(&setting("MOORING_TEST_ABRUPT_IMAGE_1"), 2, &vast);
    trial.apply(changed(deployment, json!({"spec": {"cache": {"claimName": "models"}}}))).await;
    trial.until_well().await;
    // Each instance asks with one byte whether it is still the same.
    assert!(vast.sent() <= size + 2, "{} bytes came for {size}", vast.sent());
    let place = &trial.place;
    let pods = place.api::<k8s_openapi::api::core::v1::Pod>().list(&kube::api::ListParams::default()).await.unwrap();
    assert_eq!(pods.items.len(), 2);
    for pod in pods {
        let (name, spec) = (pod.name_any(), pod.spec.unwrap());
        let mounts = spec.containers[0].volume_mounts.clone().unwrap();
        assert!(mounts.iter().all(|mount| mount.name != "cache"), "the server of {name} has the cache");
    }
    claim::remove(place).await;
    trial.was_calm().await;
}
