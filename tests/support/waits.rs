//! Waiting for what controllers make of objects.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::api::DeleteParams;
use kube_runtime::wait::{Condition, await_condition};
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use serde::de::DeserializeOwned;

use super::place::Place;

/// The longest wait for anything; a test that comes near it fails for a reason, not for slowness.
pub const DEADLINE: Duration = Duration::from_mins(3);

impl Place {
    /// Waits until `condition` holds for the object; shows the object when it does not in time.
    pub async fn until<K>(&self, name: &str, what: &str, condition: impl Condition<K>) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let wait = await_condition(self.api::<K>(), name, condition);
        let Ok(found) = tokio::time::timeout(DEADLINE, wait).await else {
            panic!("{name} did not become {what}: {:#?}", self.api::<K>().get_opt(name).await)
        };
        found.unwrap().unwrap_or_else(|| panic!("{name} is gone while waiting for {what}"))
    }

    /// Waits until both are `Ready` for their current generation.
    pub async fn ready(&self, endpoint: &str, deployments: &[&str]) {
        for deployment in deployments {
            self.until(deployment, "Ready", |object: Option<&OnlineDeployment>| {
                object.is_some_and(|object| {
                    let conditions = object.status.as_ref().map(|status| status.conditions.as_slice());
                    is_true(conditions.unwrap_or_default(), "Ready", object.metadata.generation)
                })
            })
            .await;
        }
        self.until_ready(endpoint).await;
    }

    /// Waits until an endpoint is `Ready` for its current generation.
    pub async fn until_ready(&self, endpoint: &str) {
        self.until(endpoint, "Ready", |object: Option<&OnlineEndpoint>| {
            object.is_some_and(|object| {
                let conditions = object.status.as_ref().map(|status| status.conditions.as_slice());
                is_true(conditions.unwrap_or_default(), "Ready", object.metadata.generation)
            })
        })
        .await;
    }

    pub async fn delete<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.api::<K>().delete(name, &DeleteParams::default()).await.unwrap();
    }
}

/// Whether a condition is true for this generation.
pub fn is_true(
    conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    kind: &str,
    generation: Option<i64>,
) -> bool {
    conditions.iter().any(|condition| {
        condition.type_ == kind && condition.status == "True" && condition.observed_generation == generation
    })
}
