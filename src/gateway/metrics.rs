//! The numbers on `/metrics`.
//!
//! They live in the table beside what they count, so that counting takes no look-up and the series of an endpoint
//! go with it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector as Collect;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::histogram::Histogram;

use super::Gateway;
use super::table::{Deployment, Endpoint};

/// Upper bounds of the durations, in seconds: from what the gateway itself takes to the longest timeouts.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// How requests ended.
#[derive(Debug, Default)]
pub struct Results {
    /// The common case on a path of its own: 200 from gateway and model.
    good: AtomicU64,
    /// By code of the answer and code of the model, 0 where the model gave none.
    others: Mutex<BTreeMap<(u16, u16), u64>>,
    /// Requests that the gateway itself refused, by reason.
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl Results {
    /// Counts one request by the code of its answer and the code of the model, 0 where the model gave none.
    pub fn count(&self, code: u16, model_code: u16) {
        if (code, model_code) == (200, 200) {
            self.good.fetch_add(1, Ordering::Relaxed);
        } else {
            *self.others.lock().unwrap_or_else(PoisonError::into_inner).entry((code, model_code)).or_default() += 1;
        }
    }

    /// Counts one request that the gateway itself refused.
    pub fn refuse(&self, reason: &'static str) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    fn counts(&self) -> Vec<((u16, u16), u64)> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let good = self.good.load(Ordering::Relaxed);
        (good > 0)
            .then_some(((200, 200), good))
            .into_iter()
            .chain(others.iter().map(|(key, count)| (*key, *count)))
            .collect()
    }

    fn refusals(&self) -> Vec<(&'static str, u64)> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.iter().map(|(reason, count)| (*reason, *count)).collect()
    }
}

/// The numbers of one deployment.
#[derive(Debug)]
pub struct DeploymentMetrics {
    /// How its requests ended.
    pub results: Results,
    /// Seconds from the head of a request to the end of its answer.
    pub request_seconds: Histogram,
    /// Seconds that instances took, from the first attempt to the head of the answer.
    pub upstream_seconds: Histogram,
}

impl Default for DeploymentMetrics {
    fn default() -> Self {
        Self {
            results: Results::default(),
            request_seconds: Histogram::new(BUCKETS),
            upstream_seconds: Histogram::new(BUCKETS),
        }
    }
}

/// Reads the numbers of the table in force.
#[derive(Debug)]
pub struct Collector {
    gateway: Arc<Gateway>,
}

impl Collector {
    /// A collector of `gateway`'s numbers.
    #[must_use]
    pub const fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }
}

/// The labels that every series has.
fn labels<'a>(endpoint: &'a str, namespace: &'a str, deployment: &'a str) -> [(&'static str, &'a str); 3] {
    [("namespace", namespace), ("endpoint", endpoint), ("deployment", deployment)]
}

/// The endpoints of the table, in the order of their names.
fn sorted(gateway: &Gateway) -> Vec<Arc<Endpoint>> {
    let mut endpoints: Vec<_> = gateway.table.load().endpoints().cloned().collect();
    endpoints.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    endpoints
}

impl Collect for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let endpoints = sorted(&self.gateway);
        let deployments = || {
            endpoints
                .iter()
                .flat_map(|endpoint| endpoint.deployments.iter().map(move |deployment| (endpoint, deployment)))
        };
        let results = || {
            let unknown = (labels("", "", ""), &*self.gateway.unknown);
            let endpoints =
                endpoints.iter().map(|endpoint| (labels(&endpoint.name, &endpoint.namespace, ""), &*endpoint.results));
            let deployments = deployments().map(|(endpoint, deployment)| {
                (labels(&endpoint.name, &endpoint.namespace, &deployment.name), &deployment.metrics.results)
            });
            std::iter::once(unknown).chain(endpoints).chain(deployments)
        };

        let mut family = encoder.encode_descriptor(
            "mooring_gateway_requests",
            "Requests answered, by the code of the answer and of the model (empty without one)",
            None,
            MetricType::Counter,
        )?;
        for ([namespace, endpoint, deployment], results) in results() {
            for ((code, model_code), count) in results.counts() {
                let (code, model_code) =
                    (code.to_string(), if model_code == 0 { String::new() } else { model_code.to_string() });
                let labels =
                    [namespace, endpoint, deployment, ("code", code.as_str()), ("model_code", model_code.as_str())];
                family.encode_family(&labels.as_slice())?.encode_counter(&count, None::<&Exemplar<NoLabelSet, f64>>)?;
            }
        }

        let mut family = encoder.encode_descriptor(
            "mooring_gateway_rejected",
            "Requests that the gateway itself refused, by reason",
            None,
            MetricType::Counter,
        )?;
        for ([namespace, endpoint, deployment], results) in results() {
            for (reason, count) in results.refusals() {
                let labels = [namespace, endpoint, deployment, ("reason", reason)];
                family.encode_family(&labels.as_slice())?.encode_counter(&count, None::<&Exemplar<NoLabelSet, f64>>)?;
            }
        }

        let mut histogram = |name, help, of: fn(&Deployment) -> &Histogram| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (endpoint, deployment) in deployments() {
                let labels = labels(&endpoint.name, &endpoint.namespace, &deployment.name);
                of(deployment).encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        };
        histogram(
            "mooring_gateway_request_duration_seconds",
            "Seconds from the head of a request to the end of its answer",
            |deployment| &deployment.metrics.request_seconds,
        )?;
        histogram(
            "mooring_gateway_upstream_duration_seconds",
            "Seconds that instances took to the head of their answer",
            |deployment| &deployment.metrics.upstream_seconds,
        )?;

        let mut gauge = |name, help, of: fn(&Deployment) -> usize| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (endpoint, deployment) in deployments() {
                let labels = labels(&endpoint.name, &endpoint.namespace, &deployment.name);
                let mut metric: MetricEncoder = family.encode_family(&labels)?;
                metric.encode_gauge(&of(deployment))?;
            }
            Ok::<_, fmt::Error>(())
        };
        gauge("mooring_gateway_in_flight_requests", "Requests that instances work on", |deployment| {
            deployment.backend.own_in_flight()
        })?;
        gauge("mooring_gateway_queued_requests", "Requests that wait for a free instance", |deployment| {
            deployment.backend.waiting()
        })?;
        gauge("mooring_gateway_ready_instances", "Instances that may get requests", |deployment| {
            deployment.backend.ready().len()
        })
    }
}
