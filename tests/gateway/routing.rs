//! Which endpoint, which deployment, which instance.

use std::collections::BTreeMap;

use crate::documents::{Deployment, Endpoint, KEY};
use crate::model::{self, Model};
use crate::process::Gateway;
use crate::wire;

#[tokio::test]
async fn an_endpoint_is_reached_by_each_of_its_names() {
    let model = Model::inspecting().await;
    let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[model.address])])).await;
    let ask = |host: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {KEY}\r\n\r\n");
        wire::exchange(gateway.address, request)
    };
    for host in [
        "iris.default",
        "iris.default:8080",
        "IRIS.default.SVC",
        "iris.default.svc.cluster.local",
        "iris.default.svc.cluster.local.:80",
        "iris.example.com",
    ] {
        assert_eq!(ask(host, "/score").await.status, 200, "{host}");
    }
    for host in ["iris", "iris.other", "default.iris", "iris.default.svc.cluster.other"] {
        assert_eq!(ask(host, "/score").await.status, 404, "{host}");
    }
    for (path, seen) in [
        ("/api/v1/endpoint/default/iris/score", "/predict"),
        ("/api/v1/endpoint/default/iris/score?a=b", "/predict?a=b"),
        ("/api/v1/endpoint/default/iris/v1/models", "/v1/models"),
        ("/api/v1/endpoint/default/iris", "/"),
        ("/api/v1/endpoint/default/iris?x", "/?x"),
    ] {
        let answer = ask("gateway.mooring", path).await;
        let body: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
        assert_eq!(body["path"], seen, "{path}");
    }
    assert_eq!(ask("gateway.mooring", "/api/v1/endpoint/default/irises/score").await.status, 404);
    assert_eq!(ask("gateway.mooring", "/api/v1/endpoint/iris").await.status, 404);
    let absolute = ask("elsewhere", "http://iris.default/score").await;
    assert_eq!(absolute.status, 200, "the host of an absolute target counts");
}

async fn shares(gateway: &Gateway, headers: &str, count: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        let answer = gateway.send("POST", "/score", headers, "{}").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("azureml-model-deployment"), Some(answer.text()));
        *shares.entry(answer.text().to_owned()).or_default() += 1;
    }
    shares
}

#[tokio::test]
async fn traffic_is_split_by_weight_and_a_pin_goes_anywhere() {
    let (blue, green, dark) = (Model::named("blue").await, Model::named("green").await, Model::named("dark").await);
    let gateway = Gateway::start(&Endpoint::new(&[
        Deployment::new("blue", 75, &[blue.address]),
        Deployment::new("green", 25, &[green.address]),
        Deployment::new("dark", 0, &[dark.address]),
    ]))
    .await;
    let shares_by_weight = shares(&gateway, "", 400).await;
    // Six standard deviations.
    assert!((248..=352).contains(&shares_by_weight["blue"]), "{shares_by_weight:?}");
    assert_eq!(dark.requests(), 0);
    assert_eq!(shares(&gateway, "azureml-model-deployment: DARK\r\n", 5).await["dark"], 5);
}

#[tokio::test]
async fn the_share_of_a_deployment_that_is_not_ready_goes_to_the_others() {
    let green = Model::named("green").await;
    let gateway = Gateway::start(&Endpoint::new(&[
        Deployment::new("blue", 90, &[]),
        Deployment::new("green", 10, &[green.address]),
        Deployment::new("dark", 0, &[]),
    ]))
    .await;
    assert_eq!(shares(&gateway, "", 20).await["green"], 20);
    let pinned = gateway.send("POST", "/score", "azureml-model-deployment: blue\r\n", "{}").await;
    assert_eq!(pinned.status, 424, "a pin goes nowhere else");
    assert_eq!(pinned.header("ms-azureml-model-error-reason"), Some("model_not_ready"));
}

#[tokio::test]
async fn an_instance_that_refuses_is_passed_over() {
    let (good, other) = (Model::named("blue").await, Model::named("blue").await);
    let instances = [model::nobody().await, good.address, model::nobody().await, other.address];
    let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &instances)])).await;
    assert_eq!(shares(&gateway, "", 50).await["blue"], 50);
    assert!(good.requests() > 0 && other.requests() > 0);
}

#[tokio::test]
async fn a_broken_file_changes_nothing() {
    let model = Model::named("blue").await;
    let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[model.address])])).await;
    gateway.write("routes: [");
    gateway.wait_for("the files can't be used", 1).await;
    assert_eq!(gateway.score("{}").await.status, 200);
    assert_eq!(gateway.admin("/ready").await.status, 200);
    let other = Model::named("green").await;
    gateway.serve(&Endpoint::new(&[Deployment::new("green", 100, &[other.address])])).await;
    assert_eq!(gateway.score("{}").await.text(), "green");
}

#[tokio::test]
async fn a_caller_of_http_1_0_without_a_host_is_served_by_path() {
    let model = Model::inspecting().await;
    let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[model.address])])).await;
    let request = format!("GET /api/v1/endpoint/default/iris/score HTTP/1.0\r\nauthorization: Bearer {KEY}\r\n\r\n");
    let answer = wire::exchange(gateway.address, request).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains(r#"["host",""]"#), "{}", answer.text());
}
