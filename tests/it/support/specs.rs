//! Documents with every field that the definitions know, in all the forms that the API server takes.

use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::strategy::{Union, ValueTree};
use proptest::string::string_regex;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use super::schema;

/// How many percent of the optional fields are there, from document to document.
const DENSITIES: [u32; 5] = [0, 25, 50, 75, 100];

/// So many documents of both kinds in turn, the same in every run.
pub fn documents(count: usize) -> Vec<Value> {
    let mut runner = TestRunner::deterministic();
    let kinds = ["OnlineEndpoint", "OnlineDeployment"];
    let schemas = kinds.map(|kind| schema::of_spec(&format!("{}s", kind.to_lowercase())));
    let metadata = metadata();
    (0..count)
        .map(|index| {
            let (kind, number) = (index % kinds.len(), index / kinds.len());
            let density = DENSITIES[number / 2 % DENSITIES.len()];
            let mut spec = draw(&value(&schemas[kind], "", density), &mut runner);
            let mut metadata = draw(&metadata, &mut runner);
            let prefix = if kind == 0 {
                mend_endpoint(&mut spec);
                ENDPOINT
            } else {
                mend_deployment(&mut spec);
                "deployment"
            };
            metadata["name"] = json!(format!("{prefix}-{number}"));
            json!({"apiVersion": "mooring.dev/v1alpha1", "kind": kinds[kind], "metadata": metadata, "spec": spec})
        })
        .collect()
}

const ENDPOINT: &str = "endpoint";

fn draw(strategy: &BoxedStrategy<Value>, runner: &mut TestRunner) -> Value {
    strategy.new_tree(runner).unwrap().current()
}

/// What people put on their objects. Nothing that is empty: Kubernetes does not keep that, so that kubectl sets it anew
/// each time.
fn metadata() -> BoxedStrategy<Value> {
    let labels = Just(json!({"team": "", "app.kubernetes.io/managed-by": "flux", "mooring.dev/team": "iris"}));
    let annotations =
        Just(json!({"example.com/note": "two\nlines\n", "mooring.dev/owner": "é", "example.com/empty": ""}));
    entries(vec![("labels", optional(labels, 50)), ("annotations", optional(annotations, 50))])
}

fn optional(strategy: impl Strategy<Value = Value> + 'static, percent: u32) -> BoxedStrategy<Option<Value>> {
    (0..100_u32, strategy).prop_map(move |(draw, value)| (draw < percent).then_some(value)).boxed()
}

fn entries(fields: Vec<(&str, BoxedStrategy<Option<Value>>)>) -> BoxedStrategy<Value> {
    let (names, strategies): (Vec<String>, Vec<_>) =
        fields.into_iter().map(|(name, strategy)| (name.to_owned(), strategy)).unzip();
    let object = move |values: Vec<Option<Value>>| {
        let there = names.iter().cloned().zip(values).filter_map(|(name, value)| Some((name, value?)));
        Value::Object(there.collect())
    };
    strategies.prop_map(object).boxed()
}

/// A value of a schema. What the schema can't say is in `special` and in what is mended afterwards.
fn value(schema: &Value, path: &str, density: u32) -> BoxedStrategy<Value> {
    let drawn = special(path).unwrap_or_else(|| plain(schema, path, density));
    match schema::plain_default(schema).cloned() {
        Some(default) => Union::new_weighted(vec![(1, Just(default).boxed()), (3, drawn)]).boxed(),
        None => drawn,
    }
}

fn plain(schema: &Value, path: &str, density: u32) -> BoxedStrategy<Value> {
    if let Some(words) = schema["enum"].as_array() {
        return select(words.clone()).boxed();
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return one_of(&[
            json!("0.5"),
            json!("500m"),
            json!("1e3"),
            json!("1Gi"),
            json!("1073741824"),
            json!(1),
            json!(1_073_741_824),
        ]);
    }
    match schema["type"].as_str() {
        Some("object") if schema.get("properties").is_some() => object(schema, path, density),
        Some("object") => map(schema, path, density),
        Some("array") => {
            let items = value(&schema["items"], &format!("{path}[]"), density);
            let drawn = proptest::collection::vec(items, 1..=MOST_ITEMS).prop_map(Value::Array).boxed();
            let may_be_empty = schema["minItems"].as_u64().unwrap_or_default() == 0;
            with_empty(json!([]), may_be_empty && density < 100, drawn)
        }
        Some("string") => text(schema, path),
        Some("integer") => integer(schema),
        Some("boolean") => any::<bool>().prop_map(Value::Bool).boxed(),
        other => panic!("{path} is of the type {other:?}, which nobody draws"),
    }
}

/// How many items lists have at most.
const MOST_ITEMS: usize = 5;

/// Sometimes nothing, where that is allowed.
fn with_empty(empty: Value, may_be_empty: bool, drawn: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    if !may_be_empty {
        return drawn;
    }
    Union::new_weighted(vec![(1, Just(empty).boxed()), (4, drawn)]).boxed()
}

fn object(schema: &Value, path: &str, density: u32) -> BoxedStrategy<Value> {
    let fields = schema::fields(schema).map(|(name, field, is_required)| {
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        (name.as_str(), optional(value(field, &below, density), if is_required { 100 } else { density }))
    });
    let drawn = entries(fields.collect());
    let may_be_empty = schema::fields(schema).all(|(_, _, is_required)| !is_required);
    with_empty(json!({}), may_be_empty && density < 100, drawn)
}

fn map(schema: &Value, path: &str, density: u32) -> BoxedStrategy<Value> {
    let entries = value(&schema["additionalProperties"], &format!("{path}.*"), density);
    let keys = vec!["example.com/a", "nginx.ingress.kubernetes.io/proxy-body-size", "plain", "a_b"];
    with_empty(json!({}), density < 100, keyed(keys, entries))
}

fn keyed(keys: Vec<&'static str>, entries: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    proptest::collection::btree_map(select(keys), entries, 1..=3).prop_map(|entries| json!(entries)).boxed()
}

fn text(schema: &Value, path: &str) -> BoxedStrategy<Value> {
    let bound = |name: &str, default: usize| schema[name].as_u64().map_or(default, |bound| bound.try_into().unwrap());
    let (least, most) = (bound("minLength", 0), bound("maxLength", usize::MAX));
    let fits = move |text: &String| (least..=most).contains(&text.chars().count());
    if let Some(pattern) = schema["pattern"].as_str() {
        // Who draws by a pattern knows no ends, and some characters can't be applied at all.
        let pattern = pattern.trim_start_matches('^').trim_end_matches('$').replace(r"[^\s]", "[!-~é☃]");
        let drawn = string_regex(&pattern).unwrap_or_else(|error| panic!("{path}: {pattern}: {error}"));
        return drawn.prop_filter("its length", fits).prop_map(Value::String).boxed();
    }
    let names = ["main", "team.models", "a-1"];
    // What YAML takes for something else, and what is cut or escaped on some ways.
    let others =
        ["", "plain", "1", "1.0", "true", "null", "~", " ends ", "two\nlines\n", "é ☃", "a\"b\\c", "{{x}}", "#"];
    let is_name = path.ends_with("Name") || path.ends_with("Names[]");
    let texts: Vec<String> = if is_name { names.as_slice() } else { &others }.iter().map(ToString::to_string).collect();
    select(texts.into_iter().filter(fits).collect::<Vec<_>>()).prop_map(Value::String).boxed()
}

fn integer(schema: &Value) -> BoxedStrategy<Value> {
    // The definitions have their bounds as floats.
    let bound = |name: &str| schema[name].as_f64().map(|bound| format!("{bound:.0}").parse::<i64>().unwrap());
    let least = bound("minimum").unwrap_or(i64::MIN);
    let most = bound("maximum").unwrap_or(i64::MAX);
    // The first whole number that a float can't hold.
    let large = (1_i64 << 53) + 1;
    prop_oneof![Just(least), Just(most), Just(large.clamp(least, most)), least..=most].prop_map(Value::from).boxed()
}

fn one_of(values: &[Value]) -> BoxedStrategy<Value> {
    select(values.to_vec()).boxed()
}

fn quantities(texts: &[Value]) -> BoxedStrategy<Value> {
    let names = vec!["cpu", "memory", "nvidia.com/gpu", "ephemeral-storage"];
    with_empty(json!({}), true, keyed(names, one_of(texts)))
}

/// Fields whose schema says too little, or that would make a crowd of pods.
fn special(path: &str) -> Option<BoxedStrategy<Value>> {
    let uris =
        ["s3://models/iris/", "https://x.test/é b.tar.gz?v=1", "azureml:iris:1", "pvc://claim/iris", "hf://a/b@main"];
    Some(match path {
        "traffic" => one_of(&[
            json!({}),
            json!({"blue": 100}),
            json!({"blue": 90, "GREEN": 10}),
            json!({"blue": 0}),
            json!({"blue": 33, "green": 33, "deployment-7": 34, "shadow": 0}),
        ]),
        "mirrorTraffic" => one_of(&[json!({}), json!({"shadow": 0}), json!({"shadow": 50}), json!({"Shadow": 7})]),
        // Some of these endpoints never come.
        "endpointName" => (0..400_usize).prop_map(|number| json!(format!("{ENDPOINT}-{number}"))).boxed(),
        "deploymentName" => one_of(&[json!("blue"), json!("GREEN"), json!("a1b"), json!("x".repeat(32))]),
        "instanceCount" => (0..=1_i64).prop_map(Value::from).boxed(),
        "instanceType" => one_of(&[json!("Standard_DS3_v2"), json!("unknown"), json!("Team.X")]),
        "environment.image" => one_of(&[
            json!("good:1"),
            json!("127.0.0.1:5000/team/iris@sha256:0"),
            json!(" Not an image "),
            json!("azureml:sklearn:1"),
        ]),
        "model.uri" | "codeConfiguration.code.uri" => select(uris.to_vec()).prop_map(Value::from).boxed(),
        "modelMountPath" => one_of(&[json!("/models"), json!("/var/a b/é"), json!("/..x")]),
        "codeConfiguration.scoringScript" => one_of(&[json!("score.py"), json!("./src/a b.py"), json!("..x/é.py")]),
        "environmentVariables[].name" => {
            select(vec!["A", "B", "a.b", "-x", "_", "AZUREML_MODEL_DIR", "PATH"]).prop_map(Value::from).boxed()
        }
        "livenessProbe.successThreshold" | "startupProbe.successThreshold" => one_of(&[json!(1)]),
        "scaleSettings.minInstances" => (0..=2_i64).prop_map(Value::from).boxed(),
        // No request is above any limit, since a schema can't say that.
        "resources.requests" => quantities(&[
            json!("0.5"),
            json!("500m"),
            json!(".5"),
            json!("5e-1"),
            json!("+5E-1"),
            json!("0"),
            json!(1),
            json!("1000m"),
            json!("1.000"),
        ]),
        "resources.limits" => quantities(&[
            json!("1e3"),
            json!("1E3"),
            json!(1000.0),
            json!("1Gi"),
            json!("1073741824"),
            json!(1_073_741_824),
            json!("1.5Gi"),
            json!("1048576Ki"),
            json!("2"),
            json!("2000m"),
            json!("1k"),
        ]),
        _ => return None,
    })
}

fn below<'a>(spec: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    path.iter().try_fold(spec, |value, name| value.get_mut(name)).and_then(Value::as_object_mut)
}

/// What the rules of the definition ask for beside the schema.
fn mend_endpoint(spec: &mut Value) {
    if let Some(ingress) = below(spec, &["ingress"])
        && ingress.contains_key("gateway")
    {
        // A Gateway has its own.
        ingress.remove("className");
        ingress.remove("tlsSecretName");
    }
    if let Some(identity) = below(spec, &["identity"]) {
        if identity.contains_key("serviceAccountName") {
            identity.insert("type".to_owned(), json!("UserAssigned"));
        } else if identity.get("type").is_some_and(|kind| kind == "UserAssigned") {
            identity.insert("serviceAccountName".to_owned(), json!("models"));
        }
    }
    if let Some(cors) = below(spec, &["cors"])
        && cors["allowOrigins"].as_array().unwrap().iter().any(|origin| origin == "*")
        && cors.contains_key("allowCredentials")
    {
        cors.insert("allowCredentials".to_owned(), json!(false));
    }
}

fn mend_deployment(spec: &mut Value) {
    if let Some(cache) = below(spec, &["cache"])
        && cache.contains_key("maxSize")
    {
        cache.entry("claimName").or_insert(json!("models"));
    }
    if let Some(code) = below(spec, &["codeConfiguration", "code"]) {
        mend_code(code);
    }
    if let Some(model) = below(spec, &["model"])
        && model["uri"].as_str().unwrap().starts_with("pvc:")
        && model.contains_key("unpack")
    {
        model.insert("unpack".to_owned(), json!(false));
    }
    if let Some(fields) = spec.as_object_mut()
        && !fields.contains_key("model")
    {
        fields.remove("modelMountPath");
    }
    if let Some(variables) = spec.get_mut("environmentVariables").and_then(Value::as_array_mut) {
        let mut names = Vec::new();
        variables.retain(|variable| {
            !names.contains(&variable["name"]) && {
                names.push(variable["name"].clone());
                true
            }
        });
        for (index, variable) in variables.iter_mut().filter_map(Value::as_object_mut).enumerate() {
            if variable.contains_key("value") && variable.contains_key("valueFrom") {
                variable.remove(["valueFrom", "value"][index % 2]);
            }
        }
    }
    if let Some(rollout) = below(spec, &["rollout"]) {
        let number = |name: &str, default: i64| rollout.get(name).map_or(default, |value| value.as_i64().unwrap());
        if number("maxSurge", 1) == 0 && number("maxUnavailable", 0) == 0 {
            rollout.insert("maxUnavailable".to_owned(), json!(1));
        }
    }
    if let Some(scale) = below(spec, &["scaleSettings"]) {
        if scale.get("type").is_some_and(|kind| kind == "Default") {
            scale.retain(|name, _| name == "type");
        } else if !scale.is_empty() {
            scale.insert("type".to_owned(), json!("TargetUtilization"));
        }
        let number = |name: &str| scale.get(name).map_or(1, |value| value.as_i64().unwrap());
        let least = number("minInstances");
        if least > number("maxInstances") {
            scale.insert("maxInstances".to_owned(), json!(least));
        }
    }
}

/// Code has one place, and each place has its own fields.
fn mend_code(code: &mut Map<String, Value>) {
    if code.contains_key("uri") && code.contains_key("configMapName") {
        let is_archive = code.get("unpack").is_some_and(|unpack| unpack == true);
        code.remove(if is_archive { "configMapName" } else { "uri" });
    }
    if !code.contains_key("uri") {
        code.entry("configMapName").or_insert(json!("score"));
        code.remove("credentialsSecretName");
    }
    let is_downloaded = code.get("uri").is_some_and(|uri| !uri.as_str().unwrap().starts_with("pvc:"));
    if !is_downloaded && code.contains_key("unpack") {
        code.insert("unpack".to_owned(), json!(false));
    }
}
