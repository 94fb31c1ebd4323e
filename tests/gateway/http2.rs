//! HTTP/2 on either side.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use crate::documents::{Deployment, Endpoint, KEY};
use crate::model::{self, Model, full};
use crate::process::{Gateway, PATIENCE};
use crate::wire;

type Client = SendRequest<Full<Bytes>>;

async fn gateway(model: &Model, app_protocol: &'static str) -> Gateway {
    let deployment = Deployment { app_protocol, ..Deployment::new("blue", 100, &[model.address]) };
    Gateway::start(&Endpoint::new(&[deployment])).await
}

async fn client(address: SocketAddr) -> Client {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

fn request(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(format!("http://iris.default{path}"))
        .header("authorization", format!("Bearer {KEY}"))
        .body(Full::new(body.into()))
        .unwrap()
}

struct Whole {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

async fn whole(client: &Client, request: Request<Full<Bytes>>) -> Whole {
    let answer = tokio::time::timeout(PATIENCE, client.clone().send_request(request)).await.unwrap().unwrap();
    let (parts, body) = answer.into_parts();
    let collected = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
    let trailers = collected.trailers().cloned();
    Whole { status: parts.status, headers: parts.headers, body: collected.to_bytes(), trailers }
}

fn seen(answer: &Whole) -> serde_json::Value {
    serde_json::from_slice(&answer.body).unwrap()
}

fn header(seen: &serde_json::Value, name: &str) -> Vec<String> {
    let pairs = seen["headers"].as_array().unwrap().iter();
    pairs.filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_request_of_http_2_reaches_an_instance_of_http_1_as_one_of_its_own() {
    let model = Model::inspecting().await;
    let gateway = gateway(&model, "http").await;
    let client = client(gateway.address).await;
    let mut asked = request("/score/deep?a=b", "{}");
    for (name, value) in [("te", "trailers"), ("cookie", "a=1"), ("cookie", "b=2"), ("x-mine", "kept")] {
        asked.headers_mut().append(name, HeaderValue::from_static(value));
    }
    let answer = whole(&client, asked).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["azureml-model-deployment"], "blue");
    assert!(answer.headers.contains_key("x-request-id"));
    let seen = seen(&answer);
    assert_eq!(seen["version"], "HTTP/1.1");
    assert_eq!(seen["path"], "/predict/deep?a=b");
    assert_eq!(seen["body"], "{}");
    assert_eq!(header(&seen, "host"), ["iris.default"]);
    assert_eq!(header(&seen, "cookie"), ["a=1; b=2"]);
    assert_eq!(header(&seen, "x-mine"), ["kept"]);
    assert!(header(&seen, "te").is_empty());
}

#[tokio::test]
async fn our_own_answers_are_the_same_in_http_2() {
    let model = Model::start(|_| async {
        let mut answer = full("broken");
        *answer.status_mut() = StatusCode::from_u16(503).unwrap();
        answer
    })
    .await;
    let gateway = gateway(&model, "http").await;
    let client = client(gateway.address).await;
    let answer = whole(&client, request("/score", "{}")).await;
    assert_eq!(answer.status, 424);
    assert_eq!(answer.headers["ms-azureml-model-error-statuscode"], "503");
    assert_eq!(answer.body, "broken");
    let mut unknown = request("/score", "{}");
    *unknown.uri_mut() = "http://nobody.default/score".parse().unwrap();
    assert_eq!(whole(&client, unknown).await.status, 404);
    let mut wrong = request("/score", "{}");
    wrong.headers_mut().insert("authorization", HeaderValue::from_static("Bearer wrong"));
    let answer = whole(&client, wrong).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["www-authenticate"]),
        (401, &HeaderValue::from_static("Bearer"))
    );
    let answer = whole(&client, request("/score", vec![b'x'; 1_000_001])).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn a_hundred_requests_go_side_by_side_on_one_connection() {
    let together = std::sync::Arc::new(tokio::sync::Barrier::new(100));
    let model = Model::start(move |_| {
        let together = std::sync::Arc::clone(&together);
        async move {
            together.wait().await;
            full("all are here")
        }
    })
    .await;
    let gateway = gateway(&model, "http").await;
    let client = client(gateway.address).await;
    let answers = join_all((0..100).map(|_| whole(&client, request("/score", "{}")))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
}

#[tokio::test]
async fn the_preface_may_come_byte_by_byte() {
    let model = Model::named("blue").await;
    let gateway = gateway(&model, "http").await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // An empty SETTINGS frame, as RFC 9113, 3.4 wants it; the answer begins with theirs.
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "a SETTINGS frame");
    // And a P is not always the beginning of it.
    assert_eq!(gateway.score("{}").await.text(), "blue");
}

#[tokio::test]
async fn a_caller_that_gives_up_is_missed_at_the_instance() {
    let model = Model::silent().await;
    let gateway = gateway(&model, "http").await;
    let client = client(gateway.address).await;
    let mut asking = client.clone();
    let given_up = tokio::spawn(async move { asking.send_request(request("/score", "{}")).await });
    while model.requests() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    given_up.abort();
    model.cancelled(1).await;
}

#[tokio::test]
async fn requests_in_flight_are_finished_when_the_gateway_ends() {
    let gate = std::sync::Arc::new(Semaphore::new(0));
    let inside = std::sync::Arc::clone(&gate);
    let (arrived, mut arrivals) = mpsc::channel(1);
    let model = Model::start(move |_| {
        let (gate, arrived) = (std::sync::Arc::clone(&inside), arrived.clone());
        async move {
            arrived.send(()).await.unwrap();
            gate.acquire().await.unwrap().forget();
            full("finished")
        }
    })
    .await;
    let gateway = gateway(&model, "http").await;
    let client = client(gateway.address).await;
    let asked = whole(&client, request("/score", "{}"));
    let end = async {
        arrivals.recv().await.unwrap();
        gateway.terminate();
        // Past the second in which new requests are still taken.
        while TcpStream::connect(gateway.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        gate.add_permits(1);
    };
    let (answer, ()) = tokio::join!(asked, end);
    assert_eq!(answer.body, "finished");
    gateway.ended().await;
}

#[tokio::test]
async fn a_call_of_grpc_passes_with_its_trailers() {
    let model = Model::start_speaking(true, |request| async move {
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.uri().path(), "/inference.GRPCInferenceService/ModelInfer");
        assert_eq!(request.uri().authority().unwrap(), "iris.default");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let trailers = HeaderMap::from_iter([
            ("grpc-status".parse().unwrap(), HeaderValue::from_static("0")),
            ("ms-azureml-model-error-reason".parse().unwrap(), HeaderValue::from_static("forged")),
        ]);
        let body = Full::new(body).with_trailers(async move { Some(Ok(trailers)) });
        let mut answer = Response::new(body.boxed());
        answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        answer
    })
    .await;
    let gateway = gateway(&model, "kubernetes.io/h2c").await;
    let client = client(gateway.address).await;
    for _ in 0..3 {
        let mut call = request("/inference.GRPCInferenceService/ModelInfer", &b"\0\0\0\0\x02hi"[..]);
        call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        call.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        let answer = whole(&client, call).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, &b"\0\0\0\0\x02hi"[..]);
        let trailers = answer.trailers.unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(trailers.len(), 1, "only the gateway speaks of model errors");
    }
    assert!(model.connections() <= 2, "one for each serving thread");
}

#[tokio::test]
async fn an_instance_of_http_2_serves_callers_of_http_1() {
    let model = Model::inspecting_speaking(true).await;
    let gateway = gateway(&model, "kubernetes.io/h2c").await;
    for _ in 0..5 {
        let answer = gateway.score("hello").await;
        assert_eq!(answer.status, 200);
        let seen: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((&seen["version"], &seen["body"]), (&"HTTP/2.0".into(), &"hello".into()));
        assert_eq!(seen["path"], "http://iris.default/predict");
    }
    // A host that is none can't be said in HTTP/2.
    let text =
        format!("POST /api/v1/endpoint/default/iris/score HTTP/1.1\r\nhost: \r\nauthorization: Bearer {KEY}\r\n\r\n");
    let answer = wire::exchange(gateway.address, text).await;
    let seen: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(seen["path"], "http://invalid/predict");
}

#[tokio::test]
async fn an_instance_of_http_2_that_takes_too_long_is_told() {
    let model = Model::silent_speaking(true).await;
    let deployment = Deployment {
        app_protocol: "kubernetes.io/h2c",
        timeout_ms: 300,
        ..Deployment::new("blue", 100, &[model.address])
    };
    let gateway = Gateway::start(&Endpoint::new(&[deployment])).await;
    assert_eq!(gateway.score("{}").await.status, 408);
    // It is still busy with the request that nobody waits for.
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 1.0).await;
}

#[tokio::test]
async fn a_connection_to_an_instance_of_http_2_that_ended_is_not_used_again() {
    // It ends while nothing is under way, as that of a server does that is restarted.
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let end = std::sync::Arc::new(tokio::sync::Notify::new());
    let (counted, ended) = (std::sync::Arc::clone(&connections), std::sync::Arc::clone(&end));
    let instance = model::raw(move |stream, _| {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let ended = std::sync::Arc::clone(&ended);
        async move {
            let service = hyper::service::service_fn(|_| async { Ok::<_, std::convert::Infallible>(full("once")) });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::select! {
                _ = builder.serve_connection(TokioIo::new(stream), service) => {}
                () = ended.notified() => {}
            }
        }
    })
    .await;
    let deployment = Deployment { app_protocol: "kubernetes.io/h2c", ..Deployment::new("blue", 100, &[instance]) };
    let gateway = Gateway::start(&Endpoint::new(&[deployment])).await;
    let client = client(gateway.address).await;
    for count in 1..=3 {
        assert_eq!(whole(&client, request("/score", "{}")).await.body, "once");
        assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), count);
        end.notify_waiters();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

#[tokio::test]
async fn a_caller_that_never_gets_past_the_preface_does_not_hold_up_the_end() {
    let gateway = gateway(&Model::named("blue").await, "http").await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    gateway.terminate();
    let log = gateway.whole_log();
    gateway.ended().await;
    let log = log.await;
    assert!(!log.iter().any(|line| line.contains("breaking them off")), "{log:#?}");
}

#[tokio::test]
async fn a_mirror_gets_its_copies_whatever_the_two_instances_speak() {
    for (live, mirror) in [("http", "kubernetes.io/h2c"), ("kubernetes.io/h2c", "http")] {
        let speaking = |app_protocol: &str| app_protocol == "kubernetes.io/h2c";
        let blue = Model::inspecting_speaking(speaking(live)).await;
        let (sender, mut copies) = mpsc::unbounded_channel();
        let green = Model::start_speaking(speaking(mirror), move |request| {
            let sender = sender.clone();
            async move {
                sender.send(request.into_body().collect().await.unwrap().to_bytes()).unwrap();
                full("thrown away")
            }
        })
        .await;
        let deployments = [
            Deployment { app_protocol: live, ..Deployment::new("blue", 100, &[blue.address]) },
            Deployment { app_protocol: mirror, mirror: 100, ..Deployment::new("green", 0, &[green.address]) },
        ];
        let gateway = Gateway::start(&Endpoint::new(&deployments)).await;
        let client = client(gateway.address).await;
        for body in ["one", "two", "three"] {
            assert_eq!(seen(&whole(&client, request("/score", body)).await)["body"], body);
            let copy = tokio::time::timeout(PATIENCE, copies.recv()).await.unwrap().unwrap();
            assert_eq!(copy, body);
        }
    }
}
