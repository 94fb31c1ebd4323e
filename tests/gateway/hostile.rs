//! Callers and instances that are slow, loud or early.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::documents::{Deployment, Endpoint};
use crate::model::{self, Model, full};
use crate::process::Gateway;
use crate::wire::{self, Connection};

async fn gateway(instances: &[std::net::SocketAddr]) -> Gateway {
    let blue = Deployment { timeout_ms: 120_000, ..Deployment::new("blue", 100, instances) };
    Gateway::start(&Endpoint { max_bytes: 50_000_000, ..Endpoint::new(&[blue]) }).await
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_given_up() {
    let model = Model::named("blue").await;
    let gateway = gateway(&[model.address]).await;
    for beginning in ["", "POST /score HTTP/1.1\r\nhost: iris.default\r\n\r\n"] {
        let mut connection = Connection::open(gateway.address).await;
        connection.send(beginning).await;
        if !beginning.is_empty() {
            assert_eq!(connection.answer().await.status, 401);
        }
        connection.send("POST /score HTT").await;
        assert!(connection.closes().await);
    }
    assert_eq!(gateway.score("{}").await.status, 200);
}

#[tokio::test]
async fn a_body_that_does_not_come_frees_the_instance() {
    let model = Model::named("blue").await;
    let gateway = gateway(&[model.address]).await;
    let mut connection = Connection::open(gateway.address).await;
    connection.send(wire::request("POST", "/score", "content-length: 100\r\n", "")).await;
    connection.send("half").await;
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 1.0).await;
    let answer = connection.answer().await;
    assert_eq!((answer.status, &answer.error()["code"]), (408, &"RequestBodyTimeout".into()));
    assert!(connection.closes().await);
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 0.0).await;
}

#[tokio::test]
async fn a_slow_model_is_not_taken_for_a_slow_caller() {
    // It reads nothing of a body for longer than a caller may send nothing, and then all of it.
    const BODY: usize = 20_000_000;

    let address = model::raw(|mut stream, _| async move {
        let mut buffer = vec![0; 1 << 20];
        let beginning = stream.read(&mut buffer).await.unwrap();
        tokio::time::sleep(Duration::from_secs(22)).await;
        let head = buffer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        let mut body = beginning - head;
        while body < BODY {
            body += stream.read(&mut buffer).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    let gateway = gateway(&[address]).await;
    let mut connection = Connection::open(gateway.address).await;
    connection.send(wire::request("POST", "/score", "", &"x".repeat(BODY))).await;
    assert_eq!(connection.answer().await.status, 200);
}

#[tokio::test]
async fn a_caller_that_does_not_take_its_answer_frees_the_instance() {
    let model = Model::start(|_| async { full("x".repeat(40_000_000)) }).await;
    let gateway = gateway(&[model.address]).await;
    let mut connection = Connection::open(gateway.address).await;
    connection.send(wire::request("POST", "/score", "", "{}")).await;
    connection.head().await;
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 1.0).await;
    // Twice the usual patience, for this is given up after half a minute.
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 0.0).await;
}

#[tokio::test]
async fn a_head_without_bounds_is_431() {
    let model = Model::named("blue").await;
    let gateway = gateway(&[model.address]).await;
    let (long, many) = ("x".repeat(40_000), "x: y\r\n".repeat(101));
    for (name, request) in [
        ("a long value", wire::request("GET", "/score", &format!("x: {long}\r\n"), "")),
        ("a long name", wire::request("GET", "/score", &format!("{long}: y\r\n"), "")),
        ("many headers", wire::request("GET", "/score", &many, "")),
        ("a long path", wire::request("GET", &format!("/{long}"), "", "")),
        ("a name without an end", wire::request("GET", "/score", "", "").trim_end().to_owned() + "\r\n" + &long),
    ] {
        let mut connection = Connection::open(gateway.address).await;
        connection.send(request).await;
        assert_eq!(connection.answer().await.status, 431, "{name}");
        assert!(connection.closes().await, "{name}");
    }
    let headers = format!("x: {}\r\n", "y".repeat(30_000));
    assert_eq!(gateway.send("GET", "/score", &headers, "").await.status, 200);
    assert_eq!(model.requests(), 1);
}

#[tokio::test]
async fn an_answer_without_bounds_is_424() {
    let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 2\r\n\r\nok", "x: y\r\n".repeat(101));
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 2\r\n\r\nok", "x".repeat(1_000_000));
    for head in [many, long] {
        let address = model::raw(move |mut stream, _| {
            let head = head.clone();
            async move {
                model::read_head(&mut stream).await;
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.read(&mut [0]).await;
            }
        })
        .await;
        let answer = gateway(&[address]).await.score("{}").await;
        assert_eq!((answer.status, answer.phrase.as_str()), (424, "Model Error; original-code=0"));
    }
}

#[tokio::test]
async fn words_before_the_answer_without_an_end_keep_nobody_else_waiting() {
    let address = model::raw(|mut stream, _| async move {
        model::read_head(&mut stream).await;
        while stream.write_all(b"HTTP/1.1 102 Processing\r\nx: y\r\n\r\n").await.is_ok() {}
    })
    .await;
    let good = Model::named("green").await;
    let deployments = [Deployment::new("blue", 100, &[address]), Deployment::new("green", 0, &[good.address])];
    let gateway = Arc::new(Gateway::start(&Endpoint::new(&deployments)).await);
    let flooded: Vec<_> = (0..4)
        .map(|_| {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move { gateway.score("{}").await.status })
        })
        .collect();
    for _ in 0..50 {
        let answer = gateway.send("POST", "/score", "azureml-model-deployment: green\r\n", "{}").await;
        assert_eq!(answer.text(), "green");
    }
    for status in flooded {
        assert_eq!(status.await.unwrap(), 424);
    }
}

#[tokio::test]
async fn what_remains_of_a_body_is_never_a_request() {
    // Answers before it reads the body, and tells what it reads then.
    let (sender, mut told) = mpsc::unbounded_channel();
    let address = model::raw(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            model::read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly").await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            let _ = sender.send(String::from_utf8(rest).unwrap());
        }
    })
    .await;
    let gateway = gateway(&[address]).await;
    let evil = wire::request("GET", "/evil", "", "");
    for framing in ["content-length: 4000\r\n", "transfer-encoding: chunked\r\n"] {
        let mut connection = Connection::open(gateway.address).await;
        connection.send(wire::request("POST", "/score", framing, "")).await;
        let answer = connection.answer().await;
        assert_eq!(answer.text(), "early");
        connection.send(if framing.contains("chunked") { format!("{:x}\r\n{evil}", 4000) } else { evil.clone() }).await;
        assert!(connection.closes().await, "no second answer comes");
        assert!(!told.recv().await.unwrap().contains("GET /evil HTTP/1.1\r\nhost: iris.default\r\nx-request-id"));
        // The instance's connection is not used again either.
        assert_eq!(gateway.score("{}").await.text(), "early");
        told.recv().await.unwrap();
    }
}

#[tokio::test]
async fn an_instance_that_breaks_its_connections_is_the_last_choice() {
    let broken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&broken);
    let breaking = model::raw(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            if model::read_head(&mut stream).await {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let good = Model::named("blue").await;
    let gateway = gateway(&[breaking, good.address]).await;
    let begin = Instant::now();
    let mut failed = 0;
    for _ in 0..100 {
        failed += usize::from(gateway.score("{}").await.status != 200);
    }
    assert_eq!(failed, broken.load(Ordering::SeqCst));
    // It is tried again every five seconds.
    assert!(failed <= 1 + usize::try_from(begin.elapsed().as_secs() / 5).unwrap(), "{failed} of 100 went to it");
}
