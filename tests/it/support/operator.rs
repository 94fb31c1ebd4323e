//! The operator's process, for one namespace.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::waits::DEADLINE;

/// The initializer's image that tests find in pods.
pub const FETCH_IMAGE: &str = "registry.test/mooring/fetch:1";

/// A running operator; it dies with this value.
pub struct Operator(Child);

impl Operator {
    pub fn start(namespace: &str, kubeconfig: &Path) -> Self {
        Self::with_image(namespace, kubeconfig, FETCH_IMAGE)
    }

    pub fn with_image(namespace: &str, kubeconfig: &Path, fetch_image: &str) -> Self {
        Self::with(namespace, kubeconfig, fetch_image, "127.0.0.1:0")
    }

    /// With an admin port that can be asked.
    pub fn counting(namespace: &str, kubeconfig: &Path) -> (Self, Counts) {
        let admin = free_address();
        (Self::with(namespace, kubeconfig, FETCH_IMAGE, &admin.to_string()), Counts(admin))
    }

    /// One of several, of which one works.
    pub fn candidate(namespace: &str, kubeconfig: &Path, name: &str) -> Self {
        let lease = format!("--lease={namespace}/mooring-operator");
        Self::start_with(namespace, kubeconfig, FETCH_IMAGE, "127.0.0.1:0", &[&lease, "--pod-name", name])
    }

    /// With a webhook at this address.
    pub fn answering(namespace: &str, kubeconfig: &Path, address: SocketAddr, more: &[&str]) -> Self {
        let (listen, secret) = (format!("--webhook-listen={address}"), format!("--webhook-secret={namespace}/webhook"));
        let all = [&[&*listen, &*secret, "--webhook-configuration", namespace], more].concat();
        Self::start_with(namespace, kubeconfig, FETCH_IMAGE, "127.0.0.1:0", &all)
    }

    fn with(namespace: &str, kubeconfig: &Path, fetch_image: &str, admin: &str) -> Self {
        Self::start_with(namespace, kubeconfig, fetch_image, admin, &[])
    }

    fn start_with(namespace: &str, kubeconfig: &Path, fetch_image: &str, admin: &str, more: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_mooring-operator"))
            .args(["run", "--gateway-host", "gateway.test", "--admin", admin, "--namespace", namespace])
            .args(["--fetch-image", fetch_image])
            .args(more)
            .env("KUBECONFIG", kubeconfig)
            .env("MOORING_LOG_FILTER", "error,kube_client=off")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// SIGKILL: no chance to finish anything.
    pub fn kill(&mut self) {
        // It may have ended by itself already.
        let _ = self.0.start_kill();
    }

    pub async fn ended(&mut self) -> ExitStatus {
        self.0.wait().await.unwrap()
    }

    /// Sends it a signal, like `-STOP`.
    pub async fn signal(&self, signal: &str) {
        let id = self.0.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
    }

    /// SIGTERM, and its end.
    pub async fn stop(mut self) {
        self.signal("-TERM").await;
        assert!(self.0.wait().await.unwrap().success(), "the operator ended with an error");
    }
}

/// An address that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// What an operator counts.
pub struct Counts(SocketAddr);

impl Counts {
    /// Waits until a line is there, or is not.
    pub async fn until(&self, line: &str, is_there: bool) {
        let begin = Instant::now();
        loop {
            let answer = self.ask().await;
            if answer.lines().any(|other| other == line) == is_there {
                return;
            }
            assert!(begin.elapsed() < DEADLINE, "{line}: {answer}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ask(&self) -> String {
        let mut stream = TcpStream::connect(self.0).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: operator\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}
