//! Every write but the status.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::observe::{Observer, partial};
use crate::api::http_route::HTTPRoute;
use crate::api::label::MANAGER;
use crate::plan::change::{Change, Child, Target, TargetKind};

/// A write that the API server did not take.
#[derive(Debug, thiserror::Error)]
#[error("writing {kind} {name:?} failed")]
pub(super) struct ActError {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) source: kube::Error,
}

/// Carries out a plan, in its order, up to the first failure.
pub(super) async fn act(
    client: &Client,
    observer: &Observer,
    namespace: &str,
    changes: Vec<Change>,
) -> Result<(), ActError> {
    for change in changes {
        match change {
            Change::Apply(child) => apply(client, observer, namespace, child).await?,
            Change::Delete(target) => delete(client, namespace, &target).await?,
        }
    }
    Ok(())
}

async fn apply(client: &Client, observer: &Observer, namespace: &str, child: Child) -> Result<(), ActError> {
    let caches = observer.caches();
    match child {
        Child::Deployment(object) => {
            caches.kubernetes_deployments.wrote(server_side(client, namespace, "Deployment", &*object).await?);
        }
        Child::Service(object) => caches.services.wrote(server_side(client, namespace, "Service", &*object).await?),
        Child::Ingress(object) => caches.ingresses.wrote(server_side(client, namespace, "Ingress", &*object).await?),
        Child::HttpRoute(object) => {
            caches.http_routes.cache.wrote(server_side(client, namespace, "HTTPRoute", &*object).await?);
        }
        Child::Route(object) => caches.routes.wrote(server_side(client, namespace, "EndpointRoute", &*object).await?),
        Child::ServiceAccount(object) => {
            let written = server_side(client, namespace, "ServiceAccount", &*object).await?;
            caches.service_accounts.wrote(partial(written.metadata));
        }
        Child::Keys(object) => {
            // Created, never applied: keys that somebody else has put there meanwhile stay.
            let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
            let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
            let written =
                api.create(&parameters, &object).await.map_err(|source| failed("Secret", &*object, source))?;
            observer.remember(&written);
            caches.secrets.wrote(partial(written.metadata));
        }
    }
    Ok(())
}

/// Force only on what is known to be ours (its uid is in the object): a foreign object that came under our name in
/// this very moment answers with a conflict.
async fn server_side<K>(client: &Client, namespace: &str, kind: &'static str, object: &K) -> Result<K, ActError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let ours = object.meta().uid.is_some();
    let parameters = PatchParams { force: ours, ..PatchParams::apply(MANAGER) };
    let name = object.name_any();
    api.patch(&name, &parameters, &Patch::Apply(object)).await.map_err(|source| failed(kind, object, source))
}

async fn delete(client: &Client, namespace: &str, target: &Target) -> Result<(), ActError> {
    async fn exactly<K>(client: &Client, namespace: &str, target: &Target) -> Result<(), kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(target.uid.clone()), resource_version: None }),
            ..DeleteParams::background()
        };
        match Api::<K>::namespaced(client.clone(), namespace).delete(&target.name, &parameters).await {
            // Gone already, or another object has the name now.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            other => other.map(|_| ()),
        }
    }
    let (kind, outcome) = match target.kind {
        TargetKind::Deployment => ("Deployment", exactly::<Deployment>(client, namespace, target).await),
        TargetKind::Service => ("Service", exactly::<Service>(client, namespace, target).await),
        TargetKind::ServiceAccount => ("ServiceAccount", exactly::<ServiceAccount>(client, namespace, target).await),
        TargetKind::Ingress => ("Ingress", exactly::<Ingress>(client, namespace, target).await),
        TargetKind::HttpRoute => ("HTTPRoute", exactly::<HTTPRoute>(client, namespace, target).await),
        TargetKind::Secret => ("Secret", exactly::<Secret>(client, namespace, target).await),
    };
    outcome.map_err(|source| ActError { kind, name: target.name.clone(), source })
}

fn failed<K: ResourceExt>(kind: &'static str, object: &K, source: kube::Error) -> ActError {
    ActError { kind, name: object.name_any(), source }
}
