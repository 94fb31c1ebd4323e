//! Waiting for what the operator says of its objects and makes of them.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube_runtime::wait::await_condition;
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use mooring_operator::api::endpoint_route::EndpointRoute;
use serde::de::DeserializeOwned;

use super::place::Place;
use super::waits::DEADLINE;

fn has(conditions: &[Condition], kind: &str, reason: &str, generation: Option<i64>) -> bool {
    conditions.iter().any(|condition| {
        condition.type_ == kind && condition.reason == reason && condition.observed_generation == generation
    })
}

/// Waits for a reason of `Ready` of a deployment.
pub async fn deployment_is(place: &Place, name: &str, reason: &str) -> OnlineDeployment {
    place
        .until(name, reason, |object: Option<&OnlineDeployment>| {
            let object = object.and_then(|object| Some((object.metadata.generation, object.status.as_ref()?)));
            object.is_some_and(|(generation, status)| has(&status.conditions, "Ready", reason, generation))
        })
        .await
}

/// Waits for a reason of a condition of endpoint `iris`.
pub async fn endpoint_is(place: &Place, kind: &str, reason: &str) -> OnlineEndpoint {
    place
        .until("iris", reason, |object: Option<&OnlineEndpoint>| {
            let object = object.and_then(|object| Some((object.metadata.generation, object.status.as_ref()?)));
            object.is_some_and(|(generation, status)| has(&status.conditions, kind, reason, generation))
        })
        .await
}

/// Waits until the route of `iris` has exactly these deployments with these weights.
pub async fn route_has(place: &Place, weights: &[(&str, i32)]) -> EndpointRoute {
    place
        .until("iris", "routed", |route: Option<&EndpointRoute>| {
            route.is_some_and(|route| {
                let there: Vec<_> =
                    route.spec.deployments.iter().map(|entry| (entry.name.as_str(), entry.weight.0)).collect();
                there == weights
            })
        })
        .await
}

pub async fn gone<K>(place: &Place, name: &str)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let wait = await_condition(place.api::<K>(), name, |object: Option<&K>| object.is_none());
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "{name} is left");
}
