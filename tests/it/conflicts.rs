//! Names that are taken, and hands that change or delete what is ours.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::{Resource, ResourceExt};
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use mooring_operator::api::endpoint_route::EndpointRoute;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::support::documents::{deployment, endpoint, with};
use crate::support::outcomes::{deployment_is, endpoint_is, route_has};
use crate::support::place::Place;
use crate::support::stage::Stage;
use crate::support::{audit, state};

#[tokio::test]
async fn a_foreign_object_of_our_name_is_left_alone() {
    let stage = Stage::empty("foreign").await;
    let place = &stage.place;
    let foreign = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "iris"},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "other"}},
    });
    place.apply(foreign).await;
    let before = place.api::<Service>().get("iris").await.unwrap().resource_version();
    place.apply(endpoint(&json!({}))).await;
    let told = endpoint_is(place, "Ready", "NameConflict").await.status.unwrap();
    assert!(told.conditions[0].message.contains("Service \"iris\""), "{}", told.conditions[0].message);
    assert_eq!(place.api::<Service>().get("iris").await.unwrap().resource_version(), before);
    // Its own status made it look once more. Healed by a hand after that, it is noticed half a minute later.
    audit::quiet(&place.namespace).await;
    place.delete::<Service>("iris").await;
    endpoint_is(place, "Ready", "Succeeded").await;
    stage.done().await;
}

#[tokio::test]
async fn of_two_with_one_name_the_younger_waits_for_the_older_to_go() {
    let stage = Stage::serving("namesake").await;
    let place = &stage.place;
    let second = with(deployment("blue", "good:1"), "/metadata/name", json!("iris-second"));
    place.apply(with(second, "/spec/deploymentName", json!("BLUE"))).await;
    deployment_is(place, "iris-second", "NameConflict").await;
    route_has(place, &[("blue", 100)]).await;
    place.delete::<OnlineDeployment>("iris-blue").await;
    place.ready("iris", &["iris-second"]).await;
    route_has(place, &[("BLUE", 100)]).await;
    stage.done().await;
}

#[tokio::test]
async fn what_somebody_changes_or_deletes_by_hand_is_put_back() {
    let stage = Stage::serving("drift").await;
    let place = &stage.place;
    let image = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "inference-server", "image": image}]}}}});
    let deployments = place.api::<Deployment>();
    deployments.patch("iris-blue", &PatchParams::default(), &Patch::Strategic(image("by-hand:1"))).await.unwrap();
    place
        .until("iris-blue", "put back", |deployment: Option<&Deployment>| {
            let spec = deployment.and_then(|deployment| deployment.spec.as_ref()?.template.spec.as_ref());
            spec.is_some_and(|spec| spec.containers[0].image.as_deref() == Some("good:1"))
        })
        .await;
    for name in ["iris", "iris-blue-instances"] {
        let uid = place.api::<Service>().get(name).await.unwrap().uid();
        place.delete::<Service>(name).await;
        place.until(name, "back", |service: Option<&Service>| service.is_some_and(|there| there.uid() != uid)).await;
    }
    place.delete::<Deployment>("iris-blue").await;
    place.until("iris-blue", "back", |there: Option<&Deployment>| there.is_some()).await;
    place.ready("iris", &["iris-blue"]).await;
    stage.done().await;
}

fn message(conditions: &[Condition]) -> &str {
    conditions.iter().find(|condition| condition.type_ == "Ready").map_or("", |condition| &condition.message)
}

/// Makes the operator look at once; by itself it does so every half minute, since foreign objects are not watched.
async fn look_again<K>(place: &Place, name: &str)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let touch = json!({"metadata": {"annotations": {"touched": jiff::Timestamp::now().to_string()}}});
    place.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(touch)).await.unwrap();
}

/// Waits until the object says that this one is in the way now.
async fn names<K>(place: &Place, name: &str, foreign: &str)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + 'static,
{
    look_again::<K>(place, name).await;
    place
        .until(name, foreign, |object: Option<&K>| {
            let object = serde_json::to_value(object).unwrap();
            let conditions: Vec<Condition> =
                serde_json::from_value(object["status"]["conditions"].clone()).unwrap_or_default();
            message(&conditions).starts_with(foreign)
        })
        .await;
}

#[tokio::test]
async fn whatever_kind_a_foreign_object_is_of_it_is_left_alone_and_named() {
    let metadata = |name: &str| json!({"name": name});
    let labels = json!({"app": "other"});
    let template = json!({
        "metadata": {"labels": labels},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "other", "image": "other",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    let route = json!({
        "auth": {"mode": "Key"}, "endpointGeneration": 1, "endpointName": "iris", "limits": {}, "deployments": [],
    });
    let stage = Stage::empty("kinds").await;
    let place = &stage.place;
    for foreign in [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata("iris-keys"), "stringData": {"primaryKey": "theirs", "secondaryKey": "theirs"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("iris-identity")}),
        json!({"apiVersion": "mooring.dev/v1alpha1", "kind": "EndpointRoute", "metadata": metadata("iris"), "spec": route}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("iris-blue"), "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata("iris-blue-instances"), "spec": {"ports": [{"port": 80}], "selector": labels}}),
    ] {
        place.apply(foreign).await;
    }
    let foreign = || async {
        [
            place.api::<Secret>().get("iris-keys").await.unwrap().resource_version(),
            place.api::<ServiceAccount>().get("iris-identity").await.unwrap().resource_version(),
            place.api::<EndpointRoute>().get("iris").await.unwrap().resource_version(),
            place
                .api::<Deployment>()
                .get("iris-blue")
                .await
                .unwrap()
                .metadata
                .generation
                .map(|count| count.to_string()),
            place.api::<Service>().get("iris-blue-instances").await.unwrap().resource_version(),
        ]
    };
    let before = foreign().await;
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "good:1")).await;
    let told = deployment_is(place, "iris-blue", "NameConflict").await.status.unwrap();
    assert!(message(&told.conditions).starts_with("Deployment \"iris-blue\""), "{}", message(&told.conditions));
    let told = endpoint_is(place, "Ready", "NameConflict").await.status.unwrap();
    assert!(message(&told.conditions).starts_with("EndpointRoute \"iris\""), "{}", message(&told.conditions));
    assert_eq!(foreign().await, before);
    // One after the other goes, as a person would go on from what is named.
    place.delete::<Deployment>("iris-blue").await;
    names::<OnlineDeployment>(place, "iris-blue", "Service \"iris-blue-instances\"").await;
    place.delete::<EndpointRoute>("iris").await;
    names::<OnlineEndpoint>(place, "iris", "Secret \"iris-keys\"").await;
    place.delete::<Secret>("iris-keys").await;
    names::<OnlineEndpoint>(place, "iris", "ServiceAccount \"iris-identity\"").await;
    assert_eq!(place.api::<ServiceAccount>().get("iris-identity").await.unwrap().resource_version(), before[1]);
    assert_eq!(place.api::<Service>().get("iris-blue-instances").await.unwrap().resource_version(), before[4]);
    place.delete::<ServiceAccount>("iris-identity").await;
    place.delete::<Service>("iris-blue-instances").await;
    look_again::<OnlineEndpoint>(place, "iris").await;
    look_again::<OnlineDeployment>(place, "iris-blue").await;
    place.ready("iris", &["iris-blue"]).await;
    route_has(place, &[("blue", 100)]).await;
    stage.done().await;
}

#[tokio::test]
async fn the_other_children_of_an_endpoint_come_back_too() {
    let stage = Stage::serving("back").await;
    let place = &stage.place;
    let before = state::settled(place).await;
    let weight = json!([{"op": "replace", "path": "/spec/deployments/0/weight", "value": 1}]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(weight).unwrap());
    place.api::<EndpointRoute>().patch("iris", &PatchParams::default(), &patch).await.unwrap();
    route_has(place, &[("blue", 100)]).await;
    place.delete::<EndpointRoute>("iris").await;
    place.until("iris", "back", |route: Option<&EndpointRoute>| route.is_some()).await;
    place.delete::<ServiceAccount>("iris-identity").await;
    place.until("iris-identity", "back", |account: Option<&ServiceAccount>| account.is_some()).await;
    place.delete::<Secret>("iris-keys").await;
    place.until("iris-keys", "back", |keys: Option<&Secret>| keys.is_some()).await;
    place.ready("iris", &["iris-blue"]).await;
    assert_eq!(state::settled(place).await, before);
    stage.done().await;
}
