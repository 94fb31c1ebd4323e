//! A small HTTP server for a process' own few answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::accept;

/// Connections at a time; kubelet, Prometheus and the operator need three.
const MAX_CONNECTIONS: usize = 64;
/// The longest that a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers GET and HEAD on `listener` by the path, until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    answer: impl Fn(&str) -> Response<Full<Bytes>> + Send + Sync + 'static,
    shutdown: CancellationToken,
) {
    let answer = Arc::new(answer);
    accept::each(listener, MAX_CONNECTIONS, shutdown.clone(), |stream| {
        let (answer, shutdown) = (Arc::clone(&answer), shutdown.clone());
        async move {
            let service = service_fn(|request: Request<Incoming>| {
                let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
                let answer = if is_read {
                    answer(request.uri().path())
                } else {
                    text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned())
                };
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
        }
    })
    .await;
}

/// An answer in plain text.
#[must_use]
pub fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    with_type(status, body, "text/plain; charset=utf-8")
}

/// An answer of some type.
#[must_use]
pub fn with_type(status: StatusCode, body: String, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
