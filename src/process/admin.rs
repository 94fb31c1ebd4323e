//! The admin port: `/live`, `/ready` and `/metrics`.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::answer::{self, text, with_type};
use super::readiness::Readiness;

/// Answers on `listener` until `shutdown`.
pub async fn serve(listener: TcpListener, readiness: Readiness, registry: Arc<Registry>, shutdown: CancellationToken) {
    answer::serve(listener, move |path| answer(path, &readiness, &registry), shutdown).await;
}

/// The answer to `path`.
#[must_use]
pub fn answer(path: &str, readiness: &Readiness, registry: &Registry) -> Response<Full<Bytes>> {
    match path {
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
    with_type(StatusCode::OK, body, "application/openmetrics-text; version=1.0.0; charset=utf-8")
}
