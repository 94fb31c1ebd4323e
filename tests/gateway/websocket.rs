//! Connections that become something else.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::documents::{Deployment, Endpoint};
use crate::model::{self, Model};
use crate::process::Gateway;
use crate::wire::{self, Connection};

const WISH: &str = "connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-key: dGhlIHNhbXBsZQ==\r\n";
const AGREED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n";

/// An instance that agrees to a WebSocket, greets and sends back what it gets.
async fn echo(mut stream: TcpStream) {
    if model::read_head(&mut stream).await {
        stream.write_all(AGREED.as_bytes()).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    }
}

async fn gateway(instance: std::net::SocketAddr, concurrent: u32) -> Gateway {
    let deployment = Deployment { concurrent, queue_ms: 1, ..Deployment::new("blue", 100, &[instance]) };
    Gateway::start(&Endpoint::new(&[deployment])).await
}

#[tokio::test]
async fn bytes_go_both_ways_until_a_side_ends() {
    let instance = model::raw(|stream, _| echo(stream)).await;
    let gateway = gateway(instance, 1).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(wire::request("GET", "/v1/realtime", WISH, "").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
    for line in
        ["connection: upgrade", "upgrade: websocket", "sec-websocket-accept: x", "azureml-model-deployment: blue"]
    {
        assert!(head.contains(line), "{line} in {head}");
    }
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello");
    let sent: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let (mut from, mut to) = stream.split();
    let mut back = vec![0; sent.len()];
    let (wrote, read) = tokio::join!(to.write_all(&sent), from.read_exact(&mut back));
    wrote.unwrap();
    read.unwrap();
    assert_eq!(back, sent);
    // It holds its place at the instance as long as it is open.
    assert_eq!(gateway.score("{}").await.phrase, "Too Many Pending Requests");
    drop(stream);
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 0.0).await;
    gateway.terminate();
    let log = gateway.ended().await;
    let line = log.iter().find(|line| line["ResponseCode"] == 101).unwrap();
    assert_eq!(line["RequestPayloadSize"], 200_000);
    assert_eq!(line["ResponsePayloadSize"], 200_005);
}

#[tokio::test]
async fn an_instance_that_does_not_want_to_answers_as_ever() {
    let model = Model::inspecting().await;
    let gateway = gateway(model.address, 9).await;
    let answer = gateway.send("GET", "/v1/realtime", WISH, "").await;
    assert_eq!(answer.status, 200);
    let seen: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let upgrade = serde_json::json!(["upgrade", "websocket"]);
    assert!(seen["headers"].as_array().unwrap().contains(&upgrade), "{seen}");
}

#[tokio::test]
async fn only_a_websocket_is_passed_on() {
    let model = Model::inspecting().await;
    let gateway = gateway(model.address, 9).await;
    for (method, wish, body) in [
        ("GET", "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n", ""),
        ("GET", "connection: upgrade\r\nupgrade: TLS/1.2\r\n", ""),
        ("POST", WISH, ""),
        ("GET", WISH, "with a body"),
    ] {
        let answer = gateway.send(method, "/v1/realtime", wish, body).await;
        assert_eq!(answer.status, 200);
        let seen = answer.text().to_ascii_lowercase();
        assert!(!seen.contains("\"upgrade\"") && !seen.contains("http2-settings"), "{seen}");
    }
}

#[tokio::test]
async fn an_instance_that_switches_unasked_is_refused() {
    let instance = model::raw(|stream, _| echo(stream)).await;
    let gateway = gateway(instance, 9).await;
    let mut connection = Connection::open(gateway.address).await;
    connection.send(wire::request("POST", "/score", "", "{}")).await;
    let answer = connection.answer().await;
    assert_eq!(answer.status, 424, "{answer:?}");
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 0.0).await;
}
