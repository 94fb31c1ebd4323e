//! What a life costs in requests to the API server, by its own audit log.

use std::time::Duration;

use serde_json::json;

use crate::support::documents::{deployment, endpoint};
use crate::support::kubelet::Kubelet;
use crate::support::operator::Operator;
use crate::support::place::{Place, setting};
use crate::support::{audit, state};

async fn settled(name: &str) -> (Place, Kubelet, Operator) {
    let place = Place::new(name).await;
    let kubelet = Kubelet::start(&place).await;
    let operator = Operator::start(&place.namespace, setting("MOORING_TEST_KUBECONFIG").as_ref());
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "good:1")).await;
    place.ready("iris", &["iris-blue"]).await;
    quiet(&place).await;
    (place, kubelet, operator)
}

/// Waits until the operator has written nothing for a second.
async fn quiet(place: &Place) {
    let mut last = usize::MAX;
    loop {
        let now = audit::writes(&place.namespace);
        if now == last {
            return;
        }
        last = now;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn from_create_to_ready_there_are_few_requests_and_none_is_for_nothing() {
    let (place, _kubelet, _operator) = settled("counts").await;
    let requests = audit::requests(&place.namespace);
    let writes: Vec<_> = requests.iter().filter(|request| request.is_write()).collect();
    assert!(writes.len() <= 15, "{} writes: {writes:#?}", writes.len());
    assert!(requests.len() <= 25, "{} requests: {requests:#?}", requests.len());
    assert!(writes.iter().all(|write| (200..300).contains(&write.code)), "a write was refused: {writes:#?}");
    place.done().await;
}

#[tokio::test]
async fn after_settling_there_is_no_write_and_no_pod_is_restarted_by_a_second_pass() {
    let (place, _kubelet, operator) = settled("idle").await;
    let before = (state::of(&place).await, audit::writes(&place.namespace));
    let pods = state::uids::<k8s_openapi::api::core::v1::Pod>(&place).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(audit::writes(&place.namespace), before.1, "an idle operator writes");

    // A new process looks at everything again, and so does one with another image of the initializer.
    operator.stop().await;
    for image in [crate::support::operator::FETCH_IMAGE, "registry.test/mooring/fetch:2"] {
        let reads = audit::requests(&place.namespace).len();
        let operator = Operator::with_image(&place.namespace, setting("MOORING_TEST_KUBECONFIG").as_ref(), image);
        // Its first pass reads the keys.
        while audit::requests(&place.namespace).len() == reads {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        quiet(&place).await;
        operator.stop().await;
    }
    assert_eq!(
        audit::writes(&place.namespace),
        before.1,
        "a restarted operator writes: {:#?}",
        audit::requests(&place.namespace)
    );
    assert_eq!(state::of(&place).await, before.0);
    assert_eq!(state::uids::<k8s_openapi::api::core::v1::Pod>(&place).await, pods);
    place.done().await;
}
