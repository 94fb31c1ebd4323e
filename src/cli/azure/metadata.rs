//! Labels and annotations: where tags and descriptions go.

use serde_json::{Map, Value, json};

use super::reading::{Field, Fields, Report};
use crate::api::label;

/// The annotation that Kubernetes itself has for words about an object.
const DESCRIPTION: &str = "kubernetes.io/description";

/// Longest name of a label or annotation, and longest value of a label.
const LONGEST: usize = 63;

/// Longest prefix of a label or annotation.
const LONGEST_PREFIX: usize = 253;

/// What is said of an object beside its spec.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    labels: Map<String, Value>,
    annotations: Map<String, Value>,
}

impl Metadata {
    /// Words about the object, where its spec has no place for them.
    pub(super) fn describe(&mut self, field: Field<'_>, report: &mut Report) {
        if let Some(text) = field.text(report) {
            self.annotations.insert(DESCRIPTION.to_owned(), text.into());
        }
    }

    /// Tags become labels, which `kubectl get -l` finds; those that are no labels become annotations.
    pub(super) fn tags(&mut self, field: Field<'_>, report: &mut Report) {
        for (key, field) in field.entries(report) {
            let path = field.path().to_owned();
            let Some(value) = field.written(report) else { continue };
            if !is_key(key) {
                report.note(&path, "is left out: labels of Kubernetes are 1 to 63 letters, digits, '-', '_' and '.'");
            } else if is_reserved(key) {
                report
                    .note(&path, "is left out: labels with this prefix mean something to Kubernetes or its operators");
            } else if is_label_value(&value) {
                self.labels.insert(key.to_owned(), value.into());
            } else {
                report.note(&path, "becomes an annotation: a label has at most 63 letters, digits, '-', '_' and '.'");
                self.annotations.insert(key.to_owned(), value.into());
            }
        }
    }

    /// The metadata of an object with this name.
    pub(super) fn named(self, name: &str) -> Value {
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), json!(name));
        // Empty mappings are no good to Argo CD: the API server drops them.
        for (key, map) in [("labels", self.labels), ("annotations", self.annotations)] {
            if !map.is_empty() {
                metadata.insert(key.to_owned(), Value::Object(map));
            }
        }
        Value::Object(metadata)
    }
}

/// Whether both ends are letters or digits, and the rest too or one of `more`.
fn is_word(text: &str, more: &str) -> bool {
    let end = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    end(text.chars().next())
        && end(text.chars().last())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || more.contains(letter))
}

/// Whether Kubernetes takes it as the key of a label or annotation.
fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_prefix = |prefix: &str| {
        prefix.len() <= LONGEST_PREFIX
            && prefix.split('.').all(|part| is_word(part, "-") && !part.bytes().any(|byte| byte.is_ascii_uppercase()))
    };
    name.len() <= LONGEST && is_word(name, "-_.") && prefix.is_none_or(is_prefix)
}

/// Whether a tag of this name would change what something does.
fn is_reserved(key: &str) -> bool {
    let Some((prefix, _)) = key.split_once('/') else { return false };
    let is_below =
        |domain: &str| prefix == domain || prefix.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    label::is_identity(key) || ["kubernetes.io", "k8s.io", "mooring.dev"].into_iter().any(is_below)
}

fn is_label_value(value: &str) -> bool {
    value.is_empty() || (value.len() <= LONGEST && is_word(value, "-_."))
}

/// Properties are Azure's own memory; nothing here reads them.
pub(super) fn properties(field: Field<'_>, report: &mut Report) {
    for (key, field) in field.entries(report) {
        let happens = match key {
            "enforce_access_to_default_secret_stores" => {
                "is left out: which Secrets instances read is in environment_variables, and who may read them is RBAC"
            }
            _ => "is left out: it is a note to Azure, which nothing here reads",
        };
        field.note(report, happens);
    }
}

/// What Azure writes into its answers and never reads.
const READ_ONLY: &[&str] = &[
    "creation_context",
    "etag",
    "id",
    "openapi_uri",
    "provisioning_errors",
    "provisioning_state",
    "scoring_uri",
    "swagger_uri",
    "system_data",
];

/// Where something is in Azure.
const PLACES: &[(&str, &str)] = &[
    ("kind", "is left out: managed and kubernetes are the same here"),
    ("location", "is left out: instances run where the cluster is"),
    ("resource_group", "is left out: here objects are in a namespace"),
];

/// Reads what Azure writes into its answers, and where something is in Azure.
pub(super) fn of_answer(fields: &mut Fields<'_>, report: &mut Report) {
    for key in READ_ONLY {
        if let Some(field) = fields.take(key) {
            read_only(field, report);
        }
    }
    for (key, happens) in PLACES {
        if let Some(field) = fields.take(key) {
            field.note(report, *happens);
        }
    }
}

/// Reads what a template has around a resource of the REST interface.
pub(super) fn of_template(fields: &mut Fields<'_>, report: &mut Report) {
    // The version says how REST spells things, which is read in every spelling.
    if let Some(field) = fields.take("api_version") {
        field.understood();
    }
    if let Some(field) = fields.take("depends_on") {
        field.note(report, "is left out: endpoints and deployments may come in any order");
    }
}

/// Notes a field that Azure writes into its answers.
pub(super) fn read_only(field: Field<'_>, report: &mut Report) {
    field.note(report, "is left out: Azure writes it; the cluster's own answer is in status");
}
