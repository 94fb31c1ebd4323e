//! Rights that come and go.

use k8s_openapi::api::rbac::v1::RoleBinding;
use mooring_operator::gateway::token::GOOD;

use crate::process::PATIENCE;
use crate::stage::{Stage, is_let_in, refusal};

#[tokio::test]
async fn whoever_lacks_the_right_is_told_which_and_the_right_is_felt_when_it_comes_and_goes() {
    let stage = Stage::new("rights").await;
    let stranger = stage.token("stranger").await;
    let message = refusal(&stage.score(&stranger).await);
    let needs = format!("needs verb score on onlineendpoints/iris in namespace {}", stage.place.namespace);
    assert!(message.contains(&needs), "{message}");
    let caller = stage.token("caller").await;
    stage.until(&caller, "the right to come", is_let_in).await;
    let bindings = stage.place.api::<RoleBinding>();
    bindings.delete("caller", &kube::api::DeleteParams::default()).await.unwrap();
    let refused = stage.until_within(GOOD + PATIENCE, &caller, "the right to go", |answer| answer.status == 401).await;
    assert!(refusal(&refused).contains("needs verb score"));
    stage.allow().await;
    stage.until(&caller, "the right to come again", is_let_in).await;
    stage.done().await;
}

#[tokio::test]
async fn a_gateway_that_may_not_ask_says_which_right_it_lacks() {
    let running = crate::api_server::running().await;
    let stage = Stage::with("unasked", false).await;
    let token = stage.token("caller").await;
    for _ in 0..3 {
        let answer = stage.score(&token).await;
        assert_eq!((answer.status, &answer.error()["code"]), (500, &"ERR_5000".into()), "{answer:?}");
        assert!(!answer.text().contains("tokenreviews"), "that is the operator's business");
    }
    assert_eq!(stage.gateway.lines("tokens can't be checked"), 1);
    assert_eq!(stage.gateway.lines("may not create tokenreviews.authentication.k8s.io"), 1);
    stage.allow_reviews().await;
    stage.until(&token, "the right to ask", is_let_in).await;
    stage.gateway.wait_for("tokens are checked again", 1).await;
    stage.keeps_secret(&token);
    stage.done().await;
    drop(running);
}
