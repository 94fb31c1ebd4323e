//! The environment variables of a container: values as they are, references looked up where the user has put them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource};

use super::annotation::NAMESPACE;
use super::folder::{self, EndpointFolder};

/// Secrets, by name and key.
pub type Secrets = BTreeMap<String, BTreeMap<String, String>>;

/// The variables as `NAME=VALUE`.
///
/// # Errors
/// The kubelet's words for a reference that leads nowhere.
pub fn of(
    container: &Container,
    instance: &str,
    secrets: &Secrets,
    place: &EndpointFolder,
) -> Result<Vec<String>, String> {
    let mut variables = Vec::new();
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(source)) => look_up(source, instance, container, secrets, place)?,
            (value, None) => Some(expanded(value.as_deref().unwrap_or_default(), container.env.as_deref())),
        };
        variables.extend(value.map(|value| format!("{}={value}", variable.name)));
    }
    Ok(variables)
}

/// `$(NAME)` stands for a variable before; `$$` for `$`.
fn expanded(text: &str, variables: Option<&[EnvVar]>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        let after = found.get(1..).unwrap_or_default();
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let named = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let value = named.and_then(|(name, tail)| {
            let variable = variables.into_iter().flatten().find(|variable| variable.name == name)?;
            Some((variable.value.as_deref()?, tail))
        });
        if let Some((value, tail)) = value {
            out.push_str(value);
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

fn look_up(
    source: &EnvVarSource,
    instance: &str,
    container: &Container,
    secrets: &Secrets,
    place: &EndpointFolder,
) -> Result<Option<String>, String> {
    if let Some(wanted) = &source.secret_key_ref {
        let Some(secret) = secrets.get(&wanted.name) else {
            let missing = format!("secret {:?} not found", wanted.name);
            return if wanted.optional == Some(true) { Ok(None) } else { Err(missing) };
        };
        return match (secret.get(&wanted.key), wanted.optional) {
            (Some(value), _) => Ok(Some(value.clone())),
            (None, Some(true)) => Ok(None),
            (None, _) => Err(format!("couldn't find key {} in Secret {NAMESPACE}/{}", wanted.key, wanted.name)),
        };
    }
    if let Some(wanted) = &source.config_map_key_ref {
        let map = place.config_map(&wanted.name);
        let value = folder::text(&map.join(&wanted.key)).map_err(|error| error.to_string())?;
        return match (value, wanted.optional) {
            (Some(value), _) => Ok(Some(value)),
            (None, Some(true)) => Ok(None),
            (None, _) if map.is_dir() => {
                Err(format!("couldn't find key {} in ConfigMap {NAMESPACE}/{}", wanted.key, wanted.name))
            }
            (None, _) => Err(format!("configmap {:?} not found", wanted.name)),
        };
    }
    if let Some(field) = &source.field_ref {
        return match field.field_path.as_str() {
            "metadata.name" => Ok(Some(instance.to_owned())),
            "metadata.namespace" => Ok(Some(NAMESPACE.to_owned())),
            "spec.nodeName" => Ok(Some("localhost".to_owned())),
            other => Err(format!("the field {other} of a pod has no value on a container engine")),
        };
    }
    if let Some(wanted) = &source.resource_field_ref {
        let resources = container.resources.as_ref();
        let (list, name) = wanted.resource.split_once('.').unwrap_or(("limits", wanted.resource.as_str()));
        let amounts = match list {
            "requests" => resources.and_then(|resources| resources.requests.as_ref()),
            _ => resources.and_then(|resources| resources.limits.as_ref()),
        };
        let amount = amounts.and_then(|amounts| amounts.get(name));
        return amount
            .map(|amount| Some(amount.0.clone()))
            .ok_or_else(|| format!("the container has no {}", wanted.resource));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn variables(env: &serde_json::Value) -> Result<Vec<String>, String> {
        let root = tempfile::tempdir().unwrap();
        let place = EndpointFolder::new(root.path(), "iris");
        folder::write_bytes(&place.config_map("settings").join("level"), b"3", 0o644).unwrap();
        let secrets = Secrets::from([("store".to_owned(), BTreeMap::from([("key".to_owned(), "s".to_owned())]))]);
        let container = json!({"name": "inference-server", "env": env, "resources": {"limits": {"cpu": "2"}}});
        of(&serde_json::from_value(container).unwrap(), "blue-0", &secrets, &place)
    }

    #[test]
    fn references_are_looked_up() {
        let env = json!([
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$(NONE)-$$(A)"},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "store", "key": "key"}}},
            {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}},
            {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "L", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "O", "valueFrom": {"secretKeyRef": {"name": "none", "key": "key", "optional": true}}},
        ]);
        assert_eq!(variables(&env).unwrap(), ["A=1", "B=1-$(NONE)-$(A)", "S=s", "C=3", "N=blue-0", "L=2"]);
    }

    #[test]
    fn what_is_missing_is_told_in_the_kubelets_words() {
        let missing = |source: serde_json::Value| variables(&json!([{"name": "A", "valueFrom": source}])).unwrap_err();
        let secret = |name: &str, key: &str| missing(json!({"secretKeyRef": {"name": name, "key": key}}));
        assert_eq!(secret("none", "key"), "secret \"none\" not found");
        assert_eq!(secret("store", "none"), "couldn't find key none in Secret local/store");
        let map = |name: &str| missing(json!({"configMapKeyRef": {"name": name, "key": "none"}}));
        assert_eq!(map("none"), "configmap \"none\" not found");
        assert_eq!(map("settings"), "couldn't find key none in ConfigMap local/settings");
    }
}
