//! What the verbs of the command line do: objects as files, which the agent of each endpoint makes true.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Serialize};

use super::annotation::{DEPLOYMENT, ENDPOINT, FOLDER, INSTANCE, NAMESPACE, RESTARTED_AT};
use super::development::{self, Development, DevelopmentError};
use super::engine::{self, Engine, EngineError};
use super::folder::{self, EndpointFolder, FolderError};
use super::instance::view::View;
use super::instance::{Blueprint, container};
use super::logs::{self, Extent, Pieces};
use super::variable::Secrets;
use super::{agent, evidence, host_path};
use crate::api::deployment::{OnlineDeployment, OnlineDeploymentStatus};
use crate::api::endpoint::{AuthMode, KEY_BYTES, OnlineEndpoint, OnlineEndpointStatus};

/// The variable that names the folder of local mode.
pub const FOLDER_VARIABLE: &str = "MOORING_LOCAL_STATE";
/// Longest wait for an agent to begin.
const BEGIN: Duration = Duration::from_secs(20);
/// Longest wait for an agent to end by itself.
const END: Duration = Duration::from_secs(15);
/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(50);
/// Lines of the agent's log that an error shows.
const SHOWN: usize = 10;

/// Why a verb of local mode failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file can't be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// There is no container engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It is not known where state belongs.
    #[error("it is not known where to keep the state; set HOME, XDG_STATE_HOME or {FOLDER_VARIABLE}")]
    Homeless,
    /// It can't be developed.
    #[error(transparent)]
    Development(#[from] DevelopmentError),
    /// There is no such object.
    #[error("there is no local {kind} {name:?}; create it first")]
    NotFound {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The document can't be carried out.
    #[error("{field}: {why}")]
    Invalid {
        /// The field, such as `spec.traffic`.
        field: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    Randomness(#[source] getrandom::Error),
    /// The agent does not begin.
    #[error("the local agent of endpoint {endpoint:?} does not begin; its log says:\n{log}")]
    Agent {
        /// The endpoint.
        endpoint: String,
        /// The end of its log.
        log: String,
    },
    /// This program can't be started again as an agent.
    #[error("starting the local agent failed")]
    Start(#[source] std::io::Error),
}

/// The keys of an endpoint.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    /// The key that callers use.
    pub primary_key: String,
    /// The key that callers use while the primary one is rotated.
    pub secondary_key: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Keys")
    }
}

/// One of the two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The first.
    Primary,
    /// The second.
    Secondary,
}

/// What was removed.
#[derive(Debug, Default)]
pub struct Deleted {
    /// Whether there was anything.
    pub found: bool,
    /// Containers that were removed here, beside those that the agent removed itself.
    pub containers: usize,
    /// Why containers may be left: the engine does not answer. Deleting again, once it does, removes them.
    pub engine: Option<EngineError>,
}

/// Where the state of local mode is.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    program: PathBuf,
}

impl Store {
    /// The store of this user: `MOORING_LOCAL_STATE`, or `mooring/local` in the folder for state. Agents are this program.
    ///
    /// # Errors
    /// When it is not known where.
    pub fn open() -> Result<Self, StoreError> {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = folder(FOLDER_VARIABLE)
            .or_else(|| Some(folder("XDG_STATE_HOME")?.join("mooring/local")))
            .or_else(|| Some(folder("HOME")?.join(".local/state/mooring/local")))
            .ok_or(StoreError::Homeless)?;
        Ok(Self::at(root, std::env::current_exe().map_err(StoreError::Start)?))
    }

    /// The store in a folder. `program` is started as agents and as storage initializers.
    #[must_use]
    pub fn at(root: PathBuf, program: PathBuf) -> Self {
        Self { root, program }
    }

    /// The folder that everything is in.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The program that agents are.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The folder of an endpoint.
    #[must_use]
    pub fn folder(&self, endpoint: &str) -> EndpointFolder {
        EndpointFolder::new(&self.root, endpoint)
    }

    /// All endpoints with their status, by name.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn endpoints(&self) -> Result<Vec<OnlineEndpoint>, StoreError> {
        let names = folder::names(&self.root)?;
        names.iter().filter_map(|name| self.endpoint(name).transpose()).collect()
    }

    /// An endpoint with its status; `None` when it does not exist.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn endpoint(&self, name: &str) -> Result<Option<OnlineEndpoint>, StoreError> {
        check_name("metadata.name", name)?;
        let folder = self.folder(name);
        let Some(mut object) = folder::read::<OnlineEndpoint>(&folder.object())? else { return Ok(None) };
        object.status = folder::read::<OnlineEndpointStatus>(&folder.status())?;
        Ok(Some(object))
    }

    /// The deployments of an endpoint with their status, by name.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn deployments(&self, endpoint: &str) -> Result<Vec<OnlineDeployment>, StoreError> {
        check_name("spec.endpointName", endpoint)?;
        let names = self.folder(endpoint).deployments()?;
        names.iter().filter_map(|name| self.deployment(endpoint, name).transpose()).collect()
    }

    /// A deployment with its status; `None` when it does not exist. Upper and lower case are the same name.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn deployment(&self, endpoint: &str, name: &str) -> Result<Option<OnlineDeployment>, StoreError> {
        check_name("spec.endpointName", endpoint)?;
        check_name("spec.deploymentName", name)?;
        let folder = self.folder(endpoint).deployment(name);
        let Some(mut object) = folder::read::<OnlineDeployment>(&folder.object())? else { return Ok(None) };
        object.status = folder::read::<OnlineDeploymentStatus>(&folder.status())?;
        Ok(Some(object))
    }

    /// Creates an endpoint or changes it, and gives it keys when it has none.
    ///
    /// # Errors
    /// When the document can't be carried out, or not be written.
    pub fn put_endpoint(&self, object: &OnlineEndpoint) -> Result<OnlineEndpoint, StoreError> {
        let name = object.metadata.name.clone().unwrap_or_default();
        check_name("metadata.name", &name)?;
        check_endpoint(object)?;
        let folder = self.folder(&name);
        let before = folder::read::<OnlineEndpoint>(&folder.object())?;
        let same = before.as_ref().is_some_and(|before| before.spec == object.spec);
        let metadata = metadata(&object.metadata, before.map(|before| before.metadata), same)?;
        let object = OnlineEndpoint { metadata, spec: object.spec.clone(), status: None };
        if folder::text(&folder.keys())?.is_none() {
            folder::write(&folder.keys(), &Keys { primary_key: fresh_key()?, secondary_key: fresh_key()? })?;
        }
        folder::write(&folder.object(), &object)?;
        Ok(object)
    }

    /// Creates a deployment or changes it.
    ///
    /// # Errors
    /// When its endpoint does not exist, the document can't be carried out, or not be written.
    pub fn put_deployment(&self, object: &OnlineDeployment) -> Result<OnlineDeployment, StoreError> {
        let endpoint = &object.spec.endpoint_name;
        if self.endpoint(endpoint)?.is_none() {
            return Err(StoreError::NotFound { kind: "endpoint", name: endpoint.clone() });
        }
        let mut object = object.clone();
        let name = object.deployment_name().to_owned();
        check_name("spec.deploymentName", &name)?;
        if object.metadata.name.is_none() {
            object.metadata.name = Some(format!("{endpoint}-{}", name.to_ascii_lowercase()));
        }
        // One name in all files, whatever the object's own is.
        object.spec.deployment_name = Some(name.clone());
        check_deployment(&object)?;
        let folder = self.folder(endpoint).deployment(&name);
        let before = folder::read::<OnlineDeployment>(&folder.object())?;
        let same = before.as_ref().is_some_and(|before| before.spec == object.spec);
        let metadata = metadata(&object.metadata, before.map(|before| before.metadata), same)?;
        let object = OnlineDeployment { metadata, spec: object.spec, status: None };
        folder::write(&folder.object(), &object)?;
        Ok(object)
    }

    /// Keeps a Secret that deployments of the endpoint may name.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put_secret(&self, endpoint: &str, name: &str, data: BTreeMap<String, String>) -> Result<(), StoreError> {
        check_name("metadata.name", endpoint)?;
        let path = self.folder(endpoint).secrets();
        let mut secrets: Secrets = folder::read(&path)?.unwrap_or_default();
        secrets.insert(name.to_owned(), data);
        Ok(folder::write(&path, &secrets)?)
    }

    /// Keeps a `ConfigMap` that deployments of the endpoint may name. Instances that have it mounted see the change.
    ///
    /// # Errors
    /// When it can't be written, or a key can't be a file.
    pub fn put_config_map(
        &self,
        endpoint: &str,
        name: &str,
        data: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), StoreError> {
        /// What a container may read as any user.
        const READABLE: u32 = 0o644;
        check_name("metadata.name", endpoint)?;
        let plain = |text: &str| {
            let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
            !text.is_empty() && text.len() <= 253 && !text.starts_with("..") && text != "." && text.chars().all(fits)
        };
        if let Some(wrong) = std::iter::once(name).chain(data.keys().map(String::as_str)).find(|text| !plain(text)) {
            let why = format!("{wrong:?} can't be a name; use letters, digits, '-', '_' and '.'");
            return Err(StoreError::Invalid { field: "data", why });
        }
        let folder = self.folder(endpoint).config_map(name);
        folder::make(&folder)?;
        open_to_all(&folder)?;
        for entry in std::fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok) {
            if entry.file_name().to_str().is_none_or(|key| !data.contains_key(key)) {
                folder::remove(&entry.path())?;
            }
        }
        for (key, text) in data {
            folder::write_bytes(&folder.join(key), text, READABLE)?;
        }
        Ok(())
    }

    /// The keys of an endpoint.
    ///
    /// # Errors
    /// When it does not exist or they can't be read.
    pub fn keys(&self, endpoint: &str) -> Result<Keys, StoreError> {
        let object = self.existing(endpoint)?;
        let folder = self.folder(endpoint);
        let absent = |name: &str| StoreError::NotFound { kind: "Secret", name: name.to_owned() };
        if let Some(secret) = &object.spec.keys_secret_name {
            let secrets: Secrets = folder::read(&folder.secrets())?.unwrap_or_default();
            let data = secrets.get(secret).ok_or_else(|| absent(secret))?;
            let key = |name: &str| data.get(name).cloned().ok_or_else(|| absent(secret));
            return Ok(Keys { primary_key: key("primaryKey")?, secondary_key: key("secondaryKey")? });
        }
        folder::read(&folder.keys())?.ok_or_else(|| absent("keys"))
    }

    /// Makes one of the keys anew; the other one goes on.
    ///
    /// # Errors
    /// When the endpoint does not exist, its keys are the user's own, or they can't be written.
    pub fn regenerate_key(&self, endpoint: &str, which: Key) -> Result<Keys, StoreError> {
        let object = self.existing(endpoint)?;
        if object.spec.keys_secret_name.is_some() {
            let why = "the keys are your own; change the Secret".to_owned();
            return Err(StoreError::Invalid { field: "spec.keysSecretName", why });
        }
        let mut keys = self.keys(endpoint)?;
        match which {
            Key::Primary => keys.primary_key = fresh_key()?,
            Key::Secondary => keys.secondary_key = fresh_key()?,
        }
        folder::write(&self.folder(endpoint).keys(), &keys)?;
        Ok(keys)
    }

    /// Replaces the instances of a deployment, one after the other: they see code and models as they are now.
    ///
    /// # Errors
    /// When it does not exist or can't be written.
    pub fn restart(&self, endpoint: &str, name: &str) -> Result<(), StoreError> {
        let mut object = self.deployment(endpoint, name)?.ok_or_else(|| not_found("deployment", name))?;
        object.status = None;
        let now = Timestamp::now().to_string();
        object.metadata.annotations.get_or_insert_default().insert(RESTARTED_AT.to_owned(), now);
        // As in a cluster, where it is a change of the template.
        object.metadata.generation = object.metadata.generation.map(|generation| generation + 1);
        Ok(folder::write(&self.folder(endpoint).deployment(name).object(), &object)?)
    }

    /// Where the gateway of an endpoint listens; `None` when it never has.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn gateway_address(&self, endpoint: &str) -> Result<Option<SocketAddr>, StoreError> {
        check_name("metadata.name", endpoint)?;
        let port = folder::text(&self.folder(endpoint).port())?.and_then(|text| text.trim().parse().ok());
        Ok(port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
    }

    /// Whether the agent of an endpoint lives.
    ///
    /// # Errors
    /// When the lock can't be looked at.
    pub fn has_agent(&self, endpoint: &str) -> Result<bool, StoreError> {
        check_name("metadata.name", endpoint)?;
        Ok(agent::lives(&self.folder(endpoint))?)
    }

    /// Sees to it that the agent of an endpoint lives and its gateway listens.
    ///
    /// # Errors
    /// When there is no container engine, the endpoint does not exist, or the agent does not begin.
    pub async fn ensure_agent(&self, endpoint: &str) -> Result<SocketAddr, StoreError> {
        self.existing(endpoint)?;
        Engine::connect().await?;
        let folder = self.folder(endpoint);
        if !self.has_agent(endpoint)? {
            self.start_agent(endpoint, &folder)?;
        }
        let since = Instant::now();
        loop {
            if let Some(address) = self.gateway_address(endpoint)?
                && self.has_agent(endpoint)?
                && tokio::net::TcpStream::connect(address).await.is_ok()
            {
                return Ok(address);
            }
            if since.elapsed() > BEGIN {
                let text = folder::text(&folder.agent_log())?.unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let log = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n");
                return Err(StoreError::Agent { endpoint: endpoint.to_owned(), log });
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    fn start_agent(&self, endpoint: &str, folder: &EndpointFolder) -> Result<(), StoreError> {
        let out = folder::log(&folder.agent_log())?;
        let err = out.try_clone().map_err(StoreError::Start)?;
        let child = Command::new(&self.program)
            .arg(agent::VERB)
            .arg("--name")
            .arg(endpoint)
            .env(FOLDER_VARIABLE, &self.root)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // It outlives the terminal.
            .process_group(0)
            .spawn();
        let mut child = child.map_err(StoreError::Start)?;
        // Somebody has to take its exit code if it ends before this process.
        std::thread::spawn(move || child.wait());
        Ok(())
    }

    /// Deletes an endpoint with its deployments, whatever of it is left.
    ///
    /// # Errors
    /// When a file can't be removed.
    pub async fn delete_endpoint(&self, name: &str) -> Result<Deleted, StoreError> {
        check_name("metadata.name", name)?;
        let folder = self.folder(name);
        let found = folder.path().exists();
        // What the agent ends by.
        folder::remove(&folder.object())?;
        self.wait_for_agent(name).await?;
        let mut deleted = self.remove_containers(&folder, &[(ENDPOINT, name)]).await;
        folder::remove(folder.path())?;
        deleted.found = found || deleted.containers > 0;
        Ok(deleted)
    }

    /// Deletes a deployment, whatever of it is left. Its traffic goes to the others.
    ///
    /// # Errors
    /// When a file can't be removed.
    pub async fn delete_deployment(&self, endpoint: &str, name: &str) -> Result<Deleted, StoreError> {
        check_name("spec.endpointName", endpoint)?;
        check_name("spec.deploymentName", name)?;
        let folder = self.folder(endpoint);
        let place = folder.deployment(name);
        let found = place.path().exists();
        for path in [place.object(), place.status(), place.workload()] {
            folder::remove(&path)?;
        }
        let since = Instant::now();
        // An agent takes the instances out of the table first.
        while place.path().exists() && self.has_agent(endpoint)? && since.elapsed() < END {
            tokio::time::sleep(PERIOD).await;
        }
        let name = name.to_ascii_lowercase();
        let mut deleted = self.remove_containers(&folder, &[(ENDPOINT, endpoint), (DEPLOYMENT, &name)]).await;
        folder::remove(place.path())?;
        deleted.found = found || deleted.containers > 0;
        Ok(deleted)
    }

    async fn wait_for_agent(&self, endpoint: &str) -> Result<(), StoreError> {
        let folder = self.folder(endpoint);
        let since = Instant::now();
        while folder.path().exists() && self.has_agent(endpoint)? {
            if since.elapsed() > END {
                agent::end(&folder);
                return Ok(());
            }
            tokio::time::sleep(PERIOD).await;
        }
        Ok(())
    }

    async fn remove_containers(&self, folder: &EndpointFolder, labels: &[(&str, &str)]) -> Deleted {
        let engine = match Engine::connect().await {
            Ok(engine) => engine,
            Err(error) => return Deleted { engine: Some(error), ..Deleted::default() },
        };
        let path = folder.path().display().to_string();
        let labels: Vec<(&str, &str)> = labels.iter().copied().chain([(FOLDER, path.as_str())]).collect();
        let mut containers = 0;
        for (name, _) in container::labelled(&engine, &labels, INSTANCE).await.unwrap_or_default() {
            match container::remove(&engine, &name).await {
                Ok(()) => containers += 1,
                Err(error) => tracing::warn!(container = name, "removing it failed: {}", engine::words(&error)),
            }
        }
        Deleted { containers, ..Deleted::default() }
    }

    /// The names of the instances of a deployment, the oldest first.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn instances(&self, endpoint: &str, name: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.views(endpoint, name)?.into_iter().map(|view| view.name).collect())
    }

    /// What is known of the instances of a deployment, the oldest first.
    ///
    /// # Errors
    /// When a name can't be one.
    pub fn views(&self, endpoint: &str, name: &str) -> Result<Vec<View>, StoreError> {
        check_name("spec.endpointName", endpoint)?;
        check_name("spec.deploymentName", name)?;
        let mut views = agent::views(&self.folder(endpoint).deployment(name));
        views.sort_by_key(|view| view.created);
        Ok(views)
    }

    /// The instances of a deployment as pods, the oldest first.
    ///
    /// # Errors
    /// When a name can't be one.
    pub fn pods(&self, endpoint: &str, name: &str) -> Result<Vec<Pod>, StoreError> {
        Ok(self.views(endpoint, name)?.iter().map(|view| Arc::unwrap_or_clone(evidence::pod(view))).collect())
    }

    /// Writes the development container of a deployment, from its newest instance.
    ///
    /// # Errors
    /// When there is nothing to debug, or it can't be written.
    pub fn develop(&self, endpoint: &str, name: &str) -> Result<Development, StoreError> {
        let folder = self.folder(endpoint);
        let place = folder.deployment(name);
        let newest = self.views(endpoint, name)?.pop();
        let blueprint = newest.map(|view| folder::read_json::<Blueprint>(&place.blueprint(&view.name))).transpose()?;
        let blueprint = blueprint.flatten().ok_or_else(|| DevelopmentError::NoInstance(name.to_owned()))?;
        Ok(development::write(&folder, &place, &blueprint)?)
    }

    /// Whether anything of an endpoint is left: files or containers.
    ///
    /// # Errors
    /// When the name can't be one.
    pub async fn has_traces(&self, name: &str) -> Result<bool, StoreError> {
        check_name("metadata.name", name)?;
        let folder = self.folder(name);
        if folder.path().exists() {
            return Ok(true);
        }
        let Ok(engine) = Engine::connect().await else { return Ok(false) };
        let path = folder.path().display().to_string();
        let found = container::labelled(&engine, &[(ENDPOINT, name), (FOLDER, &path)], INSTANCE).await;
        Ok(found.is_ok_and(|found| !found.is_empty()))
    }

    /// The log of the inference server of an instance.
    ///
    /// # Errors
    /// When there is no container engine.
    pub async fn server_log(&self, instance: &str, extent: Extent) -> Result<Pieces, StoreError> {
        Ok(logs::of_server(&Engine::connect().await?, instance, extent))
    }

    /// The log of the storage initializer of a deployment.
    ///
    /// # Errors
    /// When a name can't be one.
    pub fn initializer_log(&self, endpoint: &str, name: &str, extent: Extent) -> Result<Pieces, StoreError> {
        check_name("spec.endpointName", endpoint)?;
        check_name("spec.deploymentName", name)?;
        Ok(logs::of_file(self.folder(endpoint).deployment(name).initializer_log(), extent))
    }

    fn existing(&self, endpoint: &str) -> Result<OnlineEndpoint, StoreError> {
        self.endpoint(endpoint)?.ok_or_else(|| not_found("endpoint", endpoint))
    }
}

fn not_found(kind: &'static str, name: &str) -> StoreError {
    StoreError::NotFound { kind, name: name.to_owned() }
}

/// The metadata that the API server would give.
fn metadata(wanted: &ObjectMeta, before: Option<ObjectMeta>, same: bool) -> Result<ObjectMeta, StoreError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(StoreError::Randomness)?;
    let before = before.unwrap_or_default();
    let generation = before.generation.unwrap_or(0);
    let mut annotations = wanted.annotations.clone().unwrap_or_default();
    // No user writes this one, so that he does not mean it when he leaves it out.
    if let Some(restarted) = before.annotations.as_ref().and_then(|before| before.get(RESTARTED_AT)) {
        annotations.entry(RESTARTED_AT.to_owned()).or_insert_with(|| restarted.clone());
    }
    Ok(ObjectMeta {
        name: wanted.name.clone(),
        namespace: Some(NAMESPACE.to_owned()),
        labels: wanted.labels.clone(),
        annotations: (!annotations.is_empty()).then_some(annotations),
        uid: Some(before.uid.unwrap_or_else(|| URL_SAFE_NO_PAD.encode(random))),
        creation_timestamp: Some(before.creation_timestamp.unwrap_or_else(whole_seconds)),
        generation: Some(if same && generation > 0 { generation } else { generation + 1 }),
        ..ObjectMeta::default()
    })
}

/// The present as files have it.
fn whole_seconds() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

fn fresh_key() -> Result<String, StoreError> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(StoreError::Randomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn open_to_all(folder: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    // Seen from within a container as any user; the folder above lets nobody else in.
    let opened = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755));
    let path = folder.to_owned();
    Ok(opened.map_err(|source| FolderError::Disk { act: "opening", path, source })?)
}

/// Names become folders and parts of containers' names.
fn check_name(field: &'static str, name: &str) -> Result<(), StoreError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let starts = name.starts_with(|letter: char| letter.is_ascii_alphabetic());
    if (3..=32).contains(&name.len()) && starts && !name.ends_with('-') && name.chars().all(fits) {
        return Ok(());
    }
    let why = format!(
        "{name:?} must be 3 to 32 letters, digits and '-', starting with a letter and ending with a letter or digit"
    );
    Err(StoreError::Invalid { field, why })
}

/// What the schema's rules say in a cluster and matters here.
fn check_endpoint(object: &OnlineEndpoint) -> Result<(), StoreError> {
    let invalid = |field, why: &str| Err(StoreError::Invalid { field, why: why.to_owned() });
    let spec = &object.spec;
    let sum: i64 = spec.traffic.values().map(|percent| i64::from(percent.0)).sum();
    if !matches!(sum, 0 | 100) || spec.traffic.values().any(|percent| !(0..=100).contains(&percent.0)) {
        return invalid("spec.traffic", "the percentages must sum to 100, or to 0 to switch traffic off");
    }
    if spec.mirror_traffic.len() > 1 || spec.mirror_traffic.values().any(|percent| !(0..=50).contains(&percent.0)) {
        return invalid("spec.mirrorTraffic", "at most 50 percent can be mirrored, to one deployment");
    }
    if spec.auth_mode == AuthMode::AmlToken {
        return invalid("spec.authMode", "AMLToken needs a cluster that gives tokens; use Key");
    }
    Ok(())
}

/// The same of a deployment.
fn check_deployment(object: &OnlineDeployment) -> Result<(), StoreError> {
    let spec = &object.spec;
    let invalid = |field, why: &str| Err(StoreError::Invalid { field, why: why.to_owned() });
    if !(0..=50).contains(&spec.instance_count) {
        return invalid("spec.instanceCount", "must be 0 to 50");
    }
    if spec.rollout.max_surge <= 0 && spec.rollout.max_unavailable <= 0 {
        return invalid("spec.rollout", "maxSurge and maxUnavailable must not both be 0");
    }
    let unpacks = "unpack goes with a uri that is downloaded; a path of this machine is mounted as it is";
    if spec.model.as_ref().is_some_and(|model| model.unpack && host_path::path(&model.uri).is_some()) {
        return invalid("spec.model.unpack", unpacks);
    }
    if let Some(code) = &spec.code_configuration {
        let source = &code.code;
        if source.uri.is_some() == source.config_map_name.is_some() {
            return invalid("spec.codeConfiguration.code", "needs either uri or configMapName");
        }
        if source.unpack && source.uri.as_deref().and_then(host_path::path).is_some() {
            return invalid("spec.codeConfiguration.code.unpack", unpacks);
        }
        let script = &code.scoring_script;
        if script.starts_with('/') || script.split('/').any(|part| part == "..") {
            return invalid("spec.codeConfiguration.scoringScript", "must be relative and must not hold '..'");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::at(root.path().join("state"), PathBuf::from("/absent"));
        (root, store)
    }

    fn endpoint(spec: &serde_json::Value) -> OnlineEndpoint {
        let object = json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint", "metadata": {"name": "iris"}, "spec": spec,
        });
        serde_json::from_value(object).unwrap()
    }

    fn deployment(name: &str, count: i32) -> OnlineDeployment {
        let object = json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineDeployment", "metadata": {"name": format!("iris-{name}")},
            "spec": {
                "endpointName": "iris", "deploymentName": name, "environment": {"image": "i"}, "instanceCount": count,
            },
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn an_endpoint_keeps_its_uid_and_keys_and_its_generation_counts_changes() {
        let (_root, store) = store();
        let first = store.put_endpoint(&endpoint(&json!({}))).unwrap();
        let keys = store.keys("iris").unwrap();
        assert!(keys.primary_key.len() >= 43 && keys.primary_key != keys.secondary_key);
        let same = store.put_endpoint(&endpoint(&json!({}))).unwrap();
        assert_eq!(first.metadata, same.metadata);
        let changed = store.put_endpoint(&endpoint(&json!({"traffic": {"blue": 100}}))).unwrap();
        assert_eq!((changed.metadata.generation, changed.metadata.uid), (Some(2), first.metadata.uid));
        assert!(store.keys("iris").unwrap() == keys);
        let renewed = store.regenerate_key("iris", Key::Primary).unwrap();
        assert!(renewed.primary_key != keys.primary_key && renewed.secondary_key == keys.secondary_key);
    }

    #[test]
    fn a_deployment_needs_its_endpoint_and_is_found_in_any_case() {
        let (_root, store) = store();
        let error = store.put_deployment(&deployment("Blue", 1)).unwrap_err();
        assert!(matches!(error, StoreError::NotFound { kind: "endpoint", .. }));
        store.put_endpoint(&endpoint(&json!({}))).unwrap();
        store.put_deployment(&deployment("Blue", 1)).unwrap();
        assert_eq!(store.deployment("iris", "bLUE").unwrap().unwrap().spec.deployment_name.as_deref(), Some("Blue"));
        assert_eq!(store.deployments("iris").unwrap().len(), 1);
    }

    #[test]
    fn a_restart_is_kept_when_the_document_is_applied_again() {
        let (_root, store) = store();
        store.put_endpoint(&endpoint(&json!({}))).unwrap();
        store.put_deployment(&deployment("blue", 1)).unwrap();
        store.restart("iris", "blue").unwrap();
        let restarted = store.deployment("iris", "blue").unwrap().unwrap();
        let again = store.put_deployment(&deployment("blue", 1)).unwrap();
        assert_eq!(again.metadata, restarted.metadata);
        assert_eq!(again.metadata.generation, Some(2));
    }

    #[test]
    fn names_can_not_leave_the_folder() {
        let (_root, store) = store();
        for name in ["..", "../x", "a/b/c", "", "ab", "-abc", &"a".repeat(33)] {
            assert!(matches!(store.endpoint(name), Err(StoreError::Invalid { .. })), "{name}");
            assert!(matches!(store.deployment("iris", name), Err(StoreError::Invalid { .. })), "{name}");
        }
        store.put_endpoint(&endpoint(&json!({}))).unwrap();
        for key in ["../x", "a/b", "..", ""] {
            let data = BTreeMap::from([(key.to_owned(), Vec::new())]);
            assert!(store.put_config_map("iris", "code", &data).is_err(), "{key}");
        }
    }

    #[test]
    fn what_a_cluster_would_refuse_is_refused() {
        let (_root, store) = store();
        for spec in
            [json!({"traffic": {"blue": 50}}), json!({"mirrorTraffic": {"blue": 60}}), json!({"authMode": "AMLToken"})]
        {
            assert!(store.put_endpoint(&endpoint(&spec)).is_err(), "{spec}");
        }
        store.put_endpoint(&endpoint(&json!({}))).unwrap();
        assert!(store.put_deployment(&deployment("blue", 51)).is_err());
    }

    #[test]
    fn a_config_map_has_the_keys_that_it_was_last_given() {
        let (_root, store) = store();
        store.put_endpoint(&endpoint(&json!({}))).unwrap();
        let put = |key: &str| {
            let data = BTreeMap::from([(key.to_owned(), b"x".to_vec())]);
            store.put_config_map("iris", "code", &data).unwrap();
        };
        put("a.py");
        put("b.py");
        let folder = store.folder("iris").config_map("code");
        let keys: Vec<_> = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(keys, ["b.py"]);
    }
}
