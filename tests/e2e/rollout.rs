//! Changes of a running deployment.

use mooring_operator::api::deployment::{DeploymentState, OnlineDeployment};
use mooring_operator::catalogue::Code;
use serde_json::json;

use crate::support::documents::{abrupt, endpoint};
use crate::support::load;
use crate::support::place::{Place, setting};
use crate::support::scoring::Scorer;
use crate::support::waits::is_true;

#[tokio::test]
async fn a_new_image_rolls_out_under_load_without_a_lost_request() {
    let place = Place::new("rollout").await;
    place.apply(endpoint("iris", &json!({"blue": 100}))).await;
    place.apply(abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_1"), 2)).await;
    place.ready("iris", &["iris-blue"]).await;
    let load = load::start(&Scorer::new(&place, "iris").await, 40, "{}");
    place.apply(abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_2"), 2)).await;
    place.ready("iris", &["iris-blue"]).await;
    // The old instances are still on their way out: the load goes on until the last one has died on its SIGTERM.
    place.instances_left("iris-blue", 2).await;
    let outcome = load.stop().await;
    outcome.assert_none_lost(20);
    assert!(outcome.count(|answer| answer.body == "one") > 0 && outcome.count(|answer| answer.body == "two") > 0);
    place.done().await;
}

#[tokio::test]
async fn a_bad_image_fails_with_its_code_while_the_old_revision_serves_and_heals_by_itself() {
    let place = Place::new("bad-image").await;
    place.apply(endpoint("iris", &json!({"blue": 100}))).await;
    let good = setting("MOORING_TEST_ABRUPT_IMAGE_1");
    place.apply(abrupt("iris", "blue", &good, 1)).await;
    place.ready("iris", &["iris-blue"]).await;
    let load = load::start(&Scorer::new(&place, "iris").await, 20, "{}");

    let (registry, _) = good.split_once('/').unwrap();
    place.apply(abrupt("iris", "blue", &format!("{registry}/no/such-image:1"), 1)).await;
    let failed = place
        .until("iris-blue", "Failed", |object: Option<&OnlineDeployment>| {
            let status = object.and_then(|object| object.status.as_ref());
            status.is_some_and(|status| status.provisioning_state == Some(DeploymentState::Failed))
        })
        .await;
    let status = failed.status.unwrap();
    let error = status.error.unwrap();
    assert_eq!((error.code, error.reason.as_str()), (Code::Err1200, "ImageNotFound"), "{}", error.message);
    assert!(is_true(&status.conditions, "Serving", failed.metadata.generation));
    assert!(is_true(&status.conditions, "Stalled", failed.metadata.generation));
    assert!(!is_true(&status.conditions, "Ready", failed.metadata.generation));

    place.apply(abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_2"), 1)).await;
    place.ready("iris", &["iris-blue"]).await;
    let healed = place.api::<OnlineDeployment>().get("iris-blue").await.unwrap().status.unwrap();
    assert_eq!(healed.error, None);
    assert_eq!(healed.recent_errors.first().unwrap().reason, "ImageNotFound");
    place.instances_left("iris-blue", 1).await;
    load.stop().await.assert_none_lost(20);
    place.done().await;
}

#[tokio::test]
async fn instances_come_and_go_with_scale_without_a_lost_request() {
    let place = Place::new("scale").await;
    place.apply(endpoint("iris", &json!({"blue": 100}))).await;
    let image = setting("MOORING_TEST_ABRUPT_IMAGE_1");
    place.apply(abrupt("iris", "blue", &image, 1)).await;
    place.ready("iris", &["iris-blue"]).await;
    let load = load::start(&Scorer::new(&place, "iris").await, 40, "{}");
    for instances in [3, 1] {
        place.apply(abrupt("iris", "blue", &image, instances)).await;
        place.ready("iris", &["iris-blue"]).await;
    }
    place.instances_left("iris-blue", 1).await;
    load.stop().await.assert_none_lost(20);
    place.done().await;
}
