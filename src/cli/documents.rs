//! Files with resources, as `kubectl apply -f` takes them.

use std::io::Read;
use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResourceExt, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::CliError;
use super::{field, schema};
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;

/// What a file holds, in the order in which it has to be stored.
#[derive(Debug, Default)]
pub(super) struct Documents {
    /// What deployments name: code and settings.
    pub(super) config_maps: Vec<ConfigMap>,
    /// What deployments and endpoints name: credentials and keys.
    pub(super) secrets: Vec<Secret>,
    pub(super) endpoints: Vec<OnlineEndpoint>,
    pub(super) deployments: Vec<OnlineDeployment>,
}

/// The kind that `--set` speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Endpoint,
    Deployment,
}

/// Reads the documents of a file, and sets fields of those that the command is about. `-` is standard input.
pub(super) fn read(path: &Path, subject: Subject, fields: &[(String, String)]) -> Result<Documents, CliError> {
    let (name, text) = text_of(path)?;
    parse(&text, subject, fields).map_err(|problems| CliError::File { file: name, problems: problems.join("\n  ") })
}

fn text_of(path: &Path) -> Result<(String, String), CliError> {
    let (name, read) = if path.as_os_str() == "-" {
        let mut text = String::new();
        ("standard input".to_owned(), std::io::stdin().read_to_string(&mut text).map(|_| text))
    } else {
        (path.display().to_string(), std::fs::read_to_string(path))
    };
    match read {
        Ok(text) => Ok((name, text)),
        Err(source) => Err(CliError::Read { path: name, flag: "--file", source }),
    }
}

fn parse(text: &str, subject: Subject, fields: &[(String, String)]) -> Result<Documents, Vec<String>> {
    let values: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| vec![format!("it is no YAML: {error}")])?;
    let mut documents = Documents::default();
    let mut problems = Vec::new();
    let values = values.into_iter().flat_map(items).filter(|value| !value.is_null());
    for (index, value) in values.enumerate() {
        let number = index + 1;
        if let Err(more) = documents.add(value, subject, fields) {
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
    fn add(&mut self, value: Value, subject: Subject, fields: &[(String, String)]) -> Result<(), Vec<String>> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        match (version.as_str(), kind.as_str()) {
            ("v1", "ConfigMap") => self.config_maps.push(typed(value).map_err(|problem| vec![problem])?),
            ("v1", "Secret") => self.secrets.push(typed(value).map_err(|problem| vec![problem])?),
            (version, "OnlineEndpoint") if version == OnlineEndpoint::api_version(&()) => {
                let fields = if subject == Subject::Endpoint { fields } else { &[] };
                self.endpoints.push(ours(value, &OnlineEndpoint::crd(), fields)?);
            }
            (version, "OnlineDeployment") if version == OnlineDeployment::api_version(&()) => {
                let fields = if subject == Subject::Deployment { fields } else { &[] };
                self.deployments.push(ours(value, &OnlineDeployment::crd(), fields)?);
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

/// One of our objects, with some fields set.
fn ours<K>(
    mut value: Value,
    definition: &CustomResourceDefinition,
    fields: &[(String, String)],
) -> Result<K, Vec<String>>
where
    K: DeserializeOwned,
{
    // What the cluster says of it is not the user's.
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    let Some(schema) = schema::of_spec(definition) else { return typed(value).map_err(|problem| vec![problem]) };
    let spec = value
        .as_object_mut()
        .map(|object| object.entry("spec").or_insert_with(|| Value::Object(Map::new())))
        .ok_or_else(|| vec!["it is no map".to_owned()])?;
    field::set(spec, schema, fields).map_err(|problem| vec![problem])?;
    let strangers = schema::strangers(schema, spec, "spec");
    if !strangers.is_empty() {
        return Err(strangers);
    }
    typed(value).map_err(|problem| vec![problem])
}

/// A document as what it says it is.
pub(super) fn typed<K: DeserializeOwned>(value: Value) -> Result<K, String> {
    serde_path_to_error::deserialize(value).map_err(|error| format!("{}: {}", error.path(), error.inner()))
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

/// The name of a deployment in its endpoint.
pub(super) fn deployment_name(object: &OnlineDeployment) -> String {
    object.spec.deployment_name.clone().unwrap_or_else(|| object.name_any())
}

#[cfg(test)]
mod tests {
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
        let found = parse(FILE, Subject::Deployment, &fields).unwrap();
        assert_eq!(found.config_maps.len(), 1);
        assert_eq!(found.endpoints[0].name_any(), "iris");
        assert_eq!(found.deployments[0].spec.instance_count, 2);
        assert!(
            parse(FILE, Subject::Endpoint, &fields).unwrap_err()[0].starts_with("document 2: --set instance_count: ")
        );
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_document() {
        let file = "kind: Pod\napiVersion: v1\n---\nspec: {}\n---\napiVersion: mooring.dev/v1alpha1\nkind: OnlineEndpoint\nmetadata: {name: a}\n\
                    spec: {trafic: {}, limts: {}}\n---\napiVersion: mooring.dev/v1alpha1\nkind: OnlineDeployment\nmetadata: {name: a}\n\
                    spec: {endpointName: a, environment: {image: i}, instanceCount: many}\n";
        assert_eq!(
            parse(file, Subject::Endpoint, &[]).unwrap_err(),
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
                .map(|()| (deployment.name_any(), deployment_name(&deployment)))
        };
        let names = |object: &str, name: &str| Ok((object.to_owned(), name.to_owned()));
        assert_eq!(named(Some("mine"), Some("blue"), None, None), names("mine", "blue"));
        assert_eq!(named(Some("mine"), Some("blue"), None, Some("Green")), names("iris-green", "Green"));
        assert_eq!(named(Some("mine"), Some("blue"), Some("rose"), None), names("rose-blue", "blue"));
        assert_eq!(named(None, Some("blue"), None, None), names("iris-blue", "blue"));
        assert_eq!(named(Some("mine"), None, None, None), names("mine", "mine"));
        assert!(named(None, None, None, None).is_err());
    }
}
