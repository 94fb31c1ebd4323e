//! A reverse proxy between the unmodified operator and the API server, which strikes at the n-th write.

use std::convert::Infallible;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
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

struct Shared {
    client: Client,
    plan: Mutex<Option<Plan>>,
    writes: AtomicUsize,
    struck: AtomicBool,
    operator: Mutex<Option<Operator>>,
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
            struck: AtomicBool::new(false),
            operator: Mutex::new(None),
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
        self.shared.struck.store(false, Ordering::SeqCst);
        *self.shared.plan.lock().unwrap() = Some(plan);
    }

    pub fn has_struck(&self) -> bool {
        self.shared.struck.load(Ordering::SeqCst)
    }

    pub fn writes(&self) -> usize {
        self.shared.writes.load(Ordering::SeqCst)
    }

    /// Waits for the death of a struck operator.
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
    let is_write = !matches!(*request.method(), Method::GET | Method::HEAD);
    let count = if is_write { shared.writes.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 };
    let blow = shared.plan.lock().unwrap().filter(|plan| is_write && plan.at == count).map(|plan| plan.blow);
    if blow.is_some() {
        shared.struck.store(true, Ordering::SeqCst);
    }
    let kill = || shared.operator.lock().unwrap().as_mut().map(Operator::kill);
    match blow {
        Some(Blow::KillBefore) => {
            kill();
            Err(Lost)
        }
        Some(Blow::Answer(code)) => Ok(refusal(code)),
        Some(Blow::KillAfter) => {
            forward(&shared.client, request).await?;
            kill();
            Err(Lost)
        }
        Some(Blow::LoseAnswer) => {
            forward(&shared.client, request).await?;
            Err(Lost)
        }
        None => forward(&shared.client, request).await,
    }
}

async fn forward(client: &Client, request: Request<Incoming>) -> Result<Answer, Lost> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
    let mut onward = Request::builder().method(parts.method).uri(parts.uri);
    for name in ["content-type", "accept", "user-agent"] {
        if let Some(value) = parts.headers.get(name) {
            onward = onward.header(name, value);
        }
    }
    let response = client.send(onward.body(Body::from(body.to_vec())).unwrap()).await.map_err(|_| Lost)?;
    Ok(response.map(BodyExt::boxed_unsync))
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
