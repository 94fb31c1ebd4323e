//! What a life costs in requests to the API server, by its own audit log.

use std::time::Duration;

use serde_json::json;

use crate::support::documents::{deployment, endpoint};
use crate::support::kubelet::Kubelet;
use crate::support::operator::Operator;
use crate::support::place::{Place, setting};
use crate::support::proxy::{Effect, Proxy, Write};
use crate::support::stage::Stage;
use crate::support::{audit, state};

#[tokio::test]
async fn from_create_to_ready_there_are_few_requests_and_none_is_refused() {
    let stage = Stage::serving("counts").await;
    let place = &stage.place;
    audit::quiet(&place.namespace).await;
    let requests = audit::requests(&place.namespace);
    let writes: Vec<_> = requests.iter().filter(|request| request.is_write()).collect();
    assert!(writes.len() <= 15, "{} writes: {writes:#?}", writes.len());
    assert!(requests.len() <= 25, "{} requests: {requests:#?}", requests.len());
    assert!(writes.iter().all(|write| (200..300).contains(&write.code)), "a write was refused: {writes:#?}");
    stage.done().await;
}

/// The audit log has no objects; the proxy compares them.
#[tokio::test]
async fn from_create_to_ready_every_write_changes_something() {
    let place = Place::new("effects").await;
    let kubelet = Kubelet::start(&place).await;
    let proxy = Proxy::start(place.client.clone()).await;
    proxy.operate(&place.namespace);
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "good:1")).await;
    place.ready("iris", &["iris-blue"]).await;
    state::settled(&place).await;
    let writes = proxy.done();
    assert!(!writes.is_empty() && writes.len() <= 15, "{writes:#?}");
    let vain = |write: &&Write| !matches!(write.effect, Effect::Created | Effect::Changed);
    assert_eq!(writes.iter().filter(vain).count(), 0, "{writes:#?}");
    proxy.operator_ended().await;
    place.done().await;
    kubelet.stop().await;
}

#[tokio::test]
async fn after_settling_there_is_no_write_and_no_pod_is_restarted_by_a_second_pass() {
    let Stage { place, kubelet, operator } = Stage::serving("idle").await;
    audit::quiet(&place.namespace).await;
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
        audit::quiet(&place.namespace).await;
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
    kubelet.stop().await;
}
