//! Instances and gateways come and go, and no request is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::documents::{Deployment, Endpoint};
use crate::model::{Model, full};
use crate::process::Gateway;
use crate::wire::{self, Connection};

async fn short() -> Model {
    Model::start(|_| async {
        tokio::time::sleep(Duration::from_millis(3)).await;
        full("done")
    })
    .await
}

/// Callers that score without a pause, each on a connection that it opens again when it is told to. They count what
/// was answered and keep what failed.
struct Callers {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl Callers {
    fn start(address: std::net::SocketAddr, count: usize) -> Self {
        let (stop, good) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let caller = || {
            let (stop, good) = (Arc::clone(&stop), Arc::clone(&good));
            tokio::spawn(async move {
                let mut failures = Vec::new();
                let mut connection = Connection::open(address).await;
                while !stop.load(Ordering::SeqCst) {
                    connection.send(wire::request("POST", "/score", "", "{}")).await;
                    let answer = connection.answer().await;
                    if answer.status == 200 && answer.whole {
                        good.fetch_add(1, Ordering::SeqCst);
                    } else {
                        failures.push(format!("{answer:?}"));
                    }
                    if answer.header("connection") == Some("close") || answer.status == 0 {
                        match tokio::net::TcpStream::connect(address).await {
                            Ok(stream) => connection = Connection::over(stream),
                            Err(_) => break,
                        }
                    }
                }
                failures
            })
        };
        let tasks = (0..count).map(|_| caller()).collect();
        Self { stop, good, tasks }
    }

    /// Waits for so many more good answers.
    async fn progress(&self, count: usize) {
        let goal = self.good.load(Ordering::SeqCst) + count;
        let deadline = tokio::time::Instant::now() + crate::process::PATIENCE;
        while self.good.load(Ordering::SeqCst) < goal {
            assert!(tokio::time::Instant::now() < deadline, "the callers stand still");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        futures::future::join_all(self.tasks).await.into_iter().flat_map(Result::unwrap).collect()
    }
}

#[tokio::test]
async fn instances_are_exchanged_under_load_without_a_failed_request() {
    let mut models = [short().await, short().await];
    let endpoint = |models: &[Model; 2]| {
        Endpoint::new(&[Deployment::new("blue", 100, &models.each_ref().map(|model| model.address))])
    };
    let gateway = Gateway::start(&endpoint(&models)).await;
    let callers = Callers::start(gateway.address, 8);
    for round in 0..4 {
        callers.progress(50).await;
        let old = std::mem::replace(&mut models[round % 2], short().await);
        gateway.serve(&endpoint(&models)).await;
        // It listens no more, as a pod after its grace; what it works on it finishes.
        drop(old);
    }
    callers.progress(50).await;
    assert_eq!(callers.stop().await, Vec::<String>::new());
}

#[tokio::test]
async fn two_hundred_tables_are_exchanged_under_load_without_a_failed_request() {
    let (blue, green) = (short().await, short().await);
    let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[blue.address])])).await;
    let callers = Callers::start(gateway.address, 20);
    for generation in 0..200 {
        let share = generation * 37 % 101;
        let mut endpoint = Endpoint::new(&[
            Deployment::new("blue", share, &[blue.address]),
            Deployment::new("green", 100 - share, &[green.address]),
        ]);
        endpoint.generation = generation + 2;
        if generation % 3 == 0 {
            // One of the two leaves and comes back.
            endpoint.deployments.retain(|deployment| deployment.weight >= 50);
        }
        gateway.serve(&endpoint).await;
    }
    callers.progress(100).await;
    assert_eq!(callers.stop().await, Vec::<String>::new());
    assert!(blue.requests() > 0 && green.requests() > 0);
}

#[tokio::test]
async fn an_instance_that_leaves_finishes_what_it_has_and_gets_nothing_new() {
    let permits = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&permits);
    let old = Model::start(move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            full("old")
        }
    })
    .await;
    let new = Model::named("new").await;
    let gateway = Arc::new(Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[old.address])])).await);
    let last = tokio::spawn({
        let gateway = Arc::clone(&gateway);
        async move { gateway.score("{}").await }
    });
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &[], 1.0).await;
    gateway.serve(&Endpoint::new(&[Deployment::new("blue", 100, &[new.address])])).await;
    for _ in 0..20 {
        assert_eq!(gateway.score("{}").await.text(), "new");
    }
    permits.add_permits(1);
    assert_eq!(last.await.unwrap().text(), "old");
    assert_eq!(old.requests(), 1);
}

#[tokio::test]
async fn a_deployment_is_exchanged_for_another_under_load_without_a_failed_request() {
    let (blue, green) = (short().await, short().await);
    let split = |first, second| {
        Endpoint::new(&[
            Deployment::new("blue", first, &[blue.address]),
            Deployment::new("green", second, &[green.address]),
        ])
    };
    let gateway = Gateway::start(&split(100, 0)).await;
    let callers = Callers::start(gateway.address, 8);
    for (first, second) in [(90, 10), (50, 50), (0, 100)] {
        callers.progress(30).await;
        gateway.serve(&split(first, second)).await;
    }
    gateway.serve(&Endpoint::new(&[Deployment::new("green", 100, &[green.address])])).await;
    callers.progress(30).await;
    assert_eq!(callers.stop().await, Vec::<String>::new());
    assert!(green.requests() > 0);
}

#[tokio::test]
async fn a_gateway_that_ends_takes_requests_until_the_word_is_out_and_finishes_them() {
    let (model, slow) = (
        short().await,
        Model::start(|_| async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            full("slow")
        })
        .await,
    );
    let gateway = Gateway::start(&Endpoint::new(&[
        Deployment::new("blue", 100, &[model.address]),
        Deployment::new("slow", 0, &[slow.address]),
    ]))
    .await;
    let callers = Callers::start(gateway.address, 4);
    callers.progress(20).await;
    let mut long = Connection::open(gateway.address).await;
    long.send(wire::request("POST", "/score", "azureml-model-deployment: slow\r\n", "{}")).await;
    gateway.wait_for_metric("mooring_gateway_in_flight_requests", &["slow"], 1.0).await;
    gateway.terminate();
    gateway.wait_for("shutting down", 1).await;
    loop {
        let ready = gateway.admin("/ready").await;
        if ready.status == 503 {
            break;
        }
    }
    let answer = gateway.score("{}").await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "new requests are still taken");
    // The callers stop before the port closes, as they would when the word has come to them.
    assert_eq!(callers.stop().await, Vec::<String>::new());
    let answer = long.answer().await;
    assert_eq!((answer.status, answer.text(), answer.header("connection")), (200, "slow", Some("close")));
    gateway.ended().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error() {
    let model = Model::named("blue").await;
    let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[model.address])])).await;
    let second = tokio::process::Command::new(env!("CARGO_BIN_EXE_mooring-gateway"))
        .args(["--source=file", "--file=/dev/null", "--admin=127.0.0.1:0", "--listen", &gateway.address.to_string()])
        .output();
    let output = tokio::time::timeout(crate::process::PATIENCE, second).await.unwrap().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains(&format!("listening on {} failed", gateway.address)), "{said}");
}
