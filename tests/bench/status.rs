//! How long it takes from what a pod's status shows to what its deployment says, as a client that watches both sees it.
//!
//! `tests/bench/status` starts what it needs and prints the table.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark ends at the first surprise and prints")]

use std::collections::{BTreeMap, HashMap};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::config::KubeConfigOptions;
use kube::{Client, ResourceExt};
use kube_runtime::{WatchStreamExt, watcher};
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use serde_json::json;

/// Deployments of each endpoint.
const OF_ENDPOINT: usize = 20;
/// Pods whose status changes one after the other, each once the one before has been told.
const ALONE: usize = 100;
/// Pods whose status changes in each second after that.
const RATE: u64 = 50;
/// Requests of our own at a time.
const PARALLEL: usize = 32;

/// When each deployment's pod showed the fault, and when the deployment said so.
type Seen = Arc<Mutex<HashMap<String, Instant>>>;

#[tokio::main]
async fn main() {
    let setting = |name: &str| std::env::var(name).ok();
    // `cargo test` runs benchmarks too; without its surroundings there is nothing to measure.
    let (Some(kubeconfig), Some(operator)) = (setting("MOORING_BENCH_KUBECONFIG"), setting("MOORING_BENCH_OPERATOR"))
    else {
        println!("run tests/bench/status");
        return;
    };
    let count: usize = setting("MOORING_BENCH_DEPLOYMENTS").map_or(1000, |text| text.parse().unwrap());
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let read = kube::config::Kubeconfig::read_from(&kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let wanted = serde_json::from_value(json!({"metadata": {"generateName": "bench-status-"}})).unwrap();
    let namespace = namespaces.create(&PostParams::default(), &wanted).await.unwrap().name_any();

    let mut child = tokio::process::Command::new(operator)
        .args(["run", "--gateway-host", "gateway.test", "--fetch-image", "fetch.test", "--admin", "127.0.0.1:0"])
        .args(["--namespace", &namespace])
        .env("KUBECONFIG", kubeconfig)
        .env("MOORING_LOG_FILTER", "error,kube_client=off")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    create(&client, &namespace, count).await;
    let pods = pods_of(&client, &namespace, count).await;
    quiet(&client, &namespace).await;
    let (shown, told) = follow(&client, &namespace);

    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let names: Vec<String> = pods.keys().cloned().collect();
    let (alone, streamed) = names.split_at(ALONE.min(count));
    for name in alone {
        fail(&api, &pods[name]).await;
        all_told(&told, std::slice::from_ref(name)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(RATE).unwrap());
    for name in streamed {
        ticks.tick().await;
        let (api, pod) = (api.clone(), pods[name].clone());
        tokio::spawn(async move { fail(&api, &pod).await });
    }
    all_told(&told, streamed).await;

    println!(
        "| {count} deployments in the caches | n | p50 ms | p90 ms | p99 ms | max ms |\n|---|---|---|---|---|---|"
    );
    row("one at a time", alone, &shown, &told);
    row(&format!("{RATE} in a second"), streamed, &shown, &told);
    let memory = std::fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
    println!("operator: {}", memory.lines().find(|line| line.starts_with("VmRSS")).unwrap());
    child.kill().await.unwrap();
    namespaces.delete(&namespace, &DeleteParams::default()).await.unwrap();
}

async fn create(client: &Client, namespace: &str, count: usize) {
    let endpoints: Api<OnlineEndpoint> = Api::namespaced(client.clone(), namespace);
    let deployments: Api<OnlineDeployment> = Api::namespaced(client.clone(), namespace);
    for index in 0..count.div_ceil(OF_ENDPOINT) {
        let object = json!({"metadata": {"name": format!("iris-{index}")}, "spec": {}});
        endpoints
            .create(&PostParams::default(), &serde_json::from_value(with_kind(object, "OnlineEndpoint")).unwrap())
            .await
            .unwrap();
    }
    stream::iter(0..count)
        .for_each_concurrent(PARALLEL, |index| {
            let deployments = deployments.clone();
            async move {
                let object = json!({
                    "metadata": {"name": format!("od-{index}")},
                    "spec": {"endpointName": format!("iris-{}", index / OF_ENDPOINT), "environment": {"image": "x"}},
                });
                let object = serde_json::from_value(with_kind(object, "OnlineDeployment")).unwrap();
                deployments.create(&PostParams::default(), &object).await.unwrap();
            }
        })
        .await;
}

fn with_kind(mut object: serde_json::Value, kind: &str) -> serde_json::Value {
    object["apiVersion"] = json!("mooring.dev/v1alpha1");
    object["kind"] = json!(kind);
    object
}

const DEPLOYMENT: &str = "mooring.dev/online-deployment";

/// The name of each deployment's pod, once all are there.
async fn pods_of(client: &Client, namespace: &str, count: usize) -> BTreeMap<String, String> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut pods = BTreeMap::new();
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
    while pods.len() < count {
        let pod = events.try_next().await.unwrap().unwrap();
        pods.insert(pod.labels()[DEPLOYMENT].clone(), pod.name_any());
    }
    pods
}

/// Waits until no deployment has changed for some seconds: what is measured is not the work of the beginning.
async fn quiet(client: &Client, namespace: &str) {
    let api: Api<OnlineDeployment> = Api::namespaced(client.clone(), namespace);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
    while tokio::time::timeout(Duration::from_secs(5), events.next()).await.is_ok() {}
}

/// Follows pods and deployments.
fn follow(client: &Client, namespace: &str) -> (Seen, Seen) {
    let (shown, told) = (Seen::default(), Seen::default());
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let deployments: Api<OnlineDeployment> = Api::namespaced(client.clone(), namespace);
    let seen = Arc::clone(&shown);
    tokio::spawn(watcher(pods, watcher::Config::default()).default_backoff().applied_objects().for_each(move |pod| {
        let pod = pod.unwrap();
        if pod.status.as_ref().is_some_and(|status| status.container_statuses.is_some()) {
            seen.lock().unwrap().entry(pod.labels()[DEPLOYMENT].clone()).or_insert_with(Instant::now);
        }
        std::future::ready(())
    }));
    let seen = Arc::clone(&told);
    let all = watcher(deployments, watcher::Config::default()).default_backoff().applied_objects();
    tokio::spawn(all.for_each(move |deployment| {
        let deployment = deployment.unwrap();
        if deployment.status.as_ref().is_some_and(|status| status.error.is_some()) {
            seen.lock().unwrap().entry(deployment.name_any()).or_insert_with(Instant::now);
        }
        std::future::ready(())
    }));
    (shown, told)
}

/// What a kubelet writes when an image is missing.
async fn fail(api: &Api<Pod>, pod: &str) {
    let message = "rpc error: code = NotFound desc = failed to pull and unpack image \"x\": failed to resolve reference \"x\": x: not found";
    let status = json!({"status": {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}],
        "containerStatuses": [{
            "name": "inference-server", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": message}},
        }],
    }});
    api.patch_status(pod, &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
}

async fn all_told(told: &Seen, names: &[String]) {
    while !names.iter().all(|name| told.lock().unwrap().contains_key(name)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn row(what: &str, names: &[String], shown: &Seen, told: &Seen) {
    let (shown, told) = (shown.lock().unwrap(), told.lock().unwrap());
    let mut times: Vec<Duration> = names.iter().map(|name| told[name].saturating_duration_since(shown[name])).collect();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    println!("| {what} | {} | {:.0} | {:.0} | {:.0} | {:.0} |", times.len(), at(50), at(90), at(99), at(100));
}
