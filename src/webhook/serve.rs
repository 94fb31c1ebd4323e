//! The port that the API server asks at.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::core::DynamicObject;
use kube::core::admission::AdmissionReview;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::registration::PATH;
use super::review::{self, Cluster, TrafficGuard};
use crate::process::accept;
use crate::process::answer::{text, with_type};

/// Connections at a time; each API server needs a few.
const MAX_CONNECTIONS: usize = 256;
/// The longest that a handshake may take, and an answer at the end.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may be idle: longer than Go's clients keep one, or else they would meet a closing connection.
const IDLE: Duration = Duration::from_mins(2);
/// The largest review, in bytes: the object twice, and etcd takes at most 1.5 MiB of one.
const MAX_REVIEW: usize = 8 << 20;

/// Why a certificate can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It is no PEM.
    #[error("certificate or key are no PEM")]
    Pem(#[from] pem::Error),
    /// Certificate and key don't fit, or can't be used.
    #[error("certificate and key can't be used together")]
    Tls(#[from] rustls::Error),
}

/// The certificate that new connections get; none at the start.
#[derive(Default)]
pub struct Shown(ArcSwapOption<CertifiedKey>);

impl Shown {
    /// Shows this one from now on.
    ///
    /// # Errors
    /// When it can't be used; the one before stays.
    pub fn show(&self, certificate: &[u8], key: &[u8]) -> Result<(), CertificateError> {
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key)?;
        self.0.store(Some(Arc::new(CertifiedKey::from_der(chain, key, &default_provider())?)));
        Ok(())
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// Answers on `listener` until `shutdown`. From `leaving` on, each answer is the last of its connection: a caller who hears
/// so before the end never sends a question into a connection that closes.
///
/// # Errors
/// When TLS can't be set up.
pub async fn serve(
    listener: TcpListener,
    shown: Arc<Shown>,
    cluster: Arc<impl Cluster>,
    guard: TrafficGuard,
    leaving: CancellationToken,
    shutdown: CancellationToken,
) -> Result<(), rustls::Error> {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    accept::each(listener, MAX_CONNECTIONS, shutdown.clone(), |stream| {
        of_caller(stream, acceptor.clone(), Arc::clone(&cluster), guard, leaving.clone(), shutdown.clone())
    })
    .await;
    Ok(())
}

async fn of_caller(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    cluster: Arc<impl Cluster>,
    guard: TrafficGuard,
    leaving: CancellationToken,
    shutdown: CancellationToken,
) {
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await else { return };
    let service = service_fn(move |request| {
        let (cluster, leaving) = (Arc::clone(&cluster), leaving.clone());
        async move {
            let mut answer = answer(request, &*cluster, guard).await;
            if leaving.is_cancelled() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A caller that breaks off is its own affair.
        _ = connection.as_mut() => {}
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(PATIENCE, connection).await;
        }
    }
}

async fn answer(request: Request<Incoming>, cluster: &impl Cluster, guard: TrafficGuard) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH || request.method() != Method::POST {
        return text(StatusCode::NOT_FOUND, format!("there is POST {PATH}\n"));
    }
    let Ok(body) = Limited::new(request.into_body(), MAX_REVIEW).collect().await else {
        return text(StatusCode::BAD_REQUEST, "the review breaks off or is too large\n".to_owned());
    };
    let review = match serde_json::from_slice::<AdmissionReview<DynamicObject>>(&body.to_bytes()) {
        Ok(review) => review,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("this is no AdmissionReview: {error}\n")),
    };
    match serde_json::to_string(&review::answer(cluster, guard, review).await) {
        Ok(body) => with_type(StatusCode::OK, body, "application/json"),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("writing the answer failed: {error}\n")),
    }
}
