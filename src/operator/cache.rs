//! What watches have told, and what we wrote since.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::core::DeserializeGuard;
use kube::core::PartialObjectMeta;
use kube::{Resource, ResourceExt};
use kube_runtime::reflector::{ObjectRef, Store};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;

use tokio::sync::watch;

use super::denial::Denials;
use super::download::Downloads;
use super::evidence::Evidence;
use crate::api::compute_quota::ComputeQuota;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::api::endpoint_route::EndpointRoute;
use crate::api::http_route::HTTPRoute;
use crate::api::instance_type::InstanceType;

/// An object of ours that may be unreadable.
pub(super) type Guarded<K> = DeserializeGuard<K>;

/// A watched kind. A read gives the newer one of what the watch told and what we wrote last, so that a pass never
/// works on a state from before its own writes.
#[derive(Debug)]
pub(super) struct Cache<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    written: Mutex<HashMap<ObjectRef<K>, Arc<K>>>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Cache<K> {
    pub(super) fn new(store: Store<K>) -> Self {
        Self { store, written: Mutex::new(HashMap::new()) }
    }

    pub(super) const fn store(&self) -> &Store<K> {
        &self.store
    }

    /// Remembers the API server's answer to a write of ours.
    pub(super) fn wrote(&self, object: K) {
        let key = ObjectRef::from_obj(&object);
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::new(object));
    }

    /// The object, as new as we know it. `None` is no proof that it does not exist: the watch may lag.
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let key = ObjectRef::new(name).within(namespace);
        let told = self.store.get(&key);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let own =
            written.get(&key).filter(|own| told.as_ref().is_some_and(|told| version::<K>(own) > version::<K>(told)));
        if let Some(own) = own {
            return Some(Arc::clone(own));
        }
        written.remove(&key);
        told
    }

    /// All objects of a namespace that `keep` accepts, as the watch told.
    pub(super) fn select(&self, namespace: &str, keep: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.store.state_filter(|object| object.meta().namespace.as_deref() == Some(namespace) && keep(object))
    }
}

/// The API server's own counting of changes.
fn version<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}

/// A kind that the cluster may learn later.
#[derive(Debug)]
pub(super) struct MaybeKnown<K: Resource<DynamicType = ()> + 'static> {
    pub(super) cache: Cache<K>,
    /// Whether the API server knows the kind; `None` until it has been asked.
    pub(super) is_known: watch::Sender<Option<bool>>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> MaybeKnown<K> {
    pub(super) fn new(store: Store<K>) -> Self {
        Self { cache: Cache::new(store), is_known: watch::Sender::new(None) }
    }
}

/// Every watched kind.
#[derive(Debug)]
pub(super) struct Caches {
    pub(super) endpoints: Cache<Guarded<OnlineEndpoint>>,
    pub(super) deployments: Cache<Guarded<OnlineDeployment>>,
    /// `None` in an operator of one namespace that has no right to look at them.
    pub(super) instance_types: Option<Store<Guarded<InstanceType>>>,
    pub(super) quotas: Cache<Guarded<ComputeQuota>>,
    pub(super) routes: Cache<EndpointRoute>,
    pub(super) kubernetes_deployments: Cache<Deployment>,
    pub(super) replica_sets: Cache<ReplicaSet>,
    pub(super) pods: Cache<Pod>,
    pub(super) services: Cache<Service>,
    pub(super) ingresses: Cache<Ingress>,
    pub(super) http_routes: MaybeKnown<HTTPRoute>,
    pub(super) service_accounts: Cache<PartialObjectMeta<ServiceAccount>>,
    pub(super) secrets: Cache<PartialObjectMeta<Secret>>,
    pub(super) slices: Store<EndpointSlice>,
    /// `None` in an operator of one namespace that has no right to look at them.
    pub(super) nodes: Option<Store<Node>>,
    pub(super) evidence: Evidence,
    pub(super) downloads: Downloads,
    pub(super) denials: Denials,
}

/// Whether an object carries a label with this value.
pub(super) fn has_label<K: ResourceExt>(object: &K, label: &str, value: &str) -> bool {
    object.labels().get(label).map(String::as_str) == Some(value)
}
