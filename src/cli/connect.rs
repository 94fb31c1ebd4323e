//! The way to the cluster.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::config::KubeConfigOptions;
use kube::{Client, Config, Resource};
use serde::de::DeserializeOwned;

use super::CliError;
use super::arguments::Cluster;

/// A client, and the namespace that commands speak of.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) namespace: String,
}

/// Connects as kubectl does.
pub(super) async fn connect(cluster: &Cluster) -> Result<Connection, CliError> {
    let kubeconfig = |error: Box<dyn std::error::Error + Send + Sync>| CliError::Kubeconfig(error);
    let config = if let Some(context) = &cluster.context {
        let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
        Config::from_kubeconfig(&options).await.map_err(|error| kubeconfig(error.into()))?
    } else {
        Config::infer().await.map_err(|error| kubeconfig(error.into()))?
    };
    let namespace = cluster.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| kubeconfig(error.into()))?;
    Ok(Connection { client, namespace })
}

impl Connection {
    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// An object that the user has named.
    pub(super) async fn get<K>(&self, kind: &'static str, verb: &'static str, name: &str) -> Result<K, CliError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let found = self.api::<K>().get_opt(name).await.map_err(api("reading the object"))?;
        found.ok_or_else(|| CliError::NotFound { kind, verb, name: name.to_owned(), namespace: self.namespace.clone() })
    }
}

/// Names the act that an answer of the API server belongs to.
pub(super) fn api(act: &'static str) -> impl Fn(kube::Error) -> CliError {
    move |source| CliError::Api { act, source: Box::new(source) }
}
