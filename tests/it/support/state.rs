//! The end state of a namespace without what differs from run to run.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use kube::api::{Api, ListParams};
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Resource, ResourceExt};
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use mooring_operator::api::endpoint_route::EndpointRoute;
use serde_json::Value;

use super::place::Place;
use super::waits::DEADLINE;

/// Looks in a row, a second apart, that must show the same: a restarted operator needs a moment for its first pass.
const SAME_LOOKS: usize = 4;

/// The state once it stays as it is.
pub async fn settled(place: &Place) -> Vec<(String, Value)> {
    let begin = Instant::now();
    let (mut before, mut same) = (of(place).await, 1);
    while same < SAME_LOOKS {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = of(place).await;
        same = if now == before { same + 1 } else { 1 };
        assert!(begin.elapsed() < DEADLINE, "it never settles: {now:#?}");
        before = now;
    }
    before
}

/// Every object of ours and what was made of it, by kind and name.
pub async fn of(place: &Place) -> Vec<(String, Value)> {
    let mut state = Vec::new();
    for resource in [
        ApiResource::erase::<OnlineEndpoint>(&()),
        ApiResource::erase::<OnlineDeployment>(&()),
        ApiResource::erase::<EndpointRoute>(&()),
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<ServiceAccount>(&()),
        ApiResource::erase::<Secret>(&()),
    ] {
        let api: Api<DynamicObject> = Api::namespaced_with(place.client.clone(), &place.namespace, &resource);
        for object in api.list(&ListParams::default()).await.unwrap() {
            // Made by Kubernetes for every namespace.
            if object.name_any() == "default" {
                continue;
            }
            let name = format!("{}/{}", resource.kind, object.name_any());
            let mut value = serde_json::to_value(&object).unwrap();
            if resource.kind == "Deployment" {
                // What its own controller says of the way there.
                value.as_object_mut().unwrap().remove("status");
            }
            strip(&mut value, &place.namespace);
            state.push((name, value));
        }
    }
    state.sort_by(|left, right| left.0.cmp(&right.0));
    state
}

/// Takes away identities, times, keys and counts of changes.
fn strip(value: &mut Value, namespace: &str) {
    const VARYING: [&str; 19] = [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "managedFields",
        "generation",
        "observedGeneration",
        "lastTransitionTime",
        "lastUpdateTime",
        "keyDigests",
        "mooring.dev/applied",
        "data",
        "firstSeen",
        "lastSeen",
        "provisioningStartedAt",
        "namespace",
        "deployment.kubernetes.io/revision",
        "message",
        "endpointGeneration",
        "recentErrors",
    ];
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| !VARYING.contains(&key.as_str()));
            fields.values_mut().for_each(|value| strip(value, namespace));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| strip(value, namespace)),
        Value::String(text) => *text = text.replace(namespace, "NAMESPACE"),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The uids of a kind, to see that nothing was made twice.
pub async fn uids<K>(place: &Place) -> Vec<String>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let mut uids: Vec<String> =
        place.api::<K>().list(&ListParams::default()).await.unwrap().iter().filter_map(ResourceExt::uid).collect();
    uids.sort();
    uids
}
