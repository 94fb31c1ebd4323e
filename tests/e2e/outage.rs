//! The data plane without the control plane: a gateway whose way to the API server is cut.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::support::documents::{abrupt, endpoint};
use crate::support::place::{Place, setting};
use crate::support::scoring::Scorer;
use crate::support::waits::DEADLINE;
use crate::support::way::Way;

/// A port that was free a moment ago.
async fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn gateway(kubeconfig: &std::path::Path, namespace: &str, listen: SocketAddr, admin: SocketAddr) -> Child {
    Command::new(env!("CARGO_BIN_EXE_mooring-gateway"))
        .args(["--namespace", namespace, "--listen", &listen.to_string(), "--admin", &admin.to_string()])
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn ready(client: &reqwest::Client, admin: SocketAddr) -> bool {
    client.get(format!("http://{admin}/ready")).send().await.is_ok_and(|answer| answer.status() == 200)
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let begin = Instant::now();
    while !condition().await {
        assert!(begin.elapsed() < DEADLINE, "never {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_gateway_goes_on_serving_while_the_api_server_does_not_answer() {
    let place = Place::new("outage").await;
    place.apply(endpoint("iris", &json!({"blue": 100}))).await;
    place.apply(abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_1"), 1)).await;
    place.apply(abrupt("iris", "green", &setting("MOORING_TEST_ABRUPT_IMAGE_2"), 1)).await;
    place.ready("iris", &["iris-blue", "iris-green"]).await;

    let way = Way::open().await;
    let config = way.kubeconfig();
    let (listen, admin) = (free_port().await, free_port().await);
    let _gateway = gateway(config.path(), &place.namespace, listen, admin);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    until("ready", async || ready(&client, admin).await).await;
    let scorer = Scorer::at(&place, "iris", &listen.to_string()).await;
    until("green and blue known", async || scorer.score("{}", Some("green")).await.unwrap().status == 200).await;
    assert_eq!(scorer.score("{}", None).await.unwrap().body, "one");

    way.cut().await;
    for _ in 0..100 {
        let answer = scorer.score("{}", None).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "one"));
    }
    // What changes meanwhile is not seen, and nothing that was known is forgotten.
    place.apply(endpoint("iris", &json!({"green": 100}))).await;
    place.ready("iris", &["iris-green"]).await;
    assert_eq!(scorer.score("{}", None).await.unwrap().body, "one");
    assert!(ready(&client, admin).await, "a gateway with a table is ready");

    let way = way.mend().await;
    until("on the new table", async || scorer.score("{}", None).await.unwrap().body == "two").await;
    drop(way);
    place.done().await;
}
