//! The way to the cluster.

use std::fmt::Debug;
use std::time::Duration;

use hyper::header::{HeaderValue, USER_AGENT};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Client, Config, Resource};
use serde::de::DeserializeOwned;

use super::CliError;
use super::arguments::Cluster;
use super::error::Cause;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::process::build;

/// Longest wait for the API server.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for a model: more than any endpoint's own limit, so that the gateway's answer comes first.
const SCORING_PATIENCE: Duration = Duration::from_secs(330);

/// A client, and the namespace that commands speak of.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) namespace: String,
    patience: Option<Duration>,
}

/// Connects as kubectl does.
pub(super) async fn connect(cluster: &Cluster) -> Result<Connection, CliError> {
    let mut config = config(cluster).await?;
    // The deadline is ours, of each answer.
    config.connect_timeout = None;
    config.headers.push((USER_AGENT, HeaderValue::from_static(build::CLI)));
    let namespace = cluster.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| unusable(cluster, error.into()))?;
    Ok(Connection { client, namespace, patience: cluster.timeout.map(|seconds| Duration::from_secs(seconds.get())) })
}

async fn config(cluster: &Cluster) -> Result<Config, CliError> {
    let options = KubeConfigOptions { context: cluster.context.clone(), ..KubeConfigOptions::default() };
    let config = match (&cluster.kubeconfig, &cluster.context) {
        (Some(path), _) => {
            let kubeconfig = Kubeconfig::read_from(path).map_err(|error| unusable(cluster, error.into()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(Cause::from)
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(Cause::from),
        (None, None) => Config::infer().await.map_err(Cause::from),
    };
    config.map_err(|error| unusable(cluster, error))
}

fn unusable(cluster: &Cluster, source: Cause) -> CliError {
    let file = cluster.kubeconfig.as_ref().map(|path| format!("kubeconfig {}", path.display()));
    let file = file.unwrap_or_else(|| "the kubeconfig".to_owned());
    let which = cluster.context.as_ref().map(|context| format!("context {context:?} of {file}"));
    CliError::Kubeconfig { which: which.unwrap_or(file), source }
}

impl Connection {
    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits for an answer of the API server; `act` names what was asked.
    pub(super) async fn ask<T>(
        &self,
        act: impl Into<String>,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CliError> {
        let act = act.into();
        match within(self.patience.unwrap_or(PATIENCE), act.clone(), answer).await? {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(source)) => Err(CliError::Denied { act, source }),
            Err(source) => Err(CliError::NoAnswer { act, source: Box::new(source) }),
        }
    }

    /// Waits for an answer of a model.
    pub(super) async fn ask_model<T>(&self, answer: impl Future<Output = T>) -> Result<T, CliError> {
        within(self.patience.unwrap_or(SCORING_PATIENCE), "scoring".to_owned(), answer).await
    }

    pub(super) async fn list<K>(&self, selection: &ListParams) -> Result<Vec<K>, CliError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let act = format!("listing {} in namespace {:?}", K::plural(&()), self.namespace);
        Ok(self.ask(act, self.api::<K>().list(selection)).await?.items)
    }

    pub(super) async fn endpoint(&self, name: &str) -> Result<OnlineEndpoint, CliError> {
        self.get(name).await?.ok_or_else(|| CliError::NotFound {
            kind: "endpoint",
            name: name.to_owned(),
            namespace: self.namespace.clone(),
            next_step: format!("see `mooring endpoint list --namespace {}`", self.namespace),
        })
    }

    /// A deployment by its name in an endpoint, or by the name of its object.
    pub(super) async fn deployment(&self, endpoint: Option<&str>, name: &str) -> Result<OnlineDeployment, CliError> {
        let found = match endpoint {
            None => self.get(name).await?,
            Some(endpoint) => {
                let all: Vec<OnlineDeployment> = self.list(&ListParams::default()).await?;
                all.into_iter().find(|one| one.spec.endpoint_name == endpoint && is_named(one, name))
            }
        };
        found.ok_or_else(|| CliError::NotFound {
            kind: "deployment",
            name: endpoint.map_or_else(|| name.to_owned(), |endpoint| format!("{endpoint}/{name}")),
            namespace: self.namespace.clone(),
            next_step: format!("see `mooring deployment list --namespace {}`", self.namespace),
        })
    }

    pub(super) async fn get<K>(&self, name: &str) -> Result<Option<K>, CliError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let act = format!("reading {} {name:?} in namespace {:?}", K::kind(&()), self.namespace);
        match self.ask(act, self.api::<K>().get(name)).await {
            // Details name the object that is missing; without them, the API server misses the kind.
            Err(CliError::Denied { source, .. }) if is_not_found(&source) => Ok(None),
            answer => answer.map(Some),
        }
    }
}

/// Whether this is the name of the deployment in its endpoint: upper and lower case are the same.
fn is_named(deployment: &OnlineDeployment, name: &str) -> bool {
    let object = deployment.metadata.name.as_deref().unwrap_or_default();
    deployment.spec.deployment_name.as_deref().unwrap_or(object).eq_ignore_ascii_case(name)
}

fn is_not_found(status: &Status) -> bool {
    status.code == 404 && status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

async fn within<T>(patience: Duration, act: String, answer: impl Future<Output = T>) -> Result<T, CliError> {
    let late = |_| CliError::TimedOut { act, seconds: patience.as_secs() };
    tokio::time::timeout(patience, answer).await.map_err(late)
}
