//! Changes of a deployment and of the split of traffic, while it serves.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use mooring_operator::api::deployment::{DeploymentState, OnlineDeployment};
use mooring_operator::api::endpoint::OnlineEndpoint;
use mooring_operator::catalogue::Code;
use serde_json::json;

use crate::support::documents::{deployment, endpoint, with};
use crate::support::outcomes::{deployment_is, endpoint_is, route_has};
use crate::support::stage::Stage;
use crate::support::waits::is_true;

#[tokio::test]
async fn traffic_goes_to_a_deployment_only_once_it_can_serve() {
    let stage = Stage::serving("traffic").await;
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
    stage.done().await;
}

#[tokio::test]
async fn a_deployment_scales_by_its_spec_and_by_its_scale_subresource() {
    let stage = Stage::serving("scale").await;
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
    stage.done().await;
}

#[tokio::test]
async fn a_bad_second_revision_says_so_while_the_first_serves_and_heals() {
    let stage = Stage::serving("revision").await;
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
    stage.done().await;
}

#[tokio::test]
async fn another_image_is_another_revision_and_the_old_one_serves_until_the_new_one_can() {
    let stage = Stage::serving("image").await;
    let place = &stage.place;
    let old = place.api::<ReplicaSet>().list(&ListParams::default()).await.unwrap().items;
    place.apply(deployment("blue", "slow:2")).await;
    let updating = place
        .until("iris-blue", "of two revisions", |object: Option<&OnlineDeployment>| {
            object
                .and_then(|object| object.status.as_ref())
                .is_some_and(|status| (status.replicas, status.updated_replicas, status.ready_replicas) == (2, 1, 1))
        })
        .await;
    let status = updating.status.unwrap();
    assert_eq!(status.provisioning_state, Some(DeploymentState::Updating));
    let generation = updating.metadata.generation;
    assert!(
        is_true(&status.conditions, "Serving", generation) && is_true(&status.conditions, "Reconciling", generation)
    );
    assert!(!is_true(&status.conditions, "Ready", generation));
    route_has(place, &[("blue", 100)]).await;
    place.apply(deployment("blue", "good:3")).await;
    place.ready("iris", &["iris-blue"]).await;
    let status = place.api::<OnlineDeployment>().get("iris-blue").await.unwrap().status.unwrap();
    assert_eq!(status.provisioning_state, Some(DeploymentState::Succeeded));
    assert!(status.conditions.iter().all(|condition| condition.type_ != "Reconciling"));
    let sets = place.api::<ReplicaSet>().list(&ListParams::default()).await.unwrap().items;
    assert_eq!((old.len(), sets.len()), (1, 3));
    stage.done().await;
}

#[tokio::test]
async fn a_bad_first_revision_says_so_and_heals_into_the_recent_errors() {
    let stage = Stage::empty("first").await;
    let place = &stage.place;
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "missing:1")).await;
    let status = deployment_is(place, "iris-blue", "ERR_1200").await.status.unwrap();
    let error = status.error.unwrap();
    assert_eq!(
        (error.code, error.reason.as_str(), error.container.as_deref()),
        (Code::Err1200, "ImageNotFound", Some("inference-server"))
    );
    assert!(error.message.contains("missing:1"), "{}", error.message);
    assert_eq!(status.provisioning_state, Some(DeploymentState::Failed));
    let told = |kind: &str| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        (condition.status.clone(), condition.reason.clone())
    };
    assert_eq!(told("ImagePulled"), ("False".to_owned(), "ERR_1200".to_owned()));
    assert_eq!(told("QuotaAvailable").0, "True");
    assert_eq!(told("ContainerHealthy").0, "Unknown");
    assert_eq!(told("Serving").0, "False");
    route_has(place, &[("blue", 0)]).await;
    endpoint_is(place, "TrafficAssigned", "DeploymentNotReady").await;
    place
        .until("iris", "told of the code", |endpoint: Option<&OnlineEndpoint>| {
            let status = endpoint.and_then(|endpoint| endpoint.status.as_ref());
            status.is_some_and(|status| status.deployments.iter().any(|told| told.code == Some(Code::Err1200)))
        })
        .await;
    place.apply(deployment("blue", "good:2")).await;
    place.ready("iris", &["iris-blue"]).await;
    route_has(place, &[("blue", 100)]).await;
    let status = place.api::<OnlineDeployment>().get("iris-blue").await.unwrap().status.unwrap();
    assert_eq!(status.error, None);
    assert_eq!(status.recent_errors.iter().map(|error| error.reason.as_str()).collect::<Vec<_>>(), ["ImageNotFound"]);
    stage.done().await;
}
