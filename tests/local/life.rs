//! What goes well.

use std::time::Duration;

use serde_json::json;

use crate::support::{Trial, condition};

#[tokio::test]
async fn a_deployment_answers_through_the_gateway_with_its_key_and_nobody_else() {
    let trial = Trial::new("answers", json!({"traffic": {"blue": 100}})).await;
    trial.put("blue", json!({}));
    let status = trial.until_settled("blue").await;
    assert_eq!((status.replicas, status.ready_replicas, status.ready.as_deref()), (1, 1, Some("1/1")));
    for kind in ["ImagePulled", "ArtifactsDownloaded", "ContainerStarted", "ContainerHealthy", "Serving"] {
        assert_eq!(condition(&status, kind), "True", "{kind}");
    }
    trial.until_assigned().await;
    assert_eq!(trial.ask("x").await, (200, "blue".to_owned()));
    assert_eq!(trial.ask_with("wrong", &[], "x").await.0, 401);
    let second = trial.store.keys("answers").unwrap().secondary_key;
    assert_eq!(trial.ask_with(&second, &[], "x").await.0, 200);
    let endpoint = trial.store.endpoint("answers").unwrap().unwrap().status.unwrap();
    assert_eq!(endpoint.provisioning_state.map(|state| format!("{state:?}")).as_deref(), Some("Succeeded"));
    let address = trial.store.gateway_address("answers").unwrap().unwrap();
    assert_eq!(endpoint.scoring_uri, Some(format!("http://{address}/score")));
    trial.end().await;
}

#[tokio::test]
async fn model_and_code_are_where_a_cluster_would_put_them_and_an_edit_shows_after_a_restart() {
    let trial = Trial::new("edits", json!({"traffic": {"blue": 100}})).await;
    let (model, code) = (trial.root.path().join("model"), trial.root.path().join("src"));
    std::fs::create_dir_all(&model).unwrap();
    std::fs::create_dir_all(&code).unwrap();
    std::fs::write(model.join("weights"), "7").unwrap();
    std::fs::write(code.join("score.py"), "one").unwrap();
    trial.put(
        "blue",
        json!({
            "model": {"name": "iris", "uri": format!("file://{}", model.display())},
            "codeConfiguration": {"code": {"uri": format!("file://{}", code.display())}, "scoringScript": "score.py"},
        }),
    );
    trial.until_settled("blue").await;
    trial.until_assigned().await;
    assert_eq!(trial.ask("x").await, (200, "blue ./model/weights=7 score.py=one".to_owned()));
    std::fs::remove_file(code.join("score.py")).unwrap();
    std::fs::write(code.join("score.py"), "two").unwrap();
    trial.store.restart("edits", "blue").unwrap();
    trial.until_settled("blue").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(trial.ask("x").await, (200, "blue ./model/weights=7 score.py=two".to_owned()));
    trial.end().await;
}

#[tokio::test]
async fn two_deployments_share_the_traffic_and_the_header_picks_one() {
    let trial = Trial::new("shares", json!({"traffic": {"blue": 0, "green": 100}})).await;
    trial.put("blue", json!({}));
    trial.put("green", json!({"instanceCount": 2}));
    trial.until_settled("blue").await;
    trial.until_settled("green").await;
    trial.until_assigned().await;
    let key = trial.store.keys("shares").unwrap().primary_key;
    assert_eq!(trial.ask("x").await.1, "green");
    assert_eq!(trial.ask_with(&key, &[("azureml-model-deployment", "blue")], "x").await.1, "blue");
    trial.put_endpoint(json!({"traffic": {"blue": 100, "green": 0}}));
    trial.until_assigned().await;
    assert_eq!(trial.ask("x").await.1, "blue");
    assert_eq!(trial.containers().await.len(), 3);
    trial.put("green", json!({"instanceCount": 0}));
    trial.until("green", "scaled to zero", |status| status.replicas == 0).await;
    trial.store.delete_deployment("shares", "green").await.unwrap();
    assert_eq!(trial.store.deployments("shares").unwrap().len(), 1);
    assert_eq!(trial.containers().await.len(), 1);
    trial.end().await;
}

#[tokio::test]
async fn a_change_is_rolled_out_without_a_lost_request() {
    let trial = Trial::new("rolls", json!({"traffic": {"blue": 100}, "limits": {"requestsPerSecond": 1000}})).await;
    trial.put("blue", json!({}));
    trial.until_settled("blue").await;
    trial.until_assigned().await;
    trial.put("blue", json!({"environmentVariables": [{"name": "WORD", "value": "new"}]}));
    let mut words = Vec::new();
    let asked = async {
        loop {
            let (status, word) = trial.ask("x").await;
            assert_eq!(status, 200, "{word}");
            words.push(word);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let settled = async {
        trial.until_settled("blue").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    tokio::select! {
        () = asked => {}
        () = settled => {}
    }
    assert_eq!(words.first().map(String::as_str), Some("blue"));
    assert_eq!(words.last().map(String::as_str), Some("new"));
    let turn = words.iter().position(|word| word == "new").unwrap();
    assert!(words.iter().skip(turn + 2).all(|word| word == "new"), "{words:?}");
    trial.end().await;
}

#[tokio::test]
async fn an_agent_that_was_killed_is_no_loss() {
    let trial = Trial::new("killed", json!({"traffic": {"blue": 100}})).await;
    trial.put("blue", json!({}));
    trial.until_settled("blue").await;
    trial.until_assigned().await;
    let before = trial.containers().await;
    let address = trial.store.gateway_address("killed").unwrap();
    mooring_operator::local::agent::end(&trial.store.folder("killed"));
    while trial.store.has_agent("killed").unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(trial.store.ensure_agent("killed").await.ok(), address);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(trial.ask("x").await, (200, "blue".to_owned()));
    assert_eq!(trial.containers().await, before);
    assert_eq!(condition(&trial.status("blue"), "Ready"), "True");
    trial.end().await;
}

#[tokio::test]
async fn what_is_deleted_may_be_half_gone_already() {
    let trial = Trial::new("half-gone", json!({"traffic": {"blue": 100}})).await;
    trial.put("blue", json!({}));
    trial.until_settled("blue").await;
    mooring_operator::local::agent::end(&trial.store.folder("half-gone"));
    while trial.store.has_agent("half-gone").unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::remove_dir_all(trial.store.folder("half-gone").path()).unwrap();
    assert_eq!(trial.containers().await.len(), 1);
    let deleted = trial.store.delete_endpoint("half-gone").await.unwrap();
    assert_eq!((deleted.found, deleted.containers), (true, 1));
    assert_eq!(trial.containers().await.len(), 0);
    let again = trial.store.delete_endpoint("half-gone").await.unwrap();
    assert!(!again.found);
}

/// Serves one file for as long as the test runs, and 404 for everything else.
async fn store(path: &'static str, content: &'static str) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..read]).into_owned();
                let (status, body) =
                    if text.split(' ').nth(1) == Some(path) { ("200 OK", content) } else { ("404 Not Found", "") };
                let shown = if text.starts_with("HEAD") { "" } else { body };
                let answer = format!(
                    "HTTP/1.1 {status}\r\netag: \"{content}\"\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{shown}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_model_is_fetched_and_both_logs_can_be_read() {
    use futures::TryStreamExt;
    use mooring_operator::local::logs::Extent;
    let trial = Trial::new("fetches", json!({"traffic": {"blue": 100}})).await;
    let address = store("/models/iris.bin", "weights").await;
    trial.put("absent", json!({"model": {"uri": format!("http://{address}/models/none.bin")}}));
    let error = trial.until_failed("absent", "ArtifactNotFound").await.error.unwrap();
    assert_eq!((error.code.as_str(), error.container.as_deref()), ("ERR_1300", Some("storage-initializer")));
    trial.put("blue", json!({"model": {"name": "iris", "uri": format!("http://{address}/models/iris.bin")}}));
    trial.until_settled("blue").await;
    trial.until_assigned().await;
    assert_eq!(trial.ask("x").await, (200, "blue ./iris.bin=weights".to_owned()));
    let extent = Extent { lines: 100, follow: false, previous: false, timestamps: false };
    let text = |pieces: Vec<hyper::body::Bytes>| String::from_utf8(pieces.concat()).unwrap();
    let log = trial.store.initializer_log("fetches", "blue", extent).unwrap().try_collect().await.unwrap();
    assert!(text(log).contains(&format!("http://{address}/models/iris.bin")));
    let instances = trial.store.instances("fetches", "blue").unwrap();
    let log = trial.store.server_log(&instances[0], extent).await.unwrap().try_collect().await.unwrap();
    assert_eq!(text(log), "serving as 1000 from /var/azureml-app/azureml-models/iris/1\n");
    trial.end().await;
}

#[tokio::test]
async fn a_container_that_went_while_no_agent_lived_is_made_again() {
    let trial = Trial::new("went", json!({"traffic": {"blue": 100}})).await;
    trial.put("blue", json!({}));
    trial.until_settled("blue").await;
    mooring_operator::local::agent::end(&trial.store.folder("went"));
    while trial.store.has_agent("went").unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let engine = mooring_operator::local::engine::Engine::connect().await.unwrap();
    let name = trial.containers().await.remove(0);
    mooring_operator::local::instance::container::remove(&engine, &name).await.unwrap();
    trial.store.ensure_agent("went").await.unwrap();
    trial.until("blue", "missing", |status| status.ready_replicas == 0).await;
    trial.until_settled("blue").await;
    trial.until_assigned().await;
    assert_eq!(trial.ask("x").await, (200, "blue".to_owned()));
    trial.end().await;
}
