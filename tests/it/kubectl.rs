//! What a person at a terminal has of the definitions.

use serde_json::json;

use crate::support::documents::{deployment, endpoint, with};
use crate::support::kubectl::kubectl;
use crate::support::place::Place;

#[tokio::test]
async fn a_client_side_apply_takes_every_definition() {
    let said = kubectl(&["apply", "--filename", "crds"], "").await.unwrap();
    assert_eq!(said.lines().count(), 5, "{said}");
    // The second copy that it keeps on the object is what makes large definitions impossible.
    let kept = kubectl(&["apply", "view-last-applied", "--filename", "crds"], "").await.unwrap();
    for kind in ["OnlineEndpoint", "OnlineDeployment", "InstanceType", "ComputeQuota", "EndpointRoute"] {
        assert!(kept.contains(&format!("kind: {kind}\n")), "no copy of {kind}");
    }
}

#[tokio::test]
async fn an_unknown_field_is_refused_by_its_name() {
    let place = Place::new("strict").await;
    let create = ["create", "--dry-run=server", "--filename", "-", "--namespace", &place.namespace];
    for (document, field) in [
        (with(endpoint(&json!({})), "/spec/trafic", json!({})), "spec.trafic"),
        (with(endpoint(&json!({})), "/spec/limits", json!({"rps": 1})), "spec.limits.rps"),
        (with(deployment("blue", "i"), "/spec/model/url", json!("s3://b/k")), "spec.model.url"),
        (with(deployment("blue", "i"), "/spec/readinessProbe", json!({"httpGet": {}})), "spec.readinessProbe.httpGet"),
    ] {
        let said = kubectl(&create, &document.to_string()).await.unwrap_err();
        assert!(said.contains(&format!("unknown field \"{field}\"")), "{said}");
    }
    kubectl(&create, &deployment("blue", "i").to_string()).await.unwrap();
    place.done().await;
}

#[tokio::test]
async fn the_columns_the_short_names_and_the_category_are_those_of_the_page() {
    let place = Place::new("columns").await;
    let make = ["create", "--filename", "-", "--namespace", &place.namespace];
    kubectl(&make, &endpoint(&json!({"blue": 100})).to_string()).await.unwrap();
    kubectl(&make, &deployment("blue", "i").to_string()).await.unwrap();
    for (arguments, columns) in [
        (["oe", "--output=name"].as_slice(), "onlineendpoint.mooring.dev/iris"),
        (&["od", "--output=name"], "onlinedeployment.mooring.dev/iris-blue"),
        (&["oe"], "NAME STATE TRAFFIC CODE AGE"),
        (&["oe", "--output=wide"], "NAME STATE URL TRAFFIC CODE AGE"),
        (&["od"], "NAME ENDPOINT STATE READY CODE REASON AGE"),
    ] {
        let get = [&["get", "--namespace", &place.namespace], arguments].concat();
        let said = kubectl(&get, "").await.unwrap();
        let first: Vec<&str> = said.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(first.join(" "), columns);
    }
    let all = kubectl(&["get", "mooring", "--output=name", "--namespace", &place.namespace], "").await.unwrap();
    assert!(all.contains("onlineendpoint.mooring.dev/iris\n"), "{all}");
    assert!(all.contains("onlinedeployment.mooring.dev/iris-blue\n"), "{all}");
    let resources = kubectl(&["api-resources", "--api-group=mooring.dev", "--no-headers"], "").await.unwrap();
    let kinds: Vec<Vec<&str>> = resources.lines().map(|line| line.split_whitespace().collect()).collect();
    for expected in [
        ["instancetypes", "it", "mooring.dev/v1alpha1", "false", "InstanceType"].as_slice(),
        &["onlinedeployments", "od", "mooring.dev/v1alpha1", "true", "OnlineDeployment"],
        &["onlineendpoints", "oe", "mooring.dev/v1alpha1", "true", "OnlineEndpoint"],
        &["endpointroutes", "mooring.dev/v1alpha1", "true", "EndpointRoute"],
        &["computequotas", "cq", "mooring.dev/v1alpha1", "true", "ComputeQuota"],
    ] {
        assert!(kinds.iter().any(|kind| kind == expected), "{expected:?} is not among {kinds:?}");
    }
    place.done().await;
}

#[tokio::test]
async fn a_deployment_can_be_scaled_from_the_terminal() {
    let place = Place::new("scale").await;
    let make = ["create", "--filename", "-", "--namespace", &place.namespace];
    kubectl(&make, &deployment("blue", "i").to_string()).await.unwrap();
    kubectl(&["scale", "od/iris-blue", "--replicas=7", "--namespace", &place.namespace], "").await.unwrap();
    let count = ["get", "od/iris-blue", "--output=jsonpath={.spec.instanceCount}", "--namespace", &place.namespace];
    assert_eq!(kubectl(&count, "").await.unwrap(), "7");
    let refused = kubectl(&["scale", "od/iris-blue", "--replicas=51", "--namespace", &place.namespace], "").await;
    assert!(refused.as_ref().is_err_and(|said| said.contains("less than or equal to 50")), "{refused:?}");
    place.done().await;
}

#[tokio::test]
async fn every_field_can_be_explained() {
    for field in [
        "oe.spec.traffic",
        "oe.spec.limits.maxRequestBytes",
        "oe.spec.identity.serviceAccountName",
        "oe.status.deployments.readyInstances",
        "od.spec.codeConfiguration.code.configMapName",
        "od.spec.environment.inferenceConfig.scoringRoute.port",
        "od.spec.scaleSettings.targetUtilizationPercentage",
        "od.status.error.nextStep",
        "instancetypes.spec.resources.requests",
        "computequotas.spec.reservePercent",
        "endpointroutes.spec.auth.keyDigests",
    ] {
        let said = kubectl(&["explain", field], "").await.unwrap();
        let words = said.split_once("DESCRIPTION:").map(|(_, words)| words.trim()).unwrap_or_default();
        assert!(!words.is_empty() && !words.starts_with("<empty>"), "{field}: {said}");
    }
}
