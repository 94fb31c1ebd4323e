//! What is told beside the status: Events, metrics; and what it costs.

use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use serde_json::json;

use crate::support::audit;
use crate::support::documents::{deployment, endpoint};
use crate::support::kubelet::Kubelet;
use crate::support::operator::Operator;
use crate::support::outcomes::deployment_is;
use crate::support::place::{Place, setting};
use crate::support::stage::Stage;
use crate::support::waits::DEADLINE;

/// Waits for an Event of our operator about the deployment.
async fn told(place: &Place, reason: &str) -> Event {
    let begin = std::time::Instant::now();
    loop {
        let events = place.api::<Event>().list(&ListParams::default()).await.unwrap();
        let ours = |event: &Event| {
            event.reporting_controller.as_deref() == Some("mooring.dev/operator")
                && event.reason.as_deref() == Some(reason)
        };
        if let Some(event) = events.items.into_iter().find(ours) {
            return event;
        }
        assert!(begin.elapsed() < DEADLINE, "there is no Event {reason}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_failure_and_its_recovery_are_events() {
    let stage = Stage::empty("events").await;
    let place = &stage.place;
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "missing:1")).await;
    deployment_is(place, "iris-blue", "ERR_1200").await;
    let event = told(place, "ImageNotFound").await;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    let regarding = event.regarding.unwrap();
    assert_eq!((regarding.kind.as_deref(), regarding.name.as_deref()), (Some("OnlineDeployment"), Some("iris-blue")));
    assert!(event.note.unwrap().contains("push the image"));
    place.apply(deployment("blue", "good:1")).await;
    place.ready("iris", &["iris-blue"]).await;
    let event = told(place, "Recovered").await;
    assert_eq!(event.type_.as_deref(), Some("Normal"));
    assert!(event.note.unwrap().contains("ERR_1200 ImageNotFound"));
    stage.done().await;
}

#[tokio::test]
async fn the_errors_that_stand_are_counted() {
    let place = Place::new("metrics").await;
    let kubelet = Kubelet::start(&place).await;
    let (_operator, counts) = Operator::counting(&place.namespace, setting("MOORING_TEST_KUBECONFIG").as_ref());
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "missing:1")).await;
    deployment_is(&place, "iris-blue", "ERR_1200").await;
    let labels = "{code=\"ERR_1200\",reason=\"ImageNotFound\"}";
    counts.until(&format!("mooring_deployment_error{labels} 1"), true).await;
    counts.until(&format!("mooring_deployment_errors_total{labels} 1"), true).await;
    place.apply(deployment("blue", "good:1")).await;
    place.ready("iris", &["iris-blue"]).await;
    counts.until(&format!("mooring_deployment_error{labels} 1"), false).await;
    place.done().await;
    kubelet.stop().await;
}

#[tokio::test]
async fn a_failing_deployment_costs_nothing_while_nothing_changes() {
    let stage = Stage::empty("failing").await;
    let place = &stage.place;
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "missing:1")).await;
    deployment_is(place, "iris-blue", "ERR_1200").await;
    audit::quiet(&place.namespace).await;
    let before = audit::requests(&place.namespace).len();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let requests = audit::requests(&place.namespace);
    assert!(requests.len() <= before + 1, "{:#?}", &requests[before..]);
    stage.done().await;
}
