//! Two thousand callers of slowhttptest at once, and one that means well.

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::process::Command;

use crate::documents::{Deployment, Endpoint, KEY};
use crate::model::{Model, full};
use crate::process::Gateway;

/// What the gateway may have in memory at the worst moment, in KiB: three quarters of what the chart gives it.
const MEMORY: u64 = 384 << 10;

/// What a good caller saw, and the gateway.
#[derive(Debug)]
struct Seen {
    /// Its requests that were answered 200.
    good: usize,
    /// Its other answers.
    bad: Vec<String>,
    /// The most requests that were in flight.
    busy: f64,
    /// The most memory of the gateway, in KiB.
    memory: u64,
}

/// Runs slowhttptest with `options` for 20 seconds. The last one is that to which a credential can be added: it knows none
/// for headers, and sends what it is told as it is.
async fn under(options: &[&str]) -> Seen {
    let model = Model::start(|request| async move {
        let large = request.uri().path() == "/large";
        let _ = request.into_body().collect().await;
        full("x".repeat(if large { 1_000_000 } else { 10 }))
    })
    .await;
    let deployment =
        Deployment { concurrent: 10_000, timeout_ms: 60_000, ..Deployment::new("blue", 100, &[model.address]) };
    let mut endpoint = Endpoint::new(&[deployment]);
    (endpoint.max_bytes, endpoint.requests_per_second) = (10_000_000, 1_000_000);
    let gateway = Gateway::start(&endpoint).await;
    let attack = Command::new("slowhttptest")
        .args(["-c", "2000", "-r", "250", "-l", "20", "-p", "5", "-v", "1"])
        .args(["-u", &format!("http://{}/api/v1/endpoint/default/iris/large", gateway.address)])
        .args(options)
        .arg(format!("x\r\nAuthorization: Bearer {KEY}"))
        .output();
    let mut seen = Seen { good: 0, bad: Vec::new(), busy: 0.0, memory: 0 };
    let call = async {
        loop {
            let answer = gateway.score("{}").await;
            if answer.status == 200 && answer.whole {
                seen.good += 1;
            } else {
                seen.bad.push(format!("{answer:?}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            seen.busy = seen.busy.max(gateway.metric("mooring_gateway_in_flight_requests", &[]).await);
        }
    };
    let output = tokio::select! {
        output = attack => output.expect("slowhttptest is missing: apt-get install slowhttptest"),
        () = call => unreachable!(),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    // It ends sooner when all are given up.
    let ran = ["Hit test time limit", "No open connections left"].iter().any(|end| said.contains(end));
    assert!(ran, "slowhttptest did not run: {said}");
    seen.memory = gateway.peak_memory();
    seen
}

/// One after the other: the machine may have two cores.
#[tokio::test]
async fn a_good_caller_is_served_beside_two_thousand_slow_ones() {
    // Slowloris: a header more every five seconds, and never the last.
    let heads = under(&["-H", "-i", "5", "-m"]).await;
    // A body of 8 KiB, some bytes of it every five seconds.
    let bodies = under(&["-B", "-i", "5", "-s", "8192", "-x", "10", "-m"]).await;
    // Windows of 512 bytes, of which 32 are read every five seconds.
    let answers = under(&["-X", "-w", "512", "-y", "512", "-n", "5", "-z", "32", "-j"]).await;
    for seen in [&heads, &bodies, &answers] {
        eprintln!("{} requests of a good caller, at most {} MiB", seen.good, seen.memory >> 10);
        assert_eq!(seen.bad, Vec::<String>::new());
        assert!(seen.good > 100, "{seen:?}");
        assert!(seen.memory <= MEMORY, "{seen:?}");
    }
    assert!(bodies.busy > 1900.0 && answers.busy > 1900.0, "they were not let in: {bodies:?} {answers:?}");
}
