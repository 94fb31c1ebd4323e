//! Secrets in logs, urls and variables, and none of them in what we say.

mod secrets;

use std::collections::HashSet;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams, LogParams};
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use serde_json::{Value, json};

use crate::support::documents::{abrupt, changed, endpoint, faulty};
use crate::support::node;
use crate::support::place::{Place, setting};
use crate::support::store::Store;
use secrets::{Planted, planted};

/// Secrets of one instance: the kubelet keeps only some 2,000 bytes of its log.
const EACH: usize = 6;

/// A part of a secret is one too, when it is this long.
const PART: usize = 12;

fn named(mut document: Value, name: &str) -> Value {
    document["metadata"]["name"] = json!(format!("iris-{name}"));
    document["spec"]["deploymentName"] = json!(name);
    document
}

/// An instance that prints these and ends with the last.
fn prints(name: &str, lines: &[Planted]) -> Value {
    let lines: Vec<&str> = lines.iter().map(|planted| planted.line.as_str()).collect();
    let variables =
        json!([{"name": "FAULT", "value": "secrets"}, {"name": "SECRETS_TO_PRINT", "value": lines.join("\n")}]);
    named(changed(faulty(""), json!({"spec": {"environmentVariables": variables}})), name)
}

/// An instance that prints the bare value of a variable of its own.
fn prints_variable(name: &str, variable: &str, value: &str) -> Value {
    let variables = json!([
        {"name": "FAULT", "value": "secrets"},
        {"name": variable, "value": value},
        {"name": "SECRETS_TO_PRINT", "value": value},
    ]);
    named(changed(faulty(""), json!({"spec": {"environmentVariables": variables}})), name)
}

fn with_model(name: &str, uri: &str) -> Value {
    let image = setting("MOORING_TEST_ABRUPT_IMAGE_1");
    named(changed(abrupt("iris", "blue", &image, 1), json!({"spec": {"model": {"name": "iris", "uri": uri}}})), name)
}

#[tokio::test]
async fn no_secret_is_told() {
    let place = Place::new("redaction").await;
    let store = Store::start(node::address(&place).await).await;
    store.bucket("models");
    let mut secrets = planted(&place.namespace);
    assert!(secrets.len() >= 100, "{}", secrets.len());
    place.apply(endpoint("iris", &json!({"d00": 100}))).await;
    let mut deployments = Vec::new();
    for (index, lines) in secrets.chunks(EACH).enumerate() {
        deployments.push(prints(&format!("d{index:02}"), lines));
    }
    for (index, name) in ["DB_PASSWORD", "HF_TOKEN", "STORAGE_KEY", "MY_SECRET", "CREDENTIAL"].iter().enumerate() {
        let secret = Planted::plain(&place.namespace, name);
        deployments.push(prints_variable(&format!("v{index:02}"), name, &secret.secret));
        secrets.push(secret);
    }
    let (host, path) = (store.endpoint(), "models/absent.bin");
    let host = host.strip_prefix("http://").unwrap();
    for (index, uri) in
        ["http://HOST/PATH?sv=1&sig=SECRET", "http://user:SECRET@HOST/PATH", "http://HOST/PATH?X-Amz-Signature=SECRET"]
            .iter()
            .enumerate()
    {
        let secret = Planted::plain(&place.namespace, uri);
        let uri = uri.replace("HOST", host).replace("PATH", path).replace("SECRET", &secret.secret);
        deployments.push(with_model(&format!("u{index:02}"), &uri));
        secrets.push(secret);
    }
    // A few at a time: each crashes at once, and the machine may be small.
    for deployments in deployments.chunks(4) {
        for deployment in deployments {
            place.apply(deployment.clone()).await;
        }
        for deployment in deployments {
            let name = deployment["metadata"]["name"].as_str().unwrap();
            place
                .until(name, "failed", |object: Option<&OnlineDeployment>| {
                    object.is_some_and(|it| it.status.as_ref().is_some_and(|status| status.error.is_some()))
                })
                .await;
        }
    }
    let mut leaks = Vec::new();
    for (what, text) in told(&place).await {
        assert!(!text.is_empty(), "{what} is empty");
        let there: HashSet<&[u8]> = text.as_bytes().windows(PART).collect();
        for Planted { line, secret } in &secrets {
            if let Some(part) = secret.as_bytes().windows(PART).find(|part| there.contains(part)) {
                leaks.push(format!("{what} holds {:?} of {line:?}", String::from_utf8_lossy(part)));
            }
        }
    }
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    place.done().await;
}

/// All that we say, with its name.
async fn told(place: &Place) -> Vec<(String, String)> {
    let all = ListParams::default();
    let mut told = Vec::new();
    for deployment in place.api::<OnlineDeployment>().list(&all).await.unwrap() {
        let name = format!("the status of {}", deployment.metadata.name.unwrap());
        told.push((name, serde_json::to_string(&deployment.status).unwrap()));
    }
    for endpoint in place.api::<OnlineEndpoint>().list(&all).await.unwrap() {
        told.push(("the status of the endpoint".to_owned(), serde_json::to_string(&endpoint.status).unwrap()));
    }
    for event in place.api::<Event>().list(&all).await.unwrap() {
        if event.reporting_controller.as_deref() == Some("mooring.dev/operator") {
            told.push((format!("the Event {:?}", event.metadata.name), serde_json::to_string(&event).unwrap()));
        }
    }
    let pods: Api<Pod> = Api::namespaced(place.client.clone(), "mooring-system");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for pod in pods.list(&all).await.unwrap() {
        let name = pod.metadata.name.clone().unwrap();
        told.push((format!("the log of {name}"), pods.logs(&name, &LogParams::default()).await.unwrap()));
        let address = pod.status.and_then(|status| status.pod_ip).unwrap();
        let metrics = client.get(format!("http://{address}:8081/metrics")).send().await.unwrap().text().await.unwrap();
        told.push((format!("the metrics of {name}"), metrics));
    }
    told
}
