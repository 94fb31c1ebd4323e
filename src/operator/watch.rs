//! Watches → caches and the queues of objects to look at. Nothing waits for a timer.

use std::fmt::Debug;
use std::sync::Arc;

use futures::channel::mpsc::{self, Receiver, Sender};
use futures::{SinkExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Event, Node, NodeSpec, Pod, Secret, ServiceAccount};
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::{Client, Resource, ResourceExt};
use kube_runtime::reflector::store::Writer;
use kube_runtime::reflector::{ObjectRef, store};
use kube_runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cache::{Cache, Caches, Guarded};
use super::download::{self, Downloads};
use super::evidence::{self, Evidence, Follower};
use super::trigger::{self, Change, Triggers};
use crate::api::compute_quota::ComputeQuota;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::api::label;

/// Objects that wait for a place in a queue; the queue itself keeps each object once.
const BUFFER: usize = 256;

/// The objects to look at.
#[derive(Clone)]
pub(super) struct Queues {
    endpoints: Sender<ObjectRef<Guarded<OnlineEndpoint>>>,
    deployments: Sender<ObjectRef<Guarded<OnlineDeployment>>>,
    quotas: Sender<ObjectRef<Guarded<ComputeQuota>>>,
}

/// The other ends of [`Queues`].
pub(super) struct Queued {
    pub(super) endpoints: Receiver<ObjectRef<Guarded<OnlineEndpoint>>>,
    pub(super) deployments: Receiver<ObjectRef<Guarded<OnlineDeployment>>>,
    pub(super) quotas: Receiver<ObjectRef<Guarded<ComputeQuota>>>,
}

/// The queues and their other ends.
fn queues() -> (Queues, Queued) {
    let (endpoints, endpoints_end) = mpsc::channel(BUFFER);
    let (deployments, deployments_end) = mpsc::channel(BUFFER);
    let (quotas, quotas_end) = mpsc::channel(BUFFER);
    let queued = Queued { endpoints: endpoints_end, deployments: deployments_end, quotas: quotas_end };
    (Queues { endpoints, deployments, quotas }, queued)
}

/// Starts every watch. They end with `shutdown`, and with them the queues.
pub(super) fn start(
    client: &Client,
    namespace: Option<&str>,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> (Watches, Queued) {
    let (endpoints, endpoints_writer) = store();
    let (deployments, deployments_writer) = store();
    let (instance_types, instance_types_writer) = store();
    let (quotas, quotas_writer) = store();
    let (routes, routes_writer) = store();
    let (kubernetes_deployments, kubernetes_deployments_writer) = store();
    let (replica_sets, replica_sets_writer) = store();
    let (pods, pods_writer) = store();
    let (services, services_writer) = store();
    let (service_accounts, service_accounts_writer) = store();
    let (secrets, secrets_writer) = store();
    let (slices, slices_writer) = store();
    let (nodes, nodes_writer) = store();
    let caches = Arc::new(Caches {
        endpoints: Cache::new(endpoints),
        deployments: Cache::new(deployments),
        instance_types,
        quotas: Cache::new(quotas),
        routes: Cache::new(routes),
        kubernetes_deployments: Cache::new(kubernetes_deployments),
        replica_sets: Cache::new(replica_sets),
        pods: Cache::new(pods),
        services: Cache::new(services),
        service_accounts: Cache::new(service_accounts),
        secrets: Cache::new(secrets),
        slices,
        nodes: namespace.is_none().then_some(nodes),
        evidence: Evidence::default(),
        downloads: Downloads::default(),
    });
    let (queues, ends) = queues();
    let watches = Watches {
        client: client.clone(),
        namespace: namespace.map(str::to_owned),
        caches: Arc::clone(&caches),
        queues,
        is_open: tokio::sync::watch::Sender::new(false),
        tasks: tasks.clone(),
        shutdown: shutdown.clone(),
    };
    let all = watcher::Config::default;
    let managed = || watcher::Config::default().labels(&label::managed_selector());
    watches.namespaced(all(), endpoints_writer, lean, |caches, endpoint, _| trigger::of_endpoint(caches, endpoint));
    watches.namespaced(all(), deployments_writer, lean, trigger::of_deployment);
    watches.spawn(Api::all(client.clone()), all(), instance_types_writer, lean, |caches, kind, _| {
        trigger::of_instance_type(caches, &kind.name_any())
    });
    watches.namespaced(all(), quotas_writer, lean, |caches, quota, _| trigger::of_quota(caches, quota));
    watches.namespaced(managed(), routes_writer, lean, |caches, route, _| {
        trigger::by_endpoint_label(route).and(trigger::of_share(caches, route))
    });
    watches.namespaced(managed(), kubernetes_deployments_writer, lean, |caches, object, _| {
        trigger::by_deployment_label(object).and(trigger::of_share(caches, object))
    });
    watches.namespaced(managed(), replica_sets_writer, lean_set, |caches, set, change| {
        trigger::forget(caches, set, change);
        trigger::by_deployment_label(set)
    });
    watches.namespaced(managed(), pods_writer, lean_pod, |caches, pod, change| {
        trigger::forget(caches, pod, change);
        trigger::by_deployment_label(pod)
    });
    watches.namespaced(managed(), services_writer, lean, |_, service, _| {
        if service.labels().contains_key(label::ONLINE_DEPLOYMENT) {
            trigger::by_deployment_label(service)
        } else {
            trigger::by_endpoint_label(service)
        }
    });
    // All of them, since users name their own for an identity; of each only what it says of identities is kept.
    watches.namespaced(all(), service_accounts_writer, lean_service_account, |caches, account, _| {
        trigger::of_service_account(caches, account)
    });
    // All Secrets, since users bring their own keys under any name; of each only its name and version are kept.
    watches.namespaced(all(), secrets_writer, lean_secret, |caches, secret, _| trigger::of_secret(caches, secret));
    watches.namespaced(managed(), slices_writer, lean, |_, slice, _| trigger::by_endpoint_label(slice));
    if namespace.is_none() {
        watches
            .spawn(Api::all(client.clone()), all(), nodes_writer, lean_node, |caches, _, _| trigger::of_node(caches));
    }
    (watches, ends)
}

/// Hands over all objects of ours to be looked at, and from now on what changes: after the caches are filled.
pub(super) fn open(watches: &Watches) {
    watches.is_open.send_replace(true);
    // After that, so that nothing falls between both.
    let all = trigger::everything(&watches.caches);
    let mut queues = watches.queues.clone();
    watches.tasks.spawn(async move { queues.push(all).await });
}

/// Starts the watches of Events, which are told apart by the deployments that are known: after the caches are filled.
pub(super) fn start_events(watches: &Watches) {
    for selector in [evidence::OF_PODS, evidence::OF_REPLICA_SETS] {
        let config = watcher::Config::default().fields(selector);
        let (mut follower, caches) = (Follower::default(), Arc::clone(&watches.caches));
        let follow = move |event: &watcher::Event<Event>| {
            follower.follow(event, &caches);
        };
        watches.follow(watches.api(), config, follow, lean, |caches, event, _| trigger::of_event(caches, event));
    }
}

/// Starts listening to instances that download: after the caches are filled.
pub(super) fn start_downloads(watches: &Watches) {
    let (caches, mut queues, shutdown) =
        (Arc::clone(&watches.caches), watches.queues.clone(), watches.shutdown.clone());
    watches.tasks.spawn(async move {
        let (mut rounds, mut latest) = (download::rounds(), download::Latest::new());
        let listening = async {
            loop {
                rounds.tick().await;
                let deployments = download::ask_all(&caches, &mut latest).await;
                queues.push(Triggers { deployments, ..Triggers::default() }).await;
            }
        };
        tokio::select! {
            () = listening => {}
            () = shutdown.cancelled() => {}
        }
    });
}

/// Waits until every cache has been filled once: an object that is missing before says nothing.
pub(super) async fn filled(caches: &Caches) -> Result<(), kube_runtime::reflector::store::WriterDropped> {
    let Caches {
        endpoints,
        deployments,
        instance_types,
        quotas,
        routes,
        kubernetes_deployments,
        replica_sets,
        pods,
        services,
        service_accounts,
        secrets,
        slices,
        nodes,
        evidence: _,
        downloads: _,
    } = caches;
    endpoints.store().wait_until_ready().await?;
    deployments.store().wait_until_ready().await?;
    instance_types.wait_until_ready().await?;
    quotas.store().wait_until_ready().await?;
    routes.store().wait_until_ready().await?;
    kubernetes_deployments.store().wait_until_ready().await?;
    replica_sets.store().wait_until_ready().await?;
    pods.store().wait_until_ready().await?;
    services.store().wait_until_ready().await?;
    service_accounts.store().wait_until_ready().await?;
    secrets.store().wait_until_ready().await?;
    slices.wait_until_ready().await?;
    match nodes {
        Some(nodes) => nodes.wait_until_ready().await,
        None => Ok(()),
    }
}

pub(super) struct Watches {
    client: Client,
    namespace: Option<String>,
    pub(super) caches: Arc<Caches>,
    queues: Queues,
    /// Whether the queues have somebody who empties them.
    is_open: tokio::sync::watch::Sender<bool>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Watches {
    fn namespaced<K>(
        &self,
        config: watcher::Config,
        writer: Writer<K>,
        strip: fn(&mut K),
        triggers: fn(&Caches, &K, Change) -> Triggers,
    ) where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + Debug
            + Send
            + Sync
            + 'static,
    {
        self.spawn(self.api(), config, writer, strip, triggers);
    }

    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    fn spawn<K>(
        &self,
        api: Api<K>,
        config: watcher::Config,
        mut writer: Writer<K>,
        strip: fn(&mut K),
        triggers: fn(&Caches, &K, Change) -> Triggers,
    ) where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    {
        self.follow(api, config, move |event| writer.apply_watcher_event(event), strip, triggers);
    }

    /// Hands everything that a watch tells to `keep`, and then looks at what it means for our objects.
    fn follow<K>(
        &self,
        api: Api<K>,
        config: watcher::Config,
        mut keep: impl FnMut(&watcher::Event<K>) + Send + 'static,
        strip: fn(&mut K),
        triggers: fn(&Caches, &K, Change) -> Triggers,
    ) where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    {
        let (caches, mut queues, shutdown) = (Arc::clone(&self.caches), self.queues.clone(), self.shutdown.clone());
        let is_open = self.is_open.subscribe();
        let stream = watcher::watcher(api, config).default_backoff().modify(strip);
        self.tasks.spawn(async move {
            let kind = K::kind(&()).into_owned();
            let mut stream = std::pin::pin!(stream);
            let mut relisted = false;
            loop {
                let event = tokio::select! {
                    event = stream.try_next() => event,
                    () = shutdown.cancelled() => return,
                };
                let event = match event {
                    Ok(Some(event)) => event,
                    Ok(None) => return,
                    Err(error) => {
                        tracing::warn!(
                            kind,
                            %error,
                            "a watch failed and starts again"
                        );
                        continue;
                    }
                };
                keep(&event);
                let found = match &event {
                    watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                        triggers(&caches, object, Change::There)
                    }
                    watcher::Event::Delete(object) => triggers(&caches, object, Change::Gone),
                    // A new list tells no deletions: everything is looked at again.
                    watcher::Event::InitDone if relisted => trigger::everything(&caches),
                    watcher::Event::InitDone => {
                        relisted = true;
                        Triggers::default()
                    }
                    watcher::Event::Init => Triggers::default(),
                };
                // Until the caches are filled nobody looks at anything, and a full queue would keep them from it for ever.
                // What is kept by now is looked at when the queues open.
                let open = *is_open.borrow();
                if open {
                    queues.push(found).await;
                }
            }
        });
    }
}

impl Queues {
    async fn push(&mut self, triggers: Triggers) {
        for endpoint in triggers.endpoints {
            // A closed queue means that we are shutting down.
            let _ = self.endpoints.send(endpoint).await;
        }
        for deployment in triggers.deployments {
            let _ = self.deployments.send(deployment).await;
        }
        for quota in triggers.quotas {
            let _ = self.quotas.send(quota).await;
        }
    }
}

/// The diagnosis reads revision and status alone.
fn lean_set(set: &mut ReplicaSet) {
    lean(set);
    set.spec = None;
}

/// The diagnosis reads the status alone; specs are the larger half.
fn lean_pod(pod: &mut Pod) {
    lean(pod);
    pod.spec = None;
}

/// Of a node only what keeps pods away is read.
fn lean_node(node: &mut Node) {
    lean(node);
    node.metadata.annotations = None;
    node.status = None;
    node.spec = node.spec.take().map(|spec| NodeSpec { taints: spec.taints, ..NodeSpec::default() });
}

/// Name, version and owner are all that is kept of a Secret.
fn lean_secret(secret: &mut PartialObjectMeta<Secret>) {
    lean(secret);
    secret.metadata.annotations = None;
    secret.metadata.labels.iter_mut().for_each(|labels| labels.retain(|key, _| key == label::ENDPOINT));
}

/// Name, version, owner and identities are all that is kept of a service account.
fn lean_service_account(account: &mut PartialObjectMeta<ServiceAccount>) {
    lean(account);
    let metadata = &mut account.metadata;
    metadata.labels.iter_mut().for_each(|labels| {
        labels.retain(|key, _| [label::MANAGED_BY, label::ENDPOINT].contains(&key.as_str()));
    });
    metadata.annotations.iter_mut().for_each(|annotations| {
        annotations.retain(|key, _| key == label::APPLIED || label::is_identity(key));
    });
}

/// Drops what no plan reads.
fn lean<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}
