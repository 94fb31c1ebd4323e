//! Endpoints and deployments of this machine.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{AsyncBufRead, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt;

use super::CliError;
use super::arguments::deployment::{Container, Logs};
use super::documents::Documents;
use super::talk::say;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::api::label;
use crate::local::logs::Extent;
use crate::local::store::Store;
use crate::plan::seen::note::{Note, Topic};
use crate::process::cause;

/// This machine.
pub(super) struct Machine {
    pub(super) store: Store,
    pub(super) patience: Option<Duration>,
}

impl Machine {
    pub(super) fn open(patience: Option<Duration>) -> Result<Self, CliError> {
        Ok(Self { store: Store::open()?, patience })
    }

    /// All endpoints; one that can't be read is told and does not hide the others.
    pub(super) fn endpoints(&self) -> Result<Vec<OnlineEndpoint>, CliError> {
        let mut all = Vec::new();
        for name in self.store.names()? {
            match self.store.endpoint(&name) {
                Ok(None) => {}
                Ok(Some(endpoint)) => {
                    self.tell_when_asleep(&name)?;
                    all.push(endpoint);
                }
                Err(error) => say!("endpoint {name:?} is left out: {}", cause::told(&error).join(": ")),
            }
        }
        Ok(all)
    }

    /// All deployments, or those of an endpoint; one that can't be read is told and does not hide the others.
    pub(super) fn deployments(&self, endpoint: Option<&str>) -> Result<Vec<OnlineDeployment>, CliError> {
        let endpoints = match endpoint {
            Some(endpoint) => vec![endpoint.to_owned()],
            None => self.store.names()?,
        };
        let mut all = Vec::new();
        for endpoint in endpoints {
            let before = all.len();
            for name in self.store.deployment_names(&endpoint)? {
                match self.store.deployment(&endpoint, &name) {
                    Ok(found) => all.extend(found),
                    Err(error) => say!("deployment {endpoint}/{name} is left out: {}", cause::told(&error).join(": ")),
                }
            }
            if all.len() > before {
                self.tell_when_asleep(&endpoint)?;
            }
        }
        Ok(all)
    }

    /// A deployment by the name of its object.
    pub(super) fn deployment_object(&self, name: &str) -> Result<Option<OnlineDeployment>, CliError> {
        Ok(self.deployments(None)?.into_iter().find(|one| one.name_any() == name))
    }

    /// An endpoint whose agent was ended, as by a restart of the machine, shows what was.
    fn tell_when_asleep(&self, endpoint: &str) -> Result<(), CliError> {
        if self.store.folder(endpoint).object().exists() && !self.store.has_agent(endpoint)? {
            say!(
                "nothing of endpoint {endpoint:?} runs, and its status is that of before; `mooring endpoint invoke --local` \
                 and `mooring deployment rollout status --local` start it again"
            );
        }
        Ok(())
    }

    pub(super) async fn put_endpoint(&self, object: &OnlineEndpoint) -> Result<OnlineEndpoint, CliError> {
        self.store.is_able().await?;
        let object = self.store.put_endpoint(object)?;
        self.store.ensure_agent(&object.name_any()).await?;
        Ok(object)
    }

    pub(super) async fn put_deployment(&self, object: &OnlineDeployment) -> Result<OnlineDeployment, CliError> {
        self.store.is_able().await?;
        let object = self.store.put_deployment(object)?;
        self.store.ensure_agent(&object.spec.endpoint_name).await?;
        Ok(object)
    }

    /// Replaces the instances of a deployment: they see files as they are now.
    pub(super) async fn restart(&self, found: &OnlineDeployment) -> Result<OnlineDeployment, CliError> {
        let (endpoint, name) = (&found.spec.endpoint_name, found.deployment_name());
        self.store.is_able().await?;
        let _held = self.store.hold(endpoint)?;
        let object = self.store.restart(endpoint, name)?;
        self.store.ensure_agent(endpoint).await?;
        say!("deployment {name:?}: every instance is replaced by a new one");
        Ok(object)
    }

    /// The instances of deployments, as pods.
    pub(super) fn pods(&self, deployments: &[OnlineDeployment]) -> Result<Vec<Pod>, CliError> {
        let mut all = Vec::new();
        for deployment in deployments {
            let mut pods = self.store.pods(&deployment.spec.endpoint_name, deployment.deployment_name())?;
            for pod in &mut pods {
                pod.labels_mut().insert(label::ONLINE_DEPLOYMENT.to_owned(), deployment.name_any());
            }
            all.append(&mut pods);
        }
        Ok(all)
    }

    /// What happened to an instance, the oldest first.
    pub(super) fn events(
        &self,
        deployment: &OnlineDeployment,
        instance: &str,
    ) -> Result<Option<Vec<Happened>>, CliError> {
        let views = self.store.views(&deployment.spec.endpoint_name, deployment.deployment_name())?;
        let mut notes: Vec<Note> =
            views.into_iter().filter(|view| view.name == instance).flat_map(|view| view.notes).collect();
        notes.sort_by_key(|note| note.last);
        Ok(Some(notes.into_iter().map(Happened::from).collect()))
    }

    /// The log of a container of an instance.
    pub(super) async fn log(
        &self,
        deployment: &OnlineDeployment,
        instance: &str,
        request: &Logs,
    ) -> Result<impl AsyncBufRead + use<>, CliError> {
        let extent = Extent {
            lines: u64::try_from(request.lines).unwrap_or_default(),
            follow: request.follow,
            previous: request.previous,
            timestamps: request.timestamps,
        };
        let (endpoint, name) = (&deployment.spec.endpoint_name, deployment.deployment_name());
        let pieces = match request.container {
            Container::InferenceServer => self.store.server_log(instance, extent).await?,
            Container::StorageInitializer => self.store.initializer_log(endpoint, name, extent)?,
        };
        Ok(pieces.map_err(std::io::Error::other).into_async_read())
    }

    /// Keeps a `ConfigMap` for every endpoint that the file speaks of.
    pub(super) fn put_config_map(&self, found: &Documents, object: &ConfigMap) -> Result<(), CliError> {
        let texts = object.data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes()));
        let bytes = object.binary_data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
        let data = texts.chain(bytes).collect();
        for endpoint in endpoints_of(found) {
            let _held = self.store.hold(endpoint)?;
            self.store.put_config_map(endpoint, &object.name_any(), &data)?;
        }
        Ok(())
    }

    /// Keeps a Secret for every endpoint that the file speaks of.
    pub(super) fn put_secret(&self, found: &Documents, object: &Secret) -> Result<(), CliError> {
        let name = object.name_any();
        let mut data: BTreeMap<String, String> = object.string_data.clone().unwrap_or_default();
        for (key, bytes) in object.data.iter().flatten() {
            let text = String::from_utf8(bytes.0.clone()).map_err(|_| {
                CliError::Usage(format!("Secret {name:?}: {key} is no text, and a local variable takes nothing else"))
            })?;
            data.insert(key.clone(), text);
        }
        for endpoint in endpoints_of(found) {
            let _held = self.store.hold(endpoint)?;
            self.store.put_secret(endpoint, &name, data.clone())?;
        }
        Ok(())
    }
}

/// Something that happened to an instance.
pub(super) struct Happened {
    /// In one word, as `Unhealthy`.
    pub(super) reason: String,
    /// `Normal` or `Warning`.
    pub(super) kind: String,
    /// When, as RFC 3339 has it.
    pub(super) time: String,
    /// In a sentence.
    pub(super) message: String,
}

impl From<Note> for Happened {
    fn from(note: Note) -> Self {
        // The kubelet's words.
        let (reason, kind) = match note.topic {
            Topic::FailedCreate => ("FailedCreate", "Warning"),
            Topic::FailedPull => ("Failed", "Warning"),
            Topic::FailedMount => ("FailedMount", "Warning"),
            Topic::FailedSandbox => ("FailedCreatePodSandBox", "Warning"),
            Topic::Unhealthy => ("Unhealthy", "Warning"),
            Topic::KilledByProbe => ("Killing", "Normal"),
        };
        let times = if note.count > 1 { format!(" (x{})", note.count) } else { String::new() };
        Self {
            reason: reason.to_owned(),
            kind: kind.to_owned(),
            time: note.last.to_string(),
            message: format!("{}{times}", note.text),
        }
    }
}

/// The endpoints that a file speaks of, each once.
fn endpoints_of(found: &Documents) -> Vec<&str> {
    let own = found.endpoints.iter().filter_map(|endpoint| endpoint.metadata.name.as_deref());
    let named = found.deployments.iter().map(|deployment| deployment.spec.endpoint_name.as_str());
    let mut all: Vec<&str> = own.chain(named).collect();
    all.sort_unstable();
    all.dedup();
    all
}
