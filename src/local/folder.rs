//! Where everything is in the one folder that local mode keeps, and how files are written there: whole or not at all.
//!
//! ```text
//! ROOT/ENDPOINT/endpoint.yaml          what is wanted
//!               endpoint-status.yaml   what became of it
//!               keys.yaml secrets.yaml
//!               config-maps/NAME/KEY
//!               builds/DIGEST          a Dockerfile that was made from a conda environment, with what it copies
//!               route.yaml             the gateway's table
//!               port agent.lock agent.log
//!               deployments/NAME/deployment.yaml status.yaml
//!                                workload.json             the Kubernetes Deployment that it stands for
//!                                storage-initializer.log
//!                                instances/NAME.json       what is known of each instance
//!                                blueprints/NAME.json      what it was made from
//!                                volumes/KIND-DIGEST/data  what was fetched
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::process::tree::typed;

/// Rights of what only the user may see.
const PRIVATE_FILE: u32 = 0o600;
/// The same of folders.
const PRIVATE_FOLDER: u32 = 0o700;

/// Why a file of the state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The system does not let us.
    #[error("{act} {} failed", path.display())]
    Disk {
        /// What was tried.
        act: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It does not hold what it should.
    #[error("{} can't be understood; correct it, or delete the endpoint and create it again", path.display())]
    Form {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl FolderError {
    fn disk(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { act, path, source }
    }

    fn form(path: &Path) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> Self {
        let path = path.to_owned();
        move |source| Self::Form { path, source }
    }
}

/// The folder of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointFolder(PathBuf);

/// The folder of one deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentFolder(PathBuf);

impl EndpointFolder {
    /// The folder of the endpoint `name` below `root`.
    #[must_use]
    pub fn new(root: &Path, name: &str) -> Self {
        Self(root.join(name))
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The object, as the user wrote it.
    #[must_use]
    pub fn object(&self) -> PathBuf {
        self.0.join("endpoint.yaml")
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> PathBuf {
        self.0.join("endpoint-status.yaml")
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys.yaml")
    }

    /// The Secrets that its deployments may name.
    #[must_use]
    pub fn secrets(&self) -> PathBuf {
        self.0.join("secrets.yaml")
    }

    /// The `ConfigMap` `name`: a folder with a file for each key.
    #[must_use]
    pub fn config_map(&self, name: &str) -> PathBuf {
        self.0.join("config-maps").join(name)
    }

    /// The gateway's table.
    #[must_use]
    pub fn route(&self) -> PathBuf {
        self.0.join("route.yaml")
    }

    /// Where an image is built whose Dockerfile nobody has written, by what it is built from.
    #[must_use]
    pub fn build(&self, digest: &str) -> PathBuf {
        self.0.join("builds").join(digest)
    }

    /// The port of the gateway.
    #[must_use]
    pub fn port(&self) -> PathBuf {
        self.0.join("port")
    }

    /// Locked by the agent for as long as it lives.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("agent.lock")
    }

    /// Locked by who changes an object.
    #[must_use]
    pub fn change_lock(&self) -> PathBuf {
        self.0.join("change.lock")
    }

    /// What the agent and its gateway log.
    #[must_use]
    pub fn agent_log(&self) -> PathBuf {
        self.0.join("agent.log")
    }

    /// The folder of a deployment. Upper and lower case are the same name.
    #[must_use]
    pub fn deployment(&self, name: &str) -> DeploymentFolder {
        DeploymentFolder(self.0.join("deployments").join(name.to_ascii_lowercase()))
    }

    /// When each object was written that is wanted: other whenever one of them is.
    ///
    /// # Errors
    /// When a folder can't be read.
    pub fn written(&self) -> Result<Vec<Option<SystemTime>>, FolderError> {
        let time = |path: PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let deployments = self.deployments()?;
        let deployments = deployments.iter().map(|name| time(self.deployment(name).object()));
        Ok(std::iter::once(time(self.object())).chain(deployments).collect())
    }

    /// The names of the folders of deployments.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn deployments(&self) -> Result<Vec<String>, FolderError> {
        names(&self.0.join("deployments"))
    }
}

impl DeploymentFolder {
    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The object, as the user wrote it.
    #[must_use]
    pub fn object(&self) -> PathBuf {
        self.0.join("deployment.yaml")
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> PathBuf {
        self.0.join("status.yaml")
    }

    /// The Kubernetes Deployment that it stands for.
    #[must_use]
    pub fn workload(&self) -> PathBuf {
        self.0.join("workload.json")
    }

    /// What the storage initializer logs.
    #[must_use]
    pub fn initializer_log(&self) -> PathBuf {
        self.0.join("storage-initializer.log")
    }

    /// What is known of all instances.
    #[must_use]
    pub fn instances(&self) -> PathBuf {
        self.0.join("instances")
    }

    /// What an instance was made from.
    #[must_use]
    pub fn blueprint(&self, name: &str) -> PathBuf {
        self.0.join("blueprints").join(format!("{name}.json"))
    }

    /// What is known of an instance.
    #[must_use]
    pub fn instance(&self, name: &str) -> PathBuf {
        self.instances().join(format!("{name}.json"))
    }

    /// Where one fetch of an instance keeps its plan, its report and its progress.
    #[must_use]
    pub fn fetch(&self, instance: &str) -> PathBuf {
        self.0.join("fetches").join(instance)
    }

    /// Where an artifact is fetched to.
    #[must_use]
    pub fn volume(&self, key: &str) -> PathBuf {
        self.0.join("volumes").join(key)
    }
}

/// The names of the folders in a folder, in order; none when it is not there.
///
/// # Errors
/// When the folder can't be read.
pub fn names(folder: &Path) -> Result<Vec<String>, FolderError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(FolderError::disk("reading", folder))?,
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// Makes a folder, with those above it, that only the user may look into.
///
/// # Errors
/// When the system does not let us.
pub fn make(folder: &Path) -> Result<(), FolderError> {
    let made = fs::DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(folder);
    made.map_err(FolderError::disk("making the folder", folder))
}

/// Removes a folder with all that is in it, or a file; what is not there is removed already.
///
/// # Errors
/// When the system does not let us.
pub fn remove(path: &Path) -> Result<(), FolderError> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    match if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(FolderError::disk("removing", path)(error))
        }
        _ => Ok(()),
    }
}

/// The text of a file; `None` when it is not there.
///
/// # Errors
/// When it can't be read.
pub fn text(path: &Path) -> Result<Option<String>, FolderError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(FolderError::disk("reading", path)(error)),
    }
}

/// What a YAML file holds; `None` when it is not there.
///
/// # Errors
/// When it can't be read or understood.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FolderError> {
    let Some(text) = text(path)? else { return Ok(None) };
    let tree = serde_saphyr::from_str(&text).map_err(|error| FolderError::form(path)(error.into()))?;
    typed(tree).map(Some).map_err(|error| FolderError::form(path)(error.into()))
}

/// Writes a YAML file that only the user may read.
///
/// # Errors
/// When it can't be written.
pub fn write<T: Serialize>(path: &Path, document: &T) -> Result<(), FolderError> {
    let tree = serde_json::to_value(document).map_err(|error| FolderError::form(path)(error.into()))?;
    let text = serde_saphyr::to_string(&tree).map_err(|error| FolderError::form(path)(error.into()))?;
    write_bytes(path, text.as_bytes(), PRIVATE_FILE)
}

/// What a JSON file holds; `None` when it is not there.
///
/// # Errors
/// When it can't be read or understood.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FolderError> {
    let Some(text) = text(path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| FolderError::form(path)(error.into()))
}

/// Writes a JSON file that only the user may read.
///
/// # Errors
/// When it can't be written.
pub fn write_json<T: Serialize>(path: &Path, document: &T) -> Result<(), FolderError> {
    let text = serde_json::to_string(document).map_err(|error| FolderError::form(path)(error.into()))?;
    write_bytes(path, text.as_bytes(), PRIVATE_FILE)
}

/// Writes a file whole, with the rights `mode`: whoever reads it meanwhile gets the one before.
///
/// # Errors
/// When it can't be written.
pub fn write_bytes(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FolderError> {
    /// Two writers in one process must not share a file on its way.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    if let Some(folder) = path.parent() {
        make(folder)?;
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().map(|name| name.display().to_string()).unwrap_or_default();
    let on_its_way = path.with_file_name(format!(".{name}.{}.{number}", std::process::id()));
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&on_its_way);
    // Whatever the process takes away from the rights of new files.
    let rights = fs::Permissions::from_mode(mode);
    let filled = open.and_then(|mut file| file.write_all(bytes).and_then(|()| file.set_permissions(rights)));
    let written = filled.and_then(|()| fs::rename(&on_its_way, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&on_its_way);
        FolderError::disk("writing", path)(error)
    })
}

/// Opens a log to write at its end; one that has grown beyond 16 MiB begins anew.
///
/// # Errors
/// When it can't be opened.
pub fn log(path: &Path) -> Result<File, FolderError> {
    const MOST: u64 = 16 << 20;
    if let Some(folder) = path.parent() {
        make(folder)?;
    }
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > MOST) {
        remove(path)?;
    }
    let open = OpenOptions::new().append(true).create(true).mode(PRIVATE_FILE).open(path);
    open.map_err(FolderError::disk("opening", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_private_and_read_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = EndpointFolder::new(&root.path().join("state"), "iris");
        assert_eq!(read::<Vec<String>>(&folder.keys()).unwrap(), None);
        write(&folder.keys(), &vec!["a".to_owned()]).unwrap();
        assert_eq!(read::<Vec<String>>(&folder.keys()).unwrap(), Some(vec!["a".to_owned()]));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.keys()), mode(folder.path())), (0o600, 0o700));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left on its way");
    }

    proptest::proptest! {
        /// A password may look like a number, a date or half of YAML.
        #[test]
        fn any_text_is_read_as_it_was_written(
            any in ".*",
            alike in "[-+.~<=!*&|>%@`'\"#:,0-9eExXoOnNyYtTfF \t\n\r\\[\\]{}?/_]{0,12}",
            word in "(?i)null|true|false|yes|no|on|off|y|n|\\.inf|\\.nan|0x1f|0o17|1e3|1_000|2026-11-29|---|\\.\\.\\.",
        ) {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("texts.yaml");
            let texts = std::collections::BTreeMap::from([(any.clone(), alike), (word.clone(), any), ("c".to_owned(), word)]);
            write(&path, &texts).unwrap();
            proptest::prop_assert_eq!(read(&path).unwrap(), Some(texts));
        }
    }

    #[test]
    fn it_shows_when_an_object_is_written_or_gone() {
        let root = tempfile::tempdir().unwrap();
        let folder = EndpointFolder::new(root.path(), "iris");
        let mut seen = vec![folder.written().unwrap()];
        write(&folder.object(), &1).unwrap();
        seen.push(folder.written().unwrap());
        write(&folder.deployment("blue").object(), &1).unwrap();
        seen.push(folder.written().unwrap());
        remove(&folder.deployment("blue").object()).unwrap();
        seen.push(folder.written().unwrap());
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 4, "{seen:?}");
        write(&folder.deployment("blue").status(), &1).unwrap();
        assert_eq!(folder.written().unwrap(), folder.written().unwrap());
    }

    #[test]
    fn what_is_not_there_is_removed_already() {
        let root = tempfile::tempdir().unwrap();
        remove(&root.path().join("a/b")).unwrap();
        assert!(names(&root.path().join("a")).unwrap().is_empty());
    }
}
