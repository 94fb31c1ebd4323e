//! Where endpoints and deployments are: in a cluster, or on this machine.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::ListParams;

use super::CliError;
use super::arguments::Cluster;
use super::arguments::change::{FromAzure, OnMachine};
use super::arguments::deployment::DeploymentName;
use super::connect::{Connection, connect};
use super::documents::{Documents, Local};
use super::machine::Machine;
use super::remembered::Chosen;
use super::talk::say;
use super::upload;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::local::annotation::{GPUS, NAMESPACE};

/// Where they are.
pub(super) enum Target {
    /// In a namespace of a cluster.
    Cluster(Connection),
    /// On this machine's container engine.
    Local(Machine),
}

impl Target {
    /// What the arguments say.
    pub(super) async fn of(arguments: &Cluster) -> Result<Self, CliError> {
        let patience = arguments.timeout.map(|seconds| Duration::from_secs(seconds.get()));
        if arguments.local {
            refuse_cluster(arguments)?;
            return Ok(Self::Local(Machine::open(patience)?));
        }
        Ok(Self::Cluster(connect(arguments).await?))
    }

    /// The cluster, for what this machine has not.
    pub(super) fn cluster(&self, what: &str) -> Result<&Connection, CliError> {
        match self {
            Self::Cluster(connection) => Ok(connection),
            Self::Local(_) => Err(CliError::Usage(format!("{what}; leave out --local"))),
        }
    }

    pub(super) const fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// The longest wait that the user has asked for.
    pub(super) const fn patience(&self) -> Option<Duration> {
        match self {
            Self::Cluster(connection) => connection.patience,
            Self::Local(machine) => machine.patience,
        }
    }

    /// Where, in a sentence.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Cluster(connection) => connection.place(),
            Self::Local(_) => "on this machine".to_owned(),
        }
    }

    /// The namespace of the objects.
    pub(super) fn namespace(&self) -> &str {
        match self {
            Self::Cluster(connection) => &connection.namespace,
            Self::Local(_) => NAMESPACE,
        }
    }

    /// Where, as arguments of a command.
    pub(super) fn arguments(&self) -> String {
        match self {
            Self::Cluster(connection) => connection.arguments(),
            Self::Local(_) => "--local".to_owned(),
        }
    }

    pub(super) fn not_found(&self, kind: &'static str, name: &str) -> CliError {
        CliError::not_found(kind, name, self.place(), &self.arguments())
    }

    fn exists(&self, kind: &'static str, name: &str) -> CliError {
        CliError::Exists { kind, name: name.to_owned(), place: self.place() }
    }

    pub(super) async fn endpoints(&self) -> Result<Vec<OnlineEndpoint>, CliError> {
        match self {
            Self::Cluster(connection) => connection.list(&ListParams::default()).await,
            Self::Local(machine) => machine.endpoints(),
        }
    }

    pub(super) async fn find_endpoint(&self, name: &str) -> Result<Option<OnlineEndpoint>, CliError> {
        match self {
            Self::Cluster(connection) => connection.get(name).await,
            Self::Local(machine) => Ok(machine.store.endpoint(name)?),
        }
    }

    pub(super) async fn endpoint(&self, name: &str) -> Result<OnlineEndpoint, CliError> {
        self.find_endpoint(name).await?.ok_or_else(|| self.not_found("endpoint", name))
    }

    /// All deployments, or those of an endpoint.
    pub(super) async fn deployments(&self, endpoint: Option<&str>) -> Result<Vec<OnlineDeployment>, CliError> {
        match self {
            Self::Cluster(connection) => {
                let mut all: Vec<OnlineDeployment> = connection.list(&ListParams::default()).await?;
                all.retain(|one| endpoint.is_none_or(|endpoint| one.spec.endpoint_name == endpoint));
                Ok(all)
            }
            Self::Local(machine) => machine.deployments(endpoint),
        }
    }

    /// The deployment that the arguments name.
    pub(super) async fn named(&self, deployment: &DeploymentName) -> Result<OnlineDeployment, CliError> {
        self.deployment(deployment.endpoint_name.as_deref(), &deployment.name).await
    }

    /// A deployment by its name in an endpoint, or by the name of its object.
    pub(super) async fn deployment(&self, endpoint: Option<&str>, name: &str) -> Result<OnlineDeployment, CliError> {
        let found = match (self, endpoint) {
            (Self::Cluster(connection), None) => connection.get(name).await?,
            (Self::Local(machine), None) => machine.deployment_object(name)?,
            (_, Some(endpoint)) => self
                .deployments(Some(endpoint))
                .await?
                .into_iter()
                .find(|one| one.deployment_name().eq_ignore_ascii_case(name)),
        };
        let shown = endpoint.map_or_else(|| name.to_owned(), |endpoint| format!("{endpoint}/{name}"));
        found.ok_or_else(|| self.not_found("deployment", &shown))
    }

    /// Stores a new endpoint.
    pub(super) async fn create_endpoint(&self, object: &OnlineEndpoint) -> Result<OnlineEndpoint, CliError> {
        match self {
            Self::Cluster(connection) => connection.create("endpoint", object).await,
            Self::Local(machine) => {
                let name = object.name_any();
                if machine.store.endpoint(&name)?.is_some() {
                    return Err(self.exists("endpoint", &name));
                }
                machine.put_endpoint(object).await
            }
        }
    }

    /// Stores a new deployment.
    pub(super) async fn create_deployment(&self, object: &OnlineDeployment) -> Result<OnlineDeployment, CliError> {
        match self {
            Self::Cluster(connection) => connection.create("deployment", object).await,
            Self::Local(machine) => {
                let (endpoint, name) = (&object.spec.endpoint_name, object.deployment_name());
                if machine.store.deployment(endpoint, name)?.is_some() {
                    return Err(self.exists("deployment", name));
                }
                machine.put_deployment(object).await
            }
        }
    }

    /// Changes an endpoint as it is now.
    pub(super) async fn change_endpoint(
        &self,
        found: OnlineEndpoint,
        change: impl Fn(&mut OnlineEndpoint) -> Result<(), CliError>,
    ) -> Result<OnlineEndpoint, CliError> {
        match self {
            Self::Cluster(connection) => connection.change(found, change).await,
            Self::Local(machine) => {
                let name = found.name_any();
                let held = machine.store.hold(&name)?;
                let mut object = machine.store.endpoint(&name)?.ok_or_else(|| self.not_found("endpoint", &name))?;
                change(&mut object)?;
                let object = machine.put_endpoint(&object).await?;
                drop(held);
                Ok(object)
            }
        }
    }

    /// Changes a deployment as it is now.
    pub(super) async fn change_deployment(
        &self,
        found: OnlineDeployment,
        change: impl Fn(&mut OnlineDeployment) -> Result<(), CliError>,
    ) -> Result<OnlineDeployment, CliError> {
        match self {
            Self::Cluster(connection) => connection.change(found, change).await,
            Self::Local(machine) => {
                let (endpoint, name) = (&found.spec.endpoint_name, found.deployment_name());
                let held = machine.store.hold(endpoint)?;
                let found = machine.store.deployment(endpoint, name)?;
                let found = found.ok_or_else(|| self.not_found("deployment", name))?;
                let mut object = found.clone();
                change(&mut object)?;
                if object.spec == found.spec && object.annotations() == found.annotations() {
                    drop(held);
                    // Files of this machine may have changed where the document has not.
                    machine.restart(&found).await
                } else {
                    machine.put_deployment(&object).await
                }
            }
        }
    }

    /// Writes down in a deployment what only this machine can do.
    pub(super) fn prepare(&self, object: &mut OnlineDeployment, asked: &OnMachine) -> Result<(), CliError> {
        let is_asked = asked.gpus.is_some() || asked.vscode_debug;
        match self {
            Self::Cluster(_) if is_asked => {
                Err(CliError::Usage("--gpus and --vscode-debug are of this machine; they go with --local".to_owned()))
            }
            Self::Cluster(_) => Ok(()),
            Self::Local(_) => {
                if let Some(gpus) = &asked.gpus {
                    object.annotations_mut().insert(GPUS.to_owned(), gpus.clone());
                }
                Ok(())
            }
        }
    }

    /// Writes a development container for a deployment that serves, when one is asked for.
    pub(super) fn develop(&self, object: &OnlineDeployment, asked: &OnMachine) -> Result<(), CliError> {
        let Self::Local(machine) = self else { return Ok(()) };
        if asked.vscode_debug {
            let written = machine.store.develop(&object.spec.endpoint_name, object.deployment_name())?;
            let file = written.folder.join(".devcontainer/devcontainer.json");
            say!("its development container is {}; open it with", file.display());
            say!("  code --folder-uri {}", written.address());
        }
        Ok(())
    }

    /// Where files of this machine go, which a cluster can't fetch from here.
    pub(super) fn chosen(&self, azure: &FromAzure) -> Result<Chosen, CliError> {
        match self {
            Self::Cluster(connection) => Ok(Chosen::of(azure.artifact_store.as_ref(), connection.context.as_deref())),
            Self::Local(_) if azure.artifact_store.is_some() => Err(CliError::Usage(
                "--artifact-store is of a cluster; with --local files are used where they are".to_owned(),
            )),
            Self::Local(_) => Ok(Chosen::of(None, None)),
        }
    }

    /// What becomes of files of this machine.
    pub(super) fn files<'a>(&'a self, chosen: &'a Chosen) -> Local<'a> {
        match self {
            Self::Cluster(_) => Local::Fetchable(chosen.store.as_ref()),
            Self::Local(machine) => Local::OnMachine(machine.store.root()),
        }
    }

    /// Asks whether new objects would be stored, where something has to be uploaded for them first.
    pub(super) async fn would_take(
        &self,
        found: &Documents,
        endpoint: Option<&OnlineEndpoint>,
        deployments: &[OnlineDeployment],
    ) -> Result<(), CliError> {
        let Self::Cluster(connection) = self else { return Ok(()) };
        if !found.has_local() {
            return Ok(());
        }
        if let Some(endpoint) = endpoint {
            connection.try_create("endpoint", endpoint).await?;
        }
        for deployment in deployments {
            connection.try_create("deployment", deployment).await?;
        }
        Ok(())
    }

    /// Gives the deployment the `ConfigMap` that was made of its code, so that it goes when the deployment does.
    ///
    /// A `ConfigMap` comes first without an owner, which has no uid yet, and whoever ends in between leaves at worst a
    /// `ConfigMap` that nobody names, and never a deployment without its code: the next try finds and owns it. One that
    /// belonged to a deployment of the same name may be collected meanwhile, as long as this one is not its owner; then it
    /// is made anew.
    pub(super) async fn own(&self, object: &OnlineDeployment, found: &Documents) -> Result<(), CliError> {
        let Self::Cluster(connection) = self else { return Ok(()) };
        let code = object.spec.code_configuration.as_ref().and_then(|code| code.code.config_map_name.as_ref());
        let Some(name) = code.filter(|name| found.made.contains(name)) else { return Ok(()) };
        if connection.own(name, object).await? {
            return Ok(());
        }
        if let Some(config_map) = found.config_maps.iter().find(|one| one.metadata.name.as_ref() == Some(name)) {
            connection.apply(config_map).await?;
        }
        connection.own(name, object).await.map(drop)
    }

    /// Sees to it that an endpoint of this machine runs; a cluster does so by itself.
    pub(super) async fn wake(&self, endpoint: &str) -> Result<(), CliError> {
        if let Self::Local(machine) = self {
            machine.store.ensure_agent(endpoint).await?;
        }
        Ok(())
    }

    /// Stores what deployments and endpoints name, which has to be there before them.
    pub(super) async fn put_beside(&self, found: &Documents, chosen: &Chosen) -> Result<(), CliError> {
        if !found.uploads.is_empty() {
            chosen.tell();
            upload::all(&found.uploads).await?;
        }
        chosen.remember();
        for config_map in &found.config_maps {
            match self {
                Self::Cluster(connection) => connection.apply(config_map).await?,
                Self::Local(machine) => machine.put_config_map(found, config_map)?,
            }
            say!("ConfigMap {:?} is as the file says", config_map.name_any());
        }
        for secret in &found.secrets {
            match self {
                Self::Cluster(connection) => connection.apply(secret).await?,
                Self::Local(machine) => machine.put_secret(found, secret)?,
            }
            say!("Secret {:?} is as the file says", secret.name_any());
        }
        Ok(())
    }
}

/// There is only one place on this machine.
fn refuse_cluster(arguments: &Cluster) -> Result<(), CliError> {
    let given = [
        ("--kubeconfig", arguments.kubeconfig.is_some()),
        ("--context", arguments.context.is_some()),
        ("--namespace", arguments.namespace.is_some()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(CliError::Usage(format!("{flag} is of a cluster, and --local is of this machine"))),
        None => Ok(()),
    }
}
