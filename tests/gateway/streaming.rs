//! Nothing is collected on the way, and whoever leaves is missed.

use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::documents::{Deployment, Endpoint};
use crate::model::{self, Model, full};
use crate::process::Gateway;
use crate::wire::{self, Connection};

async fn gateway(model: &Model) -> Gateway {
    Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[model.address])])).await
}

#[tokio::test]
async fn each_chunk_of_an_answer_arrives_before_the_next_is_made() {
    let chunks = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&chunks);
    let model = Model::start(move |_| {
        let (sender, response) = model::streamed();
        *kept.lock().unwrap() = Some(sender);
        async move { response }
    })
    .await;
    let gateway = gateway(&model).await;
    let mut connection = Connection::open(gateway.address).await;
    connection.send(wire::request("POST", "/v1/chat/completions", "", "{}")).await;
    assert_eq!(connection.head().await.status, 200);
    let sender = chunks.lock().unwrap().take().unwrap();
    for text in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
        sender.send(text).await.unwrap();
        assert_eq!(connection.chunk().await.unwrap(), text.as_bytes());
    }
    drop(sender);
    assert!(connection.chunk().await.unwrap().is_empty());
    // The same connections serve on.
    connection.send(wire::request("POST", "/v1/chat/completions", "", "{}")).await;
    assert_eq!(connection.head().await.status, 200);
    assert_eq!(model.connections(), 1);
}

#[tokio::test]
async fn each_chunk_of_a_request_arrives_before_the_next_is_sent() {
    let (model, mut arrived) = Model::telling().await;
    let gateway = gateway(&model).await;
    let mut connection = Connection::open(gateway.address).await;
    connection.send(wire::request("POST", "/score", "transfer-encoding: chunked\r\n", "")).await;
    for _ in 0..3 {
        connection.send("4\r\npart\r\n").await;
        assert_eq!(arrived.recv().await.unwrap(), "part");
    }
    connection.send("0\r\n\r\n").await;
    assert_eq!(connection.answer().await.text(), "done");
}

#[tokio::test]
async fn a_large_body_passes_whole_both_ways() {
    let model =
        Model::start(|request| async move { full(request.into_body().collect().await.unwrap().to_bytes()) }).await;
    let gateway = gateway(&model).await;
    let body = "0123456789".repeat(90_000);
    let mut connection = Connection::open(gateway.address).await;
    for _ in 0..3 {
        connection.send(wire::request("POST", "/score", "", &body)).await;
        assert!(connection.answer().await.text() == body);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_the_model() {
    let model = Model::silent().await;
    let gateway = gateway(&model).await;
    let mut connection = Connection::open(gateway.address).await;
    connection.send(wire::request("POST", "/score", "", "{}")).await;
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 1.0).await;
    while model.requests() == 0 {
        tokio::task::yield_now().await;
    }
    drop(connection);
    model.cancelled(1).await;
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 0.0).await;
    gateway.wait_for_metric("mooring_gateway_requests_total", &["code=\"499\""], 1.0).await;
}

#[tokio::test]
async fn a_caller_that_leaves_in_the_middle_of_an_answer_cancels_the_model() {
    let (gone, mut seen) = mpsc::channel::<()>(1);
    let model = Model::start(move |_| {
        let (sender, response) = model::streamed();
        let gone = gone.clone();
        tokio::spawn(async move {
            sender.send("first").await.unwrap();
            sender.closed().await;
            gone.send(()).await.unwrap();
        });
        async move { response }
    })
    .await;
    let gateway = gateway(&model).await;
    let mut connection = Connection::open(gateway.address).await;
    connection.send(wire::request("GET", "/stream", "", "")).await;
    connection.head().await;
    connection.chunk().await.unwrap();
    drop(connection);
    seen.recv().await.unwrap();
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 0.0).await;
}

#[tokio::test]
async fn a_stream_may_last_longer_than_the_timeout_but_not_be_silent_so_long() {
    let model = Model::start(move |request| {
        let (sender, response) = model::streamed();
        let silent = request.uri().path() == "/silent";
        tokio::spawn(async move {
            for _ in 0..8 {
                sender.send("tick").await.unwrap();
                if silent {
                    sender.closed().await;
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(150)).await;
            }
        });
        async move { response }
    })
    .await;
    let mut blue = Deployment::new("blue", 100, &[model.address]);
    blue.timeout_ms = 800;
    let gateway = Gateway::start(&Endpoint::new(&[blue])).await;
    let long = gateway.send("GET", "/long", "", "").await;
    assert_eq!((long.body.len(), long.whole), (32, true));
    let silent = gateway.send("GET", "/silent", "", "").await;
    assert_eq!((silent.body.len(), silent.whole), (4, false));
    gateway.wait_for("the instance sent nothing for", 1).await;
}

#[tokio::test]
async fn a_connection_that_the_model_closed_meanwhile_costs_no_request() {
    // Answers one request on each connection, and closes without a word.
    let address = model::raw(|mut stream, _| async move {
        if model::read_head(&mut stream).await {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    })
    .await;
    let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[address])])).await;
    let mut connection = Connection::open(gateway.address).await;
    for _ in 0..50 {
        connection.send(wire::request("POST", "/score", "", "")).await;
        assert_eq!(connection.answer().await.text(), "ok");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_request_without_a_body_is_sent_again_when_an_instance_dies_over_it() {
    let dying = model::raw(|mut stream, _| async move {
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    let good = Model::named("blue").await;
    let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[dying, good.address])])).await;
    for _ in 0..20 {
        assert_eq!(gateway.send("GET", "/score", "", "").await.status, 200);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let model = Model::inspecting().await;
    let gateway = gateway(&model).await;
    let mut connection = Connection::open(gateway.address).await;
    let requests: String = (0..5).map(|number| wire::request("POST", &format!("/{number}"), "", "{}")).collect();
    connection.send(requests).await;
    for number in 0..5 {
        let answer = connection.answer().await;
        let seen: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
        assert_eq!(seen["path"], format!("/{number}"));
    }
}
