//! The API server falls silent.

use crate::api_server::{self, Silence};
use crate::stage::{Stage, is_let_in};

#[tokio::test]
async fn while_the_api_server_is_silent_known_tokens_pass_and_others_are_told_that_it_is_not_their_fault() {
    let alone = api_server::alone().await;
    let stage = Stage::with("outage", true).await;
    let (known, unknown) = (stage.token("caller").await, stage.token("caller").await);
    stage.until(&known, "the rights to come", is_let_in).await;
    let silence = Silence::begin();
    let (during, answer) = tokio::join!(
        async {
            let mut during = Vec::new();
            while stage.gateway.lines("tokens can't be checked") == 0 {
                during.push(stage.score(&known).await);
            }
            during
        },
        stage.score(&unknown)
    );
    assert!(!during.is_empty() && during.iter().all(is_let_in), "{during:?}");
    assert_eq!((answer.status, &answer.error()["code"]), (500, &"ERR_5000".into()), "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(is_let_in(&stage.score(&known).await));
    drop(silence);
    stage.until(&unknown, "the API server to speak again", is_let_in).await;
    stage.gateway.wait_for("tokens are checked again", 1).await;
    assert_eq!(stage.gateway.lines("tokens can't be checked"), 1);
    for token in [known, unknown] {
        stage.keeps_secret(&token);
    }
    stage.done().await;
    drop(alone);
}
