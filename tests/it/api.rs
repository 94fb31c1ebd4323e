//! What the API server accepts and what it refuses: the definitions in `crds/` as they are.

use kube::api::{Api, PostParams};
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use serde_json::{Value, json};

use crate::support::documents::{deployment, endpoint, with};
use crate::support::place::Place;

/// A change of a good document and a part of the refusal; an empty one means that it is accepted.
type Case = (&'static str, Value, &'static str);

fn resource(document: &Value) -> ApiResource {
    let kind = document["kind"].as_str().unwrap();
    let plural = format!("{}s", kind.to_lowercase());
    ApiResource::from_gvk_with_plural(&kube::core::GroupVersionKind::gvk("mooring.dev", "v1alpha1", kind), &plural)
}

fn api(place: &Place, document: &Value) -> Api<DynamicObject> {
    if document["kind"] == "InstanceType" {
        return Api::all_with(place.client.clone(), &resource(document));
    }
    Api::namespaced_with(place.client.clone(), &place.namespace, &resource(document))
}

async fn create(place: &Place, document: &Value, dry_run: bool) -> Result<DynamicObject, String> {
    let parameters = PostParams { dry_run, ..PostParams::default() };
    let object = serde_json::from_value(document.clone()).unwrap();
    api(place, document).create(&parameters, &object).await.map_err(|error| error.to_string())
}

async fn check(place: &Place, base: &Value, cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for (pointer, value, refusal) in cases {
        let document = with(base.clone(), pointer, value.clone());
        match (create(place, &document, true).await, refusal) {
            (Ok(_), "") => {}
            (Ok(_), expected) => wrong.push(format!("{pointer} = {value}: accepted, not {expected:?}")),
            (Err(error), "") => wrong.push(format!("{pointer} = {value}: refused: {error}")),
            (Err(error), expected) if error.contains(expected) => {}
            (Err(error), expected) => wrong.push(format!("{pointer} = {value}: {error}, not {expected:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn endpoints_are_accepted_and_refused_as_the_page_says() {
    let place = Place::new("api-endpoint").await;
    let two = "percentages must sum to 100";
    check(
        &place,
        &endpoint(&json!({})),
        vec![
            ("/spec", json!({}), ""),
            ("/metadata/name", json!("a1b"), ""),
            ("/metadata/name", json!("ab"), "3 to 32 characters"),
            ("/metadata/name", json!("a".repeat(32)), ""),
            ("/metadata/name", json!("a".repeat(33)), "3 to 32 characters"),
            ("/metadata/name", json!("1ab"), "3 to 32 characters"),
            ("/metadata/name", json!("a.b"), "3 to 32 characters"),
            ("/spec/traffic", json!({"blue": 100}), ""),
            ("/spec/traffic", json!({"blue": 0}), ""),
            ("/spec/traffic", json!({"blue": 90, "green": 10}), ""),
            ("/spec/traffic", json!({"blue": 90}), two),
            ("/spec/traffic", json!({"blue": 90, "green": 11}), two),
            ("/spec/traffic", json!({"blue": 101}), "less than or equal to 100"),
            ("/spec/traffic", json!({"blue": -1, "green": 101}), "greater than or equal to 0"),
            ("/spec/traffic", json!({"blue": "100"}), "must be of type integer"),
            ("/spec/traffic", json!({"Blue": 50, "blue": 50}), "one entry"),
            ("/spec/mirrorTraffic", json!({"green": 50}), ""),
            ("/spec/mirrorTraffic", json!({"green": 51}), "at most 50 percent"),
            ("/spec/mirrorTraffic", json!({"green": 1, "blue": 1}), "must have at most 1 item"),
            ("/spec", json!({"traffic": {"blue": 100}, "mirrorTraffic": {"blue": 10}}), "no live traffic"),
            ("/spec", json!({"traffic": {"Blue": 100}, "mirrorTraffic": {"blue": 10}}), "no live traffic"),
            ("/spec", json!({"traffic": {"blue": 100, "green": 0}, "mirrorTraffic": {"green": 10}}), ""),
            ("/spec/authMode", json!("Key"), ""),
            ("/spec/authMode", json!("AMLToken"), ""),
            ("/spec/authMode", json!("key"), "Unsupported value"),
            ("/spec/identity", json!({"type": "UserAssigned", "serviceAccountName": "models"}), ""),
            ("/spec/identity", json!({"type": "UserAssigned"}), "serviceAccountName goes with"),
            ("/spec/identity", json!({"serviceAccountName": "models"}), "serviceAccountName goes with"),
            ("/spec/limits", json!({"requestsPerSecond": 0}), "greater than or equal to 1"),
            ("/spec/limits", json!({"maxRequestBytes": 10_000_000_000_i64}), ""),
            ("/spec/cors", json!({"allowOrigins": ["https://app.example.com", "https://*.example.com", "*"]}), ""),
            (
                "/spec/cors",
                json!({"allowOrigins": ["http://localhost:3000"], "allowCredentials": true, "maxAge": 60}),
                "",
            ),
            ("/spec/cors", json!({}), "allowOrigins: Required value"),
            ("/spec/cors", json!({"allowOrigins": []}), "at least 1 item"),
            ("/spec/cors", json!({"allowOrigins": ["https://app.example.com/"]}), "should match"),
            ("/spec/cors", json!({"allowOrigins": ["app.example.com"]}), "should match"),
            ("/spec/cors", json!({"allowOrigins": ["*"], "allowCredentials": true}), "needs origins by name"),
            ("/spec/cors", json!({"allowOrigins": ["*"], "allowHeaders": ["x: y"]}), "should match"),
            ("/spec/publicNetworkAccess", json!("Disabled"), ""),
            ("/spec/publicNetworkAccess", json!("disabled"), "Unsupported value"),
            ("/spec/ingress", json!({"host": "iris.example.com"}), ""),
            ("/spec/ingress", json!({"className": "nginx"}), "host: Required value"),
            ("/spec/ingress", json!({"host": "Iris!"}), "should match"),
            ("/spec/keysSecretName", json!("my-keys"), ""),
        ],
    )
    .await;
    place.done().await;
}

#[tokio::test]
async fn deployments_are_accepted_and_refused_as_the_page_says() {
    let place = Place::new("api-deployment").await;
    let route = |port: i32| json!({"port": port, "path": "/ping"});
    let whole = json!({"livenessRoute": route(8080), "readinessRoute": route(8080), "scoringRoute": route(8080)});
    let probe = |field: &str, value: i32| json!({field: value});
    check(
        &place,
        &deployment("blue", "i"),
        vec![
            ("/metadata/name", json!("a".repeat(63)), ""),
            ("/metadata/name", json!("a".repeat(64)), "3 to 63 characters"),
            ("/spec/deploymentName", json!("Blue-1"), ""),
            ("/spec/deploymentName", json!("1blue"), "should match"),
            ("/spec/deploymentName", json!("ab"), "at least 3 chars"),
            ("/spec/endpointName", json!("Iris"), "should match"),
            ("/spec/model", json!({"uri": "models/iris"}), "should match"),
            ("/spec/model", json!({"uri": "s3://b/k", "sha256": "ab"}), "should match"),
            ("/spec/model", json!({"uri": "s3://b/k", "sha256": "0".repeat(64)}), ""),
            ("/spec/model", json!({"uri": "s3://b/k", "name": "../x"}), "should match"),
            ("/spec/model", json!({"uri": "s3://b/k.tar.gz", "unpack": true}), ""),
            ("/spec/model", json!({"uri": "pvc://c/k", "unpack": false}), ""),
            ("/spec/model", json!({"uri": "pvc://c/k.tar.gz", "unpack": true}), "unpack does not go with pvc://"),
            ("/spec/modelMountPath", json!("/models"), ""),
            ("/spec/modelMountPath", json!("models"), "should match"),
            ("/spec/modelMountPath", json!("/a/../b"), "must not hold '..'"),
            ("/spec/codeConfiguration", json!({"code": {"uri": "s3://b/c"}, "scoringScript": "s.py"}), ""),
            ("/spec/codeConfiguration", json!({"code": {}, "scoringScript": "s.py"}), "either uri or configMapName"),
            (
                "/spec/codeConfiguration",
                json!({"code": {"uri": "s3://b/c", "configMapName": "x"}, "scoringScript": "s.py"}),
                "either uri or configMapName",
            ),
            (
                "/spec/codeConfiguration",
                json!({"code": {"uri": "s3://b/c.zip", "unpack": true}, "scoringScript": "src/s.py"}),
                "",
            ),
            (
                "/spec/codeConfiguration",
                json!({"code": {"uri": "pvc://c/c.zip", "unpack": true}, "scoringScript": "s.py"}),
                "unpack goes with a uri that is downloaded",
            ),
            (
                "/spec/codeConfiguration",
                json!({"code": {"configMapName": "x", "unpack": true}, "scoringScript": "s.py"}),
                "unpack goes with a uri that is downloaded",
            ),
            ("/spec/codeConfiguration", json!({"code": {"configMapName": "x"}}), "scoringScript: Required value"),
            ("/spec/codeConfiguration/scoringScript", json!("/s.py"), "must be relative"),
            ("/spec/codeConfiguration/scoringScript", json!("a/../s.py"), "must be relative"),
            ("/spec/codeConfiguration/scoringScript", json!("src/..s.py"), ""),
            ("/spec/cache", json!({}), ""),
            ("/spec/cache", json!({"claimName": "models"}), ""),
            ("/spec/cache", json!({"claimName": "models", "maxSize": "200Gi"}), ""),
            ("/spec/cache", json!({"claimName": "models", "maxSize": 1_000_000}), ""),
            ("/spec/cache", json!({"claimName": "models", "maxSize": "0"}), "maxSize must be above 0"),
            ("/spec/cache", json!({"claimName": "models", "maxSize": "much"}), "should match"),
            ("/spec/cache", json!({"maxSize": "200Gi"}), "maxSize goes with a claimName"),
            ("/spec/environment", json!({}), "image: Required value"),
            ("/spec/environment/runAsUser", json!(0), ""),
            ("/spec/environment/runAsUser", json!(-1), "greater than or equal to 0"),
            ("/spec/environment/inferenceConfig", whole.clone(), ""),
            (
                "/spec/environment/inferenceConfig",
                json!({"livenessRoute": route(1), "readinessRoute": route(1)}),
                "scoringRoute: Required value",
            ),
            (
                "/spec/environment/inferenceConfig",
                with(whole.clone(), "/scoringRoute", route(0)),
                "greater than or equal to 1",
            ),
            (
                "/spec/environment/inferenceConfig",
                with(whole, "/scoringRoute", json!({"port": 1, "path": "x"})),
                "should match",
            ),
            ("/spec/environmentVariables", json!([{"name": "A", "value": "b"}]), ""),
            ("/spec/environmentVariables", json!([{"name": "A"}, {"name": "A"}]), "Duplicate value"),
            (
                "/spec/environmentVariables",
                json!([{"name": "A", "value": "b", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
                "exclude each other",
            ),
            ("/spec/instanceCount", json!(0), ""),
            ("/spec/instanceCount", json!(50), ""),
            ("/spec/instanceCount", json!(51), "less than or equal to 50"),
            ("/spec/instanceCount", json!(-1), "greater than or equal to 0"),
            ("/spec/resources", json!({"requests": {"cpu": 1}, "limits": {"cpu": "1000m"}}), ""),
            (
                "/spec/resources",
                json!({"requests": {"cpu": 2}, "limits": {"cpu": "1000m"}}),
                "must not be above limits",
            ),
            (
                "/spec/resources",
                json!({"requests": {"memory": "1025Mi"}, "limits": {"memory": "1Gi"}}),
                "must not be above limits",
            ),
            ("/spec/resources", json!({"limits": {"nvidia.com/gpu": 1}}), ""),
            ("/spec/resources", json!({"limits": {"cpu": "lots"}}), "should match"),
            ("/spec/requestSettings", json!({"requestTimeoutMs": 300_000}), ""),
            ("/spec/requestSettings", json!({"requestTimeoutMs": 300_001}), "less than or equal to 300000"),
            ("/spec/requestSettings", json!({"maxConcurrentRequestsPerInstance": 0}), "greater than or equal to 1"),
            ("/spec/livenessProbe", probe("initialDelaySeconds", 0), "greater than or equal to 1"),
            ("/spec/livenessProbe", probe("timeoutSeconds", 0), "greater than or equal to 1"),
            ("/spec/readinessProbe", probe("failureThreshold", 0), "greater than or equal to 1"),
            ("/spec/readinessProbe", probe("successThreshold", 2), ""),
            ("/spec/livenessProbe", probe("successThreshold", 2), "liveness probe is 1"),
            ("/spec/startupProbe", probe("successThreshold", 2), "startup probe is 1"),
            ("/spec/scaleSettings", json!({"type": "TargetUtilization", "minInstances": 1, "maxInstances": 3}), ""),
            (
                "/spec/scaleSettings",
                json!({"type": "TargetUtilization", "minInstances": 4, "maxInstances": 3}),
                "must not be above maxInstances",
            ),
            ("/spec/scaleSettings", json!({"minInstances": 1}), "go with type TargetUtilization"),
            ("/spec/cache", json!({}), ""),
            ("/spec/cache", json!({"claimName": "models"}), ""),
            ("/spec/cache", json!({"claimName": "models", "maxSize": "200Gi"}), ""),
            ("/spec/cache", json!({"claimName": "models", "maxSize": 1_000_000}), ""),
            ("/spec/cache", json!({"claimName": "models", "maxSize": "0"}), "maxSize must be above 0"),
            ("/spec/cache", json!({"claimName": "models", "maxSize": "much"}), "maxSize"),
            ("/spec/cache", json!({"maxSize": "200Gi"}), "claimName"),
            ("/spec/rollout", json!({"maxSurge": 0, "maxUnavailable": 1}), ""),
            ("/spec/rollout", json!({"maxSurge": 0}), "must not both be 0"),
        ],
    )
    .await;
    let mut long = deployment("blue", "i");
    long["metadata"]["name"] = json!("a".repeat(33));
    long["spec"].as_object_mut().unwrap().remove("deploymentName");
    assert!(create(&place, &long, true).await.unwrap_err().contains("needs a spec.deploymentName"));
    place.done().await;
}

#[tokio::test]
async fn the_other_kinds_are_accepted_and_refused_as_the_page_says() {
    let place = Place::new("api-others").await;
    let document = |kind: &str, spec: Value| json!({"apiVersion": "mooring.dev/v1alpha1", "kind": kind, "metadata": {"name": format!("{}-x", place.namespace)}, "spec": spec});
    let resources = json!({"requests": {"cpu": "700m", "memory": "1500Mi"}, "limits": {"cpu": 1, "memory": "2Gi", "nvidia.com/gpu": 1}});
    check(
        &place,
        &document("InstanceType", json!({"resources": resources})),
        vec![
            ("/spec/family", json!("dsv2"), ""),
            ("/spec/nodeSelector", json!({"disk": "fast"}), ""),
            ("/spec/tolerations", json!([{"key": "gpu", "operator": "Exists"}]), ""),
            ("/spec/resources", json!({"limits": {"cpu": 1, "memory": "2Gi"}}), "needs cpu and memory"),
            ("/spec/resources", json!({"requests": {"cpu": 1, "memory": "2Gi"}}), "needs cpu and memory"),
            ("/spec/resources/requests", json!({"cpu": 3, "memory": "1Gi"}), "must not be above limits"),
        ],
    )
    .await;
    check(
        &place,
        &document("ComputeQuota", json!({})),
        vec![
            ("/spec", json!({"totalCores": 40, "families": {"dsv2": 24}, "endpoints": 50, "deployments": 200, "reservePercent": 20}), ""),
            ("/spec", json!({"totalCores": -1}), "greater than or equal to 0"),
            ("/spec", json!({"reservePercent": 101}), "less than or equal to 100"),
        ],
    )
    .await;
    let entry = json!({
        "name": "blue", "weight": 100, "service": "iris-blue-instances", "port": 5001, "scoringPath": "/score",
        "requestTimeoutMs": 5000, "maxConcurrentRequestsPerInstance": 1, "maxQueueWaitMs": 500, "instances": 1,
    });
    let route = json!({"endpointName": "iris", "endpointGeneration": 1, "auth": {"mode": "Key"}, "limits": {}, "deployments": [entry]});
    check(
        &place,
        &document("EndpointRoute", route),
        vec![
            ("/spec/deployments", json!([]), ""),
            ("/spec/endpointGeneration", json!("1"), "must be of type integer"),
            ("/spec/auth/mode", json!("None"), "Unsupported value"),
            ("/spec/auth", json!({}), "mode: Required value"),
            ("/spec/limits", json!({"requestsPerSecond": 0}), "greater than or equal to 1"),
            ("/spec/deployments", json!([with(entry.clone(), "/weight", json!(101))]), "less than or equal to 100"),
            ("/spec/deployments", json!([{"name": "blue"}]), "service: Required value"),
        ],
    )
    .await;
    place.done().await;
}

#[tokio::test]
async fn what_must_not_change_does_not_change() {
    let place = Place::new("api-immutable").await;
    let made = create(&place, &deployment("blue", "i"), false).await.unwrap();
    for (pointer, value, refusal) in [
        ("/spec/endpointName", json!("rose"), "endpointName is immutable"),
        ("/spec/deploymentName", json!("green"), "deploymentName is immutable"),
        ("/spec/instanceType", json!("gold"), "instanceType is immutable"),
        ("/spec/instanceCount", json!(2), ""),
    ] {
        let document = with(serde_json::to_value(&made).unwrap(), pointer, value);
        let object = serde_json::from_value(document.clone()).unwrap();
        let parameters = PostParams { dry_run: true, ..PostParams::default() };
        let answer = api(&place, &document).replace("iris-blue", &parameters, &object).await;
        match refusal {
            "" => drop(answer.unwrap()),
            refusal => assert!(answer.as_ref().is_err_and(|error| error.to_string().contains(refusal)), "{answer:?}"),
        }
    }
    let mut unnamed = deployment("green", "i");
    unnamed["spec"].as_object_mut().unwrap().remove("deploymentName");
    let made = create(&place, &unnamed, false).await.unwrap();
    let named = with(serde_json::to_value(&made).unwrap(), "/spec/deploymentName", json!("green"));
    let object = serde_json::from_value(named.clone()).unwrap();
    let answer = api(&place, &named).replace("iris-green", &PostParams::default(), &object).await;
    assert!(answer.unwrap_err().to_string().contains("deploymentName is immutable"));
    place.done().await;
}

#[tokio::test]
async fn the_defaults_are_those_of_the_page() {
    let place = Place::new("api-defaults").await;
    let bare = json!({"apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint", "metadata": {"name": "iris"}, "spec": {}});
    let spec = create(&place, &bare, true).await.unwrap().data["spec"].clone();
    let expected = json!({
        "authMode": "Key", "traffic": {}, "mirrorTraffic": {}, "identity": {"type": "SystemAssigned"},
        "limits": {"requestsPerSecond": 100, "maxRequestBytes": 1_572_864, "maxResponseBytes": 1_572_864},
        "publicNetworkAccess": "Enabled",
    });
    assert_eq!(spec, expected);
    let bare = json!({
        "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineDeployment", "metadata": {"name": "iris-blue"},
        "spec": {"endpointName": "iris", "environment": {"image": "i"}, "model": {"uri": "s3://b/k"}, "startupProbe": {}},
    });
    let spec = create(&place, &bare, true).await.unwrap().data["spec"].clone();
    let probe = json!({"initialDelaySeconds": 10, "periodSeconds": 10, "timeoutSeconds": 2, "successThreshold": 1, "failureThreshold": 30});
    let expected = json!({
        "endpointName": "iris", "environment": {"image": "i", "runAsUser": 1000}, "model": {"uri": "s3://b/k", "version": "1"},
        "instanceType": "defaultinstancetype", "instanceCount": 1,
        "requestSettings": {"requestTimeoutMs": 5000, "maxConcurrentRequestsPerInstance": 1, "maxQueueWaitMs": 500},
        "livenessProbe": probe, "readinessProbe": probe, "startupProbe": probe,
        "scaleSettings": {"type": "Default"},
        "rollout": {"maxSurge": 1, "maxUnavailable": 0, "provisioningTimeoutSeconds": 1800},
    });
    assert_eq!(spec, expected);
    place.done().await;
}
