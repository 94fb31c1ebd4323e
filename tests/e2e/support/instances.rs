//! What only a whole cluster has: keys to score with, and instances that take their time to go.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;

use super::place::Place;
use super::waits::DEADLINE;

impl Place {
    /// Waits until at most `most` instances of a deployment are left, those on their way out included.
    pub async fn instances_left(&self, deployment: &str, most: usize) {
        let pods = self.api::<Pod>();
        let selector = ListParams::default().labels(&format!("mooring.dev/online-deployment={deployment}"));
        let begin = Instant::now();
        while pods.list(&selector).await.unwrap().items.len() > most {
            assert!(begin.elapsed() < DEADLINE, "more than {most} instances of {deployment} are left");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The primary key of an endpoint.
    pub async fn key(&self, endpoint: &str) -> String {
        let secret = self.api::<Secret>().get(&format!("{endpoint}-keys")).await.unwrap();
        String::from_utf8(secret.data.unwrap().remove("primaryKey").unwrap().0).unwrap()
    }
}
