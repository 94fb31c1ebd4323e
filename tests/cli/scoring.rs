//! Scoring through a real gateway that is named by its address.

use std::net::SocketAddr;

use hyper::StatusCode;

use crate::cluster::iris;
use crate::documents::{Deployment, Endpoint, KEY};
use crate::model::{Model, full, nobody};
use crate::place::Place;
use crate::process::Gateway;
use crate::program::{Ended, mooring_with};

/// A gateway that serves endpoint iris of the test's namespace.
async fn gateway(place: &Place, deployments: &[Deployment]) -> Gateway {
    let endpoint = Endpoint::new(deployments);
    let gateway = Gateway::start(&endpoint).await;
    let routes = endpoint.yaml().replace("namespace: default", &format!("namespace: {}", place.namespace));
    gateway.write(&routes.replace("default/iris", &format!("{}/iris", place.namespace)));
    gateway.wait_for("the files were read", 2).await;
    gateway
}

async fn invoke(place: &Place, gateway: SocketAddr, more: &[&str]) -> Ended {
    let url = format!("http://{gateway}");
    let invoke = ["endpoint", "invoke", "-n", "iris", "--request-file", "-", "--url", &url];
    mooring_with(place, &[&invoke, more].concat(), "{\"data\": [1]}").await
}

#[tokio::test]
async fn the_answer_is_all_that_standard_output_gets() {
    let place = iris(KEY).await;
    let model = Model::inspecting().await;
    let gateway = gateway(&place, &[Deployment::new("blue", 100, &[model.address])]).await;
    let ended = invoke(&place, gateway.address, &[]).await;
    assert_eq!((ended.code, ended.said.as_str()), (Some(0), ""));
    let seen: serde_json::Value = serde_json::from_str(&ended.data).unwrap();
    assert_eq!(
        (&seen["method"], &seen["path"], &seen["body"]),
        (&"POST".into(), &"/predict".into(), &"{\"data\": [1]}".into())
    );
    let headers = seen["headers"].as_array().unwrap();
    assert!(headers.contains(&serde_json::json!(["content-type", "application/json"])), "{headers:?}");
    place.done().await;
}

#[tokio::test]
async fn a_deployment_can_be_named_and_verbosity_tells_of_status_ids_and_times() {
    let place = iris(KEY).await;
    let (blue, green) = (Model::named("blue").await, Model::named("green").await);
    let deployments = [Deployment::new("blue", 100, &[blue.address]), Deployment::new("green", 0, &[green.address])];
    let gateway = gateway(&place, &deployments).await;
    assert_eq!(invoke(&place, gateway.address, &[]).await.data, "blue");
    let ended = invoke(&place, gateway.address, &["--deployment", "green", "--verbose"]).await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(0), "green"));
    for said in ["HTTP/1.1 200 OK\n", "\nx-request-id: ", "azureml-model-deployment: green\n", "connected after "] {
        assert!(ended.said.contains(said), "{said:?} is missing: {ended}");
    }
    assert!(!ended.said.contains(KEY), "{ended}");
    place.done().await;
}

#[tokio::test]
async fn a_scoring_uri_is_taken_as_it_is() {
    let place = iris(KEY).await;
    let model = Model::named("blue").await;
    let gateway = gateway(&place, &[Deployment::new("blue", 100, &[model.address])]).await;
    let uri = format!("http://{}/api/v1/endpoint/{}/iris/score", gateway.address, place.namespace);
    let invoke = ["endpoint", "invoke", "-n", "iris", "--request-file", "-", "--url", &uri];
    assert_eq!(mooring_with(&place, &invoke, "{}").await.data, "blue");
    place.done().await;
}

#[tokio::test]
async fn every_refusal_says_what_to_do_now() {
    let place = iris(KEY).await;
    let broken = Model::start(|_| async {
        let mut answer = full("a traceback");
        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        answer
    })
    .await;
    let gateway = gateway(&place, &[Deployment::new("blue", 100, &[broken.address])]).await;
    let ended = invoke(&place, gateway.address, &[]).await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(1), "a traceback"));
    assert!(ended.said.contains("answered 424 Model Error; original-code=500 (x-request-id "), "{ended}");
    let place_of_it = format!("--namespace {}", place.namespace);
    let hint = format!("`mooring deployment get-logs {place_of_it} -e iris -n blue`");
    assert!(ended.said.contains(&hint), "{ended}");

    let ended = invoke(&place, gateway.address, &["-d", "red"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.said.contains("answered 404 Not Found")
            && ended.said.contains(&format!("`mooring endpoint show {place_of_it} -n iris`")),
        "{ended}"
    );

    let ended = invoke(&place, nobody().await, &[]).await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(1), ""));
    assert!(ended.said.contains("check that it runs and can be reached from here"), "{ended}");
    place.done().await;
}

#[tokio::test]
async fn a_wrong_key_is_refused() {
    let place = iris("wrong").await;
    let model = Model::named("blue").await;
    let gateway = gateway(&place, &[Deployment::new("blue", 100, &[model.address])]).await;
    let ended = invoke(&place, gateway.address, &[]).await;
    assert_eq!((ended.code, model.requests()), (Some(1), 0));
    assert!(ended.said.contains("answered 401 Unauthorized"), "{ended}");
    place.done().await;
}

#[tokio::test]
async fn a_model_that_never_answers_is_given_up_in_time() {
    let place = iris(KEY).await;
    let model = Model::start(|_| std::future::pending()).await;
    let gateway = gateway(&place, &[Deployment::new("blue", 100, &[model.address])]).await;
    let ended = invoke(&place, gateway.address, &["--timeout", "1"]).await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(4), ""));
    assert!(ended.said.contains("scoring took longer than 1 seconds"), "{ended}");
    place.done().await;
}
