//! What the definitions say of a document: fields that they do not have, and the right spelling of those that are named.

use std::sync::LazyLock;

use serde_json::Value;

use super::alike;

/// More alike than this, one name is meant by the other; from 0 to 1.
const ALIKE: f64 = 0.75;

/// The spellings of Azure ML that are no snake case of ours.
const AZURE: [(&str, &str); 6] = [
    ("initial_delay", "initialDelaySeconds"),
    ("period", "periodSeconds"),
    ("timeout", "timeoutSeconds"),
    ("polling_interval", "pollingIntervalSeconds"),
    ("user_assigned_identities", "serviceAccountName"),
    ("path", "uri"),
];

/// The schema of an endpoint's spec.
pub(super) static ENDPOINT: LazyLock<Value> =
    LazyLock::new(|| of_spec(include_str!("../../crds/onlineendpoints.yaml")));

/// The schema of a deployment's spec.
pub(super) static DEPLOYMENT: LazyLock<Value> =
    LazyLock::new(|| of_spec(include_str!("../../crds/onlinedeployments.yaml")));

/// From the definition that is installed: to make it of the types again is half a megabyte of code.
fn of_spec(definition: &str) -> Value {
    let mut definition: Value = serde_saphyr::from_str(definition).unwrap_or_default();
    let spec = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    spec.map(Value::take).unwrap_or_default()
}

/// The fields below `value` that `schema` does not have, as `spec.modle: … did you mean "model"?`.
pub(super) fn strangers(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    match value {
        Value::Object(fields) if is_open(schema) => match values_of(schema) {
            Some(inner) => fields.iter().flat_map(|(name, value)| strangers(inner, value, &join(path, name))).collect(),
            None => Vec::new(),
        },
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match property(schema, name) {
                Some(inner) => strangers(inner, value, &join(path, name)),
                None => vec![stranger(schema, name, path)],
            })
            .collect(),
        Value::Array(items) => match items_of(schema) {
            Some(inner) => {
                let each = items.iter().enumerate();
                each.flat_map(|(index, item)| strangers(inner, item, &format!("{path}[{index}]"))).collect()
            }
            None => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Says that there is no such field, and which one may be meant.
pub(super) fn stranger(schema: &Value, name: &str, path: &str) -> String {
    let known =
        schema.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str());
    let meant = alike::most(name, known, ALIKE);
    let meant = meant.map(|known| format!("; did you mean {known:?}?")).unwrap_or_default();
    format!("{}: there is no such field{meant}", join(path, name))
}

/// Our name for a field of `schema` that may be written as Azure ML does: `instance_count` is `instanceCount`.
pub(super) fn spelled(schema: &Value, name: &str) -> Option<String> {
    if is_open(schema) || property(schema, name).is_some() {
        return Some(name.to_owned());
    }
    let azure = AZURE.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| (*ours).to_owned());
    let known = |ours: &String| property(schema, ours).is_some();
    azure.filter(known).or_else(|| Some(camel_case(name)).filter(known))
}

/// The schema of the field `name`.
pub(super) fn property<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema.get("properties")?.get(name)
}

/// The schema of every item of a list.
pub(super) fn items_of(schema: &Value) -> Option<&Value> {
    schema.get("items").filter(|inner| inner.is_object())
}

/// The schema of every value of a map.
pub(super) fn values_of(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|inner| inner.is_object())
}

/// Whether a text stands there, and nothing else.
pub(super) fn is_text(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("string")
}

/// Whether any name may stand there.
pub(super) fn is_open(schema: &Value) -> bool {
    schema.get("properties").is_none()
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_is_not_there_is_told_at_any_depth_and_maps_take_any_name() {
        let spec = json!({
            "endpointName": "iris", "modle": {},
            "environment": {"image": "i", "imagePullSecretNames": ["a"], "inferenceConfig": {"livenessRoute": {"prot": 1}}},
            "environmentVariables": [{"name": "A", "vlaue": "b"}, {"name": "B", "valueFrom": {"secretKeyRef": {"nmae": "s", "key": "k"}}}],
            "resources": {"requests": {"anything.example.com/gpu": "1"}},
        });
        assert_eq!(
            strangers(&DEPLOYMENT, &spec, "spec"),
            [
                "spec.environment.inferenceConfig.livenessRoute.prot: there is no such field; did you mean \"port\"?",
                "spec.environmentVariables[0].vlaue: there is no such field; did you mean \"value\"?",
                "spec.environmentVariables[1].valueFrom.secretKeyRef.nmae: there is no such field; did you mean \"name\"?",
                "spec.modle: there is no such field; did you mean \"model\"?",
            ]
        );
    }

    #[test]
    fn azures_spellings_lead_to_our_fields() {
        let spec = &*DEPLOYMENT;
        assert_eq!(spelled(spec, "instance_count").as_deref(), Some("instanceCount"));
        assert_eq!(spelled(spec, "instanceCount").as_deref(), Some("instanceCount"));
        assert_eq!(spelled(spec, "instanze_count"), None);
        let probe = property(spec, "livenessProbe").unwrap();
        assert_eq!(spelled(probe, "initial_delay").as_deref(), Some("initialDelaySeconds"));
        assert_eq!(spelled(probe, "failure_threshold").as_deref(), Some("failureThreshold"));
    }
}
