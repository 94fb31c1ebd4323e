//! Two operators, of which one works, whatever becomes of the other.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::DeleteParams;
use mooring_operator::api::deployment::OnlineDeployment;
use serde_json::json;

use crate::support::audit;
use crate::support::documents::{deployment, endpoint};
use crate::support::kubelet::Kubelet;
use crate::support::operator::Operator;
use crate::support::place::{Place, setting};
use crate::support::waits::DEADLINE;
use crate::support::way::Way;

/// The Lease of the operators of a namespace.
const LEASE: &str = "mooring-operator";

/// What happens to whoever leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Terminated,
    Killed,
    /// It stands still until another one leads, and goes on then.
    Paused,
}

/// The replica that leads, when it is not `before`.
async fn leader(place: &Place, before: Option<&str>) -> String {
    let leases = place.api::<Lease>();
    let begin = Instant::now();
    loop {
        let spec = leases.get_opt(LEASE).await.unwrap().and_then(|lease| lease.spec);
        let holder = spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        let replica = holder.split('_').next().unwrap_or_default();
        if !replica.is_empty() && Some(replica) != before {
            return replica.to_owned();
        }
        assert!(begin.elapsed() < DEADLINE, "{before:?} is not followed by another one");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Deployments that come and go without a pause.
async fn churn(place: Place) {
    loop {
        for name in ["red", "yellow"] {
            place.apply(deployment(name, "good:1")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let name = format!("iris-{name}");
            place.api::<OnlineDeployment>().delete(&name, &DeleteParams::default()).await.unwrap();
        }
    }
}

async fn is_followed(end: End) {
    let place = Place::new("lease").await;
    let kubelet = Kubelet::start(&place).await;
    let kubeconfig = setting("MOORING_TEST_KUBECONFIG");
    let start = |name| Operator::candidate(&place.namespace, kubeconfig.as_ref(), name);
    let mut first = start("one");
    assert_eq!(leader(&place, None).await, "one");
    let second = start("two");
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "good:1")).await;
    place.ready("iris", &["iris-blue"]).await;

    // So that it ends in the middle of its work.
    let churn = tokio::spawn(churn(Place { client: place.client.clone(), namespace: place.namespace.clone() }));
    audit::more_writes(&place.namespace, 5).await;
    let begin = Instant::now();
    match end {
        End::Terminated => {
            first.signal("-TERM").await;
            assert!(first.ended().await.success());
        }
        End::Killed => {
            first.kill();
            first.ended().await;
        }
        End::Paused => first.signal("-STOP").await,
    }
    assert_eq!(leader(&place, Some("one")).await, "two");
    println!("{end:?}: followed after {:?}", begin.elapsed());
    audit::more_writes(&place.namespace, 5).await;
    churn.abort();
    place.apply(deployment("green", "good:2")).await;
    place.apply(endpoint(&json!({"green": 100}))).await;
    place.ready("iris", &["iris-green"]).await;
    if end == End::Paused {
        first.signal("-CONT").await;
        assert!(!first.ended().await.success(), "it ends, since it leads no more");
    }
    second.stop().await;
    assert_eq!(audit::writes_after(&place.namespace, "one", "two"), [] as [String; 0], "{end:?}");
    place.done().await;
    kubelet.stop().await;
}

#[tokio::test]
async fn whoever_can_not_reach_the_api_server_goes_on_when_it_can() {
    let place = Place::new("cut").await;
    let kubelet = Kubelet::start(&place).await;
    let way = Way::open().await;
    let kubeconfig = way.kubeconfig();
    let operator = Operator::candidate(&place.namespace, kubeconfig.path(), "one");
    assert_eq!(leader(&place, None).await, "one");
    way.cut().await;
    // Longer than it may write without a word of the Lease.
    tokio::time::sleep(Duration::from_secs(12)).await;
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "good:1")).await;
    let way = way.mend().await;
    place.ready("iris", &["iris-blue"]).await;
    let spec = place.api::<Lease>().get(LEASE).await.unwrap().spec.unwrap();
    assert_eq!(spec.lease_transitions, Some(0), "it was its own all the time");
    // Its last word is to the API server.
    operator.stop().await;
    drop(way);
    place.done().await;
    kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leads_is_followed_when_it_ends() {
    is_followed(End::Terminated).await;
    is_followed(End::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stood_still_writes_nothing_once_another_leads() {
    is_followed(End::Paused).await;
}
