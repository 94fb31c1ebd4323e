//! The operator's process, for one namespace.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// The initializer's image that tests find in pods.
pub const FETCH_IMAGE: &str = "registry.test/mooring/fetch:1";

/// A running operator; it dies with this value.
pub struct Operator {
    child: Child,
    admin: SocketAddr,
}

impl Operator {
    pub fn start(namespace: &str, kubeconfig: &Path) -> Self {
        Self::with_image(namespace, kubeconfig, FETCH_IMAGE)
    }

    pub fn with_image(namespace: &str, kubeconfig: &Path, fetch_image: &str) -> Self {
        let admin = free_address();
        let child = Command::new(env!("CARGO_BIN_EXE_mooring-operator"))
            .args(["run", "--gateway-host", "gateway.test", "--admin", &admin.to_string(), "--namespace", namespace])
            .args(["--fetch-image", fetch_image])
            .env("KUBECONFIG", kubeconfig)
            .env("MOORING_LOG_FILTER", "error,kube_client=off")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, admin }
    }

    /// SIGKILL: no chance to finish anything.
    pub fn kill(&mut self) {
        // It may have ended by itself already.
        let _ = self.child.start_kill();
    }

    pub async fn ended(&mut self) {
        self.child.wait().await.unwrap();
    }

    /// What it counts.
    pub async fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: operator\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// SIGTERM, and its end.
    pub async fn stop(mut self) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        assert!(self.child.wait().await.unwrap().success(), "the operator ended with an error");
    }
}

/// An address that nobody listens on.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
