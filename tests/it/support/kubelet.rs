//! A node for the pods of one namespace: it binds them and writes the status that a kubelet would write.
//!
//! An image that begins with `missing` can't be pulled, one with `slow` never comes up, one with `downloads` waits for
//! its model at an address where tests can answer for it, and one with `lingers` does not end when its pod is deleted;
//! all others are ready at once.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Client, ResourceExt};
use kube_runtime::watcher::{self, Event};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::place::Place;

/// A running node; it stops with this value.
pub struct Kubelet {
    client: Client,
    node: String,
    task: JoinHandle<()>,
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kubelet {
    pub async fn start(place: &Place) -> Self {
        let (client, node) = (place.client.clone(), place.namespace.clone());
        let nodes: Api<Node> = Api::all(client.clone());
        let object =
            Node { metadata: ObjectMeta { name: Some(node.clone()), ..Default::default() }, ..Default::default() };
        nodes.create(&PostParams::default(), &object).await.unwrap();
        beat(&client, &node).await;
        let task = tokio::spawn(tend_all(client.clone(), node.clone()));
        Self { client, node, task }
    }

    /// Takes the node away with all its pods, of whose namespace nothing is left then.
    pub async fn stop(self) {
        self.task.abort();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.node);
        let now = DeleteParams::default().grace_period(0);
        let _ = pods.delete_collection(&now, &ListParams::default()).await.unwrap();
        let nodes: Api<Node> = Api::all(self.client.clone());
        let _ = nodes.delete(&self.node, &now).await.unwrap();
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), LEASES);
        let _ = leases.delete(&self.node, &now).await.unwrap();
    }
}

async fn tend_all(client: Client, node: String) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &node);
    let mut events = std::pin::pin!(watcher::watcher(pods.clone(), watcher::Config::default()));
    let mut heart = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            event = events.try_next() => match event {
                Ok(Some(Event::Apply(pod) | Event::InitApply(pod))) => tend(&pods, &node, &pod).await,
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => return,
            },
            _ = heart.tick() => beat(&client, &node).await,
        }
    }
}

/// Where nodes keep their leases.
const LEASES: &str = "kube-node-lease";

/// Says that the node lives, else its pods are taken for lost.
async fn beat(client: &Client, node: &str) {
    let now = jiff::Timestamp::now().to_string();
    let condition = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now});
    let status = json!({"status": {"conditions": [condition]}});
    // The node may be gone at the end of a test.
    let nodes: Api<Node> = Api::all(client.clone());
    let _ = nodes.patch_status(node, &PatchParams::default(), &Patch::Strategic(status)).await;
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASES);
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": node},
        "spec": {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": now.replace('Z', "").get(..26).map_or(now.clone(), |cut| format!("{cut}Z"))},
    });
    let _ = leases.patch(node, &PatchParams::apply("kubelet").force(), &Patch::Apply(lease)).await;
}

async fn tend(pods: &Api<Pod>, node: &str, pod: &Pod) {
    let name = pod.name_any();
    let spec = pod.spec.as_ref().unwrap();
    let image = spec.containers[0].image.clone().unwrap();
    if pod.metadata.deletion_timestamp.is_some() {
        if image.starts_with("lingers") {
            return;
        }
        let _ = pods.delete(&name, &DeleteParams::default().grace_period(0)).await;
        return;
    }
    if spec.node_name.is_none() {
        let binding = Binding {
            metadata: ObjectMeta { name: Some(name.clone()), ..Default::default() },
            target: ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..Default::default()
            },
        };
        let _: Result<Value, _> = pods.create_subresource("binding", &name, &PostParams::default(), &binding).await;
        return;
    }
    let kind = if image.starts_with("missing") {
        "missing"
    } else if image.starts_with("slow") {
        "slow"
    } else if image.starts_with("downloads") {
        "downloads"
    } else {
        "ready"
    };
    let told = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()).is_some();
    if told {
        return;
    }
    let status = status(kind, &image, spec.init_containers.is_some());
    let _ = pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(json!({"status": status}))).await;
}

/// A different address for each pod in a network.
fn address(network: &str) -> String {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    format!("{network}.{}", NEXT.fetch_add(1, Ordering::Relaxed).max(1))
}

/// The status of a pod whose server answers, after its model has come.
pub fn ready(image: &str) -> Value {
    status("ready", image, true)
}

fn status(kind: &str, image: &str, has_initializer: bool) -> Value {
    let container = |name: &str, state: Value, ready: bool| {
        json!({
            "name": name, "image": image, "imageID": if ready { "sha256:1" } else { "" }, "ready": ready,
            "restartCount": 0, "started": ready, "state": state,
        })
    };
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let done = json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}});
    let server = match kind {
        "ready" => json!({"running": {"startedAt": now}}),
        "missing" => json!({"waiting": {"reason": "ErrImagePull", "message": format!(
            "rpc error: code = NotFound desc = failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {image}: not found"
        )}}),
        "downloads" => json!({"waiting": {"reason": "PodInitializing"}}),
        _ => json!({"waiting": {"reason": "ContainerCreating"}}),
    };
    let ready = kind == "ready";
    let word = if ready { "True" } else { "False" };
    let downloads = kind == "downloads";
    let address = address(if downloads { "127.18.77" } else { "198.18.77" });
    let initializer = if downloads { json!({"running": {"startedAt": now}}) } else { done };
    json!({
        "phase": if ready { "Running" } else { "Pending" },
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Initialized", "status": if downloads { "False" } else { "True" }},
            {"type": "ContainersReady", "status": word},
            {"type": "Ready", "status": word},
        ],
        "initContainerStatuses": if has_initializer { json!([container("storage-initializer", initializer, !downloads)]) } else { json!([]) },
        "containerStatuses": [container("inference-server", server, ready)],
    })
}
