//! The keys of an endpoint.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use mooring_operator::api::endpoint_route::EndpointRoute;
use serde_json::json;

use crate::support::documents::{endpoint, with};
use crate::support::outcomes::{endpoint_is, gone, route_has};
use crate::support::stage::Stage;

#[tokio::test]
async fn keys_may_be_the_users_own_and_may_be_rotated() {
    let stage = Stage::empty("keys").await;
    let place = &stage.place;
    place.apply(with(endpoint(&json!({})), "/spec/keysSecretName", json!("mine"))).await;
    endpoint_is(place, "AuthReady", "KeysMissing").await;
    let secret = |primary: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}, "stringData": {"primaryKey": primary, "secondaryKey": "second"}});
    place.apply(secret("first")).await;
    endpoint_is(place, "Ready", "Succeeded").await;
    let digests = place.api::<EndpointRoute>().get("iris").await.unwrap().spec.auth.key_digests;
    // echo -n first | sha256sum
    assert_eq!(digests[0], "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e");
    place.apply(secret("rotated")).await;
    place
        .until("iris", "rotated", |route: Option<&EndpointRoute>| {
            route.is_some_and(|route| {
                route.spec.auth.key_digests[0] != digests[0] && route.spec.auth.key_digests[1] == digests[1]
            })
        })
        .await;
    // Generated ones come and go with the choice.
    place.apply(json!({"apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint", "metadata": {"name": "iris"}, "spec": {"traffic": {}}})).await;
    let made = place.until("iris-keys", "made", |secret: Option<&Secret>| secret.is_some()).await;
    let key = String::from_utf8(made.data.unwrap()["primaryKey"].0.clone()).unwrap();
    assert!(key.len() >= 43 && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    place.apply(with(endpoint(&json!({})), "/spec/keysSecretName", json!("mine"))).await;
    gone::<Secret>(place, "iris-keys").await;
    stage.done().await;
}

#[tokio::test]
async fn generated_keys_stay_as_they_are_and_a_rotated_one_gets_into_the_route() {
    let stage = Stage::serving("generated").await;
    let place = &stage.place;
    let keys = || async { place.api::<Secret>().get("iris-keys").await.unwrap() };
    let digests = || async { place.api::<EndpointRoute>().get("iris").await.unwrap().spec.auth.key_digests };
    let (made, known) = (keys().await, digests().await);
    assert_eq!(known.len(), 2);
    assert_ne!(known[0], known[1]);
    // Changes of everything around them.
    place.apply(endpoint(&json!({}))).await;
    route_has(place, &[("blue", 0)]).await;
    place.apply(with(endpoint(&json!({"blue": 100})), "/spec/limits", json!({"requestsPerSecond": 7}))).await;
    route_has(place, &[("blue", 100)]).await;
    place.ready("iris", &["iris-blue"]).await;
    assert_eq!(keys().await.metadata.resource_version, made.metadata.resource_version, "the keys were written");
    // Somebody rotates one of them.
    let rotated = json!({"stringData": {"secondaryKey": "first"}});
    place.api::<Secret>().patch("iris-keys", &PatchParams::default(), &Patch::Merge(rotated)).await.unwrap();
    place
        .until("iris", "rotated", |route: Option<&EndpointRoute>| {
            // echo -n first | sha256sum
            let digest = "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e";
            route.is_some_and(|route| route.spec.auth.key_digests == [known[0].as_str(), digest])
        })
        .await;
    let data = keys().await.data.unwrap();
    assert_eq!(data["primaryKey"], made.data.unwrap()["primaryKey"]);
    assert_eq!(data["secondaryKey"].0, b"first");
    stage.done().await;
}
