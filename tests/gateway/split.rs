//! The weights, over many requests.

use std::sync::Arc;

use futures::future::join_all;

use crate::documents::{Deployment, Endpoint};
use crate::model::Model;
use crate::process::Gateway;
use crate::wire::{self, Connection};

const CALLERS: u32 = 16;
const REQUESTS_OF_EACH: u32 = 6_250;

#[tokio::test]
async fn a_hundred_thousand_requests_are_split_as_the_weights_say() {
    let (blue, green, gray) = tokio::join!(Model::named("blue"), Model::named("green"), Model::named("gray"));
    let shares = [("blue", &blue, 70), ("green", &green, 29), ("gray", &gray, 1)];
    let deployments = shares.map(|(name, model, weight)| Deployment::new(name, weight, &[model.address]));
    let endpoint = Endpoint { requests_per_second: 1_000_000, ..Endpoint::new(&deployments) };
    let gateway = Arc::new(Gateway::start(&endpoint).await);
    join_all((0..CALLERS).map(|_| {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move {
            let mut connection = Connection::open(gateway.address).await;
            for _ in 0..REQUESTS_OF_EACH {
                connection.send(wire::request("POST", "/score", "", "{}")).await;
                let answer = connection.answer().await;
                assert_eq!(answer.status, 200);
            }
        })
    }))
    .await
    .into_iter()
    .for_each(|caller| caller.unwrap());

    let total = f64::from(CALLERS * REQUESTS_OF_EACH);
    let squares = shares.map(|(_, model, weight)| {
        let expected = total * f64::from(weight) / 100.0;
        let seen = f64::from(u32::try_from(model.requests()).unwrap());
        (seen - expected).powi(2) / expected
    });
    let chi_square: f64 = squares.iter().sum();
    println!("chi square with 2 degrees of freedom: {chi_square:.2}");
    // A good draw is above 9.21 in one run of a hundred, and above 27.6 in one of a million: this one must not fail
    // by chance.
    assert!(chi_square < 27.6, "{chi_square}: {squares:?}");
}
