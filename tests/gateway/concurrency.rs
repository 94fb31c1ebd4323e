//! How many requests work and wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use tokio::sync::Semaphore;

use crate::documents::{Deployment, Endpoint};
use crate::model::{Model, full};
use crate::process::Gateway;

/// A model whose answers wait for permits, and that knows how many it had to do at once.
pub async fn gated(permits: &Arc<Semaphore>) -> (Model, Arc<AtomicUsize>) {
    let most = Arc::new(AtomicUsize::new(0));
    let now = Arc::new(AtomicUsize::new(0));
    let (permits, highest) = (Arc::clone(permits), Arc::clone(&most));
    let model = Model::start(move |_| {
        let (permits, now, highest) = (Arc::clone(&permits), Arc::clone(&now), Arc::clone(&highest));
        async move {
            highest.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            permits.acquire().await.unwrap().forget();
            now.fetch_sub(1, Ordering::SeqCst);
            full("done")
        }
    })
    .await;
    (model, most)
}

#[tokio::test]
async fn no_instance_works_on_more_than_it_may_and_as_many_again_may_wait() {
    let permits = Arc::new(Semaphore::new(0));
    let ((one, most_of_one), (two, most_of_two)) = (gated(&permits).await, gated(&permits).await);
    let mut blue = Deployment::new("blue", 100, &[one.address, two.address]);
    blue.concurrent = 2;
    let gateway = Arc::new(Gateway::start(&Endpoint::new(&[blue])).await);
    let scores: Vec<_> = (0..8)
        .map(|_| {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move { gateway.score("{}").await })
        })
        .collect();
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 4.0).await;
    gateway.wait_for_metric("mooring_gateway_queued_requests", &[], 4.0).await;
    let refused = gateway.score("{}").await;
    assert_eq!((refused.status, refused.phrase.as_str()), (429, "Too Many Pending Requests"));
    assert_eq!(refused.header("ms-azureml-model-error-reason"), Some("too_many_pending_request"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.error()["code"], "TooManyPendingRequests");
    permits.add_permits(100);
    for answer in join_all(scores).await {
        assert_eq!(answer.unwrap().status, 200);
    }
    assert_eq!((most_of_one.load(Ordering::SeqCst), most_of_two.load(Ordering::SeqCst)), (2, 2));
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 0.0).await;
}

#[tokio::test]
async fn whoever_waits_too_long_gets_429() {
    let permits = Arc::new(Semaphore::new(0));
    let (model, _) = gated(&permits).await;
    let mut blue = Deployment::new("blue", 100, &[model.address]);
    (blue.concurrent, blue.queue_ms) = (1, 50);
    let gateway = Arc::new(Gateway::start(&Endpoint::new(&[blue])).await);
    let first = tokio::spawn({
        let gateway = Arc::clone(&gateway);
        async move { gateway.score("{}").await }
    });
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 1.0).await;
    assert_eq!(gateway.score("{}").await.status, 429);
    permits.add_permits(1);
    assert_eq!(first.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_new_instance_takes_up_those_who_wait() {
    let permits = Arc::new(Semaphore::new(0));
    let (model, _) = gated(&permits).await;
    let mut blue = Deployment::new("blue", 100, &[model.address]);
    blue.concurrent = 1;
    let gateway = Arc::new(Gateway::start(&Endpoint::new(std::slice::from_ref(&blue))).await);
    let score = || {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move { gateway.score("{}").await })
    };
    let first = score();
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 1.0).await;
    let second = score();
    gateway.wait_for_metric("mooring_gateway_queued_requests", &[], 1.0).await;
    let fresh = Model::named("fresh").await;
    blue.instances.push(fresh.address);
    gateway.serve(&Endpoint::new(&[blue])).await;
    assert_eq!(second.await.unwrap().text(), "fresh");
    permits.add_permits(1);
    assert_eq!(first.await.unwrap().status, 200);
}

#[tokio::test]
async fn the_instance_with_the_fewest_requests_gets_the_next() {
    let permits = Arc::new(Semaphore::new(0));
    let (busy, _) = gated(&permits).await;
    let mut blue = Deployment::new("blue", 100, &[busy.address]);
    blue.concurrent = 10;
    let gateway = Arc::new(Gateway::start(&Endpoint::new(std::slice::from_ref(&blue))).await);
    let waiting = tokio::spawn({
        let gateway = Arc::clone(&gateway);
        async move { gateway.score("{}").await }
    });
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 1.0).await;
    let free = Model::named("free").await;
    blue.instances.push(free.address);
    gateway.serve(&Endpoint::new(&[blue])).await;
    for _ in 0..20 {
        assert_eq!(gateway.score("{}").await.text(), "free");
    }
    permits.add_permits(1);
    assert_eq!(waiting.await.unwrap().status, 200);
}

#[tokio::test]
async fn whoever_waits_for_a_deployment_that_vanishes_goes_where_the_traffic_goes() {
    let permits = Arc::new(Semaphore::new(0));
    let (model, _) = gated(&permits).await;
    let mut blue = Deployment::new("blue", 100, &[model.address]);
    blue.concurrent = 1;
    let gateway = Arc::new(Gateway::start(&Endpoint::new(std::slice::from_ref(&blue))).await);
    let score = || {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move { gateway.score("{}").await })
    };
    let first = score();
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 1.0).await;
    let second = score();
    gateway.wait_for_metric("mooring_gateway_queued_requests", &[], 1.0).await;
    let green = Model::named("green").await;
    gateway.serve(&Endpoint::new(&[Deployment::new("green", 100, &[green.address])])).await;
    assert_eq!(second.await.unwrap().text(), "green");
    permits.add_permits(1);
    assert_eq!(first.await.unwrap().status, 200);
}
