//! Files in the schema of `az ml`, each with what becomes of it. Every snapshot is a page that somebody has read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use boon::{Compiler, Schemas};
use kube::api::{Api, Patch, PatchParams, ValidationDirective};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::discovery::ApiResource;
use mooring_operator::cli::azure::{Conda, Context, Converted, ImageSource, Refusal, convert, is_azure};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::place::Place;

/// The folder that relative paths count from.
const FOLDER: &str = "/home/me/prices/endpoints";

/// What the command line says that references stand for.
fn assets() -> BTreeMap<String, String> {
    let assets = [
        ("azureml:known-model:3", "s3://models/prices/3/"),
        ("azureml://registries/team/models/known-model/versions/3", "azure://team/models/prices/3/"),
        ("azureml:known-code:2", "s3://code/prices/2/"),
        ("azureml:known-env:5", "registry.example.com/known:5"),
        ("azureml:packaged-env:1", "registry.example.com/packaged:1"),
    ];
    assets.into_iter().map(|(reference, place)| (reference.to_owned(), place.to_owned())).collect()
}

fn context(assets: &BTreeMap<String, String>) -> Context<'_> {
    Context { folder: FOLDER, endpoint: None, deployment: None, image: None, assets }
}

fn documents() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/azure");
    let mut documents: Vec<(String, Value)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_saphyr::from_str(&text).unwrap())
        })
        .collect();
    documents.sort_by(|(one, _), (other, _)| one.cmp(other));
    documents
}

/// Everything of an outcome that a user or a caller may see.
fn page(outcome: &Result<Converted, Vec<Refusal>>) -> String {
    let mut page = String::new();
    let converted = match outcome {
        Ok(converted) => converted,
        Err(refusals) => {
            for refusal in refusals {
                writeln!(page, "refused  {refusal}").unwrap();
            }
            return page;
        }
    };
    let manifests = converted.endpoints.iter().map(mooring_operator::cli::azure::Manifest::value);
    let manifests = manifests.chain(converted.deployments.iter().map(mooring_operator::cli::azure::Manifest::value));
    for manifest in manifests {
        writeln!(page, "---\n{}", serde_saphyr::to_string(manifest).unwrap().trim_end()).unwrap();
    }
    writeln!(page, "...").unwrap();
    for note in &converted.notes {
        writeln!(page, "note     {note}").unwrap();
    }
    for local in &converted.local_paths {
        writeln!(page, "local    {}: {} of {}: {}", local.field, local.kind.as_str(), local.deployment, local.path)
            .unwrap();
    }
    for needs in &converted.needs_image {
        writeln!(page, "image    {} of {}", needs.tag, needs.deployment).unwrap();
        writeln!(page, "cluster  {}", needs.refusal()).unwrap();
        match &needs.source {
            ImageSource::Conda { conda, dockerfile } => {
                if let Conda::Text(text) = conda {
                    writeln!(page, "{}:\n{}", conda.file_name(), text.trim_end()).unwrap();
                }
                assert!(needs.refusal().why.ends_with(dockerfile.as_str()), "{dockerfile}");
            }
            ImageSource::Folder { folder, dockerfile } => writeln!(page, "{dockerfile} in {folder}").unwrap(),
        }
    }
    page
}

#[test]
fn each_file_becomes_what_its_page_says() {
    let assets = assets();
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("azure/snapshots");
    settings.set_omit_expression(true);
    let documents = documents();
    assert!(documents.len() >= 40, "{} files", documents.len());
    settings.bind(|| {
        for (name, document) in &documents {
            insta::assert_snapshot!(name.as_str(), page(&convert(document, &context(&assets))));
        }
    });
}

#[test]
fn what_the_command_line_says_wins() {
    let document = json!({
        "name": "blue",
        "endpoint_name": "house-prices",
        "environment": {"image": "a:1", "conda_file": "conda.yml", "inference_config": {
            "liveness_route": {"port": 1, "path": "/l"},
            "readiness_route": {"port": 2, "path": "/r"},
            "scoring_route": {"port": 3, "path": "/s"}
        }}
    });
    let assets = BTreeMap::new();
    let given = Context { endpoint: Some("other"), deployment: Some("Green"), image: Some("b:2"), ..context(&assets) };
    let converted = convert(&document, &given).unwrap();
    let [deployment] = converted.deployments.as_slice() else { panic!("{converted:?}") };
    assert_eq!(deployment.name(), "other-green");
    assert_eq!(deployment.object().spec.deployment_name.as_deref(), Some("Green"));
    assert_eq!(deployment.object().spec.environment.image, "b:2");
    assert_eq!(deployment.object().spec.environment.inference_config.as_ref().unwrap().scoring_route.port, 3);
    assert!(converted.needs_image.is_empty());
    let noted: BTreeSet<&str> = converted.notes.iter().map(|note| note.field.as_str()).collect();
    assert_eq!(noted, BTreeSet::from(["endpoint_name", "name", "environment.image", "environment.conda_file"]));
}

#[test]
fn what_the_file_lacks_the_command_line_fills_in() {
    let assets = BTreeMap::new();
    let given = Context { endpoint: Some("iris"), deployment: Some("blue"), image: Some("b:2"), ..context(&assets) };
    let converted = convert(&json!({"instance_count": 2}), &given).unwrap();
    assert_eq!(converted.deployments[0].name(), "iris-blue");
    assert_eq!(converted.deployments[0].object().spec.instance_count, 2);
    assert_eq!(converted.notes, []);
    let refusals = convert(&json!({"instance_count": 2}), &context(&assets)).unwrap_err();
    let fields: Vec<&str> = refusals.iter().map(|refusal| refusal.field.as_str()).collect();
    assert_eq!(fields, ["endpoint_name", "name", "environment"]);
}

#[test]
fn an_image_that_was_built_and_a_model_that_was_uploaded_take_their_places() {
    let assets = BTreeMap::new();
    let document = json!({
        "name": "blue",
        "endpoint_name": "iris",
        "model": {"path": "model.pkl"},
        "code_configuration": {"code": "code", "scoring_script": "score.py"},
        "environment": {"build": {"path": "."}}
    });
    let mut deployment = convert(&document, &context(&assets)).unwrap().deployments.remove(0);
    deployment.set_image("registry/iris:1");
    deployment.set_model_uri("s3://models/model.pkl");
    let code = mooring_operator::api::deployment::CodeSource {
        config_map_name: Some("score".to_owned()),
        ..Default::default()
    };
    deployment.set_code(code).unwrap();
    assert_eq!(deployment.value()["spec"]["environment"]["image"], "registry/iris:1");
    assert_eq!(deployment.value()["spec"]["model"]["uri"], "s3://models/model.pkl");
    assert_eq!(deployment.value()["spec"]["codeConfiguration"]["code"], json!({"configMapName": "score"}));
    let read: mooring_operator::api::deployment::OnlineDeployment =
        serde_json::from_value(deployment.value().clone()).unwrap();
    assert_eq!(&read, deployment.object());
}

/// The schema of a resource, as the API server gets it.
struct Definition {
    schemas: Schemas,
    index: boon::SchemaIndex,
}

impl Definition {
    fn read(file: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds").join(file);
        let definition: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        assert!(schema["properties"]["spec"].is_object(), "{file}");
        close(&mut schema);
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("mem:///schema.json", schema).unwrap();
        let index = compiler.compile("mem:///schema.json", &mut schemas).unwrap();
        Self { schemas, index }
    }

    fn check(&self, manifest: &Value) -> Result<(), String> {
        self.schemas.validate(manifest, self.index).map_err(|error| format!("{error:#}\n{manifest:#}"))
    }
}

/// Lets no mapping have keys that its schema does not name, so that a misspelt one is found.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            // Nested schemas first: what is inside metadata the definition leaves to Kubernetes.
            map.values_mut().for_each(close);
            if map
                .get("properties")
                .is_some_and(|properties| properties.as_object().is_some_and(|named| !named.is_empty()))
                && map.get("type").is_some_and(|kind| kind == "object")
            {
                let properties = map["properties"].as_object().unwrap();
                let is_root = properties.contains_key("spec");
                if is_root {
                    let properties = map.get_mut("properties").unwrap().as_object_mut().unwrap();
                    for key in ["apiVersion", "kind", "metadata"] {
                        properties.entry(key).or_insert(json!({}));
                    }
                }
                map.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn check(converted: &Converted, endpoints: &Definition, deployments: &Definition) -> Result<(), String> {
    for manifest in &converted.endpoints {
        endpoints.check(manifest.value())?;
        endpoints.check(&serde_json::to_value(manifest.object()).unwrap())?;
    }
    for manifest in &converted.deployments {
        deployments.check(manifest.value())?;
        deployments.check(&serde_json::to_value(manifest.object()).unwrap())?;
    }
    Ok(())
}

#[test]
fn what_a_file_becomes_fits_the_definitions() {
    let (endpoints, deployments) =
        (Definition::read("onlineendpoints.yaml"), Definition::read("onlinedeployments.yaml"));
    let assets = assets();
    let mut checked = 0;
    for (name, document) in documents() {
        if let Ok(converted) = convert(&document, &context(&assets)) {
            check(&converted, &endpoints, &deployments).unwrap_or_else(|error| panic!("{name}: {error}"));
            checked += converted.endpoints.len() + converted.deployments.len();
        }
    }
    assert!(checked >= 25, "{checked} manifests");
    let wrong = json!({"apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint", "spec": {"authmode": "Key"}});
    assert!(endpoints.check(&wrong).is_err());
    let wrong = json!({"spec": {"endpointName": "iris", "environment": {"image": "a"}, "instanceCount": 51}});
    assert!(deployments.check(&wrong).is_err());
}

/// With its rules too, which no schema of JSON has.
#[tokio::test]
async fn the_api_server_takes_what_a_file_becomes() {
    let place = Place::new("azure").await;
    let assets = assets();
    let mut parts =
        vec![("a full endpoint".to_owned(), full_endpoint()), ("a full deployment".to_owned(), full_deployment())];
    parts.extend(documents());
    let mut taken = 0;
    for (name, document) in parts {
        let Ok(converted) = convert(&document, &context(&assets)) else { continue };
        let endpoints = converted.endpoints.iter().map(mooring_operator::cli::azure::Manifest::value);
        for manifest in endpoints.chain(converted.deployments.iter().map(mooring_operator::cli::azure::Manifest::value))
        {
            let types = manifest["kind"].as_str().unwrap();
            let types = GroupVersionKind::gvk("mooring.dev", "v1alpha1", types);
            let api: Api<DynamicObject> =
                Api::namespaced_with(place.client.clone(), &place.namespace, &ApiResource::from_gvk(&types));
            let parameters = PatchParams {
                field_validation: Some(ValidationDirective::Strict),
                ..PatchParams::apply("test").dry_run()
            };
            let object_name = manifest["metadata"]["name"].as_str().unwrap();
            let answer = api.patch(object_name, &parameters, &Patch::Apply(manifest)).await;
            answer.unwrap_or_else(|error| panic!("{name}: {error}\n{manifest:#}"));
            taken += 1;
        }
    }
    assert!(taken >= 25, "{taken} manifests");
    place.done().await;
}

#[test]
fn every_file_is_recognized() {
    for (name, document) in documents() {
        assert_eq!(is_azure(&document), name != "not-a-mapping", "{name}");
    }
}

/// A full endpoint; no value is a default.
fn full_endpoint() -> Value {
    json!({
        "name": "iris",
        "description": "text of the endpoint",
        "tags": {"team": "pricing", "long": "with a space", "bad key": "x", "k8s.io/x": "y"},
        "auth_mode": "aml_token",
        "compute": "azureml:cluster",
        "identity": {
            "type": "user_assigned",
            "principal_id": "p",
            "tenant_id": "t",
            "user_assigned_identities": [{"resource_id": "/a/one", "client_id": "c", "principal_id": "p"}]
        },
        "traffic": {"blue": 40, "green": 60},
        "mirror_traffic": {"red": 7},
        "public_network_access": "disabled",
        "properties": {"a": "b", "enforce_access_to_default_secret_stores": "enabled"},
        "keys": {"primaryKey": "k"},
        "sku": {"name": "Default"},
        "id": "/x/onlineEndpoints/iris",
        "kind": "Managed",
        "location": "westeurope",
        "provisioning_state": "Succeeded",
        "scoring_uri": "https://a",
        "openapi_uri": "https://b",
        "resourceGroup": "g",
        "system_data": {"a": "b"}
    })
}

/// A full deployment; no value is a default.
fn full_deployment() -> Value {
    json!({
        "name": "blue",
        "endpoint_name": "iris",
        "type": "kubernetes",
        "description": "text of the deployment",
        "tags": {"team": "pricing", "long": "with a space"},
        "properties": {"a": "b"},
        "model": {
            "name": "prices", "version": "7", "path": "../model/", "type": "mlflow_model", "description": "d",
            "tags": {"a": "b"}, "properties": {"a": "b"}, "flavors": {"a": {}}, "stage": "s"
        },
        "model_mount_path": "/models",
        "code_configuration": {"code": "../code", "scoring_script": "src/score.py"},
        "environment": {
            "name": "env", "version": "2", "description": "d", "image": "registry/image:1", "conda_file": "conda.yml",
            "path": ".",
            "inference_config": {
                "liveness_route": {"port": 8001, "path": "/live"},
                "readiness_route": {"port": 8002, "path": "/ready"},
                "scoring_route": {"port": 8003, "path": "/run"},
                "startup_route": {"port": 8004, "path": "/start"}
            }
        },
        "environment_variables": {
            "A": "b", "NUMBER": 3, "FLAG": true, "SECRET": "${{azureml://connections/c/credentials/k}}"
        },
        "instance_type": "gpu-large",
        "instance_count": 7,
        "app_insights_enabled": true,
        "scale_settings": {
            "type": "target_utilization", "min_instances": 2, "max_instances": 9,
            "target_utilization_percentage": 55, "polling_interval": 11
        },
        "request_settings": {
            "request_timeout_ms": 6001, "max_concurrent_requests_per_instance": 5, "max_queue_wait_ms": 601
        },
        "liveness_probe": {"initial_delay": 21, "period": 22, "timeout": 3, "failure_threshold": 24},
        "readiness_probe": {
            "initial_delay": 31, "period": 32, "timeout": 33, "success_threshold": 34, "failure_threshold": 35
        },
        "startup_probe": {"initial_delay": 41, "period": 42, "timeout": 43, "failure_threshold": 44},
        "data_collector": {"sampling_rate": 0.5, "collections": {"request": {"enabled": "True"}}},
        "resources": {
            "requests": {"cpu": "600m", "memory": "1Gi"},
            "limits": {"cpu": "2", "memory": "3Gi", "nvidia.com/gpu": 1, "amd.com/gpu": 2}
        },
        "egress_public_network_access": "disabled",
        "private_network_connection": true,
        "package_model": true,
        "creation_context": {"created_by": "me"},
        "provisioning_state": "Succeeded",
        "location": "westeurope"
    })
}

/// The places of all keys, as JSON pointers; what a key below is of, the caller sees.
fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    if let Value::Object(map) = value {
        for (key, value) in map {
            let place = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
            into.push(place.clone());
            places(value, &place, into);
        }
    }
}

fn without(document: &Value, place: &str) -> Option<Value> {
    let mut document = document.clone();
    let (parent, key) = place.rsplit_once('/')?;
    document.pointer_mut(parent)?.as_object_mut()?.remove(&key.replace("~1", "/").replace("~0", "~"))?;
    Some(document)
}

/// Whatever a user or a caller may see of it, without the parts that a removed key may share with others.
fn seen(document: &Value) -> String {
    let assets = BTreeMap::new();
    page(&convert(document, &context(&assets)))
}

/// Keys whose whole is answered by one note, so that what is in them changes nothing.
const ANSWERED_AS_A_WHOLE: [&str; 10] = [
    "/data_collector/",
    "/keys/",
    "/sku/",
    "/system_data/",
    "/creation_context/",
    "/model/tags/",
    "/model/properties/",
    "/model/flavors/",
    "/environment/inference_config/startup_route/",
    "/identity/user_assigned_identities/",
];

fn is_answered_as_a_whole(place: &str) -> bool {
    ANSWERED_AS_A_WHOLE.iter().any(|whole| place.starts_with(whole))
}

/// Parts of a document: a key is kept when its turn says so, and always when the document can't be without it.
fn subset(document: &Value, turns: &[bool], needed: &[&str]) -> Value {
    let mut all = Vec::new();
    places(document, "", &mut all);
    let mut part = document.clone();
    for (place, keep) in all.iter().zip(turns.iter().cycle()) {
        if !keep
            && !needed.contains(&place.as_str())
            && let Some(smaller) = without(&part, place)
        {
            part = smaller;
        }
    }
    part
}

/// Without these a deployment is refused, whatever else it has.
const NEEDED_BY_DEPLOYMENTS: &[&str] = &[
    "/name",
    "/endpoint_name",
    "/environment",
    "/environment/image",
    "/environment/inference_config/liveness_route",
    "/environment/inference_config/liveness_route/port",
    "/environment/inference_config/liveness_route/path",
    "/environment/inference_config/readiness_route",
    "/environment/inference_config/readiness_route/port",
    "/environment/inference_config/readiness_route/path",
    "/environment/inference_config/scoring_route",
    "/environment/inference_config/scoring_route/port",
    "/environment/inference_config/scoring_route/path",
    "/model/path",
    "/code_configuration/code",
    "/code_configuration/scoring_script",
    "/scale_settings/max_instances",
];

const NEEDED_BY_ENDPOINTS: &[&str] =
    &["/name", "/traffic/blue", "/traffic/green", "/identity/user_assigned_identities", "/identity/type"];

/// Each key of `document` changes what is seen; so none is dropped in silence.
fn every_key_counts(document: &Value) -> Result<(), TestCaseError> {
    let whole = seen(document);
    prop_assert!(!whole.contains("refused"), "{whole}\n{document:#}");
    let mut all = Vec::new();
    places(document, "", &mut all);
    for place in all.iter().filter(|place| !is_answered_as_a_whole(place)) {
        let smaller = without(document, place).unwrap();
        let is_empty_mapping = document.pointer(place).and_then(Value::as_object).is_some_and(Map::is_empty);
        prop_assert!(is_empty_mapping || seen(&smaller) != whole, "{place} says nothing\n{document:#}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_field_of_a_deployment_is_lost(turns in prop::collection::vec(prop::bool::weighted(0.8), 150)) {
        every_key_counts(&subset(&full_deployment(), &turns, NEEDED_BY_DEPLOYMENTS))?;
    }

    #[test]
    fn no_field_of_an_endpoint_is_lost(turns in prop::collection::vec(prop::bool::weighted(0.8), 60)) {
        every_key_counts(&subset(&full_endpoint(), &turns, NEEDED_BY_ENDPOINTS))?;
    }

    #[test]
    fn parts_of_documents_fit_the_definitions(turns in prop::collection::vec(any::<bool>(), 150)) {
        let assets = BTreeMap::new();
        for (document, needed) in
            [(full_deployment(), NEEDED_BY_DEPLOYMENTS), (full_endpoint(), NEEDED_BY_ENDPOINTS)]
        {
            let part = subset(&document, &turns, needed);
            let converted = convert(&part, &context(&assets)).map_err(|refusals| TestCaseError::fail(format!("{refusals:?}\n{part:#}")))?;
            DEFINITIONS.with(|(endpoints, deployments)| check(&converted, endpoints, deployments)).map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn a_key_that_nobody_knows_is_refused(word in "[a-z]{4,12}_[a-z]{4,12}", at in any::<prop::sample::Index>()) {
        for document in [full_endpoint(), full_deployment()] {
            let mut parents = vec![String::new()];
            places(&document, "", &mut parents);
            // Mappings with keys of the user's own, and those that are answered as a whole, take every key.
            parents.retain(|place| {
                document.pointer(place).is_some_and(Value::is_object)
                    && !is_answered_as_a_whole(&format!("{place}/"))
                    && !["/tags", "/properties", "/traffic", "/mirror_traffic", "/environment_variables"].contains(&place.as_str())
            });
            let parent = at.get(&parents);
            let mut document = document.clone();
            document.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(word.clone(), json!("x"));
            let assets = BTreeMap::new();
            let refusals = convert(&document, &context(&assets)).unwrap_err();
            let field = format!("{parent}/{word}").trim_start_matches('/').replace('/', ".");
            prop_assert!(
                refusals.iter().any(|refusal| refusal.field == field && refusal.why.starts_with("unknown field")),
                "{field}: {refusals:?}"
            );
        }
    }

    #[test]
    fn no_document_makes_the_reader_panic(document in any_document()) {
        let assets = BTreeMap::new();
        let _ = convert(&document, &context(&assets));
    }
}

thread_local! {
    static DEFINITIONS: (Definition, Definition) =
        (Definition::read("onlineendpoints.yaml"), Definition::read("onlinedeployments.yaml"));
}

/// Known keys with values of any form.
fn any_document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["azureml:", "azureml:a:1", "${{", "PT", "PT1S", "/", "..", "user_assigned", "é"])
            .prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((any_key(), inner), 0..4).prop_map(|entries| Value::from(Map::from_iter(entries))),
        ]
    });
    prop::collection::vec((any_key(), value), 0..8).prop_map(|entries| Value::from(Map::from_iter(entries)))
}

fn any_key() -> impl Strategy<Value = String> {
    let mut all = Vec::new();
    for document in [full_endpoint(), full_deployment()] {
        places(&document, "", &mut all);
    }
    let keys: BTreeSet<String> = all.iter().filter_map(|place| place.rsplit('/').next()).map(str::to_owned).collect();
    prop::sample::select(keys.into_iter().collect::<Vec<_>>())
}
