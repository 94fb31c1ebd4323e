//! A connection to whoever takes a scoring request, and one exchange over it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::CliError;
use super::connect::{Connection, within};
use super::error::Cause;

/// The labels of the chart's gateway pods.
const GATEWAY: &str = "app.kubernetes.io/name=mooring,app.kubernetes.io/component=gateway";
/// The name of the port on which they score.
const PORT: &str = "http";
/// How long a broken port-forward is asked for its reason.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bytes in both directions.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    /// Who is at the other end, for people.
    pub(super) to: String,
    /// The kubelet's word on why the way to a pod broke.
    broken: BoxFuture<'static, Option<String>>,
}

/// Opens a port of a ready gateway pod.
pub(super) async fn to_gateway(connection: &Connection, namespace: Option<&str>) -> Result<Wire, CliError> {
    let client = connection.client.clone();
    let (pods, place): (Api<Pod>, _) = match namespace {
        Some(namespace) => (Api::namespaced(client.clone(), namespace), format!("namespace {namespace:?}")),
        None => (Api::all(client.clone()), "any namespace".to_owned()),
    };
    let selection = ListParams::default().labels(GATEWAY);
    let pods = connection.ask(format!("looking for a gateway in {place}"), pods.list(&selection)).await?;
    let found = pods.into_iter().filter(is_ready).find_map(|pod| Some((port(&pod)?, pod)));
    let Some((port, pod)) = found else { return Err(CliError::NoGateway(place)) };

    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let act = format!("forwarding a port to gateway {name:?} in namespace {namespace:?}");
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let mut forward = connection.ask(act, pods.portforward(&name, &[port])).await?;
    let broken = forward.take_error(port).map_or_else(|| ready(None).boxed(), FutureExt::boxed);
    let stream = forward.take_stream(port).ok_or(CliError::NoGateway(place))?;
    Ok(Wire { stream: Box::new(stream), to: format!("{namespace}/{name}"), broken })
}

/// Opens a connection to an address.
pub(super) async fn to_address(longest: Duration, url: &Uri) -> Result<Wire, CliError> {
    let to = url.authority().map(ToString::to_string).unwrap_or_default();
    let opened = scored(longest, open(url)).await?;
    match opened {
        Ok(stream) => Ok(Wire { stream, to, broken: ready(None).boxed() }),
        Err(source) => Err(CliError::Send { to, source }),
    }
}

/// Opens a connection to a gateway of this machine.
pub(super) async fn to_socket(longest: Duration, address: SocketAddr) -> Result<Wire, CliError> {
    let to = address.to_string();
    match scored(longest, TcpStream::connect(address)).await? {
        Ok(stream) => Ok(Wire { stream: Box::new(stream), to, broken: ready(None).boxed() }),
        Err(error) => Err(CliError::Send { to, source: error.into() }),
    }
}

/// Waits for something of a model.
pub(super) async fn scored<T>(longest: Duration, answer: impl Future<Output = T>) -> Result<T, CliError> {
    within(longest, "scoring".to_owned(), answer).await
}

async fn open(url: &Uri) -> Result<Box<dyn Stream>, Cause> {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let secure = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    if !secure {
        return Ok(Box::new(stream));
    }
    let config = ClientConfig::with_platform_verifier()?;
    let name = ServerName::try_from(host.to_owned())?;
    Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}

impl Wire {
    /// Sends the request and waits for the head of the answer.
    pub(super) async fn send(self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, CliError> {
        let Self { stream, to, broken } = self;
        // Neither headers nor body: one has the key, the other one is the caller's own affair.
        tracing::debug!(method = %request.method(), path = %request.uri(), %to, "scoring");
        let error = match exchange(stream, request).await {
            Ok(answer) => {
                tracing::debug!(status = answer.status().as_u16(), %to, "scored");
                return Ok(answer);
            }
            Err(error) => error,
        };
        // Whoever forwards the port knows better why it broke than the connection itself.
        let why = tokio::time::timeout(LAST_WORDS, broken).await.ok().flatten();
        Err(CliError::Send { to, source: why.map_or_else(|| error.into(), Cause::from) })
    }
}

async fn exchange(stream: Box<dyn Stream>, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It lives until the body of the answer has been read; how it ends, the body tells.
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// Whether a pod answers.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn port(pod: &Pod) -> Option<u16> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(PORT))?;
    u16::try_from(port.container_port).ok()
}
