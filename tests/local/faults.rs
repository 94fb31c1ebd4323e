//! What goes wrong, and that it has the same name as in a cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use mooring_operator::api::deployment::DeploymentError;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{IMAGE, Trial, condition, context};

/// The error of a deployment with these changes.
async fn fault(endpoint: &str, changes: Value, reason: &str) -> (Trial, DeploymentError) {
    let trial = Trial::new(endpoint, json!({})).await;
    trial.put("blue", changes);
    let error = trial.until_failed("blue", reason).await.error.unwrap();
    (trial, error)
}

fn with_image(image: &str) -> Value {
    json!({"environment": {"image": image}})
}

fn with_variable(name: &str, value: &str) -> Value {
    json!({"environmentVariables": [{"name": name, "value": value}]})
}

#[tokio::test]
async fn a_server_that_crashes_is_started_again_and_its_last_words_are_kept() {
    let (trial, error) = fault("crashes", with_variable("CRASH", "out of luck"), "ContainerCrashed").await;
    assert_eq!((error.code.as_str(), error.exit_code), ("ERR_2200", Some(3)));
    assert!(error.message.ends_with("exit code 3: out of luck"), "{}", error.message);
    assert!(error.log_tail.unwrap().ends_with("out of luck"));
    // The end before is kept for its log.
    let since = std::time::Instant::now();
    while !trial.containers().await.iter().any(|name| name.ends_with("-previous")) {
        assert!(since.elapsed() < Duration::from_secs(30), "it was not started again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    trial.end().await;
}

#[tokio::test]
async fn a_server_that_ends_well_has_ended_all_the_same() {
    let (trial, error) = fault("ends", with_variable("DONE", "1"), "ContainerExited").await;
    assert_eq!(error.code.as_str(), "ERR_2200");
    trial.end().await;
}

#[tokio::test]
async fn a_server_that_eats_all_memory_is_told_so() {
    let (trial, error) = fault("eats", with_variable("EAT", "1"), "OutOfMemory").await;
    assert_eq!((error.code.as_str(), error.exit_code), ("ERR_2200", Some(137)));
    trial.end().await;
}

#[tokio::test]
async fn a_server_that_is_not_well_is_ended_by_its_liveness_probe() {
    let (trial, error) = fault("sick", with_variable("SICK", "1"), "LivenessProbeFailed").await;
    assert_eq!(error.code.as_str(), "ERR_2200");
    assert!(error.message.contains("Liveness probe failed: HTTP probe failed with statuscode: 500"), "{error:?}");
    trial.end().await;
}

#[tokio::test]
async fn a_server_that_is_never_ready_is_told_when_its_probe_has_had_its_time() {
    let slow = json!({"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 1000});
    let mut changes = with_variable("SICK", "1");
    changes["livenessProbe"] = slow;
    let (trial, error) = fault("unready", changes, "ReadinessProbeFailed").await;
    assert!(error.message.contains("Readiness probe failed: HTTP probe failed with statuscode: 500"), "{error:?}");
    trial.end().await;
}

#[tokio::test]
async fn a_startup_probe_that_does_not_pass_ends_the_server() {
    let mut changes = with_variable("SICK", "1");
    changes["startupProbe"] = json!({"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 2});
    let (trial, _) = fault("startup", changes, "StartupProbeFailed").await;
    trial.end().await;
}

#[tokio::test]
async fn a_server_that_falls_ill_gets_no_requests_and_is_started_again() {
    let trial = Trial::new("falls-ill", json!({"traffic": {"blue": 100}})).await;
    trial.put("blue", json!({}));
    trial.until_settled("blue").await;
    trial.until_assigned().await;
    assert_eq!(trial.ask("sick").await.0, 200);
    trial.until_failed("blue", "LivenessProbeFailed").await;
    // The gateway looks at its file ten times a second.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(trial.ask("x").await.0, 424);
    // A new container, whose files are the image's again.
    trial.until_settled("blue").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(trial.ask("x").await, (200, "blue".to_owned()));
    trial.end().await;
}

#[tokio::test]
async fn an_image_that_is_nowhere_has_the_clusters_names() {
    // Nobody listens there.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (trial, error) = fault("nowhere", with_image(&format!("{address}/x:1")), "ImageRegistryUnreachable").await;
    assert_eq!(error.code.as_str(), "ERR_1200");
    let status = trial.status("blue");
    assert_eq!(condition(&status, "ImagePulled"), "False");
    assert_eq!(condition(&status, "ContainerStarted"), "Unknown");
    // What is right heals.
    trial.put("blue", json!({}));
    trial.until_settled("blue").await;
    assert_eq!(trial.status("blue").error, None);
    trial.end().await;
}

/// Answers everything as a registry would, with this status and error code.
async fn registry(status: &'static str, body: &'static str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let is_version = request[..read].windows(9).any(|part| part == b"GET /v2/ ");
                let (status, body) = if is_version { ("200 OK", "{}") } else { (status, body) };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address.to_string()
}

#[tokio::test]
async fn a_registry_that_does_not_know_the_image_or_refuses_it_is_understood() {
    for (name, status, body, reason) in [
        (
            "unknown",
            "404 Not Found",
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
            "ImageNotFound",
        ),
        (
            "refused",
            "401 Unauthorized",
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
            "ImagePullUnauthorized",
        ),
        (
            "limited",
            "429 Too Many Requests",
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"too many"}]}"#,
            "ImagePullRateLimited",
        ),
    ] {
        let registry = registry(status, body).await;
        let (trial, error) = fault(name, with_image(&format!("{registry}/x:1")), reason).await;
        assert_eq!(error.code.as_str(), "ERR_1200");
        trial.end().await;
    }
}

#[tokio::test]
async fn a_name_that_is_no_image_is_told_so() {
    let (trial, _) = fault("no-name", with_image("Not An Image"), "ImageNameInvalid").await;
    trial.end().await;
}

#[tokio::test]
async fn artifacts_that_are_missing_have_the_clusters_names() {
    let trial = Trial::new("missing", json!({})).await;
    let root = trial.root.path().display().to_string();
    trial.put("model", json!({"model": {"uri": format!("file://{root}/none")}}));
    std::fs::write(trial.root.path().join("other.py"), "").unwrap();
    std::fs::create_dir(trial.root.path().join("code")).unwrap();
    std::fs::write(trial.root.path().join("code/other.py"), "").unwrap();
    trial.put(
        "script",
        json!({"codeConfiguration": {"code": {"uri": format!("file://{root}/code")}, "scoringScript": "score.py"}}),
    );
    trial.put("scheme", json!({"model": {"uri": "ftp://host/model"}}));
    trial.put("claim", json!({"model": {"uri": "pvc://models/iris"}}));
    trial.put("map", json!({"codeConfiguration": {"code": {"configMapName": "none"}, "scoringScript": "score.py"}}));
    for (name, reason) in [
        ("model", "ArtifactNotFound"),
        ("script", "ScoringScriptMissing"),
        ("scheme", "ArtifactUriInvalid"),
        ("claim", "ArtifactVolumeUnavailable"),
        ("map", "ArtifactVolumeUnavailable"),
    ] {
        let error = trial.until_failed(name, reason).await.error.unwrap();
        assert_eq!(error.code.as_str(), "ERR_1300", "{name}");
    }
    let error = trial.status("model").error.unwrap();
    assert!(error.message.contains(&format!("file://{root}/none")), "{}", error.message);
    // A ConfigMap that comes is found.
    let code = BTreeMap::from([("score.py".to_owned(), b"three".to_vec())]);
    trial.store.put_config_map("missing", "none", &code).unwrap();
    trial.until_settled("map").await;
    trial.end().await;
}

#[tokio::test]
async fn a_secret_that_is_missing_is_told_and_found_when_it_comes() {
    let variable = json!({"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "words", "key": "blue"}}});
    let (trial, error) = fault("secrets", json!({"environmentVariables": [variable]}), "ContainerConfigInvalid").await;
    assert_eq!(error.code.as_str(), "ERR_2100");
    assert!(error.message.contains("secret \"words\" not found"), "{}", error.message);
    let words = BTreeMap::from([("blue".to_owned(), "hidden".to_owned())]);
    trial.store.put_secret("secrets", "words", words).unwrap();
    trial.put_endpoint(json!({"traffic": {"blue": 100}}));
    trial.until_settled("blue").await;
    trial.until_assigned().await;
    assert_eq!(trial.ask("x").await, (200, "hidden".to_owned()));
    trial.end().await;
}

#[tokio::test]
async fn a_change_that_fails_leaves_what_serves() {
    let trial = Trial::new("fails", json!({"traffic": {"blue": 100}})).await;
    trial.put("blue", json!({}));
    trial.until_settled("blue").await;
    trial.until_assigned().await;
    trial.put("blue", with_variable("CRASH", "not this time"));
    let status = trial
        .until("blue", "failed", |status| {
            status.error.is_some() && format!("{:?}", status.provisioning_state).contains("Failed")
        })
        .await;
    assert_eq!(status.error.unwrap().reason, "ContainerCrashed");
    assert_eq!(trial.ask("x").await, (200, "blue".to_owned()));
    trial.put("blue", with_variable("WORD", "third"));
    trial.until_settled("blue").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(trial.ask("x").await, (200, "third".to_owned()));
    trial.end().await;
}

#[tokio::test]
async fn an_image_is_built_from_its_dockerfile_and_a_bad_one_is_told() {
    use mooring_operator::local::annotation::BUILD_CONTEXT;
    let trial = Trial::new("builds", json!({"traffic": {"blue": 100}})).await;
    let context = context();
    let mut object = trial.deployment("blue", json!({}));
    object.spec.environment.image = "mooring-test/built:1".to_owned();
    let annotations = [(BUILD_CONTEXT.to_owned(), context.path().display().to_string())];
    object.metadata.annotations = Some(annotations.into());
    std::fs::write(context.path().join("Dockerfile"), format!("FROM {IMAGE}\nRUN false\n")).unwrap();
    trial.store.put_deployment(&object).unwrap();
    let error = trial.until_failed("blue", "ImageBuildFailed").await.error.unwrap();
    assert_eq!((error.code.as_str(), error.is_final), ("ERR_1200", true));
    assert!(error.message.contains("RUN false"), "{}", error.message);
    std::fs::write(context.path().join("Dockerfile"), format!("FROM {IMAGE}\nENV WORD=built\n")).unwrap();
    object.spec.environment_variables.clear();
    trial.store.put_deployment(&object).unwrap();
    trial.until_settled("blue").await;
    trial.until_assigned().await;
    assert_eq!(trial.ask("x").await, (200, "built".to_owned()));
    trial.end().await;
}

#[tokio::test]
async fn gpus_that_the_machine_has_not_are_told_and_not_ignored() {
    use mooring_operator::local::annotation::GPUS;
    let trial = Trial::new("gpus", json!({})).await;
    let mut object = trial.deployment("blue", json!({}));
    object.metadata.annotations = Some([(GPUS.to_owned(), "all".to_owned())].into());
    trial.store.put_deployment(&object).unwrap();
    let error = trial.until_failed("blue", "ContainerCreateFailed").await.error.unwrap();
    assert_eq!(error.code.as_str(), "ERR_2100");
    assert!(error.message.contains("gpu"), "{}", error.message);
    trial.end().await;
}
