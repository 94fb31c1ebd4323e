//! What a definition lets people write, and which of it a document has.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The schema of the spec in one of the files of `crds/`.
pub fn of_spec(plural: &str) -> Value {
    let file = format!("{}/crds/{plural}.yaml", env!("CARGO_MANIFEST_DIR"));
    let definition: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let version = &definition["spec"]["versions"][0];
    version["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

/// The fields of an object and whether each must be there.
pub fn fields(schema: &Value) -> impl Iterator<Item = (&String, &Value, bool)> {
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties.map(|(name, field)| (name, field, required.iter().any(|other| other == name)))
}

/// The default of a field when it is no object or list.
pub fn plain_default(schema: &Value) -> Option<&Value> {
    schema.get("default").filter(|value| !value.is_object() && !value.is_array())
}

/// Every form that a value may have: each field there and absent, objects, maps and lists with nothing in them, each
/// word of a choice, numbers and texts where both may stand, the default spelled out.
pub fn forms(schema: &Value, path: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    let may_be_empty = match schema["type"].as_str() {
        Some("object") => fields(schema).all(|(_, _, is_required)| !is_required),
        Some("array") => schema["minItems"].as_u64().unwrap_or_default() == 0,
        _ => false,
    };
    if may_be_empty {
        forms.insert(format!("{path} is empty"));
    }
    for (name, field, is_required) in fields(schema) {
        let path = below(path, name);
        if !is_required {
            forms.insert(format!("{path} is absent"));
        }
        forms.insert(format!("{path} is there"));
        forms.extend(self::forms(field, &path));
    }
    if let Some(entries) = schema.get("additionalProperties") {
        forms.insert(format!("{path}.* is there"));
        forms.extend(self::forms(entries, &format!("{path}.*")));
    }
    if let Some(items) = schema.get("items") {
        forms.insert(format!("{path}[] is there"));
        forms.extend(self::forms(items, &format!("{path}[]")));
    }
    if schema["x-kubernetes-int-or-string"] == true {
        forms.insert(format!("{path} is a number"));
        forms.insert(format!("{path} is a text"));
    }
    if schema["type"] == "boolean" {
        forms.insert(format!("{path} is true"));
        forms.insert(format!("{path} is false"));
    }
    let words = schema["enum"].as_array().into_iter().flatten();
    forms.extend(words.chain(plain_default(schema)).map(|value| format!("{path} is {value}")));
    forms
}

/// The forms that are in a document.
pub fn forms_in(value: &Value, schema: &Value, path: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    match value {
        Value::Object(entries) => {
            if entries.is_empty() {
                forms.insert(format!("{path} is empty"));
            }
            for (name, field, _) in fields(schema) {
                let path = below(path, name);
                if let Some(value) = entries.get(name) {
                    forms.insert(format!("{path} is there"));
                    forms.extend(forms_in(value, field, &path));
                } else {
                    forms.insert(format!("{path} is absent"));
                }
            }
            if let Some(schema) = schema.get("additionalProperties") {
                for value in entries.values() {
                    forms.insert(format!("{path}.* is there"));
                    forms.extend(forms_in(value, schema, &format!("{path}.*")));
                }
            }
        }
        Value::Array(items) => {
            if items.is_empty() {
                forms.insert(format!("{path} is empty"));
            }
            for item in items {
                forms.insert(format!("{path}[] is there"));
                forms.extend(forms_in(item, &schema["items"], &format!("{path}[]")));
            }
        }
        Value::Number(_) | Value::String(_) if schema["x-kubernetes-int-or-string"] == true => {
            forms.insert(format!("{path} is a {}", if value.is_number() { "number" } else { "text" }));
        }
        Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Null => {
            forms.insert(format!("{path} is {value}"));
        }
    }
    forms
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Where `there` lacks something of `written` or has something else in its place. More fields are no matter.
pub fn lost(written: &Value, there: &Value, path: &str) -> Vec<String> {
    match (written, there) {
        (Value::Object(written), Value::Object(there)) => lost_entries(written, there, path),
        (Value::Array(written), Value::Array(there)) if written.len() == there.len() => {
            let pairs = written.iter().zip(there).enumerate();
            pairs.flat_map(|(index, (written, there))| lost(written, there, &format!("{path}[{index}]"))).collect()
        }
        // 1000.0 and 1000 are one number.
        (Value::Number(written), Value::Number(there))
            if (written.is_f64() || there.is_f64()) && written.as_f64() == there.as_f64() =>
        {
            Vec::new()
        }
        _ if written == there => Vec::new(),
        _ => vec![format!("{path} was written as {written} and is {there}")],
    }
}

fn lost_entries(written: &Map<String, Value>, there: &Map<String, Value>, path: &str) -> Vec<String> {
    let lost = |(name, value): (&String, _)| lost(value, there.get(name).unwrap_or(&Value::Null), &below(path, name));
    written.iter().flat_map(lost).collect()
}
