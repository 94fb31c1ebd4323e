//! `ERR_1100`: a quota is used up.

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use mooring_operator::api::endpoint::EndpointState;
use mooring_operator::api::endpoint_route::EndpointRoute;
use mooring_operator::catalogue::Reason;
use serde_json::{Value, json};

use crate::support::documents::{abrupt, changed, endpoint};
use crate::support::evidence::Shown;
use crate::support::history::{endpoints, is_told};
use crate::support::instance_type;
use crate::support::place::setting;
use crate::support::trial::Trial;
use crate::support::waits::is_true;

fn instance() -> Value {
    abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_1"), 1)
}

fn compute_quota(spec: &Value) -> Value {
    json!({"apiVersion": "mooring.dev/v1alpha1", "kind": "ComputeQuota", "metadata": {"name": "team"}, "spec": spec})
}

/// A quota that is too small; repaired by a larger one.
async fn bad_quota(trial: &mut Trial, deployment: Value, quotas: [Value; 2], reason: Reason, says: &str) {
    let [small, large] = quotas;
    trial.apply(compute_quota(&small)).await;
    trial.apply(deployment).await;
    trial.fails(reason, says, Shown::Spec).await;
    let pods = trial.place.api::<Pod>().list(&ListParams::default()).await.unwrap();
    assert!(pods.items.is_empty(), "there are instances beyond the quota");
    trial.apply(compute_quota(&large)).await;
    trial.healed().await;
}

#[tokio::test]
async fn too_few_cores_are_left() {
    let mut trial = Trial::new("quota-cores").await;
    let quotas = [json!({"totalCores": 1}), json!({"totalCores": 2})];
    let says = "0 of 1 cores are used, 2 more are needed";
    bad_quota(&mut trial, instance(), quotas, Reason::OutOfQuotaCores, says).await;
    trial.done().await;
}

#[tokio::test]
async fn too_few_cores_of_the_family_are_left() {
    let mut trial = Trial::new("quota-family").await;
    let mut kind = instance_type::with("memory", "256Mi");
    kind["family"] = json!("small");
    instance_type::apply(&trial.place, &kind).await;
    let name = instance_type::name(&trial.place);
    let deployment = changed(instance(), json!({"spec": {"instanceType": name}}));
    let quotas = [json!({"families": {"small": 0}}), json!({"families": {"small": 1}})];
    bad_quota(&mut trial, deployment, quotas, Reason::OutOfQuotaFamily, "of family small").await;
    instance_type::remove(&trial.place).await;
    trial.done().await;
}

#[tokio::test]
async fn there_are_as_many_deployments_as_there_may_be() {
    let mut trial = Trial::new("quota-deployments").await;
    let quotas = [json!({"deployments": 0}), json!({"deployments": 1})];
    let says = "0 of 0 deployments are used";
    bad_quota(&mut trial, instance(), quotas, Reason::OutOfQuotaDeployments, says).await;
    trial.done().await;
}

#[tokio::test]
async fn the_namespace_may_have_no_more_pods() {
    let quota = |pods: &str| {
        json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
            "spec": {"hard": {"pods": pods}},
        })
    };
    let mut trial = Trial::new("quota-pods").await;
    trial.apply(quota("0")).await;
    trial.apply(instance()).await;
    trial.fails(Reason::OutOfResourceQuota, "exceeded quota: small", Shown::ReplicaSet).await;
    trial.apply(quota("5")).await;
    trial.heals().await;
}

/// The failure of an endpoint is in its own condition `Ready`.
#[tokio::test]
async fn there_are_as_many_endpoints_as_there_may_be() {
    let trial = Trial::new("quota-endpoints").await;
    let reason = Reason::OutOfQuotaEndpoints;
    trial.place.until("iris", "there", |route: Option<&EndpointRoute>| route.is_some()).await;
    trial.apply(compute_quota(&json!({"endpoints": 1}))).await;
    trial.apply(endpoint("roses", &json!({}))).await;
    let failed = trial
        .history
        .until("a second endpoint that failed", |seen| {
            let latest = endpoints(seen).filter(|it| it.metadata.name.as_deref() == Some("roses")).last()?;
            let failed = latest.status.as_ref()?.provisioning_state == Some(EndpointState::Failed);
            failed.then(|| latest.clone())
        })
        .await;
    let conditions = failed.status.unwrap().conditions;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", reason.code().as_str()));
    assert!(ready.message.starts_with("OutOfQuotaEndpoints: "), "{}", ready.message);
    assert!(ready.message.contains("1 of 1 endpoints are used"), "{}", ready.message);
    assert!(ready.message.ends_with(reason.next_step()), "{}", ready.message);
    assert!(is_true(&conditions, "Stalled", failed.metadata.generation));
    assert!(!is_true(&conditions, "Reconciling", failed.metadata.generation));
    let told = |type_: &'static str, reason: &'static str| {
        trial
            .history
            .until("an Event of it", move |seen| is_told(seen, "OnlineEndpoint", "roses", type_, reason).then_some(()))
    };
    told("Warning", "OutOfQuotaEndpoints").await;
    trial.keep_endpoint("roses", 1).await;
    trial.apply(compute_quota(&json!({"endpoints": 2}))).await;
    trial.place.until_ready("roses").await;
    told("Normal", "Recovered").await;
    trial.keep_endpoint("roses", 2).await;
    trial.done().await;
}
