//! `--set a.b=c`: one field of a spec.

use serde_json::{Map, Value, json};

use super::schema;

/// Sets fields of `spec`, each as `(path, value)`; the value is read as YAML, so that `3` is a number and `{a: 1}` a map.
///
/// # Errors
/// What is wrong with a path, in words.
pub(super) fn set(spec: &mut Value, schema: &Value, fields: &[(String, String)]) -> Result<(), String> {
    for (path, value) in fields {
        // A value that is no YAML is meant as a text.
        let value = serde_saphyr::from_str(value).unwrap_or_else(|_| Value::String(value.clone()));
        let steps = path.strip_prefix("spec.").unwrap_or(path);
        put(spec, schema, steps, value).map_err(|why| format!("--set {path}: {why}"))?;
    }
    Ok(())
}

fn put(at: &mut Value, schema: &Value, steps: &str, value: Value) -> Result<(), String> {
    if let Some(inner) = schema::items_of(schema) {
        return put_in_list(at, inner, steps, value);
    }
    if at.is_null() {
        *at = Value::Object(Map::new());
    }
    let Value::Object(fields) = at else { return Err("a part of it is no map".to_owned()) };
    if schema::is_open(schema) {
        // Names of a map may hold dots, as those of resources and annotations do.
        let text = value.as_str().map(str::to_owned);
        let wants_text = schema::values_of(schema).is_some_and(schema::is_text);
        let value =
            if wants_text { text.map_or_else(|| Value::String(value.to_string()), Value::String) } else { value };
        fields.insert(steps.to_owned(), value);
        return Ok(());
    }
    let (name, rest) = steps.split_once('.').map_or((steps, None), |(name, rest)| (name, Some(rest)));
    let name = schema::spelled(schema, name).ok_or_else(|| schema::stranger(schema, name, ""))?;
    let inner = schema::property(schema, &name).ok_or("there is no such field")?;
    let place = fields.entry(name).or_insert(Value::Null);
    if let Some(rest) = rest {
        return put(place, inner, rest, value);
    }
    let wants_text = schema::is_text(inner);
    *place = if wants_text && !value.is_string() { text_of(&value) } else { value };
    Ok(())
}

/// `2.field` of a list, or `NAME` of one whose items have names and values, as environment variables have.
fn put_in_list(at: &mut Value, inner: &Value, steps: &str, value: Value) -> Result<(), String> {
    if at.is_null() {
        *at = Value::Array(Vec::new());
    }
    let Value::Array(items) = at else { return Err("a part of it is no list".to_owned()) };
    let (first, rest) = steps.split_once('.').map_or((steps, None), |(first, rest)| (first, Some(rest)));
    if let Ok(index) = first.parse::<usize>() {
        let count = items.len();
        let place = items.get_mut(index).ok_or_else(|| format!("the list has {count} items, counted from 0"))?;
        if let Some(rest) = rest {
            return put(place, inner, rest, value);
        }
        *place = value;
        return Ok(());
    }
    if schema::property(inner, "name").is_none() || schema::property(inner, "value").is_none() {
        return Err("an item of a list is named by its number, counted from 0".to_owned());
    }
    items.retain(|item| item.get("name").and_then(Value::as_str) != Some(steps));
    items.push(json!({"name": steps, "value": text_of(&value)}));
    Ok(())
}

fn text_of(value: &Value) -> Value {
    Value::String(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::schema::{DEPLOYMENT, ENDPOINT};

    fn changed(schema: &Value, mut spec: Value, fields: &[(&str, &str)]) -> Result<Value, String> {
        let fields: Vec<(String, String)> =
            fields.iter().map(|(path, value)| ((*path).into(), (*value).into())).collect();
        set(&mut spec, schema, &fields).map(|()| spec)
    }

    #[test]
    fn a_field_is_set_wherever_it_is_and_as_what_it_is() {
        for (path, value, becomes) in [
            ("instance_count", "3", json!({"instanceCount": 3})),
            ("spec.instanceCount", "3", json!({"instanceCount": 3})),
            ("model.version", "2", json!({"model": {"version": "2"}})),
            ("liveness_probe.initial_delay", "20", json!({"livenessProbe": {"initialDelaySeconds": 20}})),
            ("resources.limits.nvidia.com/gpu", "1", json!({"resources": {"limits": {"nvidia.com/gpu": 1}}})),
            (
                "environment_variables.WORKERS",
                "4",
                json!({"environmentVariables": [{"name": "WORKERS", "value": "4"}]}),
            ),
            ("environment.image", "r/i@sha256:0a", json!({"environment": {"image": "r/i@sha256:0a"}})),
            ("requestSettings", "{requestTimeoutMs: 1}", json!({"requestSettings": {"requestTimeoutMs": 1}})),
        ] {
            assert_eq!(changed(&DEPLOYMENT, json!({}), &[(path, value)]), Ok(becomes), "{path}");
        }
        let list = json!({"environmentVariables": [{"name": "A", "value": "a"}]});
        assert_eq!(
            changed(&DEPLOYMENT, list, &[("environmentVariables.0.value", "b"), ("environmentVariables.B", "c")]),
            Ok(json!({"environmentVariables": [{"name": "A", "value": "b"}, {"name": "B", "value": "c"}]}))
        );
        assert_eq!(
            changed(&ENDPOINT, json!({}), &[("traffic.blue_1", "100")]),
            Ok(json!({"traffic": {"blue_1": 100}}))
        );
    }

    #[test]
    fn a_path_that_leads_nowhere_is_told() {
        for (path, why) in [
            ("instanceCnt", "--set instanceCnt: instanceCnt: there is no such field; did you mean \"instanceCount\"?"),
            ("instanceCount.a", "--set instanceCount.a: a part of it is no map"),
            (
                "environmentVariables.3.value",
                "--set environmentVariables.3.value: the list has 0 items, counted from 0",
            ),
        ] {
            let before = json!({"instanceCount": 1});
            assert_eq!(changed(&DEPLOYMENT, before, &[(path, "1")]), Err(why.to_owned()), "{path}");
        }
    }
}
