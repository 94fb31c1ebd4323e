//! The split of traffic, and its change under load.

use futures::{StreamExt, stream};
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use serde_json::json;

use crate::support::documents::{abrupt, endpoint};
use crate::support::load;
use crate::support::place::{Place, setting};
use crate::support::scoring::{Answer, Scorer};

async fn blue_and_green(place: &Place, traffic: &serde_json::Value) {
    // More than these tests send: what they are about is not the rate.
    let mut document = endpoint("iris", traffic);
    document["spec"]["limits"] = json!({"requestsPerSecond": 10_000});
    place.apply(document).await;
    place.apply(abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_1"), 1)).await;
    place.apply(abrupt("iris", "green", &setting("MOORING_TEST_ABRUPT_IMAGE_2"), 1)).await;
    place.ready("iris", &["iris-blue", "iris-green"]).await;
}

#[tokio::test]
async fn ninety_and_ten_percent_are_split_as_asked() {
    let place = Place::new("split").await;
    blue_and_green(&place, &json!({"blue": 90, "green": 10})).await;
    let scorer = Scorer::new(&place, "iris").await;
    let total = 2000;
    let answers: Vec<Answer> = stream::iter(0..total)
        .map(|_| async { scorer.score("{}", None).await.unwrap() })
        .buffer_unordered(8)
        .collect()
        .await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let green = answers.iter().filter(|answer| answer.body == "two").count();
    // Binomial with n = 2000, p = 0.1: mean 200, standard deviation 13.4; five of them miss once in a million runs.
    assert!((133..=267).contains(&green), "{green} of {total}");
    place.done().await;
}

#[tokio::test]
async fn a_pinned_request_reaches_a_deployment_without_traffic() {
    let place = Place::new("pin").await;
    blue_and_green(&place, &json!({"blue": 100})).await;
    let scorer = Scorer::new(&place, "iris").await;
    for _ in 0..20 {
        assert_eq!(scorer.score("{}", Some("green")).await.unwrap().body, "two");
        assert_eq!(scorer.score("{}", None).await.unwrap().body, "one");
    }
    place.done().await;
}

#[tokio::test]
async fn a_second_deployment_takes_over_under_load_without_a_lost_request() {
    let place = Place::new("shift").await;
    place.apply(endpoint("iris", &json!({"blue": 100}))).await;
    place.apply(abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_1"), 1)).await;
    place.ready("iris", &["iris-blue"]).await;
    let load = load::start(&Scorer::new(&place, "iris").await, 40, "{}");

    // The traffic moves in the same moment in which its new target appears: nobody is sent to an empty place.
    place.apply(endpoint("iris", &json!({"green": 100}))).await;
    place.apply(abrupt("iris", "green", &setting("MOORING_TEST_ABRUPT_IMAGE_2"), 1)).await;
    place.ready("iris", &["iris-green"]).await;
    place.apply(endpoint("iris", &json!({"blue": 50, "green": 50}))).await;
    place.ready("iris", &["iris-green"]).await;
    place.apply(endpoint("iris", &json!({"green": 100}))).await;
    place.ready("iris", &["iris-green"]).await;

    // The old one goes while requests come in.
    place.delete::<OnlineDeployment>("iris-blue").await;
    place
        .until("iris", "without blue", |object: Option<&OnlineEndpoint>| {
            let status = object.and_then(|object| object.status.as_ref());
            status.is_some_and(|status| status.deployments.len() == 1)
        })
        .await;
    place.instances_left("iris-blue", 0).await;
    let outcome = load.stop().await;
    outcome.assert_none_lost(20);
    assert!(outcome.count(|answer| answer.body == "one") > 0 && outcome.count(|answer| answer.body == "two") > 0);
    place.done().await;
}
