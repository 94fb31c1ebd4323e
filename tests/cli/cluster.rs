//! Against a real API server: the objects are as an operator leaves them.

use std::io::Write;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use serde_json::{Value, json};

use crate::place::Place;
use crate::program::{mooring, run};

/// Endpoint iris with its keys and the deployments blue, which has failed, and green, which is new.
pub async fn iris(primary_key: &str) -> Place {
    let place = Place::new("cli").await;
    let status = json!({
        "keysSecretName": "iris-keys", "provisioningState": "Failed", "traffic": {"blue": 90, "green": 10},
        "scoringUri": "http://iris/score",
        "deployments": [{"name": "blue", "resource": "iris-blue", "readyInstances": 0, "code": "ERR_1200"}],
    });
    place.apply(object("OnlineEndpoint", "iris", &json!({"spec": {}}))).await;
    let endpoints = place.api::<OnlineEndpoint>();
    patch(&endpoints, "OnlineEndpoint", "iris", status).await;
    place
        .apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "iris-keys"},
            "stringData": {"primaryKey": primary_key, "secondaryKey": "second", "other": "not a key"},
        }))
        .await;
    for name in ["blue", "green"] {
        let spec = json!({"endpointName": "iris", "deploymentName": name, "environment": {"image": "i"}});
        place.apply(object("OnlineDeployment", &format!("iris-{name}"), &json!({"spec": spec}))).await;
    }
    let time = "2026-01-02T03:04:05Z";
    let status = json!({
        "provisioningState": "Failed", "ready": "0/1",
        "phases": {"systemSetup": "Succeeded", "userContainerImagePull": "Failed", "modelDownload": "Waiting", "userContainerStart": "Waiting"},
        "error": {
            "code": "ERR_1200", "reason": "ImageNotFound", "stage": "Image", "message": "i: not found",
            "nextStep": "Push the image.", "final": true, "firstSeen": time, "lastSeen": time, "count": 1,
        },
        "conditions": [{"type": "Ready", "status": "False", "reason": "ERR_1200", "message": "ImageNotFound: i: not found", "lastTransitionTime": time}],
    });
    patch(&place.api::<OnlineDeployment>(), "OnlineDeployment", "iris-blue", status).await;
    place
}

fn object(kind: &str, name: &str, rest: &Value) -> Value {
    let mut object = json!({"apiVersion": "mooring.dev/v1alpha1", "kind": kind, "metadata": {"name": name}});
    object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    object
}

pub async fn patch<K>(api: &kube::Api<K>, kind: &str, name: &str, status: Value)
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let status = json!({"apiVersion": "mooring.dev/v1alpha1", "kind": kind, "status": status});
    api.patch_status(name, &PatchParams::apply("test"), &Patch::Apply(status)).await.unwrap();
}

/// A pod of deployment blue that no node has been found for, with an event.
async fn waiting_pod(place: &Place) {
    place
        .apply(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "iris-blue-1", "labels": {
                "app.kubernetes.io/managed-by": "mooring", "mooring.dev/endpoint": "iris", "mooring.dev/online-deployment": "iris-blue",
            }},
            "spec": {
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": "inference-server", "image": "i",
                    "securityContext": {
                        "runAsNonRoot": true, "runAsUser": 1000, "allowPrivilegeEscalation": false,
                        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
                    },
                }],
            },
        }))
        .await;
    let pod = place.api::<Pod>().get("iris-blue-1").await.unwrap();
    for (name, uid) in
        [("iris-blue-1.1", pod.uid().unwrap()), ("iris-blue-1.0", "of an older pod of this name".to_owned())]
    {
        place
            .apply(json!({
                "apiVersion": "v1", "kind": "Event", "metadata": {"name": name},
                "involvedObject": {"kind": "Pod", "name": "iris-blue-1", "namespace": place.namespace, "uid": uid},
                "type": "Warning", "reason": "FailedScheduling", "message": "no nodes\nat all",
                "lastTimestamp": "2026-01-02T03:04:05Z",
            }))
            .await;
    }
}

#[tokio::test]
async fn endpoints_and_deployments_are_listed() {
    let place = iris("first").await;
    let ended = mooring(&place, &["endpoint", "list"]).await;
    assert_eq!((ended.code, ended.said.as_str()), (Some(0), ""));
    assert_eq!(
        ended.data,
        "NAME  STATE   TRAFFIC           CODE      URL\niris  Failed  blue=90,green=10  ERR_1200  http://iris/score\n"
    );
    let table = mooring(&place, &["deployment", "list", "-e", "iris"]).await.data;
    assert_eq!(
        table,
        "NAME        ENDPOINT  DEPLOYMENT  STATE   READY  CODE      REASON\n\
         iris-blue   iris      blue        Failed  0/1    ERR_1200  ImageNotFound\n\
         iris-green  iris      green       -       -      -         -\n"
    );
    assert_eq!(mooring(&place, &["online-deployment", "list", "-o", "name"]).await.data, "iris-blue\niris-green\n");
    assert_eq!(mooring(&place, &["online-deployment", "list", "-e", "rose", "-o", "name"]).await.data, "");
    place.done().await;
}

#[tokio::test]
async fn an_object_is_shown_whole_in_every_form() {
    let place = iris("first").await;
    let json = mooring(&place, &["endpoint", "show", "-n", "iris", "-o", "json"]).await.data;
    let yaml = mooring(&place, &["online-endpoint", "show", "--name", "iris"]).await.data;
    let shown: OnlineEndpoint = serde_json::from_str(&json).unwrap();
    assert_eq!(shown, serde_saphyr::from_str(&yaml).unwrap());
    let mut kept = place.api::<OnlineEndpoint>().get("iris").await.unwrap();
    kept.metadata.managed_fields = None;
    assert_eq!(shown, kept);
    assert!(!json.contains("managedFields"), "{json}");
    assert_eq!(mooring(&place, &["endpoint", "show", "-n", "iris", "-o", "name"]).await.data, "iris\n");
    assert_eq!(mooring(&place, &["endpoint", "show", "-n", "iris", "-o", "table"]).await.data.lines().count(), 2);
    place.done().await;
}

#[tokio::test]
async fn a_deployment_has_a_name_in_its_endpoint_and_one_of_its_object() {
    let place = iris("first").await;
    for arguments in [&["-n", "iris-blue"][..], &["-e", "iris", "-n", "blue"], &["-e", "iris", "-n", "Blue"]] {
        let ended = mooring(&place, &[&["deployment", "show", "-o", "name"], arguments].concat()).await;
        assert_eq!(ended.data, "iris-blue\n", "{arguments:?}: {ended}");
    }
    place.done().await;
}

#[tokio::test]
async fn credentials_are_the_two_keys_and_nothing_else() {
    let place = iris("first").await;
    let ended = mooring(&place, &["endpoint", "get-credentials", "-n", "iris", "-o", "json"]).await;
    assert_eq!((ended.code, ended.said.as_str()), (Some(0), ""));
    let keys: Value = serde_json::from_str(&ended.data).unwrap();
    assert_eq!(keys, json!({"primaryKey": "first", "secondaryKey": "second"}));

    place.api::<Secret>().delete("iris-keys", &DeleteParams::default()).await.unwrap();
    let ended = mooring(&place, &["endpoint", "get-credentials", "-n", "iris"]).await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(1), ""));
    assert!(
        ended.said.contains("endpoint \"iris\" has no keys: Secret \"iris-keys\" does not exist"),
        "{}",
        ended.said
    );
    place.done().await;
}

#[tokio::test]
async fn requests_are_told_when_that_is_asked_for_and_secrets_never() {
    let place = iris("first-key").await;
    let get = ["endpoint", "get-credentials", "-n", "iris", "-o", "json"];
    let quiet = mooring(&place, &get).await;
    assert_eq!(quiet.said, "");
    let verbose = mooring(&place, &[&get[..], &["--verbose"]].concat()).await;
    let question = format!("reading Secret \"iris-keys\" in namespace {:?} took ", place.namespace);
    assert!(verbose.said.contains(&question) && !verbose.said.contains("http.url"), "{verbose}");
    let debug = mooring(&place, &[&get[..], &["--debug"]].concat()).await;
    assert!(debug.said.contains(&question), "{debug}");
    let request = format!("/api/v1/namespaces/{}/secrets/iris-keys", place.namespace);
    let told = debug.said.lines().find(|line| line.contains(&request) && line.contains("http.status_code=200"));
    assert!(told.is_some_and(|line| line.contains("http.method=GET")), "{debug}");
    for ended in [&quiet, &verbose, &debug] {
        assert_eq!((ended.code, ended.data.as_str()), (Some(0), quiet.data.as_str()));
        assert!(!ended.said.contains("first-key") && !ended.said.contains("Zmlyc3Qta2V5"), "{ended}");
    }
    place.done().await;
}

#[tokio::test]
async fn what_is_not_there_is_named_with_a_code_of_its_own() {
    let place = iris("first").await;
    waiting_pod(&place).await;
    for (verb, missing) in [
        (&["endpoint", "show", "-n", "rose"][..], "endpoint \"rose\" does not exist"),
        (&["endpoint", "get-credentials", "-n", "rose"], "endpoint \"rose\" does not exist"),
        (&["endpoint", "invoke", "-n", "rose", "--request-file", "-"], "endpoint \"rose\" does not exist"),
        (&["deployment", "show", "-n", "rose"], "deployment \"rose\" does not exist"),
        (&["deployment", "show", "-e", "iris", "-n", "red"], "deployment \"iris/red\" does not exist"),
        (&["deployment", "get-logs", "-e", "rose", "-n", "blue"], "deployment \"rose/blue\" does not exist"),
        (&["deployment", "get-logs", "-n", "iris-blue", "--instance", "x"], "instance \"x\" does not exist"),
        (
            &["deployment", "get-logs", "-n", "iris-blue", "-c", "storage-initializer"],
            "has no container storage-initializer",
        ),
        (&["deployment", "get-logs", "-n", "iris-blue", "--previous"], "has not been restarted"),
    ] {
        let ended = mooring(&place, verb).await;
        assert_eq!(ended.code, Some(3), "{verb:?}: {ended}");
        assert!(ended.said.contains(missing), "{verb:?}: {ended}");
    }
    place.done().await;
}

#[tokio::test]
async fn without_an_instance_the_state_is_told_and_what_is_waited_for() {
    let place = iris("first").await;
    let ended = mooring(&place, &["deployment", "get-logs", "-e", "iris", "-n", "blue"]).await;
    assert_eq!(ended.code, Some(0));
    insta::assert_snapshot!(ended);
    let ended = mooring(&place, &["deployment", "get-logs", "-n", "iris-green"]).await;
    assert!(ended.data.contains("UserContainerStart: Waiting"), "{ended}");
    assert!(ended.said.contains("there is no instance yet: the operator is at it; try again later"), "{ended}");
    place.done().await;
}

#[tokio::test]
async fn an_instance_without_a_log_shows_its_own_events_and_what_it_waits_for() {
    let place = iris("first").await;
    waiting_pod(&place).await;
    let ended = mooring(&place, &["deployment", "get-logs", "-n", "iris-blue", "--lines", "5"]).await;
    assert_eq!(ended.code, Some(0));
    insta::assert_snapshot!(ended);
    place.done().await;
}

#[tokio::test]
async fn a_cluster_without_gateways_is_told_apart_from_a_gateway_that_refuses() {
    let place = iris("first").await;
    let invoke = ["endpoint", "invoke", "-n", "iris", "--request-file", "-", "--gateway-namespace", &place.namespace];
    let ended = mooring(&place, &invoke).await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(1), ""));
    assert!(ended.said.contains("no ready gateway was found in namespace"), "{ended}");
    place.done().await;
}

#[tokio::test]
async fn an_api_server_that_never_answers_is_given_up_in_time() {
    // Connections are taken by the system, and nobody ever reads from them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut kubeconfig = tempfile::NamedTempFile::new().unwrap();
    let address = silent.local_addr().unwrap();
    write!(
        kubeconfig,
        "{{apiVersion: v1, kind: Config, current-context: a, contexts: [{{name: a, context: {{cluster: a, user: a}}}}],
          clusters: [{{name: a, cluster: {{server: 'http://{address}'}}}}], users: [{{name: a, user: {{}}}}]}}"
    )
    .unwrap();
    let path = kubeconfig.path().to_str().unwrap();
    let ended = run(&["endpoint", "list", "--timeout", "1", "--kubeconfig", path], "").await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(4), ""));
    assert!(
        ended.said.contains("listing onlineendpoints in namespace \"default\" took longer than 1 seconds"),
        "{ended}"
    );
}
