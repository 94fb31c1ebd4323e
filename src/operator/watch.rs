//! Watches → caches and the queues of objects to look at. Nothing waits for a timer.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::{self, Receiver, Sender};
use futures::{SinkExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Event, Node, NodeSpec, Pod, Secret, ServiceAccount};
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::{Client, Resource, ResourceExt};
use kube_runtime::reflector::store::{Writer, WriterDropped};
use kube_runtime::reflector::{ObjectRef, Store, store};
use kube_runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cache::{Cache, Caches, Guarded, MaybeKnown};
use super::denial::Denials;
use super::download::{self, Downloads};
use super::evidence::{self, Evidence, Follower};
use super::rights;
use super::trigger::{self, Change, Triggers};
use crate::api::compute_quota::ComputeQuota;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::api::http_route::HTTPRoute;
use crate::api::instance_type::InstanceType;
use crate::api::label;

/// Objects that wait for a place in a queue; the queue itself keeps each object once.
const BUFFER: usize = 256;
/// How often a cluster without the Gateway API is asked for it.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Pause before an API server that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// A watch that was refused and is quiet for so long works: more than twice the longest pause between two attempts.
const LIFTED: Duration = Duration::from_secs(90);

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

/// What belongs to no namespace and may be looked at. An operator of one namespace does without.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    instance_types: bool,
    nodes: bool,
}

/// Asks the API server for it.
pub(super) async fn reach(client: Client, namespace: Option<String>) -> Reach {
    if namespace.is_none() {
        // Without a right that it needs, an operator of all namespaces says so on every object.
        return Reach { instance_types: true, nodes: true };
    }
    let instance_types = rights::may_watch::<InstanceType>(&client).await;
    Reach { instance_types, nodes: rights::may_watch::<Node>(&client).await }
}

/// Starts every watch. They end with `shutdown`, and with them the queues.
pub(super) fn start(
    client: &Client,
    namespace: Option<&str>,
    reach: Reach,
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
    let (ingresses, ingresses_writer) = store();
    let (http_routes, http_routes_writer) = store();
    let (service_accounts, service_accounts_writer) = store();
    let (secrets, secrets_writer) = store();
    let (slices, slices_writer) = store();
    let (nodes, nodes_writer) = store();
    let caches = Arc::new(Caches {
        endpoints: Cache::new(endpoints),
        deployments: Cache::new(deployments),
        instance_types: reach.instance_types.then_some(instance_types),
        quotas: Cache::new(quotas),
        routes: Cache::new(routes),
        kubernetes_deployments: Cache::new(kubernetes_deployments),
        replica_sets: Cache::new(replica_sets),
        pods: Cache::new(pods),
        services: Cache::new(services),
        ingresses: Cache::new(ingresses),
        http_routes: MaybeKnown::new(http_routes),
        service_accounts: Cache::new(service_accounts),
        secrets: Cache::new(secrets),
        slices,
        nodes: reach.nodes.then_some(nodes),
        evidence: Evidence::default(),
        downloads: Downloads::default(),
        denials: Denials::default(),
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
    if reach.instance_types {
        watches.spawn(Api::all(client.clone()), all(), instance_types_writer, lean, |caches, kind, _| {
            trigger::of_instance_type(caches, &kind.name_any())
        });
    }
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
    watches.namespaced(managed(), ingresses_writer, lean, |_, ingress, _| trigger::by_endpoint_label(ingress));
    watches.http_routes_once_known(managed(), http_routes_writer);
    // All of them, since users name their own for an identity; of each only what it says of identities is kept.
    watches.namespaced(all(), service_accounts_writer, lean_service_account, |caches, account, _| {
        trigger::of_service_account(caches, account)
    });
    // All Secrets, since users bring their own keys under any name; of each only its name and version are kept.
    watches.namespaced(all(), secrets_writer, lean_secret, |caches, secret, _| trigger::of_secret(caches, secret));
    watches.namespaced(managed(), slices_writer, lean, |_, slice, _| trigger::by_endpoint_label(slice));
    if reach.nodes {
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

/// Waits until every cache has been filled once, or is known to stay empty for lack of a right: an object that is
/// missing before says nothing.
pub(super) async fn filled(caches: &Caches) -> Result<(), WriterDropped> {
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
        ingresses,
        http_routes,
        service_accounts,
        secrets,
        slices,
        nodes,
        evidence: _,
        downloads: _,
        denials,
    } = caches;
    told(endpoints.store(), denials).await?;
    told(deployments.store(), denials).await?;
    told(quotas.store(), denials).await?;
    told(routes.store(), denials).await?;
    told(kubernetes_deployments.store(), denials).await?;
    told(replica_sets.store(), denials).await?;
    told(pods.store(), denials).await?;
    told(services.store(), denials).await?;
    told(ingresses.store(), denials).await?;
    told(service_accounts.store(), denials).await?;
    told(secrets.store(), denials).await?;
    told(slices, denials).await?;
    if let Some(instance_types) = instance_types {
        told(instance_types, denials).await?;
    }
    if let Some(nodes) = nodes {
        told(nodes, denials).await?;
    }
    // Its sender lives as long as the caches.
    let _ = http_routes.is_known.subscribe().wait_for(Option::is_some).await;
    Ok(())
}

/// Waits until a watch has told all that there is, or is refused.
async fn told<K>(store: &Store<K>, denials: &Denials) -> Result<(), WriterDropped>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let kind = K::kind(&());
    tokio::select! {
        ready = store.wait_until_ready() => ready,
        () = denials.refused(&kind) => Ok(()),
    }
}

#[derive(Clone)]
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

    /// Watches the `HTTPRoutes` from when the Gateway API is installed, which may be at any time.
    fn http_routes_once_known(&self, config: watcher::Config, writer: Writer<HTTPRoute>) {
        let mut watches = self.clone();
        self.tasks.spawn(async move {
            loop {
                let known = knows::<HTTPRoute>(&watches.client).await;
                if known.is_some() {
                    watches.caches.http_routes.is_known.send_replace(known);
                }
                let pause = match known {
                    Some(true) => break,
                    Some(false) => ASK_AGAIN,
                    None => PAUSE,
                };
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = watches.shutdown.cancelled() => return,
                }
            }
            watches.namespaced(config, writer, lean, |_, route, _| trigger::by_endpoint_label(route));
            let is_open = watches.is_open.subscribe();
            watches.queues.push_all(&watches.caches, &is_open).await;
        });
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
                let denied = caches.denials.has(&kind);
                let event = tokio::select! {
                    event = stream.try_next() => event,
                    // A watch that is allowed again may have nothing to tell.
                    () = tokio::time::sleep(LIFTED), if denied => {
                        caches.denials.lift(&kind);
                        queues.push_all(&caches, &is_open).await;
                        continue;
                    }
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
                        if caches.denials.take(&kind, &error) {
                            queues.push_all(&caches, &is_open).await;
                        }
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
                let works = !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_));
                let found =
                    if denied && works && caches.denials.lift(&kind) { trigger::everything(&caches) } else { found };
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

/// Whether the API server serves a kind; `None` when it gave no answer.
async fn knows<K: Resource<DynamicType = ()>>(client: &Client) -> Option<bool> {
    match client.list_api_group_resources(&K::api_version(&())).await {
        Ok(list) => Some(list.resources.iter().any(|resource| resource.kind == K::kind(&()))),
        // By its number: a group that is not there is answered with a page and no Status.
        Err(kube::Error::Api(status)) if status.code == 404 => Some(false),
        Err(_) => None,
    }
}

impl Queues {
    /// Hands over everything, when somebody empties the queues.
    async fn push_all(&mut self, caches: &Caches, is_open: &tokio::sync::watch::Receiver<bool>) {
        let open = *is_open.borrow();
        if open {
            self.push(trigger::everything(caches)).await;
        }
    }

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
