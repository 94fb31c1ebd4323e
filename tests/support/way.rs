//! A way to the API server that can be cut.

use std::net::SocketAddr;
use std::time::Duration;

use kube::config::Kubeconfig;
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::place::setting;

/// A way to the API server that can be cut and mended.
pub struct Way {
    target: String,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Way {
    pub async fn open() -> Self {
        let config = Kubeconfig::read_from(setting("MOORING_TEST_KUBECONFIG")).unwrap();
        let server = config.clusters.into_iter().find_map(|named| named.cluster?.server).unwrap();
        Self::to(server.trim_start_matches("https://").trim_end_matches('/').to_owned(), "127.0.0.1:0").await
    }

    async fn to(target: String, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let to = target.clone();
        let task = tokio::spawn(async move {
            // Ends with this task, and so do the connections in it.
            let mut connections = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = TcpStream::connect(&to).await.unwrap();
                connections.spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
            }
        });
        Self { target, address, task }
    }

    pub async fn cut(&self) {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(TcpStream::connect(self.address).await.is_err(), "the way is still open");
    }

    pub async fn mend(self) -> Self {
        Self::to(self.target, &self.address.to_string()).await
    }

    /// The kubeconfig of the tests, this way.
    pub fn kubeconfig(&self) -> NamedTempFile {
        let mut config = Kubeconfig::read_from(setting("MOORING_TEST_KUBECONFIG")).unwrap();
        let (host, _) = self.target.rsplit_once(':').unwrap();
        for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.server = Some(format!("https://{}", self.address));
            cluster.tls_server_name = Some(host.to_owned());
        }
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), serde_json::to_string(&config).unwrap()).unwrap();
        file
    }
}
