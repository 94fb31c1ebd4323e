//! A scoring request through a gateway of the cluster.

use std::io::Read;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::ext::ReasonPhrase;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::credentials;
use crate::cli::CliError;
use crate::cli::arguments::Invoke;
use crate::cli::connect::{Connection, api};
use crate::cli::print;

/// The labels of the chart's gateway pods.
const GATEWAY: &str = "app.kubernetes.io/name=mooring,app.kubernetes.io/component=gateway";
/// The port on which gateways score.
const PORT: u16 = 8080;

pub(super) async fn invoke(connection: &Connection, request: Invoke) -> Result<(), CliError> {
    let body = read(&request)?;
    let keys = credentials::of(connection, &request.name).await?;
    let key = keys.get("primaryKey").cloned().unwrap_or_default();
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| CliError::Send(error);

    let pods: Api<Pod> = Api::all(connection.client.clone());
    let pods = pods.list(&ListParams::default().labels(GATEWAY)).await.map_err(api("looking for a gateway"))?;
    let pod = pods.into_iter().find(is_ready).ok_or(CliError::NoGateway)?;
    let api_of_pod: Api<Pod> = Api::namespaced(connection.client.clone(), &pod.namespace().unwrap_or_default());
    let mut forward =
        api_of_pod.portforward(&pod.name_any(), &[PORT]).await.map_err(api("forwarding a port to the gateway"))?;
    let stream = forward.take_stream(PORT).ok_or(CliError::NoGateway)?;

    let (mut sender, http) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.into()))?;
    tokio::spawn(http);
    let mut message = Request::post("/score")
        .header("host", format!("{}.{}", request.name, connection.namespace))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", &request.content_type);
    if let Some(deployment) = &request.deployment {
        message = message.header("azureml-model-deployment", deployment);
    }
    let message = message.body(Full::new(Bytes::from(body))).map_err(|error| failed(error.into()))?;
    let answer = sender.send_request(message).await.map_err(|error| failed(error.into()))?;
    let status = answer.status();
    if request.verbose {
        eprintln!("{status}");
        for (name, value) in answer.headers() {
            eprintln!("{name}: {}", value.to_str().unwrap_or("(no text)"));
        }
    }
    let phrase = answer.extensions().get::<ReasonPhrase>().map_or_else(
        || status.canonical_reason().unwrap_or_default().to_owned(),
        |phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned(),
    );
    let body = answer.into_body().collect().await.map_err(|error| failed(error.into()))?.to_bytes();
    print::bytes(&body)?;
    if status == StatusCode::OK {
        return print::text("\n");
    }
    Err(CliError::Refused { status: status.as_u16(), phrase })
}

fn read(request: &Invoke) -> Result<Vec<u8>, CliError> {
    let path = &request.request_file;
    let read = if path.as_os_str() == "-" {
        let mut body = Vec::new();
        std::io::stdin().read_to_end(&mut body).map(|_| body)
    } else {
        std::fs::read(path)
    };
    read.map_err(|source| CliError::Read { path: path.display().to_string(), source })
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
