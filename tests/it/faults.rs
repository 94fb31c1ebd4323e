//! What goes wrong is named, and heals when its cause goes.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use mooring_operator::api::deployment::{DeploymentState, OnlineDeployment};
use mooring_operator::api::instance_type::InstanceType;
use serde_json::json;

use crate::support::documents::{deployment, endpoint, with};
use crate::support::outcomes::{deployment_is, route_has};
use crate::support::place::Place;
use crate::support::stage::Stage;
use crate::support::waits::DEADLINE;

#[tokio::test]
async fn a_missing_instance_type_is_named_and_found_when_it_comes() {
    let stage = Stage::empty("types").await;
    let place = &stage.place;
    place.apply(endpoint(&json!({"blue": 100}))).await;
    let name = format!("{}-gold", place.namespace);
    let mut wanted = with(deployment("blue", "good:1"), "/spec/instanceType", json!(name));
    wanted["spec"].as_object_mut().unwrap().remove("resources");
    place.apply(wanted).await;
    let error = deployment_is(place, "iris-blue", "ERR_2100").await.status.unwrap().error.unwrap();
    assert_eq!(error.reason, "InstanceTypeNotFound");
    let kind = json!({
        "apiVersion": "mooring.dev/v1alpha1", "kind": "InstanceType", "metadata": {"name": name},
        "spec": {"resources": {"requests": {"cpu": "10m", "memory": "1Mi"}, "limits": {"cpu": 1, "memory": "1Gi"}}, "nodeSelector": {"disk": "fast"}},
    });
    let types: Api<InstanceType> = Api::all(place.client.clone());
    types.create(&PostParams::default(), &serde_json::from_value(kind).unwrap()).await.unwrap();
    place.ready("iris", &["iris-blue"]).await;
    let pod = place.api::<Deployment>().get("iris-blue").await.unwrap().spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.node_selector.unwrap()["disk"], "fast");
    types.delete(&name, &DeleteParams::default()).await.unwrap();
    stage.done().await;
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_named_and_healed_when_it_is_raised() {
    let stage = Stage::empty("quota").await;
    let place = &stage.place;
    let quota = |pods: &str| json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": {"pods": pods}}});
    place.apply(quota("0")).await;
    is_enforced(place, "exceeded quota: small").await;
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "good:1")).await;
    let status = deployment_is(place, "iris-blue", "ERR_1100").await.status.unwrap();
    assert_eq!(status.error.unwrap().reason, "OutOfResourceQuota");
    place.apply(quota("10")).await;
    // The ReplicaSet's own back-off, a few seconds by now, decides when it tries again.
    place.ready("iris", &["iris-blue"]).await;
    stage.done().await;
}

/// Waits until a pod is refused: the API server counts a quota some time after its status says so.
async fn is_enforced(place: &Place, refusal: &str) {
    let container = json!({
        "name": "any", "image": "any",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    });
    let pod = json!({
        "metadata": {"name": "any"},
        "spec": {"containers": [container], "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}},
    });
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let dry_run = PostParams { dry_run: true, field_manager: None };
    let begin = std::time::Instant::now();
    loop {
        let answer = place.api::<Pod>().create(&dry_run, &pod).await;
        if answer.as_ref().is_err_and(|error| error.to_string().contains(refusal)) {
            return;
        }
        assert!(begin.elapsed() < DEADLINE, "a pod is not refused with '{refusal}': {answer:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn one_object_that_cannot_be_read_stops_no_other() {
    let stage = Stage::serving("unreadable").await;
    let place = &stage.place;
    // More than the operator's 32 bits hold: the API server takes it, the operator can't read the object any more.
    let status = json!({
        "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineDeployment", "status": {"updatedReplicas": 5_000_000_000_i64},
    });
    let dynamic: Api<DynamicObject> =
        Api::namespaced_with(place.client.clone(), &place.namespace, &ApiResource::erase::<OnlineDeployment>(&()));
    dynamic.patch_status("iris-blue", &PatchParams::apply("somebody").force(), &Patch::Apply(status)).await.unwrap();
    let reason = |object: &DynamicObject| {
        let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == "Ready").map(|ready| ready["reason"].clone())
    };
    let begin = std::time::Instant::now();
    while reason(&dynamic.get("iris-blue").await.unwrap()) != Some(json!("InvalidSpec")) {
        assert!(begin.elapsed() < DEADLINE, "nothing is said of the object");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // Others are worked on, and what was routed stays routed.
    place.apply(deployment("green", "good:2")).await;
    place
        .until("iris-green", "Ready", |object: Option<&OnlineDeployment>| {
            let status = object.and_then(|object| object.status.as_ref());
            status.is_some_and(|status| status.provisioning_state == Some(DeploymentState::Succeeded))
        })
        .await;
    route_has(place, &[("blue", 100), ("green", 0)]).await;
    assert!(place.api::<Deployment>().get_opt("iris-blue").await.unwrap().is_some(), "its instances are gone");
    stage.done().await;
}

#[tokio::test]
async fn resources_beyond_the_instance_type_are_named_and_take_nothing_away() {
    let stage = Stage::serving("beyond").await;
    let place = &stage.place;
    let before = place.api::<Deployment>().get("iris-blue").await.unwrap();
    // The default type has a limit of 2 cores.
    let beyond = with(deployment("blue", "good:2"), "/spec/resources/limits/cpu", json!("2001m"));
    place.apply(beyond).await;
    let status = deployment_is(place, "iris-blue", "ERR_2100").await.status.unwrap();
    let error = status.error.unwrap();
    assert_eq!(error.reason, "ResourcesExceedInstanceType");
    assert!(error.message.contains("cpu") && !error.next_step.is_empty(), "{error:?}");
    assert!(status.conditions.iter().any(|condition| condition.type_ == "Serving" && condition.status == "True"));
    route_has(place, &[("blue", 100)]).await;
    let after = place.api::<Deployment>().get("iris-blue").await.unwrap();
    assert_eq!(after.metadata.generation, before.metadata.generation);
    place.apply(with(deployment("blue", "good:2"), "/spec/resources/limits/cpu", json!(2))).await;
    place.ready("iris", &["iris-blue"]).await;
    stage.done().await;
}
