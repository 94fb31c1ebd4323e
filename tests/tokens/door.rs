//! Who is let in.

use std::time::Duration;

use mooring_operator::gateway::token::BAD;
use tokio::task::JoinSet;

use crate::api_server::reviews;
use crate::stage::{Stage, is_let_in, refusal};
use crate::token::{self, forged, seconds_since_1970};

#[tokio::test]
async fn a_genuine_token_of_somebody_with_the_right_is_let_in_and_asked_about_once() {
    let stage = Stage::new("door").await;
    let token = stage.token("caller").await;
    let mut callers = JoinSet::new();
    let stage = std::sync::Arc::new(stage);
    for _ in 0..50 {
        let (stage, token) = (std::sync::Arc::clone(&stage), token.clone());
        callers.spawn(async move { stage.score(&token).await });
    }
    while let Some(answer) = callers.join_next().await {
        let answer = answer.unwrap();
        assert!(is_let_in(&answer), "{answer:?}");
    }
    let namespace = &stage.place.namespace;
    let count = |resource| reviews(namespace, resource);
    assert_eq!((count("tokenreviews"), count("subjectaccessreviews")), (1, 1), "fifty at once share one question");
    assert!(is_let_in(&stage.score(&token).await));
    assert_eq!(count("tokenreviews"), 1, "and so do those who come later");
    let admitted = stage.gateway.metric("mooring_gateway_token_reviews_total", &["result=\"admitted\""]).await;
    assert!((admitted - 1.0).abs() < f64::EPSILON);
    stage.keeps_secret(&token);
    std::sync::Arc::into_inner(stage).unwrap().done().await;
}

#[tokio::test]
async fn the_wrong_token_is_told_what_is_wrong_without_a_question() {
    let stage = Stage::new("wrong").await;
    let audience = stage.audience();
    let other = token::of(&stage.place, "caller", "mooring.dev/elsewhere/iris").await;
    let general = token::of(&stage.place, "caller", "https://kubernetes.default.svc.cluster.local").await;
    let expired = forged(&audience, seconds_since_1970() - 1, 1);
    let mention = format!("another audience; make one for {audience}");
    for (token, words) in [
        (other.as_str(), mention.as_str()),
        (general.as_str(), mention.as_str()),
        (expired.as_str(), "has expired"),
        ("a-key-of-old", "no Kubernetes token"),
    ] {
        let message = refusal(&stage.score(token).await);
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(reviews(&stage.place.namespace, "tokenreviews"), 0);
    stage.done().await;
}

#[tokio::test]
async fn a_token_that_only_looks_right_is_refused_and_asked_about_once_in_a_while() {
    let stage = Stage::new("forged").await;
    let namespace = &stage.place.namespace;
    let forged = forged(&stage.audience(), seconds_since_1970() + 600, 1);
    let begin = std::time::Instant::now();
    let mut requests = 0;
    while reviews(namespace, "tokenreviews") < 2 {
        let message = refusal(&stage.score(&forged).await);
        assert!(message.contains("does not accept"), "{message}");
        requests += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(begin.elapsed() >= BAD && requests > 2, "{requests} requests");
    assert_eq!(reviews(namespace, "subjectaccessreviews"), 0, "nobody to ask about");
    stage.keeps_secret(&forged);
    stage.done().await;
}
