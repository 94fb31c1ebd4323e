//! What the API server refuses because the operator's webhook says so, and what it never asks about.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::core::response::StatusCause;
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::documents::{deployment, endpoint, with};
use crate::support::kubectl::kubectl;
use crate::support::operator::{Operator, free_address};
use crate::support::place::{Place, setting};
use crate::support::waits::DEADLINE;

/// A namespace whose objects an operator is asked about.
struct Asked {
    place: Place,
    operator: Operator,
    address: SocketAddr,
}

impl Asked {
    async fn new(name: &str, more: &[&str]) -> Self {
        let place = Place::new(name).await;
        as_installed(&place).await;
        let address = free_address();
        let operator = Self::start(&place, address, more);
        let begin = Instant::now();
        until_registered(&place).await;
        let asked = Self { place, operator, address };
        // The API server hears of a registration by a watch.
        let probe = with(deployment("probe", "good:1"), "/spec/instanceType", json!("unknown"));
        while asked.try_create::<OnlineDeployment>(&probe).await.is_ok() {
            assert!(begin.elapsed() < DEADLINE, "the webhook is not asked");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        asked
    }

    fn start(place: &Place, address: SocketAddr, more: &[&str]) -> Operator {
        Operator::answering(&place.namespace, setting("MOORING_TEST_KUBECONFIG").as_ref(), address, more)
    }

    /// Creates an object without storing it.
    async fn try_create<K>(&self, document: &Value) -> Result<(), Status>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + DeserializeOwned
            + serde::Serialize
            + Clone
            + std::fmt::Debug,
    {
        let object: K = serde_json::from_value(document.clone()).unwrap();
        let parameters = PostParams { dry_run: true, ..PostParams::default() };
        match self.place.api::<K>().create(&parameters, &object).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) => Err(*status),
            Err(other) => panic!("{other}"),
        }
    }

    async fn try_delete(&self, name: &str) -> Result<(), Status> {
        match self.place.api::<OnlineDeployment>().delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) => Err(*status),
            Err(other) => panic!("{other}"),
        }
    }

    async fn done(self) {
        configurations(&self.place).delete(&self.place.namespace, &DeleteParams::default()).await.unwrap();
        self.place.done().await;
        self.operator.stop().await;
    }
}

/// Makes what the chart brings: a Secret and a configuration with nothing in them.
async fn as_installed(place: &Place) {
    let named = |name: &str| ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let secret = Secret { metadata: named("webhook"), ..Secret::default() };
    place.api().create(&PostParams::default(), &secret).await.unwrap();
    let empty = ValidatingWebhookConfiguration { metadata: named(&place.namespace), webhooks: None };
    configurations(place).create(&PostParams::default(), &empty).await.unwrap();
}

async fn until_registered(place: &Place) {
    let begin = Instant::now();
    while registered(place).await.is_empty() {
        assert!(begin.elapsed() < DEADLINE, "the webhook is not registered");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn configurations(place: &Place) -> Api<ValidatingWebhookConfiguration> {
    Api::all(place.client.clone())
}

async fn registered(place: &Place) -> Vec<String> {
    let there = configurations(place).get(&place.namespace).await.unwrap();
    there.webhooks.unwrap_or_default().into_iter().map(|webhook| webhook.name).collect()
}

fn causes(status: &Status) -> Vec<&StatusCause> {
    status.details.iter().flat_map(|details| &details.causes).collect()
}

/// What kubectl prints beside its result.
async fn warnings(asked: &Asked, document: &Value) -> String {
    let arguments = ["apply", "--warnings-as-errors", "-n", &asked.place.namespace, "-f", "-"];
    kubectl(&arguments, &document.to_string()).await.unwrap_err()
}

#[tokio::test]
async fn every_problem_of_an_object_is_told_at_once() {
    let asked = Asked::new("admission", &[]).await;
    let bad = with(deployment("blue", "azureml:sklearn:1"), "/spec/model", json!({"uri": "azureml:iris:1"}));
    let bad = with(bad, "/spec/resources", json!({"limits": {"cpu": "64"}}));
    let refused = asked.try_create::<OnlineDeployment>(&bad).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    let fields: Vec<_> = causes(&refused).into_iter().map(|cause| cause.field.as_str()).collect();
    assert_eq!(fields, ["spec.environment.image", "spec.model.uri", "spec.resources.limits[cpu]"]);
    assert!(refused.message.contains("pvc://CLAIM/PATH"), "{}", refused.message);

    let unknown = with(deployment("blue", "good:1"), "/spec/instanceType", json!("unknown"));
    let refused = asked.try_create::<OnlineDeployment>(&unknown).await.unwrap_err();
    assert_eq!(causes(&refused)[0].field, "spec.instanceType");

    asked.place.apply(deployment("blue", "good:1")).await;
    let copy = with(deployment("copy", "good:1"), "/spec/deploymentName", json!("BLUE"));
    let refused = asked.try_create::<OnlineDeployment>(&copy).await.unwrap_err();
    assert!(refused.message.contains("\"iris-blue\" is deployment \"BLUE\""), "{}", refused.message);
    assert_eq!(causes(&refused)[0].field, "spec.deploymentName");

    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}, "stringData": {"primaryKey": "a"}});
    asked.place.apply(secret).await;
    let incomplete = with(endpoint(&json!({})), "/spec/keysSecretName", json!("mine"));
    let refused = asked.try_create::<OnlineEndpoint>(&incomplete).await.unwrap_err();
    assert_eq!(causes(&refused)[0].field, "spec.keysSecretName");
    assert!(refused.message.contains("lacks secondaryKey"), "{}", refused.message);

    let told = warnings(&asked, &endpoint(&json!({"green": 100}))).await;
    assert!(told.contains("Warning: spec.traffic[green]: "), "{told}");
    let quota = json!({"apiVersion": "mooring.dev/v1alpha1", "kind": "ComputeQuota", "metadata": {"name": "team"}, "spec": {"totalCores": 2}});
    asked.place.apply(quota).await;
    let begin = Instant::now();
    let large = with(deployment("green", "good:1"), "/spec/instanceCount", json!(9));
    // A warning is worth no question to the API server, so it comes once the watch has told of the quota.
    while !warnings(&asked, &large).await.contains("Warning: ERR_1100: ") {
        assert!(begin.elapsed() < DEADLINE, "no word of the quota");
        asked.place.api::<OnlineDeployment>().delete("iris-green", &DeleteParams::default()).await.unwrap();
    }
    asked.done().await;
}

#[tokio::test]
async fn a_deployment_with_live_traffic_goes_only_with_its_endpoint() {
    let asked = Asked::new("guard", &[]).await;
    let place = &asked.place;
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "good:1")).await;
    place.apply(deployment("green", "good:1")).await;
    let refused = asked.try_delete("iris-blue").await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (403, "Forbidden"));
    asked.try_delete("iris-green").await.unwrap();
    place.apply(deployment("green", "good:1")).await;
    // The message's own advice.
    let command = refused.message.split("kubectl ").nth(1).unwrap().split("; or").next().unwrap();
    let (patch, before) = (command.split('\'').nth(1).unwrap(), command.split(" -p ").next().unwrap());
    let arguments: Vec<_> = before.split_whitespace().chain(["-p", patch, "-n", &place.namespace]).collect();
    kubectl(&arguments, "").await.unwrap();
    asked.try_delete("iris-blue").await.unwrap();
    assert_eq!(asked.try_delete("iris-green").await.unwrap_err().code, 403);
    place.api::<OnlineEndpoint>().delete("iris", &DeleteParams::default()).await.unwrap();
    // By hand or by the garbage collector.
    if let Err(status) = asked.try_delete("iris-green").await {
        assert_eq!(status.code, 404);
    }
    // A namespace takes everything with it.
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "good:1")).await;
    asked.done().await;
}

#[tokio::test]
async fn a_namespace_may_be_left_alone() {
    let asked = Asked::new("unasked", &[]).await;
    let namespaces: Api<Namespace> = Api::all(asked.place.client.clone());
    let bad = with(deployment("blue", "good:1"), "/spec/instanceType", json!("unknown"));
    assert!(asked.try_create::<OnlineDeployment>(&bad).await.is_err());
    let off = Patch::Merge(json!({"metadata": {"labels": {"mooring.dev/admission": "off"}}}));
    namespaces.patch(&asked.place.namespace, &PatchParams::default(), &off).await.unwrap();
    let begin = Instant::now();
    while asked.try_create::<OnlineDeployment>(&bad).await.is_err() {
        assert!(begin.elapsed() < DEADLINE, "the label does nothing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    asked.done().await;
}

#[tokio::test]
async fn without_an_answer_only_new_specs_wait() {
    let mut asked = Asked::new("silent", &[]).await;
    let place = &asked.place;
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "good:1")).await;
    asked.operator.kill();
    asked.operator.ended().await;
    let refused = asked.try_create::<OnlineDeployment>(&deployment("green", "good:1")).await.unwrap_err();
    assert!(refused.message.contains("changes.mooring.dev"), "{}", refused.message);
    let deployments = place.api::<OnlineDeployment>();
    let patch = |patch: Value| Patch::Merge(patch);
    let labelled = patch(json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["test/held"]}}));
    deployments.patch("iris-blue", &PatchParams::default(), &labelled).await.unwrap();
    let status = patch(json!({"status": {"observedGeneration": 1}}));
    deployments.patch_status("iris-blue", &PatchParams::default(), &status).await.unwrap();
    asked.try_delete("iris-blue").await.unwrap();
    let released = patch(json!({"metadata": {"finalizers": null}}));
    deployments.patch("iris-blue", &PatchParams::default(), &released).await.unwrap();
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "any"}});
    place.apply(other).await;
    place.api::<ConfigMap>().delete("any", &DeleteParams::default()).await.unwrap();
    asked.operator = Asked::start(place, asked.address, &[]);
    let begin = Instant::now();
    while asked.try_create::<OnlineDeployment>(&deployment("green", "good:1")).await.is_err() {
        assert!(begin.elapsed() < DEADLINE, "it answers no more");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    asked.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_question_fails_while_certificates_and_authorities_are_exchanged() {
    const ROTATIONS: usize = 50;
    // By default, a month.
    let asked = Arc::new(Asked::new("rotation", &["--webhook-certificate-period=1500ms"]).await);
    let stop = Arc::new(AtomicBool::new(false));
    let admitted = Arc::new(AtomicUsize::new(0));
    let callers = (0..5).map(|_| {
        let (asked, stop, admitted) = (Arc::clone(&asked), Arc::clone(&stop), Arc::clone(&admitted));
        tokio::spawn(async move {
            let mut failures = Vec::new();
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            while !stop.load(Ordering::SeqCst) {
                ticks.tick().await;
                match asked.try_create::<OnlineDeployment>(&deployment("blue", "good:1")).await {
                    Ok(()) => drop(admitted.fetch_add(1, Ordering::SeqCst)),
                    Err(status) => failures.push(status.message),
                }
            }
            failures
        })
    });
    let callers: Vec<_> = callers.collect();
    let (mut certificates, mut authorities) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    let mut last = Instant::now();
    while certificates.len() <= ROTATIONS {
        let secret = asked.place.api::<Secret>().get("webhook").await.unwrap();
        let held = |key: &str| secret.data.as_ref().unwrap()[key].0.clone();
        if certificates.insert(held("tls.crt")) {
            last = Instant::now();
        }
        authorities.insert(held("ca.crt"));
        assert!(last.elapsed() < DEADLINE, "certificates are exchanged no more; {}", secret.name_any());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop.store(true, Ordering::SeqCst);
    let failures = futures::future::join_all(callers).await.into_iter().flat_map(Result::unwrap);
    assert_eq!(failures.collect::<Vec<_>>(), Vec::<String>::new());
    println!("{} questions, {} sets of authorities", admitted.load(Ordering::SeqCst), authorities.len());
    assert!(authorities.len() > ROTATIONS / 8, "authorities are exchanged too");
    Arc::into_inner(asked).unwrap().done().await;
}

/// In an upgrade, the old replica has no webhook and ends only once the new one is ready, which it is with a certificate.
#[tokio::test]
async fn a_leader_without_a_webhook_keeps_no_other_replica_from_answering() {
    let place = Place::new("webhook-upgrade").await;
    as_installed(&place).await;
    let kubeconfig = setting("MOORING_TEST_KUBECONFIG");
    let old = Operator::candidate(&place.namespace, kubeconfig.as_ref(), "old");
    let begin = Instant::now();
    let leads = async || {
        let lease = place.api::<Lease>().get_opt("mooring-operator").await.unwrap();
        lease.and_then(|lease| lease.spec?.holder_identity).is_some_and(|holder| holder.starts_with("old"))
    };
    while !leads().await {
        assert!(begin.elapsed() < DEADLINE, "the old one does not lead");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let lease = format!("--lease={}/mooring-operator", place.namespace);
    let new = Asked::start(&place, free_address(), &[&lease, "--pod-name", "new"]);
    while place.api::<Secret>().get("webhook").await.unwrap().data.is_none() {
        assert!(begin.elapsed() < DEADLINE, "nobody makes a certificate");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(leads().await && registered(&place).await.is_empty(), "the rest is for the leader to do");
    old.stop().await;
    until_registered(&place).await;
    configurations(&place).delete(&place.namespace, &DeleteParams::default()).await.unwrap();
    place.done().await;
    new.stop().await;
}
