//! `environment_variables`, and the references to secrets in them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::reading::{Field, Report};

/// Most variables, as the schema has it.
const MOST: usize = 200;
/// Longest name of a variable, as the schema has it.
const LONGEST_NAME: usize = 256;

/// What Azure itself writes into the variables of its answers.
const OF_AZURE: [&str; 3] = ["AML_APP_ROOT", "AZUREML_ENTRY_SCRIPT", "AZUREML_MODEL_DIR"];

/// Reads the variables. Those that Azure wrote into an answer name its own folders and are left out.
pub(super) fn read(field: Field<'_>, is_answer: bool, report: &mut Report) -> Value {
    let path = field.path().to_owned();
    let entries = field.entries(report);
    if entries.len() > MOST {
        report.refuse(&path, format!("has {} variables; at most {MOST} are possible", entries.len()));
    }
    let mut secrets = Secrets::new();
    let variables = entries.into_iter().filter_map(|(name, field)| {
        if is_answer && OF_AZURE.contains(&name) {
            field.note(report, "is left out: Azure wrote it into its answer; instances get their own");
            return None;
        }
        variable(name, field, &mut secrets, report)
    });
    let variables = variables.collect();
    for (secret, keys) in secrets {
        let files: Vec<String> = keys.iter().map(|key| format!("--from-file={key}=FILE")).collect();
        let files = files.join(" ");
        report.note(
            &path,
            format!("Secret {secret:?} is for you to make: kubectl create secret generic {secret} {files}"),
        );
    }
    variables
}

/// The Secrets that variables come from, with their keys.
type Secrets = BTreeMap<String, BTreeSet<String>>;

fn variable(name: &str, field: Field<'_>, secrets: &mut Secrets, report: &mut Report) -> Option<Value> {
    let path = field.path().to_owned();
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(is_letter)
        && !name.starts_with(|first: char| first.is_ascii_digit());
    if !is_name {
        field.refuse(report, "is no name of a variable: letters, digits, '-', '_' and '.', not starting with a digit");
        return None;
    }
    if field.value().is_boolean() {
        report.note(&path, "becomes text, true or false in small letters; write it in quotes to have it otherwise");
    }
    let value = field.written(report)?;
    if !value.contains("${{") {
        return Some(json!({"name": name, "value": value}));
    }
    let Some(place) = secret(&value) else {
        report.refuse(
            &path,
            "is a reference to a secret that is not understood; it must be the whole value, as \
             ${{azureml://connections/NAME/credentials/KEY}} or ${{keyvault:https://VAULT.vault.azure.net/secrets/NAME}}",
        );
        return None;
    };
    let Place { secret, key } = place;
    report.note(&path, format!("comes from key {key:?} of Secret {secret:?}"));
    secrets.entry(secret.clone()).or_default().insert(key.clone());
    Some(json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}))
}

/// A key of a Secret.
struct Place {
    secret: String,
    key: String,
}

/// The Secret that stands for a connection or a key vault, with its name; the key has the name of what is asked of it.
fn secret(value: &str) -> Option<Place> {
    let inner = value.trim().strip_prefix("${{")?.strip_suffix("}}")?.trim();
    let (secret, key) = if let Some(rest) = inner.strip_prefix("azureml://connections/") {
        let (connection, what) = rest.split_once('/').unwrap_or((rest, "connection"));
        let key = what.strip_prefix("credentials/").or_else(|| what.strip_prefix("metadata/")).unwrap_or(what);
        (connection, key)
    } else {
        let rest = inner.strip_prefix("keyvault:")?.strip_prefix("https://")?;
        let (host, path) = rest.split_once('/')?;
        let key = path.strip_prefix("secrets/")?.split('/').next()?;
        (host.split('.').next()?, key)
    };
    let is_key = !key.is_empty()
        && key.len() <= 253
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let secret: String = secret
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .collect();
    let secret = secret.trim_matches('-').to_owned();
    (is_key && !secret.is_empty() && secret.len() <= 253).then(|| Place { secret, key: key.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_reference_has_a_secret_and_a_key() {
        for (value, expected) in [
            ("${{azureml://connections/My_Search/credentials/key}}", Some(("my-search", "key"))),
            ("${{azureml://connections/search/metadata/region}}", Some(("search", "region"))),
            ("${{ azureml://connections/search/target }}", Some(("search", "target"))),
            ("${{azureml://connections/search}}", Some(("search", "connection"))),
            ("${{keyvault:https://team-kv.vault.azure.net/secrets/token/0a1b}}", Some(("team-kv", "token"))),
            ("${{keyvault:https://team-kv.vault.azure.net/secrets/token}}", Some(("team-kv", "token"))),
            ("${{keyvault:https://team-kv.vault.azure.net/keys/token}}", None),
            ("Bearer ${{azureml://connections/search/target}}", None),
            ("${{secrets.TOKEN}}", None),
        ] {
            let found = secret(value);
            let found = found.as_ref().map(|place| (place.secret.as_str(), place.key.as_str()));
            assert_eq!(found, expected, "{value}");
        }
    }
}
