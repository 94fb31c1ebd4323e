//! The command line as a process, against a real API server.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

#[path = "../support/place.rs"]
mod place;

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use mooring_operator::api::endpoint::OnlineEndpoint;
use place::{Place, setting};
use serde_json::{Value, json};
use tokio::process::Command;

/// Exit code, standard output, standard error.
async fn mooring(place: &Place, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mooring"))
        .args(arguments)
        .args(["--namespace", &place.namespace])
        .env("KUBECONFIG", setting("MOORING_TEST_KUBECONFIG"))
        .output()
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// An endpoint as an operator leaves it, with a deployment that has failed.
async fn iris() -> Place {
    let place = Place::new("cli").await;
    place.apply(json!({"apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint", "metadata": {"name": "iris"}, "spec": {}})).await;
    place
        .apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "iris-keys"},
            "stringData": {"primaryKey": "first", "secondaryKey": "second", "other": "not a key"},
        }))
        .await;
    let status = json!({
        "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint",
        "status": {
            "keysSecretName": "iris-keys", "provisioningState": "Succeeded", "traffic": {"blue": 90, "green": 10},
            "scoringUri": "http://iris/score",
        },
    });
    let endpoints = place.api::<OnlineEndpoint>();
    endpoints.patch_status("iris", &PatchParams::apply("test"), &Patch::Apply(status)).await.unwrap();
    place
        .apply(json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineDeployment", "metadata": {"name": "iris-blue"},
            "spec": {"endpointName": "iris", "deploymentName": "blue", "environment": {"image": "i"}},
        }))
        .await;
    place
}

#[tokio::test]
async fn endpoints_and_deployments_are_listed_and_shown() {
    let place = iris().await;
    let (code, table, _) = mooring(&place, &["endpoint", "list"]).await;
    assert_eq!(code, Some(0));
    assert_eq!(table, "NAME  STATE      TRAFFIC           URL\niris  Succeeded  blue=90,green=10  http://iris/score\n");
    let (_, names, _) = mooring(&place, &["online-deployment", "list", "-o", "name"]).await;
    assert_eq!(names, "iris-blue\n");
    let (_, shown, _) = mooring(&place, &["endpoint", "show", "-n", "iris", "-o", "json"]).await;
    let shown: OnlineEndpoint = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown.name_any(), "iris");
    place.done().await;
}

#[tokio::test]
async fn credentials_are_the_two_keys_and_nothing_else() {
    let place = iris().await;
    let (code, keys, said) = mooring(&place, &["endpoint", "get-credentials", "-n", "iris", "-o", "json"]).await;
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(serde_json::from_str::<Value>(&keys).unwrap(), json!({"primaryKey": "first", "secondaryKey": "second"}));
    place.done().await;
}

#[tokio::test]
async fn what_is_not_there_is_named_with_a_code_of_its_own() {
    let place = iris().await;
    for verb in [&["endpoint", "show", "-n", "rose"][..], &["deployment", "get-logs", "-n", "rose"]] {
        let (code, data, said) = mooring(&place, verb).await;
        assert_eq!((code, data.as_str()), (Some(3), ""));
        assert!(said.contains("\"rose\" does not exist in namespace"), "{said}");
    }
    let (code, data, said) = mooring(&place, &["endpoint", "shew"]).await;
    assert_eq!((code, data.as_str()), (Some(2), ""));
    assert!(said.contains("Usage"), "{said}");
    place.done().await;
}

#[tokio::test]
async fn a_deployment_without_instances_has_no_log_yet_and_a_cluster_without_gateways_no_answer() {
    let place = iris().await;
    let (code, data, said) = mooring(&place, &["deployment", "get-logs", "-n", "iris-blue"]).await;
    assert_eq!((code, data.as_str()), (Some(0), ""));
    assert!(said.contains("try again later"), "{said}");
    let (code, _, said) = mooring(&place, &["endpoint", "invoke", "-n", "iris", "--request-file", "/dev/null"]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("no ready gateway"), "{said}");
    place.done().await;
}

#[tokio::test]
async fn completions_are_made_for_every_shell() {
    let place = Place::new("completion").await;
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = mooring(&place, &["completion", shell]).await;
        assert_eq!(code, Some(0));
        assert!(script.contains("get-credentials"), "{shell}");
    }
    place.done().await;
}
