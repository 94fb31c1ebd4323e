//! The routing table: what a request must know, at one look.

pub mod writer;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::header::HeaderValue;

use super::backend::Backend;
use super::cors;
use super::metrics::{DeploymentMetrics, Results};
use super::peers::message::Target;
use super::protocol::Protocol;
use super::rate::RateLimit;
use super::token::Scope;

/// The table in force; swapped as a whole, read without a lock.
pub type SharedTable = ArcSwap<Table>;

/// All endpoints, by the names that requests use.
#[derive(Debug, Default)]
pub struct Table {
    /// By `<name>.<namespace>`.
    endpoints: HashMap<String, Arc<Endpoint>>,
    /// By host name of their own, in lower case.
    hosts: HashMap<String, Arc<Endpoint>>,
}

impl Table {
    /// The endpoint of this name.
    #[must_use]
    pub fn by_name(&self, namespace: &str, name: &str) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(&format!("{name}.{namespace}"))
    }

    /// The endpoint that a host leads to. `host` is in lower case and without a port.
    #[must_use]
    pub fn by_host(&self, host: &str, cluster_domain: &str) -> Option<&Arc<Endpoint>> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let service = host.strip_suffix(cluster_domain).and_then(|rest| rest.strip_suffix(".svc."));
        let service = service.or_else(|| host.strip_suffix(".svc")).unwrap_or(host);
        self.endpoints.get(service).or_else(|| self.hosts.get(host))
    }

    /// All endpoints, in no order.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values()
    }
}

/// One endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Namespace of the endpoint.
    pub namespace: String,
    /// Name of the endpoint.
    pub name: String,
    /// A hash of both, the same in all replicas.
    pub key: u64,
    /// How callers are authenticated.
    pub auth: Auth,
    /// Requests each second, over all deployments. Stays the same object while routes change.
    pub rate: Arc<RateLimit>,
    /// Largest request body, in bytes.
    pub max_request_bytes: u64,
    /// Largest response body, in bytes.
    pub max_response_bytes: u64,
    /// All deployments, those without weight too.
    pub deployments: Vec<Arc<Deployment>>,
    /// What it shares with web pages of other origins.
    pub cors: Option<cors::Policy>,
    /// Where copies of requests go.
    pub mirror: Option<Mirror>,
    /// Results of requests that reached no deployment.
    pub results: Arc<Results>,
}

/// A deployment that gets copies of requests.
#[derive(Debug)]
pub struct Mirror {
    /// Percent of the live requests that it gets.
    pub percent: u32,
    /// The deployment; without live traffic of its own.
    pub deployment: Arc<Deployment>,
}

/// How callers of an endpoint are authenticated.
#[derive(Debug, PartialEq, Eq)]
pub enum Auth {
    /// SHA-256 digests of the accepted keys. Without one, nobody gets in.
    Keys(Vec<[u8; 32]>),
    /// Short-lived tokens that are good for this.
    Tokens(Arc<Scope>),
}

/// One deployment of an endpoint.
#[derive(Debug)]
pub struct Deployment {
    /// Its name, as it was written.
    pub name: String,
    /// The same, as a header value.
    pub header: HeaderValue,
    /// The names by which other replicas know it.
    pub target: Arc<Target>,
    /// Share of the traffic, relative to the other deployments.
    pub weight: u32,
    /// The Service of the instances.
    pub service: String,
    /// Port of the instances that have none of their own.
    pub port: u16,
    /// What the instances speak.
    pub protocol: Protocol,
    /// Path of the instances that `/score` is rewritten to.
    pub scoring_path: String,
    /// The longest a request may take.
    pub request_timeout: Duration,
    /// Requests that one instance works on at the same time.
    pub max_concurrent_requests_per_instance: usize,
    /// The longest a request may wait for a free instance.
    pub max_queue_wait: Duration,
    /// The instances.
    pub backend: Arc<Backend>,
    /// Results of the requests that it answered.
    pub metrics: Arc<DeploymentMetrics>,
}

impl Deployment {
    /// Requests that the ready instances may work on at once.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.backend.ready().len().saturating_mul(self.max_concurrent_requests_per_instance)
    }
}
