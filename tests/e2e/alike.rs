//! What goes wrong on this machine has the code and the cause that it has in the cluster: the same file is given to both.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::catalogue::Reason;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::program::{Ended, mooring_with, run_with};
use crate::support::documents::{abrupt, changed, endpoint, faulty, sklearn};
use crate::support::node;
use crate::support::place::{Place, setting};
use crate::support::registry::{self, Fault as RegistryFault, Registry};
use crate::support::store::{Fault, Store};

/// Longest wait for a fault to be told.
const PATIENCE: Duration = Duration::from_mins(4);
/// Faults at a time: each has an instance here and one in the cluster.
const SIDE_BY_SIDE: usize = 6;

/// What goes wrong, in a file.
struct Case {
    /// The name of its endpoint.
    name: &'static str,
    reason: Reason,
    /// Beside the endpoint: the deployment, and what it names.
    documents: Vec<Value>,
}

/// One of the two places.
enum Where<'a> {
    Cluster(&'a Place),
    /// With the folder of its state.
    Local(&'a str),
}

impl Where<'_> {
    async fn mooring(&self, words: &[&str], input: &str) -> Ended {
        match self {
            Self::Cluster(place) => mooring_with(place, words, input).await,
            Self::Local(state) => {
                run_with(&[words, &["--local"]].concat(), input, &[("MOORING_LOCAL_STATE", state)]).await
            }
        }
    }

    /// Brings the fault about, waits until it is told, and removes everything.
    async fn outcome(&self, case: &Case) -> String {
        let all: Vec<Value> =
            std::iter::once(endpoint(case.name, &json!({"blue": 100}))).chain(case.documents.iter().cloned()).collect();
        let text: String =
            all.iter().flat_map(|document| ["---\n".to_owned(), document.to_string(), "\n".to_owned()]).collect();
        let made = self.mooring(&["endpoint", "create", "-f", "-", "--no-wait"], &text).await;
        assert_eq!(made.code, Some(0), "{}: {made}", case.name);
        let begun = Instant::now();
        let mut told = String::from("nothing");
        while told != case.reason.as_str() && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let shown = self.mooring(&["deployment", "show", "-e", case.name, "-n", "blue", "-o", "json"], "").await;
            let deployment: OnlineDeployment =
                serde_json::from_str(&shown.data).unwrap_or_else(|error| panic!("{}: {error}: {shown}", case.name));
            if let Some(error) = deployment.status.and_then(|status| status.error) {
                assert_eq!(error.code.as_str(), case.reason.code().as_str(), "{}: {}", case.name, error.message);
                told = error.reason;
            }
        }
        let deleted = self.mooring(&["endpoint", "delete", "-n", case.name, "--yes"], "").await;
        assert_eq!(deleted.code, Some(0), "{}: {deleted}", case.name);
        told
    }
}

/// The deployment of a fault, under the name of its own endpoint.
fn of(name: &'static str, reason: Reason, document: Value) -> Case {
    with(name, reason, document, Vec::new())
}

fn with(name: &'static str, reason: Reason, document: Value, beside: Vec<Value>) -> Case {
    let own =
        json!({"metadata": {"name": format!("{name}-blue")}, "spec": {"endpointName": name, "deploymentName": "blue"}});
    Case { name, reason, documents: beside.into_iter().chain([changed(document, own)]).collect() }
}

fn good() -> String {
    setting("MOORING_TEST_ABRUPT_IMAGE_1")
}

fn pulls(image: &str) -> Value {
    abrupt("iris", "blue", image, 1)
}

fn with_spec(spec: &Value) -> Value {
    changed(pulls(&good()), json!({"spec": spec}))
}

fn code(name: &str, script: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"score.py": script}})
}

/// Azure's server with the code of a `ConfigMap` and no model.
fn scoring(config_map: &str) -> Value {
    let mut document = sklearn("iris", "blue", "s3://nowhere/at/all");
    document["spec"].as_object_mut().unwrap().remove("model");
    changed(document, json!({"spec": {"codeConfiguration": {"code": {"configMapName": config_map}}}}))
}

/// Three failures in three seconds are too many.
fn hasty() -> Value {
    json!({"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 3, "timeoutSeconds": 1})
}

fn images(refused: &str, broken: &str) -> Vec<Case> {
    let own = good().split_once('/').unwrap().0.to_owned();
    vec![
        of("image-tag", Reason::ImageNotFound, pulls(&format!("{own}/test/abrupt:nowhere"))),
        of("image-nameless", Reason::ImageRegistryUnreachable, pulls(&registry::nameless())),
        of("image-refused", Reason::ImagePullUnauthorized, pulls(refused)),
        of("image-broken", Reason::ImagePullFailed, pulls(broken)),
        of("image-name", Reason::ImageNameInvalid, pulls(&format!("{own}/Test/Abrupt:1"))),
        of("image-platform", Reason::ImagePlatformMismatch, pulls(&setting("MOORING_TEST_WRONG_PLATFORM_IMAGE"))),
    ]
}

fn artifacts(store: &Store, closed: SocketAddr) -> Vec<Case> {
    let model = |fields: Value| with_spec(&json!({"model": changed(json!({"name": "iris"}), fields)}));
    let of_s3 = |uri: &str| model(json!({"uri": uri, "credentialsSecretName": "s3"}));
    let secret = || vec![store.secret("s3")];
    let digest = "0".repeat(64);
    let url = |key: &str| store.url("models", key);
    let script = |map: &str| json!({"codeConfiguration": {"code": {"configMapName": map}, "scoringScript": "main.py"}});
    vec![
        of("model-absent", Reason::ArtifactNotFound, model(json!({"uri": url("absent.bin")}))),
        with("model-forbidden", Reason::ArtifactForbidden, of_s3("s3://models/forbidden/model.bin"), secret()),
        with("model-empty", Reason::ArtifactEmpty, of_s3("s3://models/nothing/"), secret()),
        with("model-unsafe", Reason::ArtifactUnpackUnsafe, of_s3("s3://models/slip/"), secret()),
        of(
            "model-other",
            Reason::ArtifactChecksumMismatch,
            model(json!({"uri": url("good/model.bin"), "sha256": digest})),
        ),
        of(
            "store-unreachable",
            Reason::ArtifactStoreUnreachable,
            model(json!({"uri": format!("http://{closed}/model.bin")})),
        ),
        of(
            "secret-absent",
            Reason::ArtifactCredentialsMissing,
            model(json!({"uri": "s3://models/good/model.bin", "credentialsSecretName": "absent"})),
        ),
        of("uri-wrong", Reason::ArtifactUriInvalid, model(json!({"uri": "ftp://models/good/model.bin"}))),
        of("code-absent", Reason::ArtifactVolumeUnavailable, with_spec(&script("absent"))),
        with("script-absent", Reason::ScoringScriptMissing, with_spec(&script("code")), vec![code("code", "pass")]),
    ]
}

fn starts_and_crashes() -> Vec<Case> {
    let absent = json!({"secretKeyRef": {"name": "absent", "key": "theme"}});
    let variables = json!({"environmentVariables": [{"name": "THEME", "valueFrom": absent}]});
    let fails = |fault: &str, spec: Value| changed(faulty(fault), json!({"spec": spec}));
    let not_live =
        json!({"livenessProbe": hasty(), "environment": {"inferenceConfig": {"readinessRoute": {"path": "/live"}}}});
    let syntax = vec![code("syntax", "def init(:\n    pass\n")];
    let init =
        vec![code("init", "def init():\n    raise ValueError('no model here')\n\ndef run(data):\n    return data\n")];
    vec![
        of("variable-absent", Reason::ContainerConfigInvalid, with_spec(&variables)),
        of("command-absent", Reason::CommandNotFound, pulls(&setting("MOORING_TEST_NO_COMMAND_IMAGE"))),
        of("type-absent", Reason::InstanceTypeNotFound, with_spec(&json!({"instanceType": "standard_none"}))),
        of("exits-well", Reason::ContainerExited, fails("exit:0", json!({}))),
        of("exits", Reason::ContainerCrashed, fails("exit:3", json!({}))),
        of("signalled", Reason::ContainerCrashed, fails("signal:SEGV", json!({}))),
        of("eats-memory", Reason::OutOfMemory, fails("memory", json!({}))),
        of("not-live", Reason::LivenessProbeFailed, fails("not-live", not_live)),
        of("not-ready", Reason::ReadinessProbeFailed, fails("not-ready", json!({"readinessProbe": hasty()}))),
        of("not-started", Reason::StartupProbeFailed, fails("not-live", json!({"startupProbe": hasty()}))),
        with("script-syntax", Reason::UserScriptSyntaxError, scoring("syntax"), syntax),
        with("script-init", Reason::UserScriptInitFailed, scoring("init"), init),
    ]
}

#[tokio::test]
async fn a_fault_has_one_name_on_this_machine_and_in_the_cluster() {
    // Nobody refuses the objects: the status has to tell.
    let place = Place::labelled("alike", &[("mooring.dev/admission", "off")]).await;
    let state = tempfile::tempdir().unwrap();
    let state = state.path().to_str().unwrap();
    let address = node::address(&place).await;
    let store = Store::start(address).await;
    store.put("models", "good/model.bin", "model");
    store.put("models", "forbidden/model.bin", "model");
    store.put("models", "slip/../../etc/passwd", "x");
    store.fail("/models/forbidden/", Fault::Forbidden);
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind(SocketAddr::new(address, 0)).unwrap();
    let refused = Registry::faulty(&good(), RegistryFault::Forbidden).await;
    let broken = Registry::faulty(&good(), RegistryFault::Broken).await;

    let mut cases = images(&refused.image(), &broken.image());
    cases.extend(artifacts(&store, closed.local_addr().unwrap()));
    cases.extend(starts_and_crashes());
    let (there, here) = (Where::Cluster(&place), Where::Local(state));
    let outcomes = stream::iter(&cases).map(async |case| {
        let (cluster, local) = tokio::join!(there.outcome(case), here.outcome(case));
        println!("{}: {cluster} {local}", case.name);
        (case, cluster, local)
    });
    let rows: Vec<_> = outcomes.buffered(SIDE_BY_SIDE).collect().await;
    let mut table = format!("{:18} {:10} {:28} {}\n", "FAULT", "CODE", "CLUSTER", "LOCAL");
    for (case, cluster, local) in &rows {
        // Writing into a text can't fail.
        let _ = writeln!(table, "{:18} {:10} {cluster:28} {local}", case.name, case.reason.code().as_str());
    }
    println!("{table}");
    assert!(rows.iter().all(|(case, cluster, local)| cluster == local && local == case.reason.as_str()), "\n{table}");
    place.done().await;
}
