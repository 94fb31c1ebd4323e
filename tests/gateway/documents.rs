//! What the file source is fed with.

use std::fmt::Write;
use std::net::SocketAddr;

/// The key that opens every endpoint here.
pub const KEY: &str = "the-key";
/// SHA-256 of [`KEY`], made with sha256sum.
const DIGEST: &str = "ad44dc8e51cfbfa55e81ddbb626b466241069045066846e7e4cd096131505290";

/// A deployment of the endpoint `iris` in namespace `default`.
#[derive(Clone, Debug)]
pub struct Deployment {
    pub name: &'static str,
    pub weight: u32,
    pub mirror: u32,
    pub scoring_path: &'static str,
    pub timeout_ms: u32,
    pub concurrent: u32,
    pub queue_ms: u32,
    pub app_protocol: &'static str,
    pub instances: Vec<SocketAddr>,
}

impl Deployment {
    pub fn new(name: &'static str, weight: u32, instances: &[SocketAddr]) -> Self {
        Self {
            name,
            weight,
            mirror: 0,
            scoring_path: "/predict",
            timeout_ms: 10_000,
            concurrent: 100,
            queue_ms: 10_000,
            app_protocol: "http",
            instances: instances.to_vec(),
        }
    }
}

/// One endpoint, `iris` in `default`.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub auth_mode: &'static str,
    pub generation: u32,
    pub max_bytes: u32,
    pub requests_per_second: u32,
    /// As YAML.
    pub cors: &'static str,
    pub deployments: Vec<Deployment>,
}

impl Endpoint {
    pub fn new(deployments: &[Deployment]) -> Self {
        Self {
            auth_mode: "Key",
            generation: 1,
            max_bytes: 1_000_000,
            cors: "null",
            requests_per_second: 1_000_000,
            deployments: deployments.to_vec(),
        }
    }

    pub fn yaml(&self) -> String {
        let Self { auth_mode, generation, max_bytes, cors, requests_per_second, deployments } = self;
        let mut routes = String::new();
        let mut instances = String::new();
        for deployment in deployments {
            let Deployment {
                name, weight, mirror, scoring_path, timeout_ms, concurrent, queue_ms, app_protocol, ..
            } = deployment;
            write!(
                routes,
                "
      - {{name: {name}, weight: {weight}, mirror: {mirror}, service: iris-{name}, port: 1, scoringPath: {scoring_path},
         requestTimeoutMs: {timeout_ms}, maxConcurrentRequestsPerInstance: {concurrent}, maxQueueWaitMs: {queue_ms}, appProtocol: {app_protocol},
         instances: 1}}"
            )
            .unwrap();
            let addresses: Vec<_> = deployment.instances.iter().map(|address| format!("\"{address}\"")).collect();
            write!(instances, "\n  default/iris-{name}: [{}]", addresses.join(", ")).unwrap();
        }
        format!(
            "routes:
- apiVersion: mooring.dev/v1alpha1
  kind: EndpointRoute
  metadata: {{name: iris, namespace: default}}
  spec:
    endpointName: iris
    endpointGeneration: {generation}
    hosts: [iris.example.com]
    auth: {{mode: {auth_mode}, keyDigests: [{DIGEST}]}}
    limits: {{requestsPerSecond: {requests_per_second}, maxRequestBytes: {max_bytes}, maxResponseBytes: {max_bytes}}}
    cors: {cors}
    deployments: {routes}
instances: {instances}
"
        )
    }
}
