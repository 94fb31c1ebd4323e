//! The operator's process, for one namespace.

use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

/// The initializer's image that tests find in pods.
pub const FETCH_IMAGE: &str = "registry.test/mooring/fetch:1";

/// A running operator; it dies with this value.
pub struct Operator(Child);

impl Operator {
    pub fn start(namespace: &str, kubeconfig: &Path) -> Self {
        Self::with_image(namespace, kubeconfig, FETCH_IMAGE)
    }

    pub fn with_image(namespace: &str, kubeconfig: &Path, fetch_image: &str) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_mooring-operator"))
            .args(["run", "--gateway-host", "gateway.test", "--admin", "127.0.0.1:0", "--namespace", namespace])
            .args(["--fetch-image", fetch_image])
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

    pub async fn ended(&mut self) {
        self.0.wait().await.unwrap();
    }

    /// SIGTERM, and its end.
    pub async fn stop(mut self) {
        let id = self.0.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        assert!(self.0.wait().await.unwrap().success(), "the operator ended with an error");
    }
}
