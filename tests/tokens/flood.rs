//! Many tokens that say everything right and are worth nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use mooring_operator::gateway::token::desk::{STRANGERS_BURST, STRANGERS_INTERVAL};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::task::JoinSet;

use crate::api_server::reviews;
use crate::stage::{Stage, is_let_in};
use crate::token::{forged, seconds_since_1970};

const FLOOD: usize = 2000;

#[tokio::test]
async fn a_flood_reaches_neither_the_api_server_nor_those_who_are_known() {
    let stage = Arc::new(Stage::new("flood").await);
    let known = stage.token("caller").await;
    stage.until(&known, "the rights to come", is_let_in).await;
    let before = reviews(&stage.place.namespace, "tokenreviews");
    let (audience, expires) = (stage.audience(), seconds_since_1970() + 600);
    let begin = Instant::now();
    let mut flood = JoinSet::new();
    for number in 0..FLOOD {
        let (stage, token) = (Arc::clone(&stage), forged(&audience, expires, number));
        flood.spawn(async move { stage.score(&token).await });
    }
    let (sender, mut over) = tokio::sync::oneshot::channel::<()>();
    let known = tokio::spawn({
        let stage = Arc::clone(&stage);
        async move {
            let mut count = 0;
            while over.try_recv().is_err_and(|error| error == TryRecvError::Empty) {
                let answer = stage.score(&known).await;
                assert!(is_let_in(&answer), "after {count}: {answer:?}");
                count += 1;
            }
            count
        }
    });
    let mut codes = BTreeMap::new();
    while let Some(answer) = flood.join_next().await {
        *codes.entry(answer.unwrap().status).or_insert(0usize) += 1;
    }
    drop(sender);
    let during: usize = known.await.unwrap();
    let count = reviews(&stage.place.namespace, "tokenreviews") - before;
    let by_pace = begin.elapsed().div_duration_f64(STRANGERS_INTERVAL);
    println!("{codes:?}, {during} known in between, {count} reviews in {:?}", begin.elapsed());
    assert_eq!(codes.keys().copied().collect::<Vec<_>>(), [401, 500], "{codes:?}");
    assert_eq!(codes[&401], count, "each review has refused one");
    assert!(f64::from(u32::try_from(count).unwrap()) <= f64::from(STRANGERS_BURST) + by_pace, "{count} reviews");
    assert!(count < FLOOD, "{count} reviews");
    assert_eq!(stage.gateway.lines("more unknown tokens come"), 1);
    assert!(during > 1, "nobody known came meanwhile");
    Arc::into_inner(stage).unwrap().done().await;
}
