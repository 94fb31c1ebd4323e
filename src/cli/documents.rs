//! Files with resources, as `kubectl apply -f` takes them.

use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Resource;
use serde_json::{Map, Value};

use super::arguments::change::FromAzure;
use super::azure::{self, Conda, Context, ImageSource, LocalPath, Manifest, NeedsImage};
use super::dockerfile::{self, Written};
use super::error::CliError;
use super::parcel::Parcel;
use super::store::Store;
use super::talk::say;
use super::upload::{Packing, Upload};
use super::{code_map, field, input, on_machine, schema};
use crate::api::artifact::ArtifactKind;
use crate::api::deployment::{CodeSource, OnlineDeployment};
use crate::api::endpoint::OnlineEndpoint;
use crate::process::tree::typed;

/// How files of this machine get to where a cluster can fetch them.
const STORES: &str = "give --artifact-store s3://BUCKET/PREFIX, azure://ACCOUNT/CONTAINER/PREFIX or oci://REGISTRY/REPOSITORY to have \
     it uploaded there";

/// What a file holds, in the order in which it has to be stored.
#[derive(Debug, Default)]
pub(super) struct Documents {
    /// What deployments name: code and settings.
    pub(super) config_maps: Vec<ConfigMap>,
    /// What deployments and endpoints name: credentials and keys.
    pub(super) secrets: Vec<Secret>,
    pub(super) endpoints: Vec<OnlineEndpoint>,
    pub(super) deployments: Vec<OnlineDeployment>,
    /// All of them as they were written, without what is there by default.
    pub(super) manifests: Vec<Value>,
    /// Names of those `config_maps` that were made of local code, and belong to the deployments that name them.
    pub(super) made: Vec<String>,
    /// What has to be in its store before anything is stored.
    pub(super) uploads: Vec<Upload>,
}

/// What becomes of the deployments of a file of `az ml`, and of the files of this machine that they name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Local<'a> {
    /// The deployments are not stored.
    Left,
    /// They go to a store, if there is one; small code becomes a `ConfigMap`.
    Fetchable(Option<&'a Store>),
    /// They are used where they are, and images are built. With the folder of local mode's state.
    OnMachine(&'a Path),
}

/// The kind that `--set` speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Endpoint,
    Deployment,
}

/// What the command line says of a file.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    /// The kind that `fields` are of.
    pub(super) subject: Subject,
    /// What `--set` says.
    pub(super) fields: &'a [(String, String)],
    /// The endpoint's name, which outranks that of the file.
    pub(super) endpoint: Option<&'a str>,
    /// The deployment's name, which outranks that of the file.
    pub(super) deployment: Option<&'a str>,
    /// What a file of Azure ML is read with.
    pub(super) azure: &'a FromAzure,
    /// What becomes of files of this machine.
    pub(super) local: Local<'a>,
}

impl<'a> Given<'a> {
    /// Of a command that is about a deployment, with the names of its endpoint and of itself.
    pub(super) const fn deployment(
        (endpoint, deployment): (Option<&'a str>, Option<&'a str>),
        fields: &'a [(String, String)],
        azure: &'a FromAzure,
        local: Local<'a>,
    ) -> Self {
        Self { subject: Subject::Deployment, fields, endpoint, deployment, azure, local }
    }
}

/// Reads the documents of a file, ours or those of `az ml`, and sets fields of those that the command is about. `-` is
/// standard input. What is otherwise than a file of `az ml` says is told.
pub(super) fn read(path: &Path, given: Given<'_>) -> Result<Documents, CliError> {
    let (name, bytes) = input::read(path, "--file")?;
    let unusable = |problems: String| CliError::File { file: name.clone(), problems };
    let text = String::from_utf8(bytes).map_err(|error| unusable(format!("it is no text: {error}")))?;
    let absolute = if path.as_os_str() == "-" {
        std::env::current_dir().map(|folder| folder.join("-"))
    } else {
        std::path::absolute(path)
    };
    let absolute = absolute.map_err(|source| CliError::Read { path: name.clone(), flag: "--file", source })?;
    let folder = absolute.parent().unwrap_or(&absolute);
    parse(&text, &folder.to_string_lossy(), given).map_err(|problems| unusable(problems.join("\n  ")))
}

fn parse(text: &str, folder: &str, given: Given<'_>) -> Result<Documents, Vec<String>> {
    let values: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| vec![format!("it is no YAML: {error}")])?;
    let mut documents = Documents::default();
    let mut problems = Vec::new();
    let values = values.into_iter().flat_map(items).filter(|value| !value.is_null());
    for (index, value) in values.enumerate() {
        let number = index + 1;
        if let Err(more) = documents.add(value, folder, given) {
            problems.extend(more.into_iter().map(|problem| format!("document {number}: {problem}")));
        }
    }
    if problems.is_empty() { Ok(documents) } else { Err(problems) }
}

/// The items of a `List`, else the document itself.
fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Object(mut object) if object.get("kind").and_then(Value::as_str) == Some("List") => {
            match object.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            }
        }
        value => vec![value],
    }
}

impl Documents {
    fn add(&mut self, value: Value, folder: &str, given: Given<'_>) -> Result<(), Vec<String>> {
        if azure::is_azure(&value) {
            return self.add_azure(&value, folder, given);
        }
        let Given { subject, fields, .. } = given;
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        match (version.as_str(), kind.as_str()) {
            ("v1", "ConfigMap") => {
                self.config_maps.push(typed(value.clone()).map_err(|problem| vec![problem])?);
                self.manifests.push(value);
            }
            ("v1", "Secret") => {
                self.secrets.push(typed(value.clone()).map_err(|problem| vec![problem])?);
                self.manifests.push(value);
            }
            (version, "OnlineEndpoint") if version == OnlineEndpoint::api_version(&()) => {
                let fields = if subject == Subject::Endpoint { fields } else { &[] };
                let manifest = checked(value, &schema::ENDPOINT, fields)?;
                self.endpoints.push(typed(manifest.clone()).map_err(|problem| vec![problem])?);
                self.manifests.push(manifest);
            }
            (version, "OnlineDeployment") if version == OnlineDeployment::api_version(&()) => {
                let fields = if subject == Subject::Deployment { fields } else { &[] };
                let mut manifest = checked(value, &schema::DEPLOYMENT, fields)?;
                if let Local::OnMachine(_) = given.local {
                    on_machine::resolve(&mut manifest, Path::new(folder));
                }
                self.deployments.push(typed(manifest.clone()).map_err(|problem| vec![problem])?);
                self.manifests.push(manifest);
            }
            ("", "") => return Err(vec!["it has neither apiVersion nor kind".to_owned()]),
            _ => {
                return Err(vec![format!(
                    "{kind} of {version} is none of OnlineEndpoint, OnlineDeployment, ConfigMap and Secret; use `kubectl apply` for it"
                )]);
            }
        }
        Ok(())
    }
}

impl Documents {
    /// A document of `az ml`, converted.
    fn add_azure(&mut self, value: &Value, folder: &str, given: Given<'_>) -> Result<(), Vec<String>> {
        let context = Context {
            folder,
            endpoint: given.endpoint,
            deployment: given.deployment,
            image: given.azure.image.as_deref(),
            assets: &given.azure.asset.iter().cloned().collect(),
        };
        let mut converted = azure::convert(value, &context)
            .map_err(|refusals| refusals.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        if let Local::OnMachine(state) = given.local {
            on_machine::place(&mut converted, state)?;
        }
        if let Local::Fetchable(store) = given.local {
            let mut problems: Vec<String> = converted.needs_image.iter().map(image_to_build).collect();
            for local in &converted.local_paths {
                let deployment = converted.deployments.iter_mut().find(|one| one.name() == local.deployment);
                let Some(deployment) = deployment else { continue };
                if let Err(problem) = self.make_fetchable(local, deployment, store) {
                    problems.push(format!("{}: {problem}", local.field));
                }
            }
            if !problems.is_empty() {
                return Err(problems);
            }
        }
        for note in &converted.notes {
            say!("note: {note}");
        }
        for manifest in converted.endpoints {
            self.add(manifest.value().clone(), folder, given)?;
        }
        for manifest in converted.deployments {
            self.add(manifest.value().clone(), folder, given)?;
        }
        Ok(())
    }
}

impl Documents {
    /// Whether deployments name files of this machine, which are stored somewhere before them.
    pub(super) fn has_local(&self) -> bool {
        !self.uploads.is_empty() || !self.made.is_empty()
    }

    /// Finds a place for a file or a folder of this machine from which the cluster can fetch it, and writes it into the
    /// deployment.
    ///
    /// # Errors
    /// Why there is none, and what to do, in words.
    fn make_fetchable(
        &mut self,
        local: &LocalPath,
        deployment: &mut Manifest<OnlineDeployment>,
        store: Option<&Store>,
    ) -> Result<(), String> {
        let path = Path::new(&local.path);
        if !path.exists() {
            return Err(format!("there is no {} on this machine", local.path));
        }
        let why = match local.kind {
            ArtifactKind::Code => match code_map::of(&local.deployment, path) {
                Ok(made) => return self.add_code(made, deployment).map_err(|error| error.to_string()),
                Err(why) => why,
            },
            ArtifactKind::Model => format!("{} is on this machine, where no cluster can fetch it", local.path),
        };
        let Some(store) = store else {
            let otherwise = match local.kind {
                ArtifactKind::Code => {
                    "upload it yourself, and name its place with --set codeConfiguration.code='{uri: s3://…}'"
                }
                ArtifactKind::Model => "upload it yourself, and write its place here",
            };
            return Err(format!("{why}; {STORES}, or {otherwise}"));
        };
        let mut packing = Packing::of(&local.path);
        let parcel = Parcel::of(local, &mut |bytes| packing.see(bytes))?;
        let uri = store.uri(&parcel);
        let is_archive = parcel.is_archive();
        let set = match local.kind {
            ArtifactKind::Model => deployment.set_uploaded_model(&uri, &parcel.sha256, is_archive),
            ArtifactKind::Code => {
                let code = CodeSource { uri: Some(uri.clone()), unpack: is_archive, ..CodeSource::default() };
                deployment.set_code(code)
            }
        };
        set.map_err(|error| error.to_string())?;
        self.uploads.push(Upload { store: store.clone(), parcel, uri });
        Ok(())
    }

    fn add_code(
        &mut self,
        made: ConfigMap,
        deployment: &mut Manifest<OnlineDeployment>,
    ) -> Result<(), serde_json::Error> {
        let name = made.metadata.name.clone();
        deployment.set_code(CodeSource { config_map_name: name.clone(), ..CodeSource::default() })?;
        // Two deployments whose names begin alike may have the same.
        if self.made.iter().any(|one| Some(one) == name.as_ref()) {
            return Ok(());
        }
        self.manifests.push(serde_json::to_value(&made)?);
        self.made.extend(name);
        self.config_maps.push(made);
        Ok(())
    }
}

/// What to do with an image that Azure would build. The Dockerfile of a conda environment is written beside it.
fn image_to_build(needs: &NeedsImage) -> String {
    if let ImageSource::Conda { conda: Conda::File(conda), dockerfile } = &needs.source {
        let path = Path::new(conda);
        if !path.is_file() {
            return format!("{}: there is no file {conda} on this machine", needs.field);
        }
        // Where nothing can be written, the Dockerfile is printed.
        let written = dockerfile::write(path, dockerfile).ok();
        let told = written.map(|written| match written {
            Written::Made(path) => (path, "its Dockerfile is written, as"),
            Written::Kept(path) => (path, "somebody has written or edited its Dockerfile, which is left as it is, as"),
        });
        if let Some((path, what)) = told {
            return needs.refusal_with(&path.to_string_lossy(), what).to_string();
        }
    }
    needs.refusal().to_string()
}

/// One of our objects with some fields set, which has no field that is not of its kind.
fn checked(mut value: Value, schema: &Value, fields: &[(String, String)]) -> Result<Value, Vec<String>> {
    let Some(object) = value.as_object_mut() else { return Err(vec!["it is no map".to_owned()]) };
    // What the cluster says of it is not the user's.
    object.remove("status");
    let spec = object.entry("spec").or_insert_with(|| Value::Object(Map::new()));
    set(spec, schema, fields)?;
    Ok(value)
}

/// Sets fields of a spec, which has none in the end that are not of its kind.
pub(super) fn set(spec: &mut Value, schema: &Value, fields: &[(String, String)]) -> Result<(), Vec<String>> {
    field::set(spec, schema, fields).map_err(|problem| vec![problem])?;
    let strangers = schema::strangers(schema, spec, "spec");
    if strangers.is_empty() { Ok(()) } else { Err(strangers) }
}

/// Problems of what was typed and not of a file.
pub(super) fn usage(problems: &[String]) -> CliError {
    CliError::Usage(problems.join("; "))
}

/// The names by which a deployment goes: those of the command line outrank those of the file, and the object's own name
/// follows from both where the file has none.
pub(super) fn name_deployment(
    object: &mut OnlineDeployment,
    endpoint: Option<&str>,
    name: Option<&str>,
) -> Result<(), String> {
    if let Some(endpoint) = endpoint {
        endpoint.clone_into(&mut object.spec.endpoint_name);
    }
    if let Some(name) = name {
        object.spec.deployment_name = Some(name.to_owned());
    }
    let endpoint_name = object.spec.endpoint_name.to_lowercase();
    let deployment_name = object.spec.deployment_name.clone();
    let renamed = endpoint.is_some() || name.is_some();
    match (&object.metadata.name, deployment_name) {
        (Some(_), _) if !renamed => Ok(()),
        (_, Some(name)) => {
            object.metadata.name = Some(format!("{endpoint_name}-{}", name.to_lowercase()));
            Ok(())
        }
        (Some(_), None) => Ok(()),
        (None, None) => Err("the deployment has no name; give it one with --name".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;

    use super::*;

    const FILE: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: score}
data: {score.py: x}
---
apiVersion: mooring.dev/v1alpha1
kind: OnlineEndpoint
metadata: {name: iris}
status: {}
---
---
apiVersion: v1
kind: List
items:
- apiVersion: mooring.dev/v1alpha1
  kind: OnlineDeployment
  metadata: {name: iris-blue}
  spec: {endpointName: iris, deploymentName: blue, environment: {image: i}}
";

    #[test]
    fn every_document_is_found_and_fields_are_set_of_the_kind_that_is_spoken_of() {
        let fields = [("instance_count".to_owned(), "2".to_owned())];
        let azure = FromAzure::default();
        let of = |subject, fields| Given {
            subject,
            fields,
            endpoint: None,
            deployment: None,
            azure: &azure,
            local: Local::Left,
        };
        let found = parse(FILE, "/", of(Subject::Deployment, &fields)).unwrap();
        assert_eq!(found.config_maps.len(), 1);
        assert_eq!(found.endpoints[0].name_any(), "iris");
        assert_eq!(found.deployments[0].spec.instance_count, 2);
        assert!(
            parse(FILE, "/", of(Subject::Endpoint, &fields)).unwrap_err()[0]
                .starts_with("document 2: --set instance_count: ")
        );
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_document() {
        let file = "kind: Pod\napiVersion: v1\n---\nspec: {}\n---\napiVersion: mooring.dev/v1alpha1\nkind: OnlineEndpoint\nmetadata: {name: a}\n\
                    spec: {trafic: {}, limts: {}}\n---\napiVersion: mooring.dev/v1alpha1\nkind: OnlineDeployment\nmetadata: {name: a}\n\
                    spec: {endpointName: a, environment: {image: i}, instanceCount: many}\n";
        assert_eq!(
            parse(
                file,
                "/",
                Given {
                    subject: Subject::Endpoint,
                    fields: &[],
                    endpoint: None,
                    deployment: None,
                    azure: &FromAzure::default(),
                    local: Local::Left,
                }
            )
            .unwrap_err(),
            [
                "document 1: Pod of v1 is none of OnlineEndpoint, OnlineDeployment, ConfigMap and Secret; use `kubectl apply` for it",
                "document 2: it has neither apiVersion nor kind",
                "document 3: spec.limts: there is no such field; did you mean \"limits\"?",
                "document 3: spec.trafic: there is no such field; did you mean \"traffic\"?",
                "document 4: spec.instanceCount: invalid type: string \"many\", expected i32",
            ]
        );
    }

    #[test]
    fn a_deployment_is_named_by_the_command_line_then_by_the_file() {
        let named = |object: Option<&str>, own: Option<&str>, endpoint: Option<&str>, name: Option<&str>| {
            let mut deployment: OnlineDeployment = typed(serde_json::json!({
                "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineDeployment", "metadata": {"name": object},
                "spec": {"endpointName": "iris", "deploymentName": own, "environment": {"image": "i"}},
            }))
            .unwrap();
            name_deployment(&mut deployment, endpoint, name)
                .map(|()| (deployment.name_any(), deployment.deployment_name().to_owned()))
        };
        let both = |object: &str, name: &str| Ok((object.to_owned(), name.to_owned()));
        assert_eq!(named(Some("mine"), Some("blue"), None, None), both("mine", "blue"));
        assert_eq!(named(Some("mine"), Some("blue"), None, Some("Green")), both("iris-green", "Green"));
        assert_eq!(named(Some("mine"), Some("blue"), Some("rose"), None), both("rose-blue", "blue"));
        assert_eq!(named(None, Some("blue"), None, None), both("iris-blue", "blue"));
        assert_eq!(named(Some("mine"), None, None, None), both("mine", "mine"));
        assert!(named(None, None, None, None).is_err());
    }
}
