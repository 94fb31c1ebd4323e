//! Whose rights the storage initializer has, and what a change of them does.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::support::documents::{deployment, endpoint, with};
use crate::support::outcomes::deployment_is;
use crate::support::place::Place;
use crate::support::stage::Stage;

const CLIENT: &str = "azure.workload.identity/client-id";

fn account(name: &str, client: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "annotations": {CLIENT: client, "team": "vision"}},
    })
}

/// The identity that the storage initializer of new pods has.
fn client_of_pods(made: &Deployment) -> Option<&str> {
    let pod = made.spec.as_ref()?.template.spec.as_ref()?;
    let initializer = pod.init_containers.as_ref()?.first()?;
    initializer.env.iter().flatten().find(|variable| variable.name == "AZURE_CLIENT_ID")?.value.as_deref()
}

async fn pods_have(place: &Place, client: Option<&'static str>) -> Deployment {
    let condition = move |made: Option<&Deployment>| made.is_some_and(|made| client_of_pods(made) == client);
    place.until("iris-blue", "of that identity", condition).await
}

async fn account_has(place: &Place, client: Option<&'static str>) -> ServiceAccount {
    let has = move |account: &ServiceAccount| account.annotations().get(CLIENT).map(String::as_str) == client;
    let condition = move |account: Option<&ServiceAccount>| account.is_some_and(has);
    place.until("iris-identity", "of that identity", condition).await
}

#[tokio::test]
async fn a_user_assigned_account_is_waited_for_and_followed() {
    let stage = Stage::empty("account").await;
    let place = &stage.place;
    let identity = json!({"type": "UserAssigned", "serviceAccountName": "models"});
    place.apply(with(endpoint(&json!({"blue": 100})), "/spec/identity", identity)).await;
    place.apply(deployment("blue", "good:1")).await;
    let error = deployment_is(place, "iris-blue", "ERR_2100").await.status.unwrap().error.unwrap();
    assert_eq!(error.reason, "ServiceAccountNotFound");
    place.apply(account("models", "first")).await;
    place.ready("iris", &["iris-blue"]).await;
    let made = pods_have(place, Some("first")).await;
    let pod = made.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.service_account_name.as_deref(), Some("models"));
    place.apply(account("models", "second")).await;
    pods_have(place, Some("second")).await;
    place.ready("iris", &["iris-blue"]).await;
    stage.done().await;
}

#[tokio::test]
async fn the_endpoints_own_account_gets_its_identity_and_loses_it() {
    let stage = Stage::serving("identity").await;
    let place = &stage.place;
    pods_have(place, None).await;
    let annotations = json!({CLIENT: "c1", "team": "vision"});
    place.apply(with(endpoint(&json!({"blue": 100})), "/metadata/annotations", annotations)).await;
    pods_have(place, Some("c1")).await;
    assert!(!account_has(place, Some("c1")).await.annotations().contains_key("team"));
    place.apply(endpoint(&json!({"blue": 100}))).await;
    account_has(place, None).await;
    pods_have(place, None).await;
    stage.done().await;
}
