//! Model and code of an instance: fetched by a child process, or looked at where they are.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;
use tokio::process::Command;
use tokio::sync::OwnedMutexGuard;

use super::view::End;
use crate::api::artifact::{Artifact, ArtifactKind, ArtifactPlan, Delivery, DownloadProgress};
use crate::local::fetch::{self, Desk};
use crate::local::folder::{self, DeploymentFolder, EndpointFolder, FolderError};
use crate::local::variable::Secrets;
use crate::local::{host_path, mount};
use crate::plan::change::digest;
use crate::plan::validate::DATA;

/// The folder of a volume for files on their way.
const SCRATCH: &str = "scratch";
/// The mark of a volume that is whole: for which start of its deployment it was made so.
const WHOLE: &str = "whole";
/// The server may write beside its model, as in a cluster; the state folder lets nobody else in.
const WRITABLE: u32 = 0o777;

/// Who fetches what, so that no two processes fill one volume.
#[derive(Debug, Default)]
pub struct Downloads(Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>);

impl Downloads {
    /// Waits for whoever fills this volume.
    pub async fn alone(&self, volume: &Path) -> OwnedMutexGuard<()> {
        let mutex = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(volume.to_owned()).or_default())
        };
        mutex.lock_owned().await
    }
}

/// What an instance needs.
#[derive(Clone, Debug)]
pub struct Needs {
    /// The plan as it is followed on this machine.
    plan: ArtifactPlan,
    /// The folders of the volumes that are filled.
    volumes: BTreeMap<String, PathBuf>,
    /// Where the credentials of artifacts go, and the Secret that they come from.
    credentials: Vec<(PathBuf, String)>,
    /// What distinguishes this start of the deployment from the one before.
    start: String,
}

impl Needs {
    /// What the pod's storage initializer would do, with the places of this machine. `start` is another for each time
    /// that the user wants the stores asked again.
    #[must_use]
    pub fn of(
        pod: &PodSpec,
        instance: &str,
        start: &str,
        endpoint: &EndpointFolder,
        deployment: &DeploymentFolder,
    ) -> Option<Self> {
        let plan = mount::artifact_plan(pod)?;
        let mut needs = Self {
            plan: ArtifactPlan { artifacts: Vec::new(), cache: None, ..plan },
            volumes: BTreeMap::new(),
            credentials: Vec::new(),
            start: start.to_owned(),
        };
        for artifact in plan.artifacts {
            let artifact = needs.placed(artifact, pod, instance, endpoint, deployment);
            needs.plan.artifacts.push(artifact);
        }
        Some(needs)
    }

    fn placed(
        &mut self,
        artifact: Artifact,
        pod: &PodSpec,
        instance: &str,
        endpoint: &EndpointFolder,
        deployment: &DeploymentFolder,
    ) -> Artifact {
        let kind = artifact.kind.as_str();
        if let Delivery::Download { folder, .. } = artifact.delivery {
            let key = digest(&(&artifact.uri, &artifact.sha256, artifact.unpack));
            let volume = deployment.volume(&format!("{kind}-{}", key.get(..16).unwrap_or(&key)));
            let path = |name: &str| volume.join(name).display().to_string();
            let delivery = Delivery::Download { directory: path(DATA), folder, scratch: Some(path(SCRATCH)) };
            self.volumes.insert(kind.to_owned(), volume);
            let directory = deployment.fetch(instance).join(format!("{kind}-credentials"));
            let credentials_directory =
                artifact.credentials_directory.as_ref().map(|_| directory.display().to_string());
            if let Some(secret) = secret(pod, artifact.kind).filter(|_| credentials_directory.is_some()) {
                self.credentials.push((directory, secret));
            }
            return Artifact { delivery, credentials_directory, ..artifact };
        }
        if let Some(path) = host_path::of_planned(&artifact.uri) {
            let path = path.display().to_string();
            return Artifact { uri: format!("file://{path}"), delivery: Delivery::Mounted { path }, ..artifact };
        }
        let map = artifact.uri.strip_prefix("configmap://").unwrap_or_default();
        let path = endpoint.config_map(map).display().to_string();
        Artifact { delivery: Delivery::Mounted { path }, ..artifact }
    }

    /// Where the files of a volume are.
    #[must_use]
    pub fn data(&self, volume: &str) -> Option<PathBuf> {
        self.volumes.get(volume).map(|volume| volume.join(DATA))
    }

    /// Puts everything in place once, and tells how it ended; `None` when everything is there already.
    ///
    /// # Errors
    /// When the process can't be run.
    pub async fn follow(
        &self,
        program: &Path,
        desk: &Desk,
        log: &Path,
        secrets: &Secrets,
        downloads: &Downloads,
    ) -> Result<End, FollowError> {
        let started = Timestamp::now();
        let mut guards = Vec::new();
        for volume in self.volumes.values() {
            guards.push(downloads.alone(volume).await);
        }
        let is_whole = |artifact: &Artifact| {
            let volume = self.volumes.get(artifact.kind.as_str());
            volume.is_some_and(|volume| {
                folder::text(&volume.join(WHOLE)).ok().flatten().as_deref() == Some(self.start.as_str())
            })
        };
        let artifacts: Vec<Artifact> =
            self.plan.artifacts.iter().filter(|artifact| !is_whole(artifact)).cloned().collect();
        let ended = |exit_code: i32, message: String| End {
            exit_code,
            reason: if exit_code == 0 { "Completed" } else { "Error" }.to_owned(),
            message,
            started,
            finished: Timestamp::now(),
        };
        if artifacts.is_empty() {
            return Ok(ended(0, String::new()));
        }
        folder::remove(desk.path())?;
        for (directory, secret) in &self.credentials {
            folder::make(directory)?;
            for (key, value) in secrets.get(secret).into_iter().flatten() {
                folder::write_bytes(&directory.join(key), value.as_bytes(), 0o600)?;
            }
        }
        for volume in self.volumes.values() {
            let data = volume.join(DATA);
            folder::make(&data)?;
            let _ = fs::set_permissions(&data, fs::Permissions::from_mode(WRITABLE));
        }
        folder::write_json(&desk.plan(), &ArtifactPlan { artifacts, ..self.plan.clone() })?;
        let code = run(program, desk, log).await?;
        if code == 0 {
            for volume in self.volumes.values() {
                folder::write_bytes(&volume.join(WHOLE), self.start.as_bytes(), 0o600)?;
            }
        }
        let message = folder::text(&desk.report())?.unwrap_or_default();
        // Secrets have no business there any longer.
        folder::remove(desk.path())?;
        Ok(ended(code, message))
    }
}

/// Why the storage initializer could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The state folder can't be written.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The process can't be started.
    #[error("starting the storage initializer failed")]
    Start(#[source] std::io::Error),
}

async fn run(program: &Path, desk: &Desk, log: &Path) -> Result<i32, FollowError> {
    let out = folder::log(log)?;
    let err = out.try_clone().map_err(FollowError::Start)?;
    let status = Command::new(program)
        .arg(fetch::VERB)
        .arg("--folder")
        .arg(desk.path())
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .kill_on_drop(true)
        .status()
        .await
        .map_err(FollowError::Start)?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
}

/// How far a fetch is.
#[must_use]
pub fn progress(desk: &Desk) -> Option<DownloadProgress> {
    folder::read_json(&desk.progress()).ok().flatten()
}

/// The Secret with the credentials of an artifact.
fn secret(pod: &PodSpec, kind: ArtifactKind) -> Option<String> {
    let name = format!("{}-credentials", kind.as_str());
    let volume = pod.volumes.iter().flatten().find(|volume| volume.name == name)?;
    volume.secret.as_ref()?.secret_name.clone()
}
