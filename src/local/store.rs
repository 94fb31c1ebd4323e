//! What the verbs of the command line do: objects as files, which the agent of each endpoint makes true.

mod check;
mod deletion;
mod error;
mod instances;
mod key;
mod process;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::annotation::{NAMESPACE, RESTARTED_AT};
use super::folder::{self, EndpointFolder, FolderError};
use super::variable::Secrets;
use crate::api::deployment::{OnlineDeployment, OnlineDeploymentStatus};
use crate::api::endpoint::{OnlineEndpoint, OnlineEndpointStatus};
use error::not_found;
use key::fresh_key;

pub use deletion::Deleted;
pub use error::StoreError;
pub use key::{Key, Keys};

/// Time between two looks at what another process does.
const PERIOD: Duration = Duration::from_millis(50);

/// The variable that names the folder of local mode.
pub const FOLDER_VARIABLE: &str = "MOORING_LOCAL_STATE";

/// The program that agents and storage initializers are.
const PROGRAM: &str = "mooring-local";

/// Where the state of local mode is.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    program: PathBuf,
}

impl Store {
    /// The store of this user: `MOORING_LOCAL_STATE`, or `mooring/local` in the folder for state. Agents are the
    /// `mooring-local` beside this program.
    ///
    /// # Errors
    /// When it is not known where.
    pub fn open() -> Result<Self, StoreError> {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = folder(FOLDER_VARIABLE)
            .or_else(|| Some(folder("XDG_STATE_HOME")?.join("mooring/local")))
            .or_else(|| Some(folder("HOME")?.join(".local/state/mooring/local")))
            .ok_or(StoreError::Homeless)?;
        // Agents work in another folder.
        let root = std::path::absolute(root).map_err(StoreError::Own)?;
        let own = std::env::current_exe().map_err(StoreError::Own)?;
        // Where a link to it is, the other is not.
        let own = own.canonicalize().unwrap_or(own);
        Ok(Self::at(root, own.with_file_name(PROGRAM)))
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

    /// Waits until nobody else changes something of an endpoint; others wait while this is held. What is read, changed and
    /// written again has to be read within.
    ///
    /// # Errors
    /// When the lock can't be had.
    pub fn hold(&self, endpoint: &str) -> Result<File, StoreError> {
        check::name("metadata.name", endpoint)?;
        let path = self.folder(endpoint).change_lock();
        let file = folder::log(&path)?;
        let disk = |source| FolderError::Disk { act: "locking", path: path.clone(), source };
        file.lock().map_err(disk)?;
        Ok(file)
    }

    /// The names of the folders that may be endpoints.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn names(&self) -> Result<Vec<String>, StoreError> {
        let mut names = folder::names(&self.root)?;
        names.retain(|name| check::name("metadata.name", name).is_ok());
        Ok(names)
    }

    /// The names of the folders that may be deployments of an endpoint.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn deployment_names(&self, endpoint: &str) -> Result<Vec<String>, StoreError> {
        check::name("spec.endpointName", endpoint)?;
        let mut names = self.folder(endpoint).deployments()?;
        names.retain(|name| check::name("spec.deploymentName", name).is_ok());
        Ok(names)
    }

    /// An endpoint with its status; `None` when it does not exist.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn endpoint(&self, name: &str) -> Result<Option<OnlineEndpoint>, StoreError> {
        check::name("metadata.name", name)?;
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
        self.deployment_names(endpoint)?.iter().filter_map(|name| self.deployment(endpoint, name).transpose()).collect()
    }

    /// A deployment with its status; `None` when it does not exist. Upper and lower case are the same name.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn deployment(&self, endpoint: &str, name: &str) -> Result<Option<OnlineDeployment>, StoreError> {
        check::name("spec.endpointName", endpoint)?;
        check::name("spec.deploymentName", name)?;
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
        check::name("metadata.name", &name)?;
        check::endpoint(object)?;
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
            return Err(not_found("endpoint", endpoint));
        }
        let mut object = object.clone();
        let name = object.deployment_name().to_owned();
        check::name("spec.deploymentName", &name)?;
        if object.metadata.name.is_none() {
            object.metadata.name = Some(format!("{endpoint}-{}", name.to_ascii_lowercase()));
        }
        // One name in all files, whatever the object's own is.
        object.spec.deployment_name = Some(name.clone());
        check::deployment(&object)?;
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
        check::name("metadata.name", endpoint)?;
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
        check::name("metadata.name", endpoint)?;
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

    /// Replaces the instances of a deployment, one after the other: they see code and models as they are now.
    ///
    /// # Errors
    /// When it does not exist or can't be written.
    pub fn restart(&self, endpoint: &str, name: &str) -> Result<OnlineDeployment, StoreError> {
        let mut object = self.deployment(endpoint, name)?.ok_or_else(|| not_found("deployment", name))?;
        object.status = None;
        let now = Timestamp::now().to_string();
        object.metadata.annotations.get_or_insert_default().insert(RESTARTED_AT.to_owned(), now);
        // As in a cluster, where it is a change of the template.
        object.metadata.generation = object.metadata.generation.map(|generation| generation + 1);
        folder::write(&self.folder(endpoint).deployment(name).object(), &object)?;
        Ok(object)
    }

    fn existing(&self, endpoint: &str) -> Result<OnlineEndpoint, StoreError> {
        self.endpoint(endpoint)?.ok_or_else(|| not_found("endpoint", endpoint))
    }
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

fn open_to_all(folder: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    // Seen from within a container as any user; the folder above lets nobody else in.
    let opened = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755));
    let path = folder.to_owned();
    Ok(opened.map_err(|source| FolderError::Disk { act: "opening", path, source })?)
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
