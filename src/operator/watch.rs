//! Watches → caches and the queues of objects to look at. Nothing waits for a timer.

use std::fmt::Debug;
use std::sync::Arc;

use futures::channel::mpsc::{self, Receiver, Sender};
use futures::{SinkExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Event;
use kube::api::Api;
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::{Client, Resource, ResourceExt};
use kube_runtime::reflector::store::Writer;
use kube_runtime::reflector::{ObjectRef, Store, store};
use kube_runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cache::{Cache, Caches, Guarded, has_label};
use super::evidence::{self, Evidence, Follower};
use crate::api::compute_quota::ComputeQuota;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::{EndpointState, OnlineEndpoint};
use crate::api::label;
use crate::catalogue::Code;
use crate::plan::endpoint::keys_secret_name;

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

/// What an event means for our objects.
#[derive(Default)]
struct Triggers {
    endpoints: Vec<ObjectRef<Guarded<OnlineEndpoint>>>,
    deployments: Vec<ObjectRef<Guarded<OnlineDeployment>>>,
    quotas: Vec<ObjectRef<Guarded<ComputeQuota>>>,
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
        evidence: Evidence::default(),
    });
    let (endpoints_sender, endpoints_receiver) = mpsc::channel(BUFFER);
    let (deployments_sender, deployments_receiver) = mpsc::channel(BUFFER);
    let (quotas_sender, quotas_receiver) = mpsc::channel(BUFFER);
    let watches = Watches {
        client: client.clone(),
        namespace: namespace.map(str::to_owned),
        caches: Arc::clone(&caches),
        queues: Queues { endpoints: endpoints_sender, deployments: deployments_sender, quotas: quotas_sender },
        tasks: tasks.clone(),
        shutdown: shutdown.clone(),
    };
    let all = watcher::Config::default;
    let managed = || watcher::Config::default().labels(&label::managed_selector());
    watches.namespaced(all(), endpoints_writer, lean, |caches, endpoint, _| of_endpoint(caches, endpoint));
    watches.namespaced(all(), deployments_writer, lean, of_deployment);
    watches.spawn(Api::all(client.clone()), all(), instance_types_writer, lean, |caches, kind, _| {
        of_instance_type(caches, &kind.name_any())
    });
    watches.namespaced(all(), quotas_writer, lean, |caches, quota, _| of_quota(caches, quota));
    watches.namespaced(managed(), routes_writer, lean, |caches, route, _| Triggers {
        quotas: quotas_of(caches, route),
        ..by_endpoint_label(route)
    });
    watches.namespaced(managed(), kubernetes_deployments_writer, lean, |caches, object, _| Triggers {
        quotas: quotas_of(caches, object),
        ..by_deployment_label(object)
    });
    watches.namespaced(
        managed(),
        replica_sets_writer,
        |set| {
            lean(set);
            // The diagnosis reads revision and status alone.
            set.spec = None;
        },
        |caches, set, change| {
            forget(caches, set, change);
            by_deployment_label(set)
        },
    );
    watches.namespaced(
        managed(),
        pods_writer,
        |pod| {
            lean(pod);
            // The diagnosis reads the status alone; specs are the larger half.
            pod.spec = None;
        },
        |caches, pod, change| {
            forget(caches, pod, change);
            by_deployment_label(pod)
        },
    );
    watches.namespaced(managed(), services_writer, lean, |_, service, _| {
        if service.labels().contains_key(label::ONLINE_DEPLOYMENT) {
            by_deployment_label(service)
        } else {
            by_endpoint_label(service)
        }
    });
    watches.namespaced(managed(), service_accounts_writer, lean, |caches, account, _| {
        let namespace = account.namespace();
        let endpoint = account.labels().get(label::ENDPOINT).cloned().unwrap_or_default();
        // First instances wait for it.
        let deployments = references(caches.deployments.store(), |deployment| {
            deployment.namespace() == namespace && names_endpoint(deployment, &endpoint)
        });
        Triggers { deployments, ..by_endpoint_label(account) }
    });
    // All Secrets, since users bring their own keys under any name; of each only its name and version are kept.
    watches.namespaced(
        all(),
        secrets_writer,
        |secret: &mut PartialObjectMeta<_>| {
            lean(secret);
            secret.metadata.annotations = None;
            secret.metadata.labels.iter_mut().for_each(|labels| labels.retain(|key, _| key == label::ENDPOINT));
        },
        |caches, secret, _| of_secret(caches, secret),
    );
    watches.namespaced(managed(), slices_writer, lean, |_, slice, _| by_endpoint_label(slice));
    let queued = Queued { endpoints: endpoints_receiver, deployments: deployments_receiver, quotas: quotas_receiver };
    (watches, queued)
}

/// Starts the watches of Events, which are told apart by the deployments that are known: after the caches are filled.
pub(super) fn start_events(watches: &Watches) {
    for selector in [evidence::OF_PODS, evidence::OF_REPLICA_SETS] {
        let config = watcher::Config::default().fields(selector);
        let (mut follower, caches) = (Follower::default(), Arc::clone(&watches.caches));
        let follow = move |event: &watcher::Event<Event>| {
            follower.follow(event, &caches.evidence, &caches.deployments);
        };
        watches.follow(watches.api(), config, follow, lean, |caches, event, _| of_event(caches, event));
    }
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
        evidence: _,
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
    slices.wait_until_ready().await
}

pub(super) struct Watches {
    client: Client,
    namespace: Option<String>,
    pub(super) caches: Arc<Caches>,
    queues: Queues,
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
                    watcher::Event::InitDone if relisted => everything(&caches),
                    watcher::Event::InitDone => {
                        relisted = true;
                        Triggers::default()
                    }
                    watcher::Event::Init => Triggers::default(),
                };
                queues.push(found).await;
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

/// Whether an object is there or gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    There,
    Gone,
}

/// Drops what no plan reads.
fn lean<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

fn everything(caches: &Caches) -> Triggers {
    Triggers {
        endpoints: references(caches.endpoints.store(), |_| true),
        deployments: references(caches.deployments.store(), |_| true),
        quotas: references(caches.quotas.store(), |_| true),
    }
}

fn references<K>(store: &Store<K>, keep: impl Fn(&K) -> bool) -> Vec<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.state_filter(keep).iter().map(|object| ObjectRef::from_obj(&**object)).collect()
}

fn of_endpoint(caches: &Caches, endpoint: &Guarded<OnlineEndpoint>) -> Triggers {
    let deployments = references(caches.deployments.store(), |deployment| {
        deployment.namespace() == endpoint.namespace() && names_endpoint(deployment, &endpoint.name_any())
    });
    Triggers { endpoints: vec![ObjectRef::from_obj(endpoint)], deployments, quotas: quotas_of(caches, endpoint) }
}

fn of_deployment(caches: &Caches, deployment: &Guarded<OnlineDeployment>, change: Change) -> Triggers {
    let namespace = deployment.namespace().unwrap_or_default();
    let quotas = quotas_of(caches, deployment);
    let mut triggers = Triggers { endpoints: Vec::new(), deployments: vec![ObjectRef::from_obj(deployment)], quotas };
    match &deployment.0 {
        Ok(readable) => {
            let endpoint = &readable.spec.endpoint_name;
            triggers.endpoints.push(ObjectRef::new(endpoint).within(&namespace));
            if change == Change::Gone {
                // A namesake that had to wait may take its place.
                triggers.deployments.extend(references(caches.deployments.store(), |other| {
                    other.namespace().as_ref() == Some(&namespace) && names_endpoint(other, endpoint)
                }));
            }
        }
        Err(_) => {
            triggers.endpoints =
                references(caches.endpoints.store(), |endpoint| endpoint.namespace().as_ref() == Some(&namespace));
        }
    }
    triggers
}

fn names_endpoint(deployment: &Guarded<OnlineDeployment>, endpoint: &str) -> bool {
    deployment.0.as_ref().is_ok_and(|deployment| deployment.spec.endpoint_name == endpoint)
}

/// The quotas that an object may count in.
fn quotas_of<K: Resource>(caches: &Caches, object: &K) -> Vec<ObjectRef<Guarded<ComputeQuota>>> {
    references(caches.quotas.store(), |quota| quota.meta().namespace == object.meta().namespace)
}

/// The quota itself, and those who wait for it: what it allows, or what others use of it, has changed.
fn of_quota(caches: &Caches, quota: &Guarded<ComputeQuota>) -> Triggers {
    let here = |metadata: &ObjectMeta| metadata.namespace.as_ref() == quota.meta().namespace.as_ref();
    let waits = |deployment: &OnlineDeployment| {
        let error = deployment.status.as_ref().and_then(|status| status.error.as_ref());
        error.is_some_and(|error| error.code == Code::Err1100)
    };
    let failed = |endpoint: &OnlineEndpoint| {
        let state = endpoint.status.as_ref().and_then(|status| status.provisioning_state);
        state == Some(EndpointState::Failed)
    };
    Triggers {
        endpoints: references(caches.endpoints.store(), |it| here(it.meta()) && it.0.as_ref().is_ok_and(failed)),
        deployments: references(caches.deployments.store(), |it| here(it.meta()) && it.0.as_ref().is_ok_and(waits)),
        quotas: vec![ObjectRef::from_obj(quota)],
    }
}

fn of_instance_type(caches: &Caches, name: &str) -> Triggers {
    let deployments = references(caches.deployments.store(), |deployment| {
        deployment.0.as_ref().is_ok_and(|deployment| deployment.spec.instance_type == name)
    });
    Triggers { deployments, quotas: references(caches.quotas.store(), |_| true), ..Triggers::default() }
}

/// What was said of an object that is gone says nothing more.
fn forget<K: Resource>(caches: &Caches, object: &K, change: Change) {
    if change == Change::Gone
        && let Some(uid) = &object.meta().uid
    {
        caches.evidence.forget(uid);
    }
}

fn of_event(caches: &Caches, event: &Event) -> Triggers {
    let namespace = event.involved_object.namespace.clone().unwrap_or_default();
    let deployment = evidence::deployment_of(event, &caches.deployments);
    let deployments = deployment.map(|name| ObjectRef::new(&name).within(&namespace)).into_iter().collect();
    Triggers { deployments, ..Triggers::default() }
}

fn of_secret<K: Resource<DynamicType = ()>>(caches: &Caches, secret: &K) -> Triggers {
    let name = secret.meta().name.as_deref();
    let endpoints = references(caches.endpoints.store(), |endpoint| {
        endpoint.namespace().as_ref() == secret.meta().namespace.as_ref()
            && (has_label(secret, label::ENDPOINT, &endpoint.name_any())
                || endpoint.0.as_ref().is_ok_and(|endpoint| keys_secret_name(endpoint).as_deref() == name))
    });
    let names = |deployment: &OnlineDeployment| {
        deployment.spec.environment.image_pull_secret_names.iter().any(|named| Some(named.as_str()) == name)
    };
    let deployments = references(caches.deployments.store(), |deployment| {
        deployment.namespace().as_ref() == secret.meta().namespace.as_ref() && deployment.0.as_ref().is_ok_and(names)
    });
    Triggers { endpoints, deployments, quotas: Vec::new() }
}

fn by_endpoint_label<K: Resource>(object: &K) -> Triggers {
    let namespace = object.namespace().unwrap_or_default();
    let name = object.labels().get(label::ENDPOINT);
    Triggers {
        endpoints: name.map(|name| ObjectRef::new(name).within(&namespace)).into_iter().collect(),
        ..Triggers::default()
    }
}

fn by_deployment_label<K: Resource>(object: &K) -> Triggers {
    let namespace = object.namespace().unwrap_or_default();
    let name = object.labels().get(label::ONLINE_DEPLOYMENT);
    Triggers {
        deployments: name.map(|name| ObjectRef::new(name).within(&namespace)).into_iter().collect(),
        ..Triggers::default()
    }
}
