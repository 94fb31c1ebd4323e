//! Both controllers, from the objects of a user to the objects of Kubernetes and back to the status.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota, Secret, Service, ServiceAccount};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube_runtime::wait::await_condition;
use mooring_operator::api::deployment::{DeploymentState, OnlineDeployment};
use mooring_operator::api::endpoint::OnlineEndpoint;
use mooring_operator::api::endpoint_route::EndpointRoute;
use mooring_operator::api::instance_type::InstanceType;
use mooring_operator::catalogue::Code;
use serde_json::{Value, json};

use crate::support::documents::{deployment, endpoint, with};
use crate::support::kubelet::Kubelet;
use crate::support::operator::Operator;
use crate::support::place::{Place, setting};
use crate::support::state;
use crate::support::waits::{DEADLINE, is_true};

/// A namespace with its operator and its node.
struct Stage {
    place: Place,
    _kubelet: Kubelet,
    _operator: Operator,
}

async fn stage(name: &str) -> Stage {
    let place = Place::new(name).await;
    let kubelet = Kubelet::start(&place).await;
    let operator = Operator::start(&place.namespace, setting("MOORING_TEST_KUBECONFIG").as_ref());
    Stage { place, _kubelet: kubelet, _operator: operator }
}

async fn blue(name: &str) -> Stage {
    let stage = stage(name).await;
    stage.place.apply(endpoint(&json!({"blue": 100}))).await;
    stage.place.apply(deployment("blue", "good:1")).await;
    stage.place.ready("iris", &["iris-blue"]).await;
    stage
}

/// Waits for a reason of `Ready` of a deployment.
async fn deployment_is(place: &Place, name: &str, reason: &str) -> OnlineDeployment {
    place
        .until(name, reason, |object: Option<&OnlineDeployment>| {
            let conditions = object.and_then(|object| object.status.as_ref()).map(|status| &status.conditions);
            conditions.into_iter().flatten().any(|condition| {
                condition.type_ == "Ready"
                    && condition.reason == reason
                    && condition.observed_generation == object.and_then(|object| object.metadata.generation)
            })
        })
        .await
}

async fn endpoint_is(place: &Place, condition: &str, reason: &str) -> OnlineEndpoint {
    place
        .until("iris", reason, |object: Option<&OnlineEndpoint>| {
            let conditions = object.and_then(|object| object.status.as_ref()).map(|status| &status.conditions);
            conditions.into_iter().flatten().any(|told| {
                told.type_ == condition
                    && told.reason == reason
                    && told.observed_generation == object.and_then(|object| object.metadata.generation)
            })
        })
        .await
}

async fn route_has(place: &Place, weights: &[(&str, i32)]) -> EndpointRoute {
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

async fn gone<K>(place: &Place, name: &str)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let wait = await_condition(place.api::<K>(), name, |object: Option<&K>| object.is_none());
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "{name} is left");
}

#[tokio::test]
async fn in_any_order_the_end_is_the_same() {
    let documents = || [endpoint(&json!({"blue": 100})), deployment("blue", "good:1")];
    let mut ends = Vec::new();
    for order in [[0, 1], [1, 0]] {
        let stage = stage("order").await;
        for index in order {
            stage.place.apply(documents()[index].clone()).await;
            if index == 1 && order[0] == 1 {
                deployment_is(&stage.place, "iris-blue", "EndpointNotFound").await;
            }
        }
        stage.place.ready("iris", &["iris-blue"]).await;
        ends.push(state::settled(&stage.place).await);
        stage.place.done().await;
    }
    assert_eq!(ends[0], ends[1]);
}

#[tokio::test]
async fn what_is_made_is_what_the_design_says() {
    let stage = blue("made").await;
    let made = state::settled(&stage.place).await;
    insta::assert_yaml_snapshot!("made", made);
    stage.place.done().await;
}

#[tokio::test]
async fn traffic_goes_to_a_deployment_only_once_it_can_serve() {
    let stage = blue("traffic").await;
    let place = &stage.place;
    place.apply(endpoint(&json!({"green": 100}))).await;
    endpoint_is(place, "TrafficAssigned", "DeploymentNotFound").await;
    route_has(place, &[("blue", 100)]).await;
    place.apply(deployment("green", "slow:1")).await;
    endpoint_is(place, "TrafficAssigned", "DeploymentNotReady").await;
    route_has(place, &[("blue", 100), ("green", 0)]).await;
    place.apply(deployment("green", "good:2")).await;
    route_has(place, &[("blue", 0), ("green", 100)]).await;
    place.ready("iris", &["iris-green"]).await;
    place.apply(endpoint(&json!({"blue": 30, "green": 70}))).await;
    route_has(place, &[("blue", 30), ("green", 70)]).await;
    place.apply(endpoint(&json!({}))).await;
    route_has(place, &[("blue", 0), ("green", 0)]).await;
    endpoint_is(place, "TrafficAssigned", "NoTraffic").await;
    stage.place.done().await;
}

#[tokio::test]
async fn a_deployment_scales_by_its_spec_and_by_its_scale_subresource() {
    let stage = blue("scale").await;
    let place = &stage.place;
    place.apply(with(deployment("blue", "good:1"), "/spec/instanceCount", json!(3))).await;
    place.ready("iris", &["iris-blue"]).await;
    assert_eq!(place.api::<Deployment>().get("iris-blue").await.unwrap().spec.unwrap().replicas, Some(3));
    let scale = json!({"spec": {"replicas": 2}});
    place
        .api::<OnlineDeployment>()
        .patch_scale("iris-blue", &PatchParams::default(), &Patch::Merge(scale))
        .await
        .unwrap();
    place.ready("iris", &["iris-blue"]).await;
    let status = place.api::<OnlineDeployment>().get_scale("iris-blue").await.unwrap().status.unwrap();
    assert_eq!(status.replicas, 2);
    let selected = place.api::<Pod>().list(&ListParams::default().labels(&status.selector.unwrap())).await.unwrap();
    assert_eq!(selected.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count(), 2);
    let scale = json!({"spec": {"replicas": 0}});
    place
        .api::<OnlineDeployment>()
        .patch_scale("iris-blue", &PatchParams::default(), &Patch::Merge(scale))
        .await
        .unwrap();
    deployment_is(place, "iris-blue", "ScaledToZero").await;
    stage.place.done().await;
}

#[tokio::test]
async fn a_bad_second_revision_says_so_while_the_first_serves_and_heals() {
    let stage = blue("revision").await;
    let place = &stage.place;
    place.apply(deployment("blue", "missing:2")).await;
    let failed = deployment_is(place, "iris-blue", "ERR_1200").await;
    let status = failed.status.unwrap();
    let error = status.error.unwrap();
    assert_eq!((error.code, error.reason.as_str()), (Code::Err1200, "ImageNotFound"));
    assert!(error.object.unwrap().starts_with("Pod/iris-blue-"));
    assert_eq!(status.provisioning_state, Some(DeploymentState::Failed));
    let generation = failed.metadata.generation;
    assert!(is_true(&status.conditions, "Serving", generation) && is_true(&status.conditions, "Stalled", generation));
    // Traffic stays where it was.
    route_has(place, &[("blue", 100)]).await;
    place.apply(deployment("blue", "good:3")).await;
    place.ready("iris", &["iris-blue"]).await;
    let status = place.api::<OnlineDeployment>().get("iris-blue").await.unwrap().status.unwrap();
    assert_eq!(status.error, None);
    assert_eq!(status.recent_errors[0].reason, "ImageNotFound");
    stage.place.done().await;
}

#[tokio::test]
async fn a_deployment_that_goes_leaves_the_route_and_takes_its_objects_with_it() {
    let stage = blue("leave").await;
    let place = &stage.place;
    place.apply(deployment("green", "good:2")).await;
    place.ready("iris", &["iris-green"]).await;
    place.delete::<OnlineDeployment>("iris-green").await;
    route_has(place, &[("blue", 100)]).await;
    gone::<Deployment>(place, "iris-green").await;
    gone::<Service>(place, "iris-green-instances").await;
    assert_eq!(endpoint_is(place, "Ready", "Succeeded").await.status.unwrap().deployments.len(), 1);
    stage.place.done().await;
}

#[tokio::test]
async fn an_endpoint_that_goes_takes_its_objects_and_the_instances_with_it_and_may_come_back() {
    let stage = blue("endpoint").await;
    let place = &stage.place;
    place.delete::<OnlineEndpoint>("iris").await;
    deployment_is(place, "iris-blue", "EndpointNotFound").await;
    gone::<Secret>(place, "iris-keys").await;
    gone::<Service>(place, "iris").await;
    gone::<ServiceAccount>(place, "iris-identity").await;
    gone::<EndpointRoute>(place, "iris").await;
    gone::<Deployment>(place, "iris-blue").await;
    gone::<Service>(place, "iris-blue-instances").await;
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.ready("iris", &["iris-blue"]).await;
    stage.place.done().await;
}

#[tokio::test]
async fn a_foreign_object_of_our_name_is_left_alone() {
    let stage = stage("foreign").await;
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
    // Healed by a hand, and noticed at the latest half a minute later.
    place.delete::<Service>("iris").await;
    endpoint_is(place, "Ready", "Succeeded").await;
    stage.place.done().await;
}

#[tokio::test]
async fn of_two_with_one_name_the_younger_waits_for_the_older_to_go() {
    let stage = blue("namesake").await;
    let place = &stage.place;
    let second = with(deployment("blue", "good:1"), "/metadata/name", json!("iris-second"));
    place.apply(with(second, "/spec/deploymentName", json!("BLUE"))).await;
    deployment_is(place, "iris-second", "NameConflict").await;
    route_has(place, &[("blue", 100)]).await;
    place.delete::<OnlineDeployment>("iris-blue").await;
    place.ready("iris", &["iris-second"]).await;
    route_has(place, &[("BLUE", 100)]).await;
    stage.place.done().await;
}

#[tokio::test]
async fn keys_may_be_the_users_own_and_may_be_rotated() {
    let stage = stage("keys").await;
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
    stage.place.done().await;
}

#[tokio::test]
async fn a_missing_instance_type_is_named_and_found_when_it_comes() {
    let stage = stage("types").await;
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
    stage.place.done().await;
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_named_and_healed_when_it_is_raised() {
    let stage = stage("quota").await;
    let place = &stage.place;
    let quota = |pods: &str| json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": {"pods": pods}}});
    place.apply(quota("0")).await;
    place
        .until("small", "counted", |quota: Option<&ResourceQuota>| {
            quota.and_then(|quota| quota.status.as_ref()?.hard.as_ref()).is_some()
        })
        .await;
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "good:1")).await;
    let status = deployment_is(place, "iris-blue", "ERR_1100").await.status.unwrap();
    assert_eq!(status.error.unwrap().reason, "OutOfResourceQuota");
    place.apply(quota("10")).await;
    // The ReplicaSet's own back-off decides when it tries again; a new revision does at once.
    place.apply(deployment("blue", "good:2")).await;
    place.ready("iris", &["iris-blue"]).await;
    stage.place.done().await;
}

#[tokio::test]
async fn what_somebody_changes_or_deletes_by_hand_is_put_back() {
    let stage = blue("drift").await;
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
    stage.place.done().await;
}

#[tokio::test]
async fn the_users_spec_is_never_written() {
    let stage = blue("spec").await;
    let place = &stage.place;
    let managers = |managed: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry]| -> Vec<String> {
        managed
            .iter()
            .filter(|entry| {
                entry
                    .fields_v1
                    .as_ref()
                    .is_some_and(|fields| fields.0.get("f:spec").is_some_and(|spec| *spec != Value::Null))
            })
            .filter_map(|entry| entry.manager.clone())
            .collect()
    };
    let endpoint = place.api::<OnlineEndpoint>().get("iris").await.unwrap();
    let deployment = place.api::<OnlineDeployment>().get("iris-blue").await.unwrap();
    assert_eq!(managers(endpoint.managed_fields()), ["test"]);
    assert_eq!(managers(deployment.managed_fields()), ["test"]);
    assert!(deployment.finalizers().is_empty() && endpoint.finalizers().is_empty(), "nothing may hold a user's object");
    stage.place.done().await;
}

#[tokio::test]
async fn one_object_that_cannot_be_read_stops_no_other() {
    let stage = blue("unreadable").await;
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
    stage.place.done().await;
}
