//! Quotas of cores and of objects.

use kube::api::{Api, DeleteParams, PostParams};
use mooring_operator::api::compute_quota::ComputeQuota;
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use mooring_operator::api::instance_type::InstanceType;
use serde_json::{Value, json};

use crate::support::documents::{deployment, endpoint, with};
use crate::support::outcomes::{deployment_is, endpoint_is, route_has};
use crate::support::stage::Stage;

fn quota(spec: &Value) -> Value {
    json!({"apiVersion": "mooring.dev/v1alpha1", "kind": "ComputeQuota", "metadata": {"name": "team"}, "spec": spec})
}

#[tokio::test]
async fn cores_are_granted_in_order_and_freed_on_deletion() {
    let stage = Stage::empty("cores").await;
    let place = &stage.place;
    // The default type has two cores; one instance in five is kept as a reserve, rounded up: two instances, four cores.
    place.apply(quota(&json!({"totalCores": 6, "reservePercent": 20}))).await;
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "good:1")).await;
    place.ready("iris", &["iris-blue"]).await;
    place.apply(deployment("green", "good:1")).await;
    let error = deployment_is(place, "iris-green", "ERR_1100").await.status.unwrap().error.unwrap();
    assert_eq!(error.reason, "OutOfQuotaCores");
    assert!(error.message.contains("4 of 6 cores are used, 4 more are needed"), "{}", error.message);
    place
        .until("team", "counted", |quota: Option<&ComputeQuota>| {
            let used = quota.and_then(|quota| quota.status.as_ref()?.used.as_ref());
            used.is_some_and(|used| (used.total_cores, used.deployments, used.endpoints) == (4, 1, 1))
        })
        .await;
    // More of what runs is refused too, and what runs stays.
    place.apply(with(deployment("blue", "good:1"), "/spec/instanceCount", json!(3))).await;
    deployment_is(place, "iris-blue", "ERR_1100").await;
    route_has(place, &[("blue", 100), ("green", 0)]).await;
    place.delete::<OnlineDeployment>("iris-blue").await;
    place
        .until("iris-green", "Ready", |object: Option<&OnlineDeployment>| {
            let status = object.and_then(|object| object.status.as_ref());
            status.is_some_and(|status| status.ready_replicas == 1 && status.error.is_none())
        })
        .await;
    stage.done().await;
}

#[tokio::test]
async fn a_larger_quota_lets_those_who_wait_in() {
    let stage = Stage::empty("families").await;
    let place = &stage.place;
    let types: Api<InstanceType> = Api::all(place.client.clone());
    let name = format!("{}-gold", place.namespace);
    let kind = json!({
        "apiVersion": "mooring.dev/v1alpha1", "kind": "InstanceType", "metadata": {"name": name},
        "spec": {"family": "gold", "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1500m", "memory": "1Gi"}}},
    });
    types.create(&PostParams::default(), &serde_json::from_value(kind).unwrap()).await.unwrap();
    place.apply(quota(&json!({"families": {"gold": 1}, "deployments": 1}))).await;
    place.apply(endpoint(&json!({"blue": 100}))).await;
    let mut blue = with(deployment("blue", "good:1"), "/spec/instanceType", json!(name));
    blue["spec"].as_object_mut().unwrap().remove("resources");
    place.apply(blue).await;
    let error = deployment_is(place, "iris-blue", "ERR_1100").await.status.unwrap().error.unwrap();
    assert_eq!(error.reason, "OutOfQuotaFamily");
    assert!(error.message.contains("0 of 1 cores of family gold are used, 1.5 more are needed"), "{}", error.message);
    place.apply(quota(&json!({"families": {"gold": 2}, "deployments": 1}))).await;
    place.ready("iris", &["iris-blue"]).await;
    place.apply(deployment("green", "good:1")).await;
    let error = deployment_is(place, "iris-green", "ERR_1100").await.status.unwrap().error.unwrap();
    assert_eq!(error.reason, "OutOfQuotaDeployments");
    place.delete::<ComputeQuota>("team").await;
    place.ready("iris", &["iris-blue", "iris-green"]).await;
    types.delete(&name, &DeleteParams::default()).await.unwrap();
    stage.done().await;
}

#[tokio::test]
async fn an_endpoint_beyond_the_quota_makes_nothing() {
    let stage = Stage::serving("endpoints").await;
    let place = &stage.place;
    place.apply(quota(&json!({"endpoints": 1}))).await;
    place
        .until("team", "counted", |quota: Option<&ComputeQuota>| {
            quota.is_some_and(|quota| quota.status.as_ref().is_some_and(|status| status.used.is_some()))
        })
        .await;
    let second = with(endpoint(&json!({})), "/metadata/name", json!("tulip"));
    place.apply(second).await;
    place
        .until("tulip", "refused", |object: Option<&OnlineEndpoint>| {
            let status = object.and_then(|object| object.status.as_ref());
            let ready = status.and_then(|status| status.conditions.iter().find(|condition| condition.type_ == "Ready"));
            ready.is_some_and(|ready| ready.reason == "ERR_1100" && ready.message.starts_with("OutOfQuotaEndpoints: "))
        })
        .await;
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = place.api();
    assert!(secrets.get_opt("tulip-keys").await.unwrap().is_none());
    endpoint_is(place, "Ready", "Succeeded").await;
    place.delete::<OnlineEndpoint>("iris").await;
    place.ready("tulip", &[]).await;
    stage.done().await;
}
