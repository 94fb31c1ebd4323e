//! The gateway of this machine: the table of statuses, and the split of traffic.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;

use crate::support::Trial;

/// Requests that are sent one after the other to see how they are split.
const REQUESTS: usize = 200;

#[tokio::test]
async fn the_table_of_statuses_is_that_of_a_cluster() {
    let limits = json!({"maxRequestBytes": 1000, "maxResponseBytes": 2000, "requestsPerSecond": 1000});
    let trial = Trial::new("statuses", json!({"traffic": {"blue": 100}, "limits": limits})).await;
    let settings = json!({"requestTimeoutMs": 1000, "maxConcurrentRequestsPerInstance": 1, "maxQueueWaitMs": 100});
    trial.put("blue", json!({"requestSettings": settings}));
    trial.until_settled("blue").await;
    trial.until_assigned().await;
    let key = trial.store.keys("statuses").unwrap().primary_key;
    let pin = |name: &'static str| [("azureml-model-deployment", name)];
    assert_eq!(trial.ask("x").await, (200, "blue".to_owned()));
    assert_eq!(trial.ask_with("wrong", &[], "x").await.0, 401);
    assert_eq!(trial.ask_with(&key, &pin("none"), "x").await.0, 404);
    assert_eq!(trial.ask(&"x".repeat(1001)).await.0, 413);
    assert_eq!(trial.ask("wrong").await, (424, "wrong".to_owned()));
    assert_eq!(trial.ask("large").await.0, 424);
    assert_eq!(trial.ask("slow").await.0, 408);
    // The instance is busy until its model has ended all the same.
    tokio::time::sleep(Duration::from_secs(3)).await;

    // More at a time than the instance takes: those that wait too long.
    let pending = join_all((0..4).map(|_| trial.ask("slow"))).await;
    let mut statuses: Vec<u16> = pending.into_iter().map(|(status, _)| status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [408, 429, 429, 429]);

    // More a second than the endpoint takes.
    trial.put_endpoint(json!({"traffic": {"blue": 100}, "limits": {"requestsPerSecond": 1}}));
    trial.until_assigned().await;
    let many = join_all((0..5).map(|_| trial.ask("x"))).await;
    assert!(many.iter().any(|(status, _)| *status == 429), "{many:?}");
    trial.end().await;
}

#[tokio::test]
async fn nine_of_ten_requests_go_where_ninety_percent_are_to_go() {
    let spec = json!({"traffic": {"blue": 90, "green": 10}, "limits": {"requestsPerSecond": 1000}});
    let trial = Trial::new("split", spec).await;
    trial.put("blue", json!({}));
    trial.put("green", json!({}));
    trial.until_settled("blue").await;
    trial.until_settled("green").await;
    trial.until_assigned().await;
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..REQUESTS {
        let (status, word) = trial.ask("x").await;
        assert_eq!(status, 200, "{word}");
        *answers.entry(word).or_default() += 1;
    }
    // 20 are to be expected; fewer than 5 or more than 40 are not, once in a million runs.
    let green = answers.get("green").copied().unwrap_or_default();
    assert!((5..=40).contains(&green) && answers.len() == 2, "{answers:?}");
    trial.end().await;
}
