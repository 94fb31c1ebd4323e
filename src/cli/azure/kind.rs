//! What a document is, before it is read.

use serde_json::Value;

use super::reading::snake;
use super::{Context, Refusal};

/// What a document describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An endpoint, as in 2021 perhaps with its deployments.
    Endpoint,
    /// A deployment.
    Deployment,
}

/// How a document is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As the command line has it: everything at the top.
    Yaml,
    /// As the REST interface and templates have it: most of it below `properties`.
    Rest,
}

/// Keys that only an endpoint has.
const OF_ENDPOINTS: &[&str] = &[
    "allow_public_access",
    "auth_mode",
    "compute",
    "deployments",
    "identity",
    "keys",
    "mirror_traffic",
    "openapi_uri",
    "public_network_access",
    "scoring_uri",
    "swagger_uri",
    "traffic",
];

/// Keys that only a deployment has.
const OF_DEPLOYMENTS: &[&str] = &[
    "app_insights_enabled",
    "code_configuration",
    "container_resource_requirements",
    "data_collector",
    "egress_public_network_access",
    "endpoint_compute_type",
    "endpoint_name",
    "environment",
    "environment_id",
    "environment_variables",
    "instance_count",
    "instance_type",
    "liveness_probe",
    "model",
    "model_mount_path",
    "package_model",
    "private_network_connection",
    "readiness_probe",
    "request_settings",
    "resources",
    "scale_settings",
    "startup_probe",
];

/// Keys that both have.
const OF_BOTH: &[&str] = &["description", "name", "properties", "provisioning_state", "tags"];

/// What a message about a document as a whole calls it.
pub(super) const DOCUMENT: &str = "the document";

/// What the types of the REST interface begin with.
const REST_TYPE: &str = "microsoft.machinelearningservices/";

/// The document's words in small letters, for comparing; empty where there are none.
fn word(document: &Value, key: &str) -> String {
    document.get(key).and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase()
}

/// Whether a key belongs to an endpoint alone.
pub(super) fn is_of_endpoints(name: &str) -> bool {
    OF_ENDPOINTS.contains(&name)
}

/// Whether a key belongs to a deployment alone.
pub(super) fn is_of_deployments(name: &str) -> bool {
    OF_DEPLOYMENTS.contains(&name)
}

/// Whether a document is one of Azure ML and not one of Kubernetes: it names an Azure ML schema or a type of the REST
/// interface, or it has keys of an endpoint or a deployment and no `apiVersion`.
#[must_use]
pub fn is_azure(document: &Value) -> bool {
    let Some(map) = document.as_object() else { return false };
    if word(document, "$schema").contains("azureml") || word(document, "type").starts_with(REST_TYPE) {
        return true;
    }
    // What `az … show` prints has a kind too (Managed), but no apiVersion.
    if map.contains_key("apiVersion") {
        return false;
    }
    let known = |key: &String| {
        let name = snake(key);
        [OF_ENDPOINTS, OF_DEPLOYMENTS, OF_BOTH].iter().any(|names| names.contains(&name.as_str()))
    };
    map.keys().any(known)
}

/// How the document is laid out.
pub(super) fn form(document: &Value) -> Form {
    let rest = word(document, "type").starts_with(REST_TYPE)
        || (names_at_top(document).is_none() && inner(document).is_some());
    if rest { Form::Rest } else { Form::Yaml }
}

/// The kind that keys at the top speak for.
fn names_at_top(document: &Value) -> Option<Kind> {
    let keys: Vec<String> = document.as_object()?.keys().map(|key| snake(key)).collect();
    // An identity is at the top in both forms.
    let count = |is_of: fn(&str) -> bool| keys.iter().filter(|key| *key != "identity" && is_of(key)).count();
    let (endpoints, deployments) = (count(is_of_endpoints), count(is_of_deployments));
    // A key in the wrong file is a mistake, which is told best to whom most of the file belongs.
    if deployments > 0 && deployments >= endpoints {
        Some(Kind::Deployment)
    } else {
        (endpoints > 0).then_some(Kind::Endpoint)
    }
}

/// The kind that the keys below `properties` speak for.
fn inner(document: &Value) -> Option<Kind> {
    names_at_top(document.get("properties")?)
}

/// What the document describes.
pub(super) fn of(document: &Value, context: &Context<'_>) -> Result<Kind, Refusal> {
    let refuse = |field: &str, why: String| Err(Refusal { field: field.to_owned(), why });
    let schema = word(document, "$schema");
    let kind = word(document, "type");
    if schema.contains("onlinedeployment") || (kind.starts_with(REST_TYPE) && kind.ends_with("/deployments")) {
        return Ok(Kind::Deployment);
    }
    if schema.contains("onlineendpoint") || kind == "online" || kind.ends_with("/onlineendpoints") {
        return Ok(Kind::Endpoint);
    }
    if kind == "batch" || schema.contains("batch") || kind.contains("/batchendpoints") {
        let field = if kind.is_empty() { "$schema" } else { "type" };
        return refuse(
            field,
            "describes a batch endpoint; online endpoints and their deployments are known here".to_owned(),
        );
    }
    let file = schema.rsplit('/').next().unwrap_or_default().to_owned();
    if schema.contains("azureml") && !file.contains("endpoint") && !file.contains("deployment") {
        return refuse(
            "$schema",
            format!("{file:?} describes something else; online endpoints and their deployments are known here"),
        );
    }
    if !document.is_object() {
        return refuse(DOCUMENT, "must be a mapping, as KEY: VALUE".to_owned());
    }
    if kind == "managed" || kind == "kubernetes" {
        return Ok(Kind::Deployment);
    }
    let named = || context.deployment.map(|_| Kind::Deployment);
    Ok(names_at_top(document).or_else(|| inner(document)).or_else(named).unwrap_or(Kind::Endpoint))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_of_kubernetes_are_left_alone() {
        for document in [
            json!({"apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint", "metadata": {"name": "iris"}}),
            json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque"}),
            json!({"services": {"model": {"image": "nginx"}}}),
            json!([{"name": "iris"}]),
            json!("name"),
        ] {
            assert!(!is_azure(&document), "{document}");
        }
    }

    #[test]
    fn documents_of_azure_are_recognized_by_their_schema_their_type_or_their_keys() {
        for document in [
            json!({"$schema": "https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json"}),
            json!({"name": "iris", "auth_mode": "key"}),
            json!({"name": "iris"}),
            json!({"kind": "Managed", "name": "iris", "scoring_uri": "https://iris"}),
            json!({"apiVersion": "2023-10-01", "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"}),
            json!({"endpoint_name": "iris"}),
        ] {
            assert!(is_azure(&document), "{document}");
        }
    }
}
