//! A store of its own for each test, its objects, and callers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use mooring_operator::api::deployment::{OnlineDeployment, OnlineDeploymentStatus};
use mooring_operator::api::endpoint::OnlineEndpoint;
use mooring_operator::local::build::{self, Order};
use mooring_operator::local::engine::Engine;
use mooring_operator::local::store::Store;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The image of all tests.
pub const IMAGE: &str = "mooring-test/server:1";
/// Longest wait for something that is to come.
const PATIENCE: Duration = Duration::from_mins(1);

/// One endpoint in a store of its own; everything of it goes with this.
pub struct Trial {
    pub store: Store,
    pub endpoint: String,
    pub root: tempfile::TempDir,
}

impl Trial {
    /// An endpoint with this spec, behind a gateway.
    pub async fn new(name: &str, spec: Value) -> Self {
        image().await;
        let root = tempfile::tempdir().unwrap();
        let store = Store::at(root.path().join("state"), PathBuf::from(env!("CARGO_BIN_EXE_mooring-local")));
        let trial = Self { store, endpoint: name.to_owned(), root };
        trial.put_endpoint(spec);
        trial.store.ensure_agent(name).await.unwrap();
        trial
    }

    pub fn put_endpoint(&self, spec: Value) {
        let object = json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint", "metadata": {"name": self.endpoint},
            "spec": spec,
        });
        self.store.put_endpoint(&serde_json::from_value::<OnlineEndpoint>(object).unwrap()).unwrap();
    }

    /// A deployment that serves a word, with `changes` merged into its spec.
    pub fn put(&self, name: &str, changes: Value) {
        self.store.put_deployment(&self.deployment(name, changes)).unwrap();
    }

    pub fn deployment(&self, name: &str, changes: Value) -> OnlineDeployment {
        let route = |path: &str| json!({"port": 5001, "path": path});
        let probe = json!({"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 3});
        let mut spec = json!({
            "endpointName": self.endpoint, "deploymentName": name,
            "environment": {"image": IMAGE, "inferenceConfig": {
                "livenessRoute": route("/cgi-bin/live"), "readinessRoute": route("/cgi-bin/live"),
                "scoringRoute": route("/cgi-bin/score"),
            }},
            "environmentVariables": [{"name": "WORD", "value": name}],
            "livenessProbe": probe, "readinessProbe": probe,
            "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
            "requestSettings": {"requestTimeoutMs": 5000, "maxConcurrentRequestsPerInstance": 4},
        });
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let object = json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineDeployment",
            "metadata": {"name": format!("{}-{name}", self.endpoint)}, "spec": spec,
        });
        serde_json::from_value(object).unwrap()
    }

    pub fn status(&self, name: &str) -> OnlineDeploymentStatus {
        self.store.deployment(&self.endpoint, name).unwrap().and_then(|object| object.status).unwrap_or_default()
    }

    /// Waits until the status of a deployment is as `test` wants it.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        test: impl Fn(&OnlineDeploymentStatus) -> bool,
    ) -> OnlineDeploymentStatus {
        let since = Instant::now();
        loop {
            let status = self.status(name);
            if test(&status) {
                return status;
            }
            let log = || std::fs::read_to_string(self.store.folder(&self.endpoint).agent_log()).unwrap_or_default();
            assert!(since.elapsed() < PATIENCE, "not {what} in time: {status:#?}\n{}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the current generation serves as asked.
    pub async fn until_settled(&self, name: &str) -> OnlineDeploymentStatus {
        let generation = self.store.deployment(&self.endpoint, name).unwrap().unwrap().metadata.generation;
        self.until(name, "settled", |status| {
            status.observed_generation == generation && condition(status, "Ready") == "True"
        })
        .await
    }

    /// Waits until a deployment shows an error of this cause.
    pub async fn until_failed(&self, name: &str, reason: &str) -> OnlineDeploymentStatus {
        self.until(name, reason, |status| status.error.as_ref().is_some_and(|error| error.reason == reason)).await
    }

    /// Waits until the gateway sends traffic where it should.
    pub async fn until_assigned(&self) {
        let since = Instant::now();
        loop {
            let object = self.store.endpoint(&self.endpoint).unwrap().unwrap();
            let status = object.status.unwrap_or_default();
            let assigned = status.conditions.iter().any(|it| it.type_ == "TrafficAssigned" && it.status == "True");
            if assigned && status.observed_generation == object.metadata.generation {
                // The gateway looks at its file ten times a second.
                return tokio::time::sleep(Duration::from_millis(300)).await;
            }
            assert!(since.elapsed() < PATIENCE, "the traffic is not assigned: {status:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Asks with the primary key.
    pub async fn ask(&self, body: &str) -> (u16, String) {
        let key = self.store.keys(&self.endpoint).unwrap().primary_key;
        self.ask_with(&key, &[], body).await
    }

    pub async fn ask_with(&self, key: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let address = self.store.gateway_address(&self.endpoint).unwrap().unwrap();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::post("/score")
            .header("host", address.to_string())
            .header("authorization", format!("Bearer {key}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = sender.send_request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// The names of the containers of this endpoint.
    pub async fn containers(&self) -> Vec<String> {
        let engine = Engine::connect().await.unwrap();
        let folder = self.store.folder(&self.endpoint).path().display().to_string();
        let labels = [(mooring_operator::local::annotation::FOLDER, folder.as_str())];
        let found = mooring_operator::local::instance::container::labelled(&engine, &labels, "").await.unwrap();
        found.into_iter().map(|(name, _)| name).collect()
    }

    pub async fn end(self) {
        let deleted = self.store.delete_endpoint(&self.endpoint).await.unwrap();
        assert!(deleted.found && deleted.engine.is_none(), "{deleted:?}");
        assert_eq!(self.containers().await, Vec::<String>::new());
        assert!(!self.store.folder(&self.endpoint).path().exists());
    }
}

impl Drop for Trial {
    /// A test that failed leaves no containers and no process.
    fn drop(&mut self) {
        let folder = self.store.folder(&self.endpoint);
        let _ = std::fs::remove_file(folder.object());
        let since = Instant::now();
        while mooring_operator::local::agent::lives(&folder).unwrap_or(false)
            && since.elapsed() < Duration::from_secs(20)
        {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

pub fn condition<'a>(status: &'a OnlineDeploymentStatus, kind: &str) -> &'a str {
    status.conditions.iter().find(|it| it.type_ == kind).map_or("", |it| it.status.as_str())
}

/// Builds the image of all tests, once, the way that local mode builds images.
pub async fn image() {
    static BUILT: OnceCell<()> = OnceCell::const_new();
    BUILT
        .get_or_init(|| async {
            let Ok(engine) = Engine::connect().await else {
                panic!("no container engine answers; run with DOCKER_HOST=$(tests/local/engine up)");
            };
            let context = context();
            let order = Order {
                context: context.path().to_owned(),
                dockerfile: "Dockerfile".to_owned(),
                image: IMAGE.to_owned(),
            };
            build::build(&engine, &order).await.unwrap();
        })
        .await;
}

/// The build context of the image of all tests, with this machine's static busybox.
pub fn context() -> tempfile::TempDir {
    let context = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/local/image");
    let copied = Command::new("cp").arg("-r").arg(source.join(".")).arg(context.path()).status().unwrap();
    assert!(copied.success());
    std::fs::copy("/bin/busybox", context.path().join("busybox"))
        .unwrap_or_else(|error| panic!("install busybox-static: /bin/busybox can't be read: {error}"));
    context
}
