//! What the operator may do, where that decides how it runs.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use kube::{Client, Resource};

/// Pause before the API server is asked again, when it did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether all objects of a kind of the cluster may be listed and watched. Waits for the answer.
pub(super) async fn may_watch<K: Resource<DynamicType = ()>>(client: &Client) -> bool {
    for verb in ["list", "watch"] {
        if !may::<K>(client, verb).await {
            return false;
        }
    }
    true
}

async fn may<K: Resource<DynamicType = ()>>(client: &Client, verb: &str) -> bool {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(K::group(&()).into_owned()),
                resource: Some(K::plural(&()).into_owned()),
                verb: Some(verb.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    loop {
        match Api::all(client.clone()).create(&PostParams::default(), &review).await {
            Ok(answer) => return answer.status.is_some_and(|status| status.allowed),
            Err(kube::Error::Api(_)) => return false,
            Err(error) => {
                tracing::warn!(%error, "asking the API server for our rights failed");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
