//! Connections that rest between requests, and have given back their memory.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::documents::{Deployment, Endpoint};
use crate::model::{self, Model};
use crate::process::Gateway;
use crate::wire::{self, Connection};

/// More than twice the second after which a connection rests.
const WHILE: Duration = Duration::from_millis(2500);

async fn gateway(instance: std::net::SocketAddr) -> Gateway {
    Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[instance])])).await
}

#[tokio::test]
async fn a_connection_that_rested_serves_on() {
    let model = Model::inspecting().await;
    let gateway = gateway(model.address).await;
    let mut connection = Connection::open(gateway.address).await;
    for body in ["one", "two", "three"] {
        let request = wire::request("POST", "/score", "", body);
        // The head comes in two parts, of which the first one wakes the connection up.
        let (first, rest) = request.split_at(70);
        connection.send(first).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        connection.send(rest).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(&format!("\"body\":\"{body}\"")), "{}", answer.text());
        tokio::time::sleep(WHILE).await;
    }
    // Two at once after the rest.
    let both = wire::request("GET", "/one", "", "") + &wire::request("GET", "/two", "", "");
    connection.send(both).await;
    for path in ["/one", "/two"] {
        assert!(connection.answer().await.text().contains(&format!("\"path\":\"{path}\"")));
    }
}

#[tokio::test]
async fn a_connection_that_rested_may_become_a_websocket() {
    let instance = model::raw(|mut stream, _| async move {
        let agreed = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello";
        let plain = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        if model::read_head(&mut stream).await {
            stream.write_all(plain.as_bytes()).await.unwrap();
        }
        if model::read_head(&mut stream).await {
            stream.write_all(agreed.as_bytes()).await.unwrap();
            let _ = stream.read_u8().await;
        }
    })
    .await;
    let gateway = gateway(instance).await;
    let mut connection = Connection::open(gateway.address).await;
    connection.send(wire::request("GET", "/v1/models", "", "")).await;
    assert_eq!(connection.answer().await.status, 200);
    // By then the gateway has left its unused connection to the instance: the next two requests go over another one.
    tokio::time::sleep(WHILE).await;
    connection.send(wire::request("GET", "/v1/models", "", "")).await;
    assert_eq!(connection.answer().await.status, 200);
    let wish = "connection: upgrade\r\nupgrade: websocket\r\n";
    connection.send(wire::request("GET", "/v1/realtime", wish, "")).await;
    assert_eq!(connection.head().await.status, 101);
}

#[tokio::test]
async fn what_was_not_read_of_a_refused_request_is_never_taken_for_a_next_one() {
    let model = Model::named("blue").await;
    let gateway = gateway(model.address).await;
    let hidden = wire::request("POST", "/score", "", "{}");
    for refused in ["authorization: Bearer wrong\r\n", "authorization: Basic x\r\n"] {
        let mut connection = Connection::open(gateway.address).await;
        let length = hidden.len() + 10;
        connection
            .send(format!(
                "POST /score HTTP/1.1\r\nhost: iris.default\r\n{refused}content-length: {length}\r\n\r\n0123456789"
            ))
            .await;
        assert_eq!(connection.answer().await.status, 401);
        tokio::time::sleep(WHILE).await;
        connection.send(&hidden).await;
        assert!(connection.closes().await || model.requests() == 0);
    }
    assert_eq!(model.requests(), 0);
}

#[tokio::test]
async fn a_resting_connection_does_not_hold_up_the_end() {
    let model = Model::named("blue").await;
    let gateway = gateway(model.address).await;
    let mut connection = Connection::open(gateway.address).await;
    connection.send(wire::request("POST", "/score", "", "{}")).await;
    assert_eq!(connection.answer().await.status, 200);
    tokio::time::sleep(WHILE).await;
    gateway.terminate();
    assert!(connection.closes().await);
    assert_eq!(gateway.ended().await.len(), 1);
}
