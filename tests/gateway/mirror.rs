//! The mirror gets its copies, and nobody notices.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use http_body_util::BodyExt;
use hyper::{Response, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::documents::{Deployment, Endpoint};
use crate::model::{self, Model, full};
use crate::process::{Gateway, PATIENCE};
use crate::wire::{self, Answer, Connection};

const COPIES: &str = "mooring_gateway_mirrored_requests_total";

/// Blue with all of the live traffic, and green with `percent` of its copies.
fn mirrored(blue: &Model, green: &[std::net::SocketAddr], percent: u32) -> Endpoint {
    let mut mirror = Deployment::new("green", 0, green);
    mirror.mirror = percent;
    mirror.scoring_path = "/deep/score";
    Endpoint::new(&[Deployment::new("blue", 100, &[blue.address]), mirror])
}

/// A model that answers what its path asks for.
async fn versatile() -> Model {
    Model::start(|request| async move {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        match path.as_str() {
            "/error" => {
                let mut response = full("no good");
                *response.status_mut() = StatusCode::IM_A_TEAPOT;
                response
            }
            "/stream" => {
                let (sender, response) = model::streamed();
                tokio::spawn(async move {
                    for _ in 0..5 {
                        sender.send("tick").await.unwrap();
                    }
                });
                response
            }
            _ => full(body),
        }
    })
    .await
}

/// All that a caller sees, but what is another for each request.
async fn seen(gateway: &Gateway) -> Vec<Answer> {
    let requests = [
        wire::request("POST", "/score?a=b", "content-type: application/json\r\n", "{\"data\": [1]}"),
        wire::request("POST", "/score", "transfer-encoding: chunked\r\n", "") + "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
        wire::request("POST", "/score", "expect: 100-continue\r\n", &"x".repeat(300_000)),
        wire::request("POST", "/score", "", &"x".repeat(1_000_001)),
        wire::request("GET", "/stream", "x-ms-client-request-id: mine\r\n", ""),
        wire::request("GET", "/error", "", ""),
        wire::request("HEAD", "/score", "connection: close\r\n", ""),
    ];
    let mut answers = Vec::new();
    for request in requests {
        let mut connection = Connection::open(gateway.address).await;
        connection.send(request).await;
        let mut answer = connection.answer().await;
        if answer.status == 100 {
            answer = connection.answer().await;
        }
        for (_, value) in answer.headers.iter_mut().filter(|(name, _)| name == "x-request-id" || name == "date") {
            value.clear();
        }
        if let Some(mut error) = (answer.status == 413).then(|| answer.error()) {
            error["requestId"].take();
            answer.body = error.to_string().into_bytes();
        }
        answers.push(answer);
    }
    answers
}

#[tokio::test]
async fn the_answers_are_the_same_whatever_the_mirror_does() {
    let blue = versatile().await;
    let good = Model::named("green").await;
    let slow = Model::start(|request| async move {
        let _ = request.into_body().collect().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        full("late")
    })
    .await;
    let hanging = Model::silent().await;
    let failing = Model::start(|request| async move {
        let _ = request.into_body().collect().await;
        let mut response = full("broken");
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
    .await;
    let endless = Model::start(|request| async move {
        let _ = request.into_body().collect().await;
        full("x".repeat(1_000_001))
    })
    .await;
    let closing = model::raw(|mut stream, _| async move {
        if model::read_head(&mut stream).await {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
        }
    })
    .await;
    let nonsense = model::raw(|mut stream, _| async move {
        let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n").await;
    })
    .await;
    let off = Gateway::start(&mirrored(&blue, &[good.address], 0)).await;
    let expected = seen(&off).await;
    let statuses: Vec<_> = expected.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 200, 413, 200, 424, 200]);
    assert_eq!(off.count(COPIES, &[]).await, 0);

    // Six requests get as far as to a deployment. How many of their copies end how is the second half of each line.
    let cases = [
        ("on", vec![good.address], vec![("Succeeded", 6)]),
        ("slow", vec![slow.address], vec![("Succeeded", 6)]),
        ("hanging", vec![hanging.address], vec![("RequestTimeout", 6)]),
        ("answering 500", vec![failing.address], vec![("ModelError", 6)]),
        ("answering too much", vec![endless.address], vec![("ResponsePayloadTooLarge", 5), ("Succeeded", 1)]),
        ("closing in the middle", vec![closing], vec![("ModelConnectionFailed", 5), ("Succeeded", 1)]),
        ("talking nonsense", vec![nonsense], vec![("ModelConnectionFailed", 6)]),
        ("dead", vec![model::nobody().await], vec![("ModelConnectionFailed", 6)]),
        ("absent", vec![], vec![("ModelNotReady", 6)]),
    ];
    for (what, green, results) in cases {
        let mut endpoint = mirrored(&blue, &green, 100);
        endpoint.deployments[1].timeout_ms = if what == "hanging" { 300 } else { 10_000 };
        let gateway = Gateway::start(&endpoint).await;
        let answers = seen(&gateway).await;
        assert_eq!(format!("{answers:?}"), format!("{expected:?}"), "the mirror is {what}");
        for (result, count) in results {
            gateway.wait_for_count(COPIES, &["deployment=\"green\"", &format!("result=\"{result}\"")], count).await;
        }
        gateway.wait_for_count(COPIES, &[], 6).await;
        gateway.wait_for_count("mooring_gateway_mirrored_request_duration_seconds_count", &[], 6).await;
        // Nothing of it is among the numbers of the live requests.
        assert_eq!(gateway.count("mooring_gateway_requests_total", &["deployment=\"green\""]).await, 0);
        assert_eq!(gateway.count("mooring_gateway_requests_total", &[]).await, 7);
        assert_eq!(gateway.count("mooring_gateway_rejected_total", &["deployment=\"green\""]).await, 0);
    }
}

#[tokio::test]
async fn the_share_of_copies_is_near_the_percent_whichever_deployment_answers() {
    let (blue, green) = (Model::named("blue").await, Model::named("green").await);
    let copied = Arc::new(Mutex::new(BTreeSet::new()));
    let ids = Arc::clone(&copied);
    let mirror = Model::start(move |request| {
        ids.lock().unwrap().insert(request.headers()["x-request-id"].to_str().unwrap().to_owned());
        async move { full("mirror") }
    })
    .await;
    let mut endpoint = Endpoint::new(&[
        Deployment::new("blue", 50, &[blue.address]),
        Deployment::new("green", 50, &[green.address]),
        Deployment::new("mirror", 0, &[mirror.address]),
    ]);
    endpoint.deployments[2].mirror = 20;
    let gateway = Arc::new(Gateway::start(&endpoint).await);
    let callers = (0..8).map(|_| {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move {
            let mut connection = Connection::open(gateway.address).await;
            let mut seen = Vec::new();
            for _ in 0..1250 {
                connection.send(wire::request("POST", "/score", "", "{}")).await;
                let answer = connection.answer().await;
                let text = |name| answer.header(name).unwrap().to_owned();
                seen.push((text("azureml-model-deployment"), text("x-request-id")));
            }
            seen
        })
    });
    let seen: Vec<_> = join_all(callers).await.into_iter().flat_map(Result::unwrap).collect();
    gateway.wait_for_count("mooring_gateway_in_flight_requests", &[], 0).await;
    let copied = std::mem::take(&mut *copied.lock().unwrap());
    gateway.wait_for_count(COPIES, &["result=\"Succeeded\""], copied.len()).await;
    // Five standard deviations of 5,000 draws of a fifth are 141.
    for name in ["blue", "green"] {
        let of_this = seen.iter().filter(|(deployment, id)| deployment == name && copied.contains(id)).count();
        let all = seen.iter().filter(|(deployment, _)| deployment == name).count();
        assert!(all.abs_diff(5_000) < 250 && of_this.abs_diff(all / 5) < 145, "{name}: {of_this} of {all}");
    }
}

#[tokio::test]
async fn a_pinned_request_is_never_copied_and_neither_is_one_that_reaches_no_deployment() {
    let (blue, green) = (Model::named("blue").await, Model::named("green").await);
    let gateway = Gateway::start(&mirrored(&blue, &[green.address], 100)).await;
    for name in ["blue", "green", "BLUE"] {
        let pin = format!("azureml-model-deployment: {name}\r\n");
        assert_eq!(gateway.send("POST", "/score", &pin, "{}").await.text(), name.to_lowercase());
    }
    let refused = wire::exchange(gateway.address, "GET /score HTTP/1.1\r\nhost: iris.default\r\n\r\n").await;
    assert_eq!(refused.status, 401);
    assert_eq!(gateway.count(COPIES, &[]).await, 0);
    assert_eq!(gateway.score("{}").await.text(), "blue");
    gateway.wait_for_count(COPIES, &[], 1).await;
    assert_eq!((blue.requests(), green.requests()), (3, 2));
}

#[tokio::test]
async fn a_copy_has_the_path_the_headers_the_ids_and_all_of_the_body() {
    let (sender, mut arrived) = mpsc::channel(1);
    let green = Model::start(move |request| {
        let sender = sender.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            sender.send((parts, body)).await.unwrap();
            full("seen")
        }
    })
    .await;
    let blue = Model::named("blue").await;
    let gateway = Gateway::start(&mirrored(&blue, &[green.address], 100)).await;
    let large = "0123456789".repeat(90_000);
    let chunked: String = large.as_bytes().chunks(7_777).fold(String::new(), |mut all, chunk| {
        let text = std::str::from_utf8(chunk).unwrap();
        write!(all, "{:x}\r\n{text}\r\n", chunk.len()).unwrap();
        all
    }) + "0\r\n\r\n";
    let headers =
        "x-mine: 1\r\nx-ms-client-request-id: me\r\nauthorization-not: 1\r\nconnection: x-gone\r\nx-gone: 1\r\n";
    for (framing, body) in [
        (format!("content-length: {}\r\n", large.len()), large.clone()),
        ("transfer-encoding: chunked\r\n".to_owned(), chunked),
    ] {
        let request = wire::request("POST", "/score/more?a=b", &format!("{headers}{framing}"), "") + &body;
        let answer = wire::exchange(gateway.address, request).await;
        assert_eq!(answer.text(), "blue");
        let (parts, copy) = tokio::time::timeout(PATIENCE, arrived.recv()).await.unwrap().unwrap();
        assert!(copy == large.as_bytes(), "{} of {} bytes arrived", copy.len(), large.len());
        assert_eq!((parts.method.as_str(), parts.uri.to_string().as_str()), ("POST", "/deep/score/more?a=b"));
        assert_eq!(parts.headers["x-request-id"], answer.header("x-request-id").unwrap());
        assert_eq!(
            (&parts.headers["x-mine"], &parts.headers["x-ms-client-request-id"]),
            (&"1".parse().unwrap(), &"me".parse().unwrap())
        );
        assert_eq!(parts.headers["host"], "iris.default");
        assert!(!parts.headers.contains_key("authorization") && !parts.headers.contains_key("x-gone"));
    }
    gateway.wait_for_count(COPIES, &["result=\"Succeeded\""], 2).await;
}

#[tokio::test]
async fn each_chunk_reaches_the_mirror_before_the_next_is_sent() {
    let (green, mut arrived) = Model::telling().await;
    let blue = versatile().await;
    let gateway = Gateway::start(&mirrored(&blue, &[green.address], 100)).await;
    let mut connection = Connection::open(gateway.address).await;
    connection.send(wire::request("POST", "/score", "transfer-encoding: chunked\r\n", "")).await;
    for _ in 0..3 {
        connection.send("4\r\npart\r\n").await;
        assert_eq!(tokio::time::timeout(PATIENCE, arrived.recv()).await.unwrap().unwrap(), "part");
    }
    connection.send("0\r\n\r\n").await;
    assert_eq!(connection.answer().await.text(), "partpartpart");
}

#[tokio::test]
async fn a_request_that_is_cut_off_takes_its_copy_along() {
    let (gone, mut seen) = mpsc::channel(1);
    let started = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&started);
    let green = Model::start(move |request| {
        let (gone, count) = (gone.clone(), Arc::clone(&count));
        async move {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {
                count.fetch_add(1, Ordering::SeqCst);
            }
            gone.send(()).await.unwrap();
            full("never seen")
        }
    })
    .await;
    let blue = versatile().await;
    let gateway = Gateway::start(&mirrored(&blue, &[green.address], 100)).await;
    let mut connection = Connection::open(gateway.address).await;
    connection.send(wire::request("POST", "/score", "content-length: 100\r\n", "")).await;
    connection.send("half").await;
    let begun = async {
        while started.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.unwrap();
    drop(connection);
    tokio::time::timeout(PATIENCE, seen.recv()).await.unwrap().unwrap();
    gateway.wait_for_count(COPIES, &["result=\"Aborted\""], 1).await;
    gateway.wait_for_count("mooring_gateway_in_flight_requests", &[], 0).await;
    // One that is too large is cut off by the gateway itself.
    let chunk = format!("{:x}\r\n{}\r\n", 600_000, "x".repeat(600_000));
    let large = wire::request("POST", "/score", "transfer-encoding: chunked\r\n", "") + &chunk + &chunk;
    assert_eq!(wire::exchange(gateway.address, large).await.status, 413);
    gateway.wait_for_count(COPIES, &["result=\"Aborted\""], 2).await;
}

#[tokio::test]
async fn a_mirror_without_a_free_place_gets_nothing_and_nothing_waits_for_it() {
    let green = Model::silent().await;
    let blue = Model::named("blue").await;
    let mut endpoint = mirrored(&blue, &[green.address], 100);
    endpoint.deployments[1].concurrent = 2;
    let gateway = Gateway::start(&endpoint).await;
    for _ in 0..7 {
        assert_eq!(gateway.score("{}").await.text(), "blue");
    }
    gateway.wait_for_count(COPIES, &["result=\"TooManyPendingRequests\""], 5).await;
    assert_eq!(gateway.count("mooring_gateway_in_flight_requests", &["deployment=\"green\""]).await, 2);
    assert_eq!(gateway.count("mooring_gateway_queued_requests", &[]).await, 0);
    assert_eq!(green.requests(), 2);
}

#[tokio::test]
async fn a_copy_that_falls_behind_is_given_up_and_memory_stays_bounded() {
    // Takes what the kernel buffers, and no byte more.
    let green = model::raw(|stream, _| async move {
        let () = std::future::pending().await;
        drop(stream);
    })
    .await;
    let blue = Model::start(|request| async move {
        let mut count = 0;
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            count += frame.into_data().unwrap().len();
        }
        full(count.to_string())
    })
    .await;
    let mut endpoint = mirrored(&blue, &[green], 100);
    endpoint.max_bytes = 24 << 20;
    endpoint.deployments[1].concurrent = 2;
    endpoint.deployments[1].timeout_ms = 600_000;
    let gateway = Arc::new(Gateway::start(&endpoint).await);
    let large = 20 << 20;
    let body = Arc::new("x".repeat(large));
    let before = gateway.peak_memory();
    let callers = (0..16).map(|_| {
        let (gateway, body) = (Arc::clone(&gateway), Arc::clone(&body));
        tokio::spawn(async move { gateway.score(&body).await.text().to_owned() })
    });
    for count in join_all(callers).await {
        assert_eq!(count.unwrap(), large.to_string());
    }
    gateway.wait_for_count(COPIES, &["result=\"TooManyPendingRequests\""], 14).await;
    // Two copies of at most 24 MiB, and the buffers of 16 connections; all of the copies would be 320 MiB.
    let grown = gateway.peak_memory() - before;
    assert!(grown < 100 << 10, "{grown} KiB more");

    // What frames cost counts too: as many single bytes as these would be the sixtyfold.
    endpoint.deployments[1].instances = vec![
        model::raw(|stream, _| async move {
            let () = std::future::pending().await;
            drop(stream);
        })
        .await,
    ];
    gateway.serve(&endpoint).await;
    let bytes = "1\r\nx\r\n".repeat(150_000);
    let request = wire::request("POST", "/score", "transfer-encoding: chunked\r\n", "");
    let request = format!("{request}{large:x}\r\n{body}\r\n{bytes}0\r\n\r\n");
    assert_eq!(wire::exchange(gateway.address, request).await.text(), (large + 150_000).to_string());
    gateway.wait_for_count(COPIES, &["result=\"Behind\""], 1).await;
}

#[tokio::test]
async fn a_copy_has_a_line_of_its_own_and_that_of_the_live_request_stays_as_it_is() {
    let (blue, green) = (
        Model::named("blue").await,
        Model::start(|_| async { Response::builder().status(503).body(full("").into_body()).unwrap() }).await,
    );
    let gateway = Gateway::start(&mirrored(&blue, &[green.address], 100)).await;
    let answer = gateway.score("{}").await;
    gateway.wait_for_count(COPIES, &["result=\"ModelError\""], 1).await;
    gateway.terminate();
    let lines = gateway.ended().await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    let of = |name: &str| lines.iter().find(|line| line["DeploymentName"] == name).unwrap();
    let (live, copy) = (of("blue"), of("green"));
    assert_eq!((live.get("Mirrored"), copy["Mirrored"].as_bool()), (None, Some(true)));
    assert_eq!(live["XRequestId"], answer.header("x-request-id").unwrap());
    assert_eq!(live["XRequestId"], copy["XRequestId"]);
    assert_eq!((live["ResponseCode"].as_u64(), copy["ResponseCode"].as_u64()), (Some(200), Some(503)));
    assert_eq!(
        (copy["ResponseCodeReason"].as_str(), copy["ModelStatusCode"].as_u64()),
        (Some("ModelError"), Some(503))
    );
    assert_eq!(copy["RequestPayloadSize"], 2);
}
