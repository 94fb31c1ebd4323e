//! A development container of a deployment: the same image, variables and mounts, for an editor to run the scoring
//! script in and to stop it wherever it likes (`containers.dev/implementors/json_reference`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bollard::models::Mount;
use serde_json::{Value, json};

use super::folder::{self, DeploymentFolder, EndpointFolder, FolderError};
use super::instance::Blueprint;
use super::instance::download::Needs;
use super::variable::{self, Secrets};
use super::{host_path, mount};
use crate::api::artifact::ArtifactKind;
use crate::plan::build::pod::SERVER;

/// The port on which Azure's inference server listens.
const PORT: u16 = 5001;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentError {
    /// No instance has been made.
    #[error("deployment {0:?} has no instance yet; wait until it serves")]
    NoInstance(String),
    /// There is nothing to edit.
    #[error(
        "deployment {0:?} has no code on this machine; name its folder in codeConfiguration, as code: {{uri: ./src}}"
    )]
    NoCode(String),
    /// A variable leads nowhere.
    #[error("{0}")]
    Variable(String),
    /// It can't be written.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// A development container, as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Development {
    /// The folder that `.devcontainer/devcontainer.json` is in.
    pub folder: PathBuf,
    /// The folder of the code, in the container.
    pub workspace: String,
}

impl Development {
    /// What VS Code opens: the container, and the folder in it.
    #[must_use]
    pub fn address(&self) -> String {
        let mut address = "vscode-remote://dev-container+".to_owned();
        for byte in self.folder.display().to_string().into_bytes() {
            // Writing into a text can't fail.
            let _ = write!(address, "{byte:02x}");
        }
        address + &self.workspace
    }
}

/// Writes the development container of a deployment. Only the user may read it, since variables may be secret.
///
/// # Errors
/// When there is nothing to debug yet, or it can't be written.
pub fn write(
    endpoint: &EndpointFolder,
    place: &DeploymentFolder,
    blueprint: &Blueprint,
) -> Result<Development, DevelopmentError> {
    let name = &blueprint.deployment;
    let server = blueprint.pod.containers.iter().find(|container| container.name == SERVER);
    let server = server.ok_or_else(|| DevelopmentError::NoInstance(name.clone()))?;
    let instance = blueprint.name();
    let secrets: Secrets = folder::read(&endpoint.secrets())?.unwrap_or_default();
    let variables = variable::of(server, &instance, &secrets, endpoint).map_err(DevelopmentError::Variable)?;
    let needs = Needs::of(&blueprint.pod, &instance, &blueprint.start, endpoint, place);
    let fetched = |volume: &str| needs.as_ref().and_then(|needs| needs.data(volume));
    let mounts = mount::of_server(&blueprint.pod, server, endpoint, fetched);
    let code = server.volume_mounts.iter().flatten().find(|mount| mount.name == ArtifactKind::Code.as_str());
    let code = code.and_then(|mount| Some((mount.mount_path.clone(), mount.sub_path.as_deref()?)));
    let (workspace, source) = code.ok_or_else(|| DevelopmentError::NoCode(name.clone()))?;
    let source = host_path::of_claim(source);
    let container = container(
        &format!("{}/{name}", blueprint.endpoint),
        server.image.as_deref().unwrap_or_default(),
        &variables,
        &mounts,
        (&source, &workspace),
    );
    let folder = place.path().to_owned();
    let text = format!("{container:#}\n");
    folder::write_bytes(&folder.join(".devcontainer/devcontainer.json"), text.as_bytes(), 0o600)?;
    Ok(Development { folder, workspace })
}

/// The container: what the deployment has, with the code open to be changed.
fn container(
    name: &str,
    image: &str,
    variables: &[String],
    mounts: &[Mount],
    (source, workspace): (&Path, &str),
) -> Value {
    let environment: serde_json::Map<String, Value> = variables
        .iter()
        .filter_map(|variable| variable.split_once('='))
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect();
    let others = mounts.iter().filter(|mount| mount.target.as_deref() != Some(workspace));
    let bind = |source: &str, target: &str| format!("type=bind,source={source},target={target}");
    let others: Vec<String> = others
        .map(|mount| {
            let bound = bind(mount.source.as_deref().unwrap_or_default(), mount.target.as_deref().unwrap_or_default());
            if mount.read_only == Some(true) { bound + ",readonly" } else { bound }
        })
        .collect();
    json!({
        "name": name,
        "image": image,
        // Not the server: the editor starts it under its debugger.
        "overrideCommand": true,
        "containerEnv": environment,
        "mounts": others,
        "workspaceMount": bind(&source.display().to_string(), workspace),
        "workspaceFolder": workspace,
        "forwardPorts": [PORT],
        "customizations": {"vscode": {
            "extensions": ["ms-python.python", "ms-python.debugpy", "ms-toolsai.vscode-ai-inference"],
            "settings": {"launch": {"version": "0.2.0", "configurations": [{
                "name": "Mooring: debug the local endpoint",
                "type": "debugpy",
                "request": "launch",
                // The module that `azmlinfsrv` starts; learn.microsoft.com/azure/machine-learning/how-to-inference-server-http
                "module": "azureml_inference_server_http.amlserver",
                "justMyCode": false,
            }]}},
        }},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_has_what_the_deployment_has_and_its_code_may_be_changed() {
        let bound = |source: &str, target: &str| Mount {
            source: Some(source.to_owned()),
            target: Some(target.to_owned()),
            read_only: Some(true),
            ..Mount::default()
        };
        let mounts = [bound("/home/me/model", "/var/models/iris/1"), bound("/home/me/src", "/var/app/src")];
        let variables = ["A=1=2".to_owned(), "AML_APP_ROOT=/var/app/src".to_owned()];
        let code = (Path::new("/home/me/src"), "/var/app/src");
        let text = format!("{:#}", container("iris/blue", "registry/iris:1", &variables, &mounts, code));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_address_names_the_folder_in_letters_of_sixteen() {
        let development = Development { folder: PathBuf::from("/a b"), workspace: "/var/app".to_owned() };
        assert_eq!(development.address(), "vscode-remote://dev-container+2f612062/var/app");
    }
}
