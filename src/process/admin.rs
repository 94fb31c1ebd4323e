//! The admin port: `/live`, `/ready` and `/metrics`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::readiness::Readiness;

/// Connections at a time; kubelet and Prometheus need two.
const MAX_CONNECTIONS: usize = 64;
/// The longest that a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept, so that a shortage of descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers on `listener` until `shutdown`.
pub async fn serve(listener: TcpListener, readiness: Readiness, registry: Arc<Registry>, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection on the admin port failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (readiness, registry, shutdown) = (readiness.clone(), Arc::clone(&registry), shutdown.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&request, &readiness, &registry);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // A client that breaks off is its own affair.
                _ = connection => {}
                () = shutdown.cancelled() => {}
            }
            drop(place);
        });
    }
}

fn answer<B>(request: &Request<B>, readiness: &Readiness, registry: &Registry) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
    }
    match request.uri().path() {
        "/live" => text(StatusCode::OK, "ok\n".to_owned()),
        "/ready" => match readiness.missing().as_slice() {
            [] => text(StatusCode::OK, "ok\n".to_owned()),
            missing => text(StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}\n", missing.join(", "))),
        },
        "/metrics" => metrics(registry),
        _ => text(StatusCode::NOT_FOUND, "there is /live, /ready and /metrics\n".to_owned()),
    }
}

fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    let mut body = String::new();
    if encode(&mut body, registry).is_err() {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "encoding the metrics failed\n".to_owned());
    }
    let mut response = text(StatusCode::OK, body);
    let format = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, format);
    response
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
