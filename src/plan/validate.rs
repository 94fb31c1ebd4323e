//! What CEL can't see: a spec and its surroundings → something that can be built, or the problem in the user's words.

use std::collections::BTreeMap;

use super::seen::{SeenDeployment, SeenOwner};
use crate::api::artifact::{Artifact, ArtifactKind, Delivery, FolderPlacement};
use crate::api::deployment::{InferenceConfig, OnlineDeployment, OnlineDeploymentSpec, Resources};
use crate::api::instance_type::InstanceTypeSpec;
use crate::api::units::Quantity;
use crate::api::{label, name};
use crate::catalogue::Reason;

/// Root of Azure ML's model folders.
const MODEL_ROOT: &str = "/var/azureml-app/azureml-models";
/// Folder of Azure ML's code folders.
const CODE_ROOT: &str = "/var/azureml-app";
/// Where Secrets with credentials are mounted in the storage initializer.
const CREDENTIALS_ROOT: &str = "/var/run/mooring/credentials";
/// Where the volumes that the storage initializer fills are mounted in it, whole: what it keeps for itself lies beside
/// the files of the artifact, on the same filesystem and out of the server's sight.
const VOLUME_ROOT: &str = "/mooring";
/// The folder of such a volume that the server gets.
pub const DATA: &str = "data";
/// The folder of such a volume for files on their way and for what a second run has to know.
const SCRATCH: &str = "scratch";
/// What Azure's references begin with.
const REFERENCE: &str = "azureml:";
/// Schemes that the storage initializer downloads from.
const DOWNLOADED: [&str; 8] = ["http", "https", "s3", "azure", "abfss", "gs", "hf", "oci"];

/// A spec that can be built.
#[derive(Clone, Debug)]
pub struct Valid<'a> {
    /// The spec.
    pub spec: &'a OnlineDeploymentSpec,
    /// Name of the `OnlineDeployment` object.
    pub resource: &'a str,
    /// What its instance type stands for.
    pub instance_type: &'a InstanceTypeSpec,
    /// Requests and limits of each instance.
    pub resources: Resources,
    /// Ports and paths of the server.
    pub routes: InferenceConfig,
    /// The model, when there is one.
    pub model: Option<Placed>,
    /// The code, when there is any.
    pub code: Option<Placed>,
    /// The annotations that give the instances' service account an identity at a cloud.
    pub identity: BTreeMap<String, String>,
}

/// An artifact with its place in the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What the storage initializer is told.
    pub artifact: Artifact,
    /// The server's folder, which environment variables point to: `AZUREML_MODEL_DIR`, `AML_APP_ROOT` without the
    /// script's own.
    pub directory: String,
    /// How it gets there.
    pub volume: Volume,
    /// The Secret with the store's credentials.
    pub credentials_secret: Option<String>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Volume {
    /// An empty volume that the storage initializer fills; the server gets its folder [`DATA`].
    Empty,
    /// A `ConfigMap`, whose keys are files.
    ConfigMap {
        /// Its name.
        name: String,
    },
    /// A path of a persistent volume claim, mounted read-only below `directory`.
    Claim {
        /// Its name.
        claim: String,
        /// The path in it, without slashes around.
        path: String,
    },
}

/// Why a spec can't be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The cause.
    pub reason: Reason,
    /// The facts.
    pub message: String,
}

/// Ports and paths of a deployment's server.
#[must_use]
pub fn routes(spec: &OnlineDeploymentSpec) -> InferenceConfig {
    spec.environment.inference_config.clone().unwrap_or_else(InferenceConfig::standard)
}

/// A problem and the field that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its path, such as `spec.model.uri`.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// Checks a deployment against its surroundings.
///
/// # Errors
/// The first problem, in the order of the provisioning stages.
pub fn deployment(seen: &SeenDeployment) -> Result<Valid<'_>, Problem> {
    let spec = &seen.object.spec;
    image(spec)?;
    let (model, code) = (model(spec)?, code(spec)?);
    let instance_type = known(spec, seen.instance_type.as_ref())?;
    let resources = resources(spec, instance_type)?;
    let identity = identity(seen)?;
    Ok(Valid {
        spec,
        resource: seen.object.metadata.name.as_deref().unwrap_or_default(),
        instance_type,
        resources,
        routes: routes(spec),
        model,
        code,
        identity,
    })
}

/// Everything that is wrong with a spec by itself and for its instance type, in the order of the provisioning stages.
#[must_use]
pub fn faults(spec: &OnlineDeploymentSpec, instance_type: Option<&InstanceTypeSpec>) -> Vec<Fault> {
    let fault = |field: &str, problem| Fault { field: field.to_owned(), problem };
    let parts = [
        ("spec.environment.image", image(spec).err()),
        ("spec.model.uri", model(spec).err()),
        ("spec.codeConfiguration.code.uri", code(spec).err()),
        ("spec.instanceType", known(spec, instance_type).err()),
    ];
    let parts = parts.into_iter().filter_map(|(field, problem)| Some(fault(field, problem?)));
    parts.chain(instance_type.into_iter().flat_map(|kind| excesses(spec, kind))).collect()
}

/// Azure's way to name what is kept in a workspace.
fn is_reference(text: &str) -> bool {
    text.get(..REFERENCE.len()).is_some_and(|start| start.eq_ignore_ascii_case(REFERENCE))
}

/// What else the kubelet can't read as an image it says itself; this one it would look for in a registry.
fn image(spec: &OnlineDeploymentSpec) -> Result<(), Problem> {
    let image = &spec.environment.image;
    if !is_reference(image) {
        return Ok(());
    }
    let message = format!(
        "{image:?} names an environment of an Azure ML workspace, which this cluster does not have; write the image itself, \
         as REGISTRY/NAME:TAG; the workspace shows the one that it built for the environment"
    );
    Err(Problem { reason: Reason::ImageNameInvalid, message })
}

fn model(spec: &OnlineDeploymentSpec) -> Result<Option<Placed>, Problem> {
    let Some(model) = &spec.model else { return Ok(None) };
    let model_name = model.name.clone().unwrap_or_else(|| name::from_uri(&model.uri));
    let root = spec.model_mount_path.as_deref().unwrap_or(MODEL_ROOT).trim_end_matches('/');
    let directory = format!("{root}/{model_name}/{}", model.version);
    let asked = Asked {
        kind: ArtifactKind::Model,
        uri: &model.uri,
        directory,
        folder: FolderPlacement::SubFolder,
        sha256: model.sha256.as_ref().map(|digest| digest.to_ascii_lowercase()),
        unpack: model.unpack,
        credentials_secret: model.credentials_secret_name.clone(),
        required_file: None,
    };
    place(asked).map(Some)
}

fn code(spec: &OnlineDeploymentSpec) -> Result<Option<Placed>, Problem> {
    let Some(configuration) = &spec.code_configuration else { return Ok(None) };
    let source = &configuration.code;
    if let Some(config_map) = &source.config_map_name {
        let directory = format!("{CODE_ROOT}/{config_map}");
        return Ok(Some(Placed {
            artifact: Artifact {
                kind: ArtifactKind::Code,
                uri: format!("configmap://{config_map}"),
                delivery: Delivery::Mounted { path: directory.clone() },
                sha256: None,
                unpack: false,
                credentials_directory: None,
                required_file: Some(configuration.scoring_script.clone()),
            },
            directory,
            volume: Volume::ConfigMap { name: config_map.clone() },
            credentials_secret: None,
        }));
    }
    let uri = source.uri.as_deref().unwrap_or_default();
    let asked = Asked {
        kind: ArtifactKind::Code,
        uri,
        directory: format!("{CODE_ROOT}/{}", name::from_uri(uri)),
        folder: FolderPlacement::Direct,
        sha256: None,
        unpack: source.unpack,
        credentials_secret: source.credentials_secret_name.clone(),
        required_file: Some(configuration.scoring_script.clone()),
    };
    place(asked).map(Some)
}

fn known<'a>(
    spec: &OnlineDeploymentSpec,
    instance_type: Option<&'a InstanceTypeSpec>,
) -> Result<&'a InstanceTypeSpec, Problem> {
    instance_type.ok_or_else(|| Problem {
        reason: Reason::InstanceTypeNotFound,
        message: format!("there is no InstanceType {:?}", spec.instance_type),
    })
}

/// Without the account that a `UserAssigned` identity names no pod is let in, and what it may fetch is not known.
fn identity(seen: &SeenDeployment) -> Result<BTreeMap<String, String>, Problem> {
    let SeenOwner::Present(endpoint) = &seen.endpoint else { return Ok(BTreeMap::new()) };
    let Some(account) = endpoint.spec.identity.user_account() else {
        return Ok(label::identity(endpoint.metadata.annotations.as_ref()));
    };
    seen.user_account.clone().ok_or_else(|| Problem {
        reason: Reason::ServiceAccountNotFound,
        message: format!(
            "there is no ServiceAccount {account:?}, which spec.identity of OnlineEndpoint {:?} names",
            seen.object.spec.endpoint_name
        ),
    })
}

struct Asked<'a> {
    kind: ArtifactKind,
    uri: &'a str,
    directory: String,
    folder: FolderPlacement,
    sha256: Option<String>,
    unpack: bool,
    credentials_secret: Option<String>,
    required_file: Option<String>,
}

fn place(asked: Asked<'_>) -> Result<Placed, Problem> {
    let Asked { kind, uri, directory, folder, sha256, unpack, credentials_secret, required_file } = asked;
    let invalid = |why: String| Problem {
        reason: Reason::ArtifactUriInvalid,
        message: format!("the {} uri {why}", kind.as_str()),
    };
    if is_reference(uri) {
        return Err(invalid(format!(
            "{uri:?} names something in an Azure ML workspace, which this cluster does not have; write where its files are, \
             such as azure://ACCOUNT/CONTAINER/PATH, s3://BUCKET/PATH, hf://OWNER/NAME or pvc://CLAIM/PATH"
        )));
    }
    let (scheme, rest) =
        uri.split_once("://").ok_or_else(|| invalid("has no scheme such as https:// or s3://".to_owned()))?;
    let (delivery, volume) = if scheme == "pvc" {
        let (claim, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_matches('/');
        if claim.is_empty() {
            return Err(invalid("names no claim; it must look like pvc://CLAIM/PATH".to_owned()));
        }
        if path.split('/').any(|part| part == ".." || part == ".") {
            return Err(invalid("must not hold '.' or '..'".to_owned()));
        }
        let leaf = if path.is_empty() { claim } else { name::last_segment(path) };
        let path_in_pod = match folder {
            FolderPlacement::SubFolder => format!("{directory}/{leaf}"),
            FolderPlacement::Direct => directory.clone(),
        };
        let volume = Volume::Claim { claim: claim.to_owned(), path: path.to_owned() };
        (Delivery::Mounted { path: path_in_pod }, volume)
    } else if DOWNLOADED.contains(&scheme) {
        let volume = volume_directory(kind);
        let (data, scratch) = (format!("{volume}/{DATA}"), Some(format!("{volume}/{SCRATCH}")));
        (Delivery::Download { directory: data, folder, scratch }, Volume::Empty)
    } else {
        return Err(invalid(format!(
            "has the scheme {scheme}://; known are {}:// and pvc://",
            DOWNLOADED.join("://, ")
        )));
    };
    Ok(Placed {
        artifact: Artifact {
            kind,
            uri: uri.to_owned(),
            delivery,
            sha256,
            unpack,
            credentials_directory: credentials_secret.as_ref().map(|_| credentials_directory(kind)),
            required_file,
        },
        directory,
        volume,
        credentials_secret,
    })
}

/// Where the volume of an artifact that is downloaded is mounted in the storage initializer.
#[must_use]
pub fn volume_directory(kind: ArtifactKind) -> String {
    format!("{VOLUME_ROOT}/{}", kind.as_str())
}

/// Where the Secret with the credentials of an artifact is mounted in the storage initializer.
#[must_use]
pub fn credentials_directory(kind: ArtifactKind) -> String {
    format!("{CREDENTIALS_ROOT}/{}", kind.as_str())
}

/// Requests and limits of an instance: those of the spec, completed by the instance type. A request that the user
/// does not name follows a lower limit that he does.
fn resources(spec: &OnlineDeploymentSpec, instance_type: &InstanceTypeSpec) -> Result<Resources, Problem> {
    let Some(own) = &spec.resources else { return Ok(instance_type.resources.clone()) };
    if let Some(excess) = excesses(spec, instance_type).next() {
        return Err(excess.problem);
    }
    let mut limits = instance_type.resources.limits.clone();
    // Devices (`nvidia.com/gpu`) are for those who ask for them.
    limits.retain(|resource, _| !resource.contains('/') || own.limits.contains_key(resource));
    limits.extend(own.limits.clone());
    let requests: BTreeMap<String, Quantity> = instance_type
        .resources
        .requests
        .iter()
        .filter(|(resource, _)| limits.contains_key(*resource))
        .map(|(resource, amount)| {
            let lower = limits.get(resource).filter(|limit| !is_at_most(amount, limit)).unwrap_or(amount);
            (resource.clone(), lower.clone())
        })
        .chain(own.requests.clone())
        .collect();
    Ok(Resources { requests, limits })
}

/// Each amount of a spec that its instance type does not have.
fn excesses<'a>(
    spec: &'a OnlineDeploymentSpec,
    instance_type: &'a InstanceTypeSpec,
) -> impl Iterator<Item = Fault> + 'a {
    let own = spec.resources.iter().flat_map(|own| [("limits", &own.limits), ("requests", &own.requests)]);
    let amounts =
        own.flat_map(|(part, amounts)| amounts.iter().map(move |(resource, amount)| (part, resource, amount)));
    amounts.filter_map(|(part, resource, amount)| {
        let kind = &spec.instance_type;
        let message = match instance_type.resources.limits.get(resource) {
            None => format!("instance type {kind:?} has no {resource}; resources.{part} asks for {amount}"),
            Some(most) if is_at_most(amount, most) => return None,
            Some(most) => format!("resources.{part}.{resource} is {amount}; instance type {kind:?} has {most}"),
        };
        let problem = Problem { reason: Reason::ResourcesExceedInstanceType, message };
        Some(Fault { field: format!("spec.resources.{part}[{resource}]"), problem })
    })
}

fn is_at_most(amount: &Quantity, most: &Quantity) -> bool {
    amount.compare(most).is_ok_and(std::cmp::Ordering::is_le)
}

/// Whether `other` has the deploymentName of `object` in the same endpoint and came first.
#[must_use]
pub fn is_older_namesake(other: &OnlineDeployment, object: &OnlineDeployment) -> bool {
    let age = |of: &OnlineDeployment| (of.metadata.creation_timestamp.clone(), of.metadata.name.clone());
    other.metadata.uid != object.metadata.uid
        && other.metadata.deletion_timestamp.is_none()
        && other.spec.endpoint_name == object.spec.endpoint_name
        && other.deployment_name().eq_ignore_ascii_case(object.deployment_name())
        && age(other) < age(object)
}
