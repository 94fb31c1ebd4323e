//! How many requests are admitted each second.

use std::time::{Duration, Instant};

use crate::documents::{Deployment, Endpoint};
use crate::model::Model;
use crate::process::Gateway;
use crate::wire::{self, Connection};

/// Scores without a pause for ten seconds, and gives the answers of status 200 and 429, and the time it really took.
async fn flood(gateway: &Gateway) -> (u32, u32, Duration) {
    let started = Instant::now();
    let mut connection = Connection::open(gateway.address).await;
    let (mut good, mut limited) = (0, 0);
    while started.elapsed() < Duration::from_secs(10) {
        connection.send(wire::request("POST", "/score", "", "{}")).await;
        let answer = connection.answer().await;
        if answer.status == 200 {
            good += 1;
        } else {
            assert_eq!((answer.status, answer.phrase.as_str()), (429, "Rate Limited"));
            assert_eq!((answer.header("retry-after"), &answer.error()["code"]), (Some("1"), &"RateLimited".into()));
            limited += 1;
        }
    }
    (good, limited, started.elapsed())
}

#[tokio::test]
async fn an_endpoint_admits_its_rate_within_a_hundredth_over_ten_seconds() {
    let model = Model::named("blue").await;
    let mut endpoint = Endpoint::new(&[Deployment::new("blue", 100, &[model.address])]);
    endpoint.requests_per_second = 50;
    let gateway = Gateway::start(&endpoint).await;
    let (good, limited, took) = flood(&gateway).await;
    assert!(limited > 0);
    let wanted = 50.0 * took.as_secs_f64();
    // Beside the hundredth, one request at the edge.
    assert!((f64::from(good) - wanted).abs() <= wanted / 100.0 + 1.0, "{good} of {wanted}");
    assert_eq!(model.requests(), usize::try_from(good).unwrap(), "a refused request does not reach the model");
}

#[tokio::test]
async fn a_request_over_the_rate_is_refused_and_a_new_rate_holds_at_once() {
    let model = Model::named("blue").await;
    let mut endpoint = Endpoint::new(&[Deployment::new("blue", 100, &[model.address])]);
    // The first request passes, and the second one is far away.
    (endpoint.requests_per_second, endpoint.generation) = (1, 1);
    let gateway = Gateway::start(&endpoint).await;
    let statuses = [gateway.score("{}").await.status, gateway.score("{}").await.status];
    assert_eq!(statuses, [200, 429]);
    // Whoever has no key uses nothing up.
    (endpoint.requests_per_second, endpoint.generation) = (1_000_000, 2);
    gateway.serve(&endpoint).await;
    for _ in 0..20 {
        let stranger = wire::exchange(gateway.address, "GET /score HTTP/1.1\r\nhost: iris.default\r\n\r\n").await;
        assert_eq!(stranger.status, 401);
    }
    assert_eq!(gateway.score("{}").await.status, 200);
    assert!(gateway.metric("mooring_gateway_rejected_total", &["RateLimited"]).await >= 1.0);
}
