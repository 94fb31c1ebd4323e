//! The scikit-learn sample, as a user has it.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service, ServiceAccount};
use kube::Resource;
use kube::api::{ListParams, LogParams};
use kube_runtime::wait::await_condition;
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use mooring_operator::api::endpoint_route::EndpointRoute;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::claim;
use crate::support::documents::{abrupt, endpoint, file, score_code, sklearn};
use crate::support::place::{Place, setting};
use crate::support::scoring::Scorer;
use crate::support::waits::DEADLINE;

/// Two flowers of the iris data set: the first of the first kind, the last of the last.
const FLOWERS: &str = r#"{"data": [[5.1, 3.5, 1.4, 0.2], [5.9, 3.0, 5.1, 1.8]]}"#;

/// Trains the sample's model with the scikit-learn that serves it, into the folder `iris/model` of the claim.
async fn train(place: &Place) {
    place
        .apply(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "train"},
            "data": {"train.py": file("deploy/samples/sklearn/train.py")},
        }))
        .await;
    let command = json!(["python3", "/code/train.py", "/models/iris/model/iris.joblib"]);
    let mounts = json!([{"name": "code", "mountPath": "/code"}, {"name": "models", "mountPath": "/models"}]);
    let volumes = json!([
        {"name": "code", "configMap": {"name": "train"}},
        {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
    ]);
    let log = run_to_the_end(place, pod("train", &command, &json!([]), &mounts, &volumes)).await;
    assert!(log.contains("iris.joblib"), "{log}");
}

/// A pod of the sample's image that ends by itself.
fn pod(name: &str, command: &Value, variables: &Value, mounts: &Value, volumes: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": name,
                "image": setting("MOORING_TEST_SKLEARN_IMAGE"),
                "command": command,
                "env": variables,
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    })
}

/// Runs a pod and gives its log.
async fn run_to_the_end(place: &Place, document: Value) -> String {
    let name = document["metadata"]["name"].as_str().unwrap().to_owned();
    place.apply(document).await;
    let ended = |pod: Option<&Pod>| {
        let phase = pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    place.until(&name, "ended", ended).await;
    place.api::<Pod>().logs(&name, &LogParams::default()).await.unwrap()
}

#[tokio::test]
async fn a_model_folder_and_a_score_py_written_for_azure_ml_answer_through_the_gateway() {
    let place = Place::new("sample").await;
    claim::of_models(&place).await;
    train(&place).await;
    place.apply(score_code()).await;
    place.apply(endpoint("iris", &json!({"blue": 100}))).await;
    // The folder arrives as `$AZUREML_MODEL_DIR/model/`, which is where score.py looks.
    place.apply(sklearn("iris", "blue", "pvc://models/iris/model")).await;
    place.ready("iris", &["iris-blue"]).await;

    let scorer = Scorer::new(&place, "iris").await;
    let answer = scorer.score(FLOWERS, None).await.unwrap();
    assert_eq!((answer.status, answer.deployment.as_deref()), (200, Some("blue")), "{}", answer.body);
    assert_eq!(serde_json::from_str::<Vec<i64>>(&answer.body).unwrap(), [0, 2]);

    let stranger = scorer.with_key(&"x".repeat(43));
    assert_eq!(stranger.score(FLOWERS, None).await.unwrap().status, 401);
    assert_eq!(scorer.score(FLOWERS, Some("BLUE")).await.unwrap().status, 200);
    assert_eq!(scorer.score(FLOWERS, Some("nobody")).await.unwrap().status, 404);
    let broken = scorer.score("no json", None).await.unwrap();
    assert_eq!(broken.status, 424, "{}", broken.body);
    claim::remove(&place).await;
    place.done().await;
}

#[tokio::test]
async fn an_endpoint_answers_by_its_own_name_from_inside_the_cluster() {
    let place = Place::new("name").await;
    place.apply(endpoint("iris", &json!({"blue": 100}))).await;
    place.apply(abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_1"), 1)).await;
    place.ready("iris", &["iris-blue"]).await;
    let script = "import os, urllib.request\n\
        request = urllib.request.Request(os.environ['URI'], b'{}', {'Authorization': 'Bearer ' + os.environ['KEY']})\n\
        print(urllib.request.urlopen(request, timeout=20).read().decode())";
    let uri = place.api::<OnlineEndpoint>().get("iris").await.unwrap().status.unwrap().scoring_uri.unwrap();
    assert_eq!(uri, format!("http://iris.{}.svc.cluster.local/score", place.namespace));
    let variables = json!([
        {"name": "URI", "value": uri},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "iris-keys", "key": "primaryKey"}}},
    ]);
    let command = json!(["python3", "-c", script]);
    let log = run_to_the_end(&place, pod("client", &command, &variables, &json!([]), &json!([]))).await;
    assert_eq!(log.trim(), "one");
    place.done().await;
}

#[tokio::test]
async fn three_instances_are_asked_for_and_three_start() {
    let place = Place::new("three").await;
    place.apply(endpoint("iris", &json!({"blue": 100}))).await;
    place.apply(abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_1"), 3)).await;
    place.ready("iris", &["iris-blue"]).await;
    let status = place.api::<OnlineDeployment>().get("iris-blue").await.unwrap().status.unwrap();
    assert_eq!((status.replicas, status.ready_replicas, status.updated_replicas), (3, 3, 3));
    let pods = place.api::<Pod>().list(&ListParams::default()).await.unwrap();
    assert_eq!(pods.items.len(), 3);
    place.done().await;
}

#[tokio::test]
async fn deleting_the_endpoint_removes_all_that_it_made() {
    let place = Place::new("delete").await;
    place.apply(endpoint("iris", &json!({"blue": 100}))).await;
    place.apply(abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_1"), 1)).await;
    place.ready("iris", &["iris-blue"]).await;
    place.delete::<OnlineEndpoint>("iris").await;
    place
        .until("iris-blue", "without endpoint", |object: Option<&OnlineDeployment>| {
            let ready = object.and_then(|object| {
                object.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == "Ready")
            });
            ready.is_some_and(|ready| ready.reason == "EndpointNotFound")
        })
        .await;
    gone::<Secret>(&place, "iris-keys").await;
    gone::<Service>(&place, "iris").await;
    gone::<Service>(&place, "iris-blue-instances").await;
    gone::<ServiceAccount>(&place, "iris-identity").await;
    gone::<EndpointRoute>(&place, "iris").await;
    gone::<Deployment>(&place, "iris-blue").await;
    place.done().await;
}

/// Waits for the end of an object.
async fn gone<K>(place: &Place, name: &str)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let absent = |object: Option<&K>| object.is_none();
    let wait = await_condition(place.api::<K>(), name, absent);
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "{name} is left");
}
