//! An endpoint and its deployment come, in any order, and go.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use mooring_operator::api::endpoint_route::EndpointRoute;
use serde_json::{Value, json};

use crate::support::documents::{deployment, endpoint, with};
use crate::support::operator::Operator;
use crate::support::outcomes::{deployment_is, endpoint_is, gone, route_has};
use crate::support::place::{Place, setting};
use crate::support::stage::Stage;
use crate::support::state;

#[tokio::test]
async fn in_any_order_the_end_is_the_same() {
    let documents = || [endpoint(&json!({"blue": 100})), deployment("blue", "good:1")];
    let mut ends = Vec::new();
    for order in [[0, 1], [1, 0]] {
        let stage = Stage::empty("order").await;
        for index in order {
            stage.place.apply(documents()[index].clone()).await;
            if index == 1 && order[0] == 1 {
                deployment_is(&stage.place, "iris-blue", "EndpointNotFound").await;
            }
        }
        stage.place.ready("iris", &["iris-blue"]).await;
        ends.push(state::settled(&stage.place).await);
        stage.done().await;
    }
    assert_eq!(ends[0], ends[1]);
}

/// More than any queue holds: they are found before anybody looks at them.
const MANY: usize = 300;

#[tokio::test]
async fn an_operator_that_finds_many_objects_looks_at_all_of_them() {
    let place = Place::new("many").await;
    let names: Vec<String> = (0..MANY).map(|index| format!("lonely-{index}")).collect();
    for name in &names {
        place.apply(with(deployment("blue", "good:1"), "/metadata/name", json!(name))).await;
    }
    let operator = Operator::start(&place.namespace, setting("MOORING_TEST_KUBECONFIG").as_ref());
    for name in &names {
        deployment_is(&place, name, "EndpointNotFound").await;
    }
    operator.stop().await;
    place.done().await;
}

#[tokio::test]
async fn what_is_made_is_what_the_design_says() {
    let stage = Stage::serving("made").await;
    let made = state::settled(&stage.place).await;
    insta::assert_yaml_snapshot!("made", made);
    stage.done().await;
}

#[tokio::test]
async fn a_deployment_that_goes_leaves_the_route_and_takes_its_objects_with_it() {
    let stage = Stage::serving("leave").await;
    let place = &stage.place;
    place.apply(deployment("green", "good:2")).await;
    place.ready("iris", &["iris-green"]).await;
    place.delete::<OnlineDeployment>("iris-green").await;
    route_has(place, &[("blue", 100)]).await;
    gone::<Deployment>(place, "iris-green").await;
    gone::<Service>(place, "iris-green-instances").await;
    place
        .until("iris", "with one deployment", |object: Option<&OnlineEndpoint>| {
            object.and_then(|object| object.status.as_ref()).is_some_and(|status| status.deployments.len() == 1)
        })
        .await;
    stage.done().await;
}

#[tokio::test]
async fn an_endpoint_that_goes_takes_its_objects_and_the_instances_with_it_and_may_come_back() {
    let stage = Stage::serving("endpoint").await;
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
    stage.done().await;
}

#[tokio::test]
async fn the_users_spec_is_never_written() {
    let stage = Stage::serving("spec").await;
    let place = &stage.place;
    let managers = |managed: &[ManagedFieldsEntry]| -> Vec<String> {
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
    stage.done().await;
}

#[tokio::test]
async fn in_one_moment_the_end_is_the_same() {
    let mut ends = Vec::new();
    for at_once in [false, true] {
        let stage = Stage::empty("moment").await;
        let documents = (endpoint(&json!({"blue": 100})), deployment("blue", "good:1"));
        if at_once {
            tokio::join!(stage.place.apply(documents.0), stage.place.apply(documents.1));
        } else {
            stage.place.apply(documents.0).await;
            endpoint_is(&stage.place, "TrafficAssigned", "DeploymentNotFound").await;
            stage.place.apply(documents.1).await;
        }
        stage.place.ready("iris", &["iris-blue"]).await;
        ends.push(state::settled(&stage.place).await);
        stage.done().await;
    }
    assert_eq!(ends[0], ends[1]);
}

#[tokio::test]
async fn a_deployment_leaves_the_route_while_its_pods_still_end() {
    let stage = Stage::serving("lingers").await;
    let place = &stage.place;
    place.apply(deployment("green", "lingers:1")).await;
    place.apply(endpoint(&json!({"blue": 50, "green": 50}))).await;
    route_has(place, &[("blue", 50), ("green", 50)]).await;
    let green = ListParams::default().labels("mooring.dev/online-deployment=iris-green");
    let pod = place.api::<Pod>().list(&green).await.unwrap().items[0].name_any();
    place.delete::<OnlineDeployment>("iris-green").await;
    route_has(place, &[("blue", 50)]).await;
    place
        .until(&pod, "on its way out", |pod: Option<&Pod>| {
            pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some())
        })
        .await;
    place.api::<Pod>().delete(&pod, &DeleteParams::default().grace_period(0)).await.unwrap();
    gone::<Pod>(place, &pod).await;
    stage.done().await;
}
