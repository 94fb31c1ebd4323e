//! A reverse proxy between the unmodified operator and the API server, which strikes at the n-th write.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::operator::Operator;

/// What happens to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// The operator dies before the API server hears of it.
    KillBefore,
    /// The operator dies after the API server has done it.
    KillAfter,
    /// It is done, and the answer gets lost.
    LoseAnswer,
    /// It is refused with this status.
    Answer(u16),
}

/// A blow at the n-th write, counted from 1.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub blow: Blow,
    pub at: usize,
}

pub struct Proxy {
    shared: Arc<Shared>,
    pub kubeconfig: NamedTempFile,
    task: JoinHandle<()>,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Created,
    Changed,
    /// It was accepted, and the object is as it was.
    Nothing,
    Refused,
}

/// A write that reached the API server.
#[derive(Clone, Debug)]
pub struct Write {
    pub path: String,
    pub effect: Effect,
}

struct Shared {
    client: Client,
    plan: Mutex<Option<Plan>>,
    writes: AtomicUsize,
    struck: watch::Sender<bool>,
    operator: Mutex<Option<Operator>>,
    done: Mutex<Vec<Write>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub async fn start(client: Client) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut kubeconfig = NamedTempFile::new().unwrap();
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        });
        kubeconfig.write_all(config.to_string().as_bytes()).unwrap();
        let shared = Arc::new(Shared {
            client,
            plan: Mutex::new(None),
            writes: AtomicUsize::new(0),
            struck: watch::Sender::new(false),
            operator: Mutex::new(None),
            done: Mutex::new(Vec::new()),
        });
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        let service = service_fn(move |request| serve(Arc::clone(&shared), request));
                        // An error of the service closes the connection: that is how an answer gets lost.
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    });
                }
            }
        });
        Self { shared, kubeconfig, task }
    }

    /// Starts an operator behind the proxy, in the place of the one before.
    pub fn operate(&self, namespace: &str) {
        let operator = Operator::start(namespace, self.kubeconfig.path());
        *self.shared.operator.lock().unwrap() = Some(operator);
    }

    /// Counts writes from now on and strikes at the n-th.
    pub fn strike(&self, plan: Plan) {
        self.shared.writes.store(0, Ordering::SeqCst);
        self.shared.struck.send_replace(false);
        self.shared.done.lock().unwrap().clear();
        *self.shared.plan.lock().unwrap() = Some(plan);
    }

    pub fn has_struck(&self) -> bool {
        *self.shared.struck.borrow()
    }

    /// Waits for the blow.
    pub async fn struck(&self) {
        self.shared.struck.subscribe().wait_for(|struck| *struck).await.unwrap();
    }

    /// The writes that the API server has answered.
    pub fn done(&self) -> Vec<Write> {
        self.shared.done.lock().unwrap().clone()
    }

    pub fn writes(&self) -> usize {
        self.shared.writes.load(Ordering::SeqCst)
    }

    /// Kills the operator, when it lives, and waits for its end.
    pub async fn operator_ended(&self) {
        let operator = self.shared.operator.lock().unwrap().take();
        if let Some(mut operator) = operator {
            operator.kill();
            operator.ended().await;
        }
    }
}

#[derive(Debug)]
struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the answer gets lost")
    }
}

impl std::error::Error for Lost {}

type Answer = Response<UnsyncBoxBody<Bytes, kube::Error>>;

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Lost> {
    // A review is a question: nothing is stored.
    let is_review = request.uri().path().ends_with("reviews");
    let is_write = !is_review && !matches!(*request.method(), Method::GET | Method::HEAD);
    let count = if is_write { shared.writes.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 };
    let blow = shared.plan.lock().unwrap().filter(|plan| is_write && plan.at == count).map(|plan| plan.blow);
    if blow.is_some() {
        shared.struck.send_replace(true);
    }
    let kill = || shared.operator.lock().unwrap().as_mut().map(Operator::kill);
    match blow {
        Some(Blow::KillBefore) => {
            kill();
            Err(Lost)
        }
        Some(Blow::Answer(code)) => Ok(refusal(code)),
        Some(Blow::KillAfter) => {
            write(Arc::clone(&shared), request).await?;
            kill();
            Err(Lost)
        }
        Some(Blow::LoseAnswer) => {
            write(shared, request).await?;
            Err(Lost)
        }
        None if is_write => write(shared, request).await,
        None => {
            let (parts, _) = request.into_parts();
            Ok(forward(&shared.client, parts, Bytes::new()).await?.map(BodyExt::boxed_unsync))
        }
    }
}

/// Forwards a write and notes what it did, by the object before and after it. A task of its own: who dies meanwhile has
/// written all the same.
async fn write(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Lost> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
    let task = tokio::spawn(async move {
        let (path, creates) = (parts.uri.path().to_owned(), parts.method == Method::POST);
        let before = if creates { None } else { version(&shared.client, &path).await };
        let (parts, body) = forward(&shared.client, parts, body).await?.into_parts();
        let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
        let effect = match parts.status {
            StatusCode::CREATED => Effect::Created,
            status if !status.is_success() => Effect::Refused,
            _ if before.is_some() && before == resource_version(&body) => Effect::Nothing,
            _ => Effect::Changed,
        };
        shared.done.lock().unwrap().push(Write { path, effect });
        Ok(Response::from_parts(parts, Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync()))
    });
    task.await.unwrap()
}

/// The version of the object at a path, when it is there.
async fn version(client: &Client, path: &str) -> Option<String> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = client.send(request).await.ok().filter(|response| response.status().is_success())?;
    resource_version(&response.into_body().collect().await.ok()?.to_bytes())
}

fn resource_version(body: &[u8]) -> Option<String> {
    let object: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(object["metadata"]["resourceVersion"].as_str()?.to_owned())
}

async fn forward(client: &Client, parts: Parts, body: Bytes) -> Result<Response<Body>, Lost> {
    let mut onward = Request::builder().method(parts.method).uri(parts.uri);
    for name in ["content-type", "accept", "user-agent"] {
        if let Some(value) = parts.headers.get(name) {
            onward = onward.header(name, value);
        }
    }
    client.send(onward.body(Body::from(body.to_vec())).unwrap()).await.map_err(|_| Lost)
}

fn refusal(code: u16) -> Answer {
    let reason = match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let status = serde_json::json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "message": "struck", "code": code,
    });
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never: Infallible| match never {}).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}
