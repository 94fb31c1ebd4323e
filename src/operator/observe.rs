//! Every read.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Node, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::core::{DeserializeGuard, ObjectMeta, PartialObjectMeta};
use kube::{Client, Resource, ResourceExt};
use kube_runtime::reflector::ObjectRef;
use serde::de::DeserializeOwned;

use super::cache::{Cache, Caches, Guarded, has_label};
use crate::api::compute_quota::ComputeQuota;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::api::http_route::HTTPRoute;
use crate::api::instance_type::{InstanceType, InstanceTypeSpec, built_in};
use crate::api::{label, name};
use crate::plan::build::{ingress, secret};
use crate::plan::diagnose::pod::is_unschedulable;
use crate::plan::endpoint::{generates_keys, keys_secret_name};
use crate::plan::quota::{Claims, DeploymentClaim, EndpointClaim, Quota};
use crate::plan::seen::{Found, SeenDeployment, SeenEndpoint, SeenKeys, SeenMember, SeenOwner, is_controlled_by};
use crate::plan::validate;

/// Reads around our objects: from the caches, and from the API server where a cache has nothing to say.
pub(super) struct Observer {
    client: Client,
    caches: Arc<Caches>,
    /// What each Secret lets in, so that it is read once for each of its versions. Digests only.
    keys: Mutex<HashMap<ObjectRef<Secret>, KnownKeys>>,
}

/// What one version of a Secret lets in.
#[derive(Clone)]
struct KnownKeys {
    resource_version: Option<String>,
    keys: SeenKeys,
}

impl Observer {
    pub(super) fn new(client: Client, caches: Arc<Caches>) -> Self {
        Self { client, caches, keys: Mutex::new(HashMap::new()) }
    }

    pub(super) fn caches(&self) -> &Caches {
        &self.caches
    }

    /// The state around a deployment.
    pub(super) async fn deployment(&self, object: Arc<OnlineDeployment>) -> Result<SeenDeployment, kube::Error> {
        let caches = &*self.caches;
        let (namespace, resource) = (object.namespace().unwrap_or_default(), object.name_any());
        let uid = object.uid().unwrap_or_default();
        let rival = caches
            .deployments
            .select(&namespace, |other| other.0.as_ref().is_ok_and(|other| validate::is_older_namesake(other, &object)))
            .first()
            .map(|other| other.name_any());
        let endpoint = self.owner(&namespace, &object.spec.endpoint_name);
        let user_account = self.user_account(&endpoint, &namespace);
        let deployment = self.find(&caches.kubernetes_deployments, &namespace, &resource, &uid).await?;
        let service = self.find(&caches.services, &namespace, &name::instances_service(&resource), &uid).await?;
        let replica_sets =
            caches.replica_sets.select(&namespace, |set| has_label(set, label::ONLINE_DEPLOYMENT, &resource));
        let pods = caches.pods.select(&namespace, |pod| has_label(pod, label::ONLINE_DEPLOYMENT, &resource));
        let instance_type = match self.instance_type(&object.spec.instance_type) {
            // Whether there is one can't be known, which the API server's answer says best.
            None if caches.instance_types.is_none() => {
                let types = Api::<InstanceType>::all(self.client.clone());
                types.get_opt(&object.spec.instance_type).await?.map(|object| object.spec)
            }
            known => known,
        };
        let uids = replica_sets.iter().map(|set| set.uid()).chain(pods.iter().map(|pod| pod.uid()));
        let notes = uids.flatten().map(|uid| (uid.clone(), caches.evidence.of(&uid))).collect();
        // Who has a node does not ask for others.
        let asks = pods.iter().any(|pod| is_unschedulable(pod));
        let tainted = |node: &Node| node.spec.as_ref().is_some_and(|spec| spec.taints.is_some());
        let tainted_nodes = caches.nodes.as_ref();
        let tainted_nodes = tainted_nodes.map(|nodes| if asks { nodes.state_filter(tainted) } else { Vec::new() });
        let pull_secrets = object.spec.environment.image_pull_secret_names.iter().map(|name| {
            let secret = caches.secrets.get(&namespace, name);
            (name.clone(), secret.and_then(|secret| secret.metadata.creation_timestamp.as_ref().map(|time| time.0)))
        });
        Ok(SeenDeployment {
            download: caches.downloads.of(&namespace, &resource),
            pull_secrets: pull_secrets.collect(),
            tainted_nodes,
            notes,
            quotas: self.quotas(&namespace),
            claims: self.claims(&namespace),
            endpoint,
            has_service_account: caches
                .service_accounts
                .get(&namespace, &name::service_account(&object.spec.endpoint_name))
                .is_some_and(|account| has_label(&*account, label::MANAGED_BY, label::MANAGER)),
            user_account,
            rival,
            instance_type,
            deployment,
            service,
            replica_sets,
            pods,
            object,
        })
    }

    /// The state around an endpoint.
    pub(super) async fn endpoint(&self, object: Arc<OnlineEndpoint>) -> Result<SeenEndpoint, kube::Error> {
        let caches = &*self.caches;
        let (namespace, endpoint) = (object.namespace().unwrap_or_default(), object.name_any());
        let uid = object.uid().unwrap_or_default();
        let (generated, keys) = self.keys(&object, &namespace, &uid).await?;
        let of_this = caches.deployments.select(&namespace, |deployment| {
            // One that can't be read may be anybody's; its entry is kept where there is one.
            deployment.0.as_ref().map_or(true, |deployment| deployment.spec.endpoint_name == endpoint)
        });
        let (mut deployments, mut unreadable) = (Vec::new(), Vec::new());
        for told in of_this {
            let latest = caches.deployments.get(&namespace, &told.name_any()).unwrap_or(told);
            match &latest.0 {
                Ok(deployment) => deployments.push(SeenMember {
                    reachable_instances: self.reachable_instances(&namespace, &deployment.name_any()),
                    object: Arc::new(deployment.clone()),
                }),
                Err(invalid) => unreadable.extend(invalid.metadata.name.clone()),
            }
        }
        Ok(SeenEndpoint {
            keys,
            generated_secret: generated,
            service: self.find(&caches.services, &namespace, &endpoint, &uid).await?,
            service_account: self
                .find(&caches.service_accounts, &namespace, &name::service_account(&endpoint), &uid)
                .await?,
            http_route: self.http_route(&object, &namespace, &uid).await?,
            ingress: {
                let is_wanted = ingress::as_ingress(&object).is_some();
                self.find_if(is_wanted, &caches.ingresses, &namespace, &endpoint, &uid).await?
            },
            route: self.find(&caches.routes, &namespace, &endpoint, &uid).await?,
            deployments,
            unreadable,
            quotas: self.quotas(&namespace),
            claims: self.claims(&namespace),
            object,
        })
    }

    /// What stands under a name: from the cache, and when it knows nothing from the API server, since objects without
    /// our label are not watched.
    async fn find<K>(&self, cache: &Cache<K>, namespace: &str, name: &str, owner: &str) -> Result<Found<K>, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug + 'static,
    {
        let object = match cache.get(namespace, name) {
            Some(object) => Some(object),
            None => Api::<K>::namespaced(self.client.clone(), namespace).get_opt(name).await?.map(Arc::new),
        };
        Ok(found(object, |object| object.meta(), owner))
    }

    /// The same of what few objects want; of what is not wanted, our own alone counts: nobody else's is in the way.
    async fn find_if<K>(
        &self,
        is_wanted: bool,
        cache: &Cache<K>,
        namespace: &str,
        name: &str,
        owner: &str,
    ) -> Result<Found<K>, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug + 'static,
    {
        if is_wanted {
            return self.find(cache, namespace, name, owner).await;
        }
        Ok(found(cache.get(namespace, name), |object| object.meta(), owner))
    }

    /// The way through a Gateway, where there can be one.
    async fn http_route(
        &self,
        object: &OnlineEndpoint,
        namespace: &str,
        uid: &str,
    ) -> Result<Option<Found<HTTPRoute>>, kube::Error> {
        let routes = &self.caches.http_routes;
        if *routes.is_known.borrow() != Some(true) {
            return Ok(None);
        }
        let is_wanted = ingress::as_http_route(object).is_some();
        Ok(Some(self.find_if(is_wanted, &routes.cache, namespace, &object.name_any(), uid).await?))
    }

    fn owner(&self, namespace: &str, endpoint: &str) -> SeenOwner {
        match self.caches.endpoints.get(namespace, endpoint).as_deref() {
            Some(DeserializeGuard(Ok(endpoint))) if endpoint.metadata.deletion_timestamp.is_none() => {
                SeenOwner::Present(Arc::new(endpoint.clone()))
            }
            Some(DeserializeGuard(Err(invalid))) => SeenOwner::Unreadable(invalid.error.clone()),
            Some(DeserializeGuard(Ok(_))) | None => SeenOwner::Missing,
        }
    }

    fn user_account(&self, endpoint: &SeenOwner, namespace: &str) -> Option<BTreeMap<String, String>> {
        let SeenOwner::Present(endpoint) = endpoint else { return None };
        let account = self.caches.service_accounts.get(namespace, endpoint.spec.identity.user_account()?)?;
        Some(label::identity(account.metadata.annotations.as_ref()))
    }

    /// An object of this name replaces the built-in one; one that can't be read stands for nothing.
    pub(super) fn instance_type(&self, name: &str) -> Option<InstanceTypeSpec> {
        match self.caches.instance_types.as_ref().and_then(|types| types.get(&ObjectRef::new(name))) {
            Some(object) => object.0.as_ref().ok().map(|object| object.spec.clone()),
            None => built_in(name),
        }
    }

    pub(super) fn quotas(&self, namespace: &str) -> Vec<Quota> {
        let readable = |object: &Arc<Guarded<ComputeQuota>>| {
            let object = object.0.as_ref().ok()?;
            Some(Quota { name: object.name_any(), spec: object.spec.clone() })
        };
        let mut quotas: Vec<Quota> =
            self.caches.quotas.select(namespace, |_| true).iter().filter_map(readable).collect();
        quotas.sort_by(|left, right| left.name.cmp(&right.name));
        quotas
    }

    /// What is claimed in a namespace that has a quota; nothing has to be counted in one that has none.
    pub(super) fn claims(&self, namespace: &str) -> Claims {
        let caches = &*self.caches;
        if caches.quotas.select(namespace, |_| true).is_empty() {
            return Claims::default();
        }
        let deployments = caches.deployments.select(namespace, |object| object.meta().deletion_timestamp.is_none());
        let endpoints = caches.endpoints.select(namespace, |object| object.meta().deletion_timestamp.is_none());
        let ours =
            |metadata: &ObjectMeta, owner: Option<&str>| owner.is_some_and(|owner| is_controlled_by(metadata, owner));
        Claims {
            deployments: deployments
                .iter()
                .filter_map(|object| object.0.as_ref().ok())
                .map(|object| {
                    let made = caches.kubernetes_deployments.get(namespace, &object.name_any());
                    let made = made.filter(|made| ours(&made.metadata, object.metadata.uid.as_deref()));
                    let replicas = made.and_then(|made| made.spec.as_ref()?.replicas);
                    let instance_type = self.instance_type(&object.spec.instance_type);
                    DeploymentClaim::of(object, instance_type.as_ref(), replicas)
                })
                .collect(),
            endpoints: endpoints
                .iter()
                .filter_map(|object| object.0.as_ref().ok())
                .map(|object| EndpointClaim {
                    name: object.name_any(),
                    created: object.metadata.creation_timestamp.clone(),
                    held: caches
                        .routes
                        .get(namespace, &object.name_any())
                        .is_some_and(|route| ours(&route.metadata, object.metadata.uid.as_deref())),
                })
                .collect(),
        }
    }

    fn reachable_instances(&self, namespace: &str, resource: &str) -> usize {
        let service = name::instances_service(resource);
        let ready = |slice: &EndpointSlice| {
            slice
                .endpoints
                .iter()
                .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true))
                .count()
        };
        self.caches
            .slices
            .state_filter(|slice| {
                slice.namespace().as_deref() == Some(namespace) && has_label(slice, label::SERVICE_NAME, &service)
            })
            .iter()
            .map(|slice| ready(slice))
            .sum()
    }

    /// The generated Secret, and what the Secret in use lets in.
    async fn keys(
        &self,
        object: &OnlineEndpoint,
        namespace: &str,
        uid: &str,
    ) -> Result<(Found<PartialObjectMeta<Secret>>, SeenKeys), kube::Error> {
        let caches = &*self.caches;
        let generated = name::keys_secret(&object.name_any());
        if generates_keys(object) {
            if let Some(known) = caches.secrets.get(namespace, &generated) {
                let keys = self.secret(namespace, &generated, known.resource_version()).await?;
                // Labels are cut in the cache, owner references are not.
                return Ok((found(Some(known), |known| &known.metadata, uid), keys));
            }
            let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
            let there = api.get_opt(&generated).await?;
            let keys = there.as_ref().map_or(SeenKeys::Absent, |there| self.remember(there));
            let metadata = there.map(|there| Arc::new(partial(there.metadata)));
            return Ok((found(metadata, |metadata| &metadata.metadata, uid), keys));
        }
        // Made before the user brought his own; in the cache by now.
        let left = found(caches.secrets.get(namespace, &generated), |left| &left.metadata, uid);
        let keys = match keys_secret_name(object) {
            Some(own) => self.watched_secret(namespace, &own).await?,
            None => SeenKeys::Absent,
        };
        Ok((left, keys))
    }

    /// What a Secret lets in that users named, as watched.
    pub(super) async fn watched_secret(&self, namespace: &str, name: &str) -> Result<SeenKeys, kube::Error> {
        match self.caches.secrets.get(namespace, name) {
            Some(known) => self.secret(namespace, name, known.resource_version()).await,
            None => Ok(SeenKeys::Absent),
        }
    }

    /// The same, read now.
    pub(super) async fn ask_secret(&self, namespace: &str, name: &str) -> Result<SeenKeys, kube::Error> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        Ok(api.get_opt(name).await?.map_or(SeenKeys::Absent, |secret| self.remember(&secret)))
    }

    /// The endpoint of this name, when it is there and can be read.
    pub(super) fn watched_endpoint(&self, namespace: &str, name: &str) -> Option<Arc<OnlineEndpoint>> {
        self.caches.endpoints.get(namespace, name)?.0.as_ref().ok().cloned().map(Arc::new)
    }

    /// The deploymentNames in an endpoint, of the deployments that can be read.
    pub(super) fn watched_names(&self, namespace: &str, endpoint: &str) -> Vec<String> {
        let of_this = |object: &Guarded<OnlineDeployment>| {
            object.0.as_ref().is_ok_and(|other| other.spec.endpoint_name == endpoint)
        };
        let objects = self.caches.deployments.select(namespace, of_this);
        objects.iter().filter_map(|it| it.0.as_ref().ok().map(|it| it.deployment_name().to_owned())).collect()
    }

    /// The deployments of the name of `object` in its endpoint that can be read, perhaps with itself.
    pub(super) fn watched_namesakes(&self, namespace: &str, object: &OnlineDeployment) -> Vec<Arc<OnlineDeployment>> {
        let name = object.deployment_name();
        let is_namesake = |other: &Guarded<OnlineDeployment>| {
            other.0.as_ref().is_ok_and(|other| {
                other.spec.endpoint_name == object.spec.endpoint_name
                    && other.deployment_name().eq_ignore_ascii_case(name)
            })
        };
        let objects = self.caches.deployments.select(namespace, is_namesake);
        objects.iter().filter_map(|it| it.0.as_ref().ok().cloned().map(Arc::new)).collect()
    }

    /// The client, for what no watch tells.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    async fn secret(&self, namespace: &str, name: &str, version: Option<String>) -> Result<SeenKeys, kube::Error> {
        let key = ObjectRef::new(name).within(namespace);
        let remembered = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = remembered
            && known.resource_version == version
        {
            return Ok(known.keys);
        }
        self.ask_secret(namespace, name).await
    }

    /// Keeps the digests of a Secret that was read or written.
    pub(super) fn remember(&self, secret: &Secret) -> SeenKeys {
        let keys = secret::digests(secret.data.as_ref().unwrap_or(&BTreeMap::new()));
        let entry = KnownKeys { resource_version: secret.resource_version(), keys: keys.clone() };
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(ObjectRef::from_obj(secret), entry);
        keys
    }
}

/// Metadata alone, as the caches hold it.
pub(super) fn partial<K>(metadata: ObjectMeta) -> PartialObjectMeta<K> {
    PartialObjectMeta { types: None, metadata, _phantom: std::marker::PhantomData }
}

fn found<K>(object: Option<Arc<K>>, metadata: impl Fn(&K) -> &ObjectMeta, owner: &str) -> Found<K> {
    match object {
        None => Found::Absent,
        Some(object) if is_controlled_by(metadata(&object), owner) => Found::Ours(object),
        Some(_) => Found::Foreign,
    }
}
