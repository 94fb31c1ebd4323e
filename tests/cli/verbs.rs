//! Verbs that change or look something up, against a real API server without an operator.

use k8s_openapi::api::core::v1::Secret;
use mooring_operator::api::compute_quota::ComputeQuota;
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use serde_json::{Value, json};

use crate::cluster::{iris, patch};
use crate::program::{mooring, mooring_with, run};

#[tokio::test]
async fn a_change_that_is_not_waited_for_is_stored_and_nothing_more() {
    let place = iris("first").await;
    let update = mooring(
        &place,
        &["deployment", "update", "-e", "iris", "-n", "blue", "--set", "instance_count=3", "--no-wait"],
    );
    let ended = update.await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(0), ""), "{ended}");
    let changed = place.api::<OnlineDeployment>().get("iris-blue").await.unwrap();
    assert_eq!(changed.spec.instance_count, 3);
    let split = ["endpoint", "update", "-n", "iris", "--traffic", "blue=90 green=10", "--no-wait", "-o", "name"];
    let ended = mooring(&place, &split).await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(0), "iris\n"), "{ended}");
    let endpoint = place.api::<OnlineEndpoint>().get("iris").await.unwrap();
    assert_eq!(
        endpoint.spec.traffic.iter().map(|(name, share)| (name.as_str(), share.0)).collect::<Vec<_>>(),
        [("blue", 90), ("green", 10)]
    );
    place.done().await;
}

#[tokio::test]
async fn waiting_ends_with_the_failure_with_the_time_or_with_success() {
    let place = iris("first").await;
    let status = ["deployment", "rollout", "status", "-e", "iris", "-n"];
    // Nobody has said anything of the generation that stands.
    let ended = mooring(&place, &[&status[..], &["blue", "--timeout", "1"]].concat()).await;
    assert_eq!(ended.code, Some(4), "{ended}");
    assert!(
        ended.said.contains(
            "deployment \"blue\" does not serve as asked after 1 seconds; see `mooring deployment rollout status"
        ),
        "{ended}"
    );

    let time = "2026-01-02T03:04:05Z";
    let failed = json!({
        "observedGeneration": 1, "provisioningState": "Failed", "ready": "0/1",
        "phases": {"systemSetup": "Succeeded", "userContainerImagePull": "Succeeded", "modelDownload": "Succeeded", "userContainerStart": "Failed"},
        "error": {
            "code": "ERR_2200", "reason": "UserScriptInitFailed", "stage": "Crash", "message": "init() raised",
            "nextStep": "Read the traceback.", "final": true, "firstSeen": time, "lastSeen": time, "count": 1,
            "object": "Pod/iris-blue-1", "container": "inference-server", "exitCode": 3, "logTail": "line one\nline two",
        },
    });
    patch(&place.api::<OnlineDeployment>(), "OnlineDeployment", "iris-blue", failed).await;
    let ended = mooring(&place, &[&status[..], &["blue"]].concat()).await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(1), ""));
    insta::assert_snapshot!(ended.said.replace(&place.namespace, "NAMESPACE"));

    let served = json!({"observedGeneration": 1, "provisioningState": "Succeeded", "ready": "1/1"});
    patch(&place.api::<OnlineDeployment>(), "OnlineDeployment", "iris-green", served).await;
    let ended = mooring(&place, &[&status[..], &["green"]].concat()).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    place.done().await;
}

#[tokio::test]
async fn a_key_is_made_anew_and_the_other_one_stays() {
    let place = iris("first").await;
    let ended = mooring(&place, &["endpoint", "regenerate-keys", "-n", "iris", "--key-type", "secondary"]).await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(0), ""), "{ended}");
    let data = place.api::<Secret>().get("iris-keys").await.unwrap().data.unwrap();
    let text = |name: &str| String::from_utf8(data[name].0.clone()).unwrap();
    assert_eq!((text("primaryKey").as_str(), text("other").as_str()), ("first", "not a key"));
    assert_eq!(text("secondaryKey").len(), 43, "32 bytes in base64url");
    assert!(!ended.said.contains(&text("secondaryKey")), "{ended}");
    place.done().await;
}

#[tokio::test]
async fn what_is_deployed_where_is_found_by_its_name_and_version() {
    let place = iris("first").await;
    for (name, version) in [("red", "1"), ("white", "2")] {
        place
            .apply(json!({
                "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineDeployment", "metadata": {"name": format!("iris-{name}")},
                "spec": {
                    "endpointName": "iris", "deploymentName": name, "environment": {"image": "i"},
                    "model": {"name": "flowers", "version": version, "uri": "s3://models/flowers/"},
                },
            }))
            .await;
    }
    let table = mooring(&place, &["model", "list"]).await.data;
    assert_eq!(
        table,
        "NAME     VERSION  ENDPOINT  DEPLOYMENT  SIZE  URI\n\
         flowers  1        iris      red         -     s3://models/flowers/\n\
         flowers  2        iris      white       -     s3://models/flowers/\n"
    );
    let shown = mooring(&place, &["model", "show", "-n", "flowers", "-v", "2", "-o", "json"]).await;
    let shown: Value = serde_json::from_str(&shown.data).unwrap();
    assert_eq!(shown[0]["deployments"], json!([{"endpoint": "iris", "deployment": "white"}]));
    let missing = mooring(&place, &["model", "show", "-n", "flowers", "-v", "3"]).await;
    assert_eq!(missing.code, Some(3), "{missing}");
    assert!(missing.said.contains("model \"flowers:3\" does not exist in namespace"), "{missing}");
    place.done().await;
}

#[tokio::test]
async fn quotas_and_instance_types_are_lines_of_a_table() {
    let place = iris("first").await;
    assert!(mooring(&place, &["quota", "show"]).await.said.contains("has no ComputeQuota"));
    place
        .apply(json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "ComputeQuota", "metadata": {"name": "team"},
            "spec": {"totalCores": 40, "families": {"dsv2": 24}, "endpoints": 5},
        }))
        .await;
    let used = json!({"used": {"totalCores": 8, "families": {"dsv2": 8}, "endpoints": 1, "deployments": 2}});
    patch(&place.api::<ComputeQuota>(), "ComputeQuota", "team", used).await;
    assert_eq!(
        mooring(&place, &["quota", "show"]).await.data,
        "QUOTA  RESOURCE       USED  LIMIT  FREE\n\
         team   cores          8     40     32\n\
         team   endpoints      1     5      4\n\
         team   cores of dsv2  8     24     16\n"
    );
    let whole = mooring(&place, &["quota", "show", "-o", "json"]).await;
    let shown: Value = serde_json::from_str(&whole.data).unwrap();
    assert_eq!(shown[0]["spec"]["totalCores"], 40);
    assert_eq!(shown[0]["metadata"]["managedFields"], Value::Null, "{whole}");
    let types = mooring(&place, &["instance-type", "list"]).await.data;
    assert!(types.contains("\nStandard_DS3_v2"), "{types}");
    assert!(types.contains("\ndefaultinstancetype        -            2    2Gi"), "{types}");
    place.done().await;
}

#[tokio::test]
async fn an_error_is_explained_without_a_cluster() {
    let ended = run(&["explain", "ImageNotFound"], "").await;
    assert_eq!(ended.code, Some(0));
    insta::assert_snapshot!(ended);
    let ended = run(&["explain", "ImageNotFond"], "").await;
    assert_eq!(ended.code, Some(3), "{ended}");
    assert!(ended.said.contains("did you mean ImageNotFound?"), "{ended}");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing_and_tells_all_that_is_wrong() {
    let place = iris("first").await;
    let file = "apiVersion: mooring.dev/v1alpha1\nkind: OnlineDeployment\nmetadata: {name: a}\n\
                spec: {endpointName: iris, environment: {image: i, imgae: j}, instanceCnt: 1}\n---\nkind: Pod\napiVersion: v1\n";
    let ended = mooring_with(&place, &["deployment", "create", "-f", "-"], file).await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(1), ""));
    insta::assert_snapshot!(ended);
    place.done().await;
}

#[tokio::test]
async fn a_file_of_az_ml_is_converted_without_a_cluster() {
    let file = "name: blue\nendpoint_name: iris\nmodel: {path: s3://models/iris/}\nenvironment: {image: r/i:1}\ninstance_type: Standard_DS3_v2\n\
                instance_count: 1\napp_insights_enabled: true\n";
    let ended = run(&["convert", "-f", "-", "--set", "instance_count=2", "-n", "green"], file).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    insta::assert_snapshot!(ended);
}
