//! The way to the cluster.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use hyper::header::{HeaderValue, USER_AGENT};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Client, Config, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::CliError;
use super::arguments::Cluster;
use super::error::Cause;
use crate::process::build;

/// Longest wait for the API server.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The name by which this program changes objects.
const FIELD_MANAGER: &str = "mooring-cli";
/// How often a change is tried again that somebody else's came before.
const CONFLICTS: usize = 5;
/// The API server's answer where the object is there already, or was changed in between.
const CONFLICT: u16 = 409;

/// A client, and the namespace that commands speak of.
pub(super) struct Connection {
    pub(super) client: Client,
    /// The context of the kubeconfig; none in a pod.
    pub(super) context: Option<String>,
    pub(super) namespace: String,
    pub(super) patience: Option<Duration>,
}

/// Connects as kubectl does.
pub(super) async fn connect(cluster: &Cluster) -> Result<Connection, CliError> {
    let mut config = config(cluster).await?;
    // The deadline is ours, of each answer.
    config.connect_timeout = None;
    config.headers.push((USER_AGENT, HeaderValue::from_static(build::CLI)));
    let namespace = cluster.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    tracing::debug!(server = %config.cluster_url, %namespace, "the cluster");
    let client = Client::try_from(config).map_err(|error| unusable(cluster, error.into()))?;
    let patience = cluster.timeout.map(|seconds| Duration::from_secs(seconds.get()));
    Ok(Connection { client, context: context(cluster), namespace, patience })
}

/// The name of the context that [`config`] uses.
fn context(cluster: &Cluster) -> Option<String> {
    let kubeconfig = || match &cluster.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    cluster.context.clone().or_else(|| kubeconfig().ok()?.current_context)
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
    /// Where, in a sentence.
    pub(super) fn place(&self) -> String {
        format!("in namespace {:?}", self.namespace)
    }

    /// Where, as arguments of a command.
    pub(super) fn arguments(&self) -> String {
        format!("--namespace {}", self.namespace)
    }

    pub(super) fn not_found(&self, kind: &'static str, name: &str) -> CliError {
        CliError::not_found(kind, name, self.place(), &self.arguments())
    }

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
        let begun = Instant::now();
        let answer = within(self.patience.unwrap_or(PATIENCE), act.clone(), answer).await?;
        tracing::info!("{act} took {} ms", begun.elapsed().as_millis());
        match answer {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(source)) => Err(CliError::Denied { act, source }),
            Err(source) => Err(CliError::NoAnswer { act, source: Box::new(source) }),
        }
    }

    pub(super) async fn list<K>(&self, selection: &ListParams) -> Result<Vec<K>, CliError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let act = format!("listing {} in namespace {:?}", K::plural(&()), self.namespace);
        Ok(self.ask(act, self.api::<K>().list(selection)).await?.items)
    }

    /// Stores a new object; `kind` is the user's word for it.
    pub(super) async fn create<K>(&self, kind: &'static str, object: &K) -> Result<K, CliError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        self.create_by(kind, object, false).await
    }

    async fn create_by<K>(&self, kind: &'static str, object: &K, dry_run: bool) -> Result<K, CliError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let name = object.meta().name.clone().unwrap_or_default();
        let act = format!("creating {kind} {name:?} in namespace {:?}", self.namespace);
        let parameters = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) };
        match self.ask(act, self.api::<K>().create(&parameters, object)).await {
            Err(CliError::Denied { source, .. }) if source.code == CONFLICT && source.reason == "AlreadyExists" => {
                Err(CliError::Exists { kind, name, place: self.place() })
            }
            answer => answer,
        }
    }

    /// Asks whether a new object would be stored; `kind` is the user's word for it.
    pub(super) async fn try_create<K>(&self, kind: &'static str, object: &K) -> Result<(), CliError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        self.create_by(kind, object, true).await.map(drop)
    }

    /// Stores an object of Kubernetes' own, which names its kind, whether it is there or not, without a word where other
    /// programs own its fields.
    pub(super) async fn apply<K>(&self, object: &K) -> Result<(), CliError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let name = object.meta().name.clone().unwrap_or_default();
        let act = format!("applying {} {name:?} in namespace {:?}", K::kind(&()), self.namespace);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        self.ask(act, self.api::<K>().patch(&name, &parameters, &Patch::Apply(object))).await.map(drop)
    }

    /// Adds an owner to a `ConfigMap`, beside those that it has, so that it goes with the last of them. `false` when the
    /// `ConfigMap` is not there.
    pub(super) async fn own<O>(&self, config_map: &str, owner: &O) -> Result<bool, CliError>
    where
        O: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let act = format!("naming the owner of ConfigMap {config_map:?} in namespace {:?}", self.namespace);
        let owner = owner.owner_ref(&());
        // Strategic: owners are merged by their uid. And no apply, so that a later apply of the content takes none away.
        let fields = json!({"metadata": {"ownerReferences": owner.into_iter().collect::<Vec<_>>()}});
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.api::<ConfigMap>();
        match self.ask(act, api.patch(config_map, &parameters, &Patch::Strategic(fields))).await {
            Err(CliError::Denied { source, .. }) if is_not_found(&source) => Ok(false),
            answer => answer.map(|_| true),
        }
    }

    /// Changes an object as it is now, as often as somebody else's change comes in between.
    pub(super) async fn change<K>(
        &self,
        found: K,
        change: impl Fn(&mut K) -> Result<(), CliError>,
    ) -> Result<K, CliError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let name = found.meta().name.clone().unwrap_or_default();
        let act = format!("changing {} {name:?} in namespace {:?}", K::kind(&()), self.namespace);
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let mut object = found;
        let mut left = CONFLICTS;
        loop {
            change(&mut object)?;
            match self.ask(act.clone(), self.api::<K>().replace(&name, &parameters, &object)).await {
                Err(CliError::Denied { source, .. }) if source.code == CONFLICT && left > 0 => left -= 1,
                answer => return answer,
            }
            object = self.ask(act.clone(), self.api::<K>().get(&name)).await?;
        }
    }

    /// Changes some fields of an object.
    pub(super) async fn merge<K>(&self, name: &str, fields: &Value) -> Result<K, CliError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let act = format!("changing {} {name:?} in namespace {:?}", K::kind(&()), self.namespace);
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.ask(act, self.api::<K>().patch(name, &parameters, &Patch::Merge(fields))).await
    }

    /// Begins to delete an object and what belongs to it; one that is not there is as good as deleted.
    pub(super) async fn delete<K>(&self, name: &str) -> Result<(), CliError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let act = format!("deleting {} {name:?} in namespace {:?}", K::kind(&()), self.namespace);
        // The object is there as long as its pods are.
        match self.ask(act, self.api::<K>().delete(name, &DeleteParams::foreground())).await {
            Err(CliError::Denied { source, .. }) if is_not_found(&source) => Ok(()),
            answer => answer.map(drop),
        }
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

fn is_not_found(status: &Status) -> bool {
    status.code == 404 && status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

pub(super) async fn within<T>(patience: Duration, act: String, answer: impl Future<Output = T>) -> Result<T, CliError> {
    let late = |_| CliError::TimedOut { act, seconds: patience.as_secs() };
    tokio::time::timeout(patience, answer).await.map_err(late)
}
