//! The numbers on `/metrics`.
//!
//! They live in the table beside what they count, so that counting takes no look-up and the series of an endpoint
//! go with it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector as Collect;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
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
    /// Bytes of request bodies that were read.
    pub request_bytes: AtomicU64,
    /// Bytes of answers' bodies that were sent.
    pub response_bytes: AtomicU64,
    /// How the copies ended that it got as a mirror; apart from all others, for nobody waited for them.
    pub mirrored: Mirrored,
}

/// How the copies of requests ended that a mirror got.
#[derive(Debug)]
pub struct Mirrored {
    results: Mutex<BTreeMap<&'static str, u64>>,
    seconds: Histogram,
}

impl Mirrored {
    /// Counts a copy by how it ended and how long that took.
    pub fn count(&self, result: &'static str, duration: Duration) {
        self.seconds.observe(duration.as_secs_f64());
        *self.results.lock().unwrap_or_else(PoisonError::into_inner).entry(result).or_default() += 1;
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.iter().map(|(result, count)| (*result, *count)).collect()
    }
}

impl Default for DeploymentMetrics {
    fn default() -> Self {
        Self {
            results: Results::default(),
            request_seconds: Histogram::new(BUCKETS),
            upstream_seconds: Histogram::new(BUCKETS),
            request_bytes: AtomicU64::default(),
            response_bytes: AtomicU64::default(),
            mirrored: Mirrored { results: Mutex::default(), seconds: Histogram::new(BUCKETS) },
        }
    }
}

/// The connections of callers.
#[derive(Debug, Default)]
pub struct Connections {
    accepted: AtomicU64,
    open: AtomicUsize,
}

impl Connections {
    /// Counts a connection, as open until the answer is dropped.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> OpenConnection {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }
}

/// A connection that counts as open.
#[derive(Debug)]
pub struct OpenConnection(Arc<Connections>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
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

/// The labels that every series has: endpoint, and deployment where it is known.
type Labels<'a> = [(&'static str, Cow<'a, str>); 3];

fn labels<'a>(endpoint: &'a Endpoint, deployment: &'a str) -> Labels<'a> {
    [
        ("namespace", Cow::from(&endpoint.namespace)),
        ("endpoint", Cow::from(&endpoint.name)),
        ("deployment", Cow::from(deployment)),
    ]
}

/// The endpoints of the table, in the order of their names.
fn sorted(gateway: &Gateway) -> Vec<Arc<Endpoint>> {
    let mut endpoints: Vec<_> = gateway.table.load().endpoints().cloned().collect();
    endpoints.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    endpoints
}

/// Each deployment with its labels.
fn deployments(endpoints: &[Arc<Endpoint>]) -> impl Iterator<Item = (Labels<'_>, &Deployment)> {
    endpoints.iter().flat_map(|endpoint| {
        endpoint.deployments.iter().map(|deployment| (labels(endpoint, &deployment.name), &**deployment))
    })
}

/// Series of counters, by their labels beside those that every series has.
fn counter<'a, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl Iterator<Item = (Labels<'a>, [(&'static str, String); N], u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, more, count) in series {
        let more = more.into_iter().map(|(name, value)| (name, Cow::from(value)));
        let labels: Vec<_> = labels.into_iter().chain(more).collect();
        family.encode_family(&labels)?.encode_counter(&count, None::<&Exemplar<NoLabelSet, f64>>)?;
    }
    Ok(())
}

fn histogram<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl Iterator<Item = (Labels<'a>, &'a Histogram)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, histogram) in series {
        histogram.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauge<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl Iterator<Item = (Labels<'a>, usize)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in series {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

impl Collect for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let endpoints = sorted(&self.gateway);
        self.results(&mut encoder, &endpoints)?;
        durations(&mut encoder, &endpoints)?;
        bytes(&mut encoder, &endpoints)?;
        mirrors(&mut encoder, &endpoints)?;
        instances(&mut encoder, &endpoints)?;
        self.process(&mut encoder)?;
        let Some(peers) = &self.gateway.peers else { return Ok(()) };
        let owned = endpoints.iter().filter(|endpoint| peers.owns(endpoint)).count();
        let help = "Endpoints whose requests this replica admits for all";
        encoder
            .encode_descriptor("mooring_gateway_owned_endpoints", help, None, MetricType::Gauge)?
            .encode_gauge(&owned)
    }
}

impl Collector {
    fn results(&self, encoder: &mut DescriptorEncoder<'_>, endpoints: &[Arc<Endpoint>]) -> fmt::Result {
        let results = || {
            let nowhere = ["namespace", "endpoint", "deployment"].map(|name| (name, Cow::from("")));
            let endpoints_results = endpoints.iter().map(|endpoint| (labels(endpoint, ""), &*endpoint.results));
            std::iter::once((nowhere, &*self.gateway.unknown))
                .chain(endpoints_results)
                .chain(deployments(endpoints).map(|(labels, deployment)| (labels, &deployment.metrics.results)))
        };
        let requests = results().flat_map(|(labels, results)| {
            results.counts().into_iter().map(move |((code, model_code), count)| {
                let model_code = if model_code == 0 { String::new() } else { model_code.to_string() };
                (labels.clone(), [("code", code.to_string()), ("model_code", model_code)], count)
            })
        });
        counter(
            encoder,
            "mooring_gateway_requests",
            "Requests answered, by the code of the answer and of the model (empty without one)",
            requests,
        )?;
        let refusals = results().flat_map(|(labels, results)| {
            let refusals = results.refusals().into_iter();
            refusals.map(move |(reason, count)| (labels.clone(), [("reason", reason.to_owned())], count))
        });
        counter(encoder, "mooring_gateway_rejected", "Requests that the gateway itself refused, by reason", refusals)
    }

    /// What belongs to no endpoint.
    fn process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut counter = |name, help, count: u64| {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_counter(&count, None::<&Exemplar<NoLabelSet, f64>>)
        };
        let connections = &self.gateway.connections;
        let accepted = connections.accepted.load(Ordering::Relaxed);
        counter("mooring_gateway_connections", "Connections of callers that were accepted", accepted)?;
        if let Some(access_log) = &self.gateway.access_log {
            let help = "Lines of the access log that were dropped because standard output was too slow";
            counter("mooring_gateway_access_log_dropped_lines", help, access_log.dropped())?;
        }
        encoder
            .encode_descriptor("mooring_gateway_open_connections", "Connections of callers", None, MetricType::Gauge)?
            .encode_gauge(&connections.open.load(Ordering::Relaxed))?;
        let help = "The version of this program";
        encoder
            .encode_descriptor("mooring_gateway_build", help, None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }
}

fn bytes(encoder: &mut DescriptorEncoder<'_>, endpoints: &[Arc<Endpoint>]) -> fmt::Result {
    let of = |count: fn(&DeploymentMetrics) -> &AtomicU64| {
        deployments(endpoints)
            .map(move |(labels, deployment)| (labels, [], count(&deployment.metrics).load(Ordering::Relaxed)))
    };
    let requests = of(|metrics| &metrics.request_bytes);
    counter(encoder, "mooring_gateway_request_bytes", "Bytes of request bodies that were read", requests)?;
    let answers = of(|metrics| &metrics.response_bytes);
    counter(encoder, "mooring_gateway_response_bytes", "Bytes of answers' bodies that were sent", answers)
}

fn durations(encoder: &mut DescriptorEncoder<'_>, endpoints: &[Arc<Endpoint>]) -> fmt::Result {
    histogram(
        encoder,
        "mooring_gateway_request_duration_seconds",
        "Seconds from the head of a request to the end of its answer",
        deployments(endpoints).map(|(labels, deployment)| (labels, &deployment.metrics.request_seconds)),
    )?;
    histogram(
        encoder,
        "mooring_gateway_upstream_duration_seconds",
        "Seconds that instances took to the head of their answer",
        deployments(endpoints).map(|(labels, deployment)| (labels, &deployment.metrics.upstream_seconds)),
    )
}

/// Only of deployments that were a mirror.
fn mirrors(encoder: &mut DescriptorEncoder<'_>, endpoints: &[Arc<Endpoint>]) -> fmt::Result {
    let mirrors: Vec<_> = deployments(endpoints)
        .map(|(labels, deployment)| (labels, &deployment.metrics.mirrored, deployment.metrics.mirrored.counts()))
        .filter(|(_, _, counts)| !counts.is_empty())
        .collect();
    let requests = mirrors.iter().flat_map(|(labels, _, counts)| {
        counts.iter().map(|(result, count)| (labels.clone(), [("result", (*result).to_owned())], *count))
    });
    counter(
        encoder,
        "mooring_gateway_mirrored_requests",
        "Copies of requests that a mirror deployment got, by how they ended",
        requests,
    )?;
    histogram(
        encoder,
        "mooring_gateway_mirrored_request_duration_seconds",
        "Seconds from the head of a copied request to the end of its answer",
        mirrors.iter().map(|(labels, mirrored, _)| (labels.clone(), &mirrored.seconds)),
    )
}

fn instances(encoder: &mut DescriptorEncoder<'_>, endpoints: &[Arc<Endpoint>]) -> fmt::Result {
    gauge(
        encoder,
        "mooring_gateway_in_flight_requests",
        "Requests that instances work on",
        deployments(endpoints).map(|(labels, deployment)| (labels, deployment.backend.own_in_flight())),
    )?;
    gauge(
        encoder,
        "mooring_gateway_queued_requests",
        "Requests that wait for a free instance",
        deployments(endpoints).map(|(labels, deployment)| (labels, deployment.backend.waiting())),
    )?;
    gauge(
        encoder,
        "mooring_gateway_capacity_requests",
        "Requests that the instances may work on at once, over all replicas of the gateway",
        deployments(endpoints).map(|(labels, deployment)| (labels, deployment.capacity())),
    )?;
    gauge(
        encoder,
        "mooring_gateway_ready_instances",
        "Instances that may get requests",
        deployments(endpoints).map(|(labels, deployment)| (labels, deployment.backend.ready().len())),
    )
}
