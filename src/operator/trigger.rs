//! What a change of any object means for ours: which of them to look at.

use k8s_openapi::api::core::v1::Event;
use kube::core::ObjectMeta;
use kube::{Resource, ResourceExt};
use kube_runtime::reflector::{ObjectRef, Store};

use super::cache::{Caches, Guarded, has_label};
use super::evidence;
use crate::api::compute_quota::ComputeQuota;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::{EndpointState, OnlineEndpoint};
use crate::api::label;
use crate::catalogue::Code;
use crate::plan::diagnose::pod::is_unschedulable;
use crate::plan::endpoint::keys_secret_name;

/// What an event means for our objects.
#[derive(Default)]
pub(super) struct Triggers {
    pub(super) endpoints: Vec<ObjectRef<Guarded<OnlineEndpoint>>>,
    pub(super) deployments: Vec<ObjectRef<Guarded<OnlineDeployment>>>,
    pub(super) quotas: Vec<ObjectRef<Guarded<ComputeQuota>>>,
}

impl Triggers {
    /// Both.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.endpoints.extend(other.endpoints);
        self.deployments.extend(other.deployments);
        self.quotas.extend(other.quotas);
        self
    }
}

/// Whether an object is there or gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    There,
    Gone,
}

pub(super) fn everything(caches: &Caches) -> Triggers {
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

pub(super) fn of_endpoint(caches: &Caches, endpoint: &Guarded<OnlineEndpoint>) -> Triggers {
    let deployments = deployments_of(caches, endpoint.namespace().as_deref(), &endpoint.name_any());
    Triggers { endpoints: vec![ObjectRef::from_obj(endpoint)], deployments, quotas: Vec::new() }
        .and(of_share(caches, endpoint))
}

pub(super) fn of_deployment(caches: &Caches, deployment: &Guarded<OnlineDeployment>, change: Change) -> Triggers {
    let namespace = deployment.namespace().unwrap_or_default();
    let mut triggers = of_share(caches, deployment);
    triggers.deployments.push(ObjectRef::from_obj(deployment));
    if let Ok(readable) = &deployment.0 {
        let endpoint = &readable.spec.endpoint_name;
        triggers.endpoints.push(ObjectRef::new(endpoint).within(&namespace));
        if change == Change::Gone {
            // A namesake that had to wait may take its place.
            triggers.deployments.extend(deployments_of(caches, Some(&namespace), endpoint));
        }
    } else {
        let here = |endpoint: &Guarded<OnlineEndpoint>| endpoint.namespace().as_ref() == Some(&namespace);
        triggers.endpoints.extend(references(caches.endpoints.store(), here));
    }
    triggers
}

/// The deployments that name an endpoint.
fn deployments_of(
    caches: &Caches,
    namespace: Option<&str>,
    endpoint: &str,
) -> Vec<ObjectRef<Guarded<OnlineDeployment>>> {
    references(caches.deployments.store(), |other| {
        other.meta().namespace.as_deref() == namespace
            && other.0.as_ref().is_ok_and(|deployment| deployment.spec.endpoint_name == endpoint)
    })
}

/// The endpoint that it was made for, and the deployments whose instances wait for it or use it.
pub(super) fn of_service_account<K: Resource>(caches: &Caches, account: &K) -> Triggers {
    let namespace = account.meta().namespace.as_deref();
    let (name, made_for) = (account.meta().name.as_deref(), account.labels().get(label::ENDPOINT));
    let is_used = |endpoint: &Guarded<OnlineEndpoint>| {
        endpoint.meta().namespace.as_deref() == namespace
            && (made_for == endpoint.meta().name.as_ref()
                || endpoint.0.as_ref().is_ok_and(|it| name.is_some() && it.spec.identity.user_account() == name))
    };
    let users = caches.endpoints.store().state_filter(is_used);
    let deployments = users.iter().flat_map(|endpoint| deployments_of(caches, namespace, &endpoint.name_any()));
    Triggers { deployments: deployments.collect(), ..by_endpoint_label(account) }
}

/// The quota itself, and those who wait for it: what it allows, or what others use of it, has changed.
pub(super) fn of_quota(caches: &Caches, quota: &Guarded<ComputeQuota>) -> Triggers {
    let mut triggers = waiting_for_quota(caches, quota.meta());
    triggers.quotas.push(ObjectRef::from_obj(quota));
    triggers
}

/// The quotas that an object counts in, and those who wait for them: it may take another share of them now, or none.
pub(super) fn of_share<K: Resource>(caches: &Caches, object: &K) -> Triggers {
    let quotas = references(caches.quotas.store(), |quota| quota.meta().namespace == object.meta().namespace);
    if quotas.is_empty() {
        return Triggers::default();
    }
    Triggers { quotas, ..waiting_for_quota(caches, object.meta()) }
}

fn waiting_for_quota(caches: &Caches, neighbour: &ObjectMeta) -> Triggers {
    let here = |metadata: &ObjectMeta| metadata.namespace == neighbour.namespace;
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
        quotas: Vec::new(),
    }
}

pub(super) fn of_instance_type(caches: &Caches, name: &str) -> Triggers {
    let deployments = references(caches.deployments.store(), |deployment| {
        deployment.0.as_ref().is_ok_and(|deployment| deployment.spec.instance_type == name)
    });
    Triggers { deployments, quotas: references(caches.quotas.store(), |_| true), ..Triggers::default() }
}

/// The deployments whose instances have no node: another one may take them now, or come back.
pub(super) fn of_node(caches: &Caches) -> Triggers {
    let pods = caches.pods.store().state_filter(is_unschedulable);
    pods.iter().fold(Triggers::default(), |found, pod| found.and(by_deployment_label(&**pod)))
}

/// What was said of an object that is gone says nothing more.
pub(super) fn forget<K: Resource>(caches: &Caches, object: &K, change: Change) {
    if change == Change::Gone
        && let Some(uid) = &object.meta().uid
    {
        caches.evidence.forget(uid);
    }
}

pub(super) fn of_event(caches: &Caches, event: &Event) -> Triggers {
    let namespace = event.involved_object.namespace.clone().unwrap_or_default();
    let deployment = evidence::deployment_of(event, caches);
    let deployments = deployment.map(|name| ObjectRef::new(&name).within(&namespace)).into_iter().collect();
    Triggers { deployments, ..Triggers::default() }
}

pub(super) fn of_secret<K: Resource<DynamicType = ()>>(caches: &Caches, secret: &K) -> Triggers {
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

pub(super) fn by_endpoint_label<K: Resource>(object: &K) -> Triggers {
    let namespace = object.namespace().unwrap_or_default();
    let name = object.labels().get(label::ENDPOINT);
    Triggers {
        endpoints: name.map(|name| ObjectRef::new(name).within(&namespace)).into_iter().collect(),
        ..Triggers::default()
    }
}

pub(super) fn by_deployment_label<K: Resource>(object: &K) -> Triggers {
    let namespace = object.namespace().unwrap_or_default();
    let name = object.labels().get(label::ONLINE_DEPLOYMENT);
    Triggers {
        deployments: name.map(|name| ObjectRef::new(name).within(&namespace)).into_iter().collect(),
        ..Triggers::default()
    }
}
