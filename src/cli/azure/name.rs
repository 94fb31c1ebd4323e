//! Names of endpoints and deployments: Azure's may have upper case, those of Kubernetes objects may not.

use super::reading::{Fields, Report};

/// What Azure's names look like, in words.
const SHAPE: &str = "3 to 32 letters, digits and '-', starting with a letter and ending with a letter or digit";

/// What the names of an endpoint and a deployment may have together, as the managed product has it.
const TOGETHER: usize = 62;

/// Whether Azure takes a text as the name of an endpoint or a deployment.
fn is_name(text: &str) -> bool {
    (3..=32).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && !text.ends_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The name under `key`: that of the command line, else that of the document.
pub(super) fn settle(
    fields: &mut Fields<'_>,
    key: &'static str,
    given: Option<&str>,
    derived: Option<String>,
    report: &mut Report,
) -> Option<String> {
    let path = fields.path_of(key);
    let written = fields.take(key);
    if let Some(given) = given {
        if let Some(written) = written.filter(|written| written.value().as_str() != Some(given)) {
            written.note(report, format!("the command line says {given:?}, which wins"));
        }
        if is_name(given) {
            return Some(given.to_owned());
        }
        report.refuse(&path, format!("the command line says {given:?}; it must be {SHAPE}"));
        return None;
    }
    match (written, derived) {
        // Templates write WORKSPACE/ENDPOINT/DEPLOYMENT.
        (Some(written), Some(derived)) if written.value().as_str().is_some_and(|text| text.contains('/')) => {
            if is_name(&derived) {
                written.understood();
                return Some(derived);
            }
            written.refuse(report, format!("names {derived:?}; it must be {SHAPE}"));
            None
        }
        (Some(written), _) => written.text_like(report, SHAPE, is_name),
        (None, Some(derived)) if is_name(&derived) => Some(derived),
        (None, _) => {
            fields.missing(key, report, "write it, or give it on the command line");
            None
        }
    }
}

/// The name as Kubernetes has it; says so when that is another.
pub(super) fn lower(name: &str, path: &str, report: &mut Report) -> String {
    let lower = name.to_ascii_lowercase();
    if lower != name {
        report.note(path, format!("names in Kubernetes are lower case: {name:?} becomes {lower:?}"));
    }
    lower
}

/// The name of a deployment's object: unique in the namespace, as an endpoint's deployments are in the endpoint.
pub(super) fn object(endpoint: &str, deployment: &str) -> String {
    format!("{endpoint}-{deployment}").to_ascii_lowercase()
}

/// Refuses names that are too long together.
pub(super) fn check_together(endpoint: &str, deployment: &str, path: &str, report: &mut Report) {
    let length = endpoint.len() + deployment.len();
    if length > TOGETHER {
        let why =
            format!("the names of endpoint and deployment have {length} characters; they may have {TOGETHER} together");
        report.refuse(path, why);
    }
}
