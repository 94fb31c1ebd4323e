//! What the operator counts.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::cache::Caches;
use crate::plan::status::news::News;

/// Upper bounds of the duration of a pass, in seconds.
const BUCKETS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0];

/// Handles of the operator's metrics.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    passes: Family<Pass, Counter>,
    durations: Family<Kind, Histogram>,
    writes: Family<Write, Counter>,
    errors: Family<Error, Counter>,
    standing: Standing,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct Error {
    code: String,
    reason: String,
}

/// The errors that stand now, counted when somebody asks.
#[derive(Clone, Debug, Default)]
struct Standing(Arc<OnceLock<Arc<Caches>>>);

impl Collector for Standing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut counts: BTreeMap<Error, i64> = BTreeMap::new();
        for deployment in self.0.get().iter().flat_map(|caches| caches.deployments.store().state()) {
            let error = deployment.0.as_ref().ok().and_then(|deployment| deployment.status.as_ref()?.error.as_ref());
            if let Some(error) = error {
                let labels = Error { code: error.code.as_str().to_owned(), reason: error.reason.clone() };
                *counts.entry(labels).or_default() += 1;
            }
        }
        let help = "Deployments that have this error now";
        let mut family = encoder.encode_descriptor("mooring_deployment_error", help, None, MetricType::Gauge)?;
        for (labels, count) in counts {
            ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Pass {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Write {
    kind: &'static str,
    what: &'static str,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            passes: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            writes: Family::default(),
            errors: Family::default(),
            standing: Standing::default(),
        };
        registry.register("mooring_reconcile", "Passes over an object, by outcome", metrics.passes.clone());
        registry.register_with_unit(
            "mooring_reconcile_duration",
            "Duration of a pass",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register("mooring_deployment_errors", "Errors that deployments had, by cause", metrics.errors.clone());
        registry.register_collector(Box::new(metrics.standing.clone()));
        registry.register("mooring_writes", "Writes to the API server", metrics.writes.clone());
        metrics
    }

    pub(super) fn passed(&self, kind: &'static str, outcome: &'static str, duration: Duration) {
        self.passes.get_or_create(&Pass { kind, outcome }).inc();
        self.durations.get_or_create(&Kind { kind }).observe(duration.as_secs_f64());
    }

    /// The caches, as soon as they are filled.
    pub(super) fn count_errors_in(&self, caches: Arc<Caches>) {
        // Set once: there is one operator in a process.
        let _ = self.standing.0.set(caches);
    }

    pub(super) fn news(&self, news: &News) {
        if let Some(code) = news.code {
            let labels = Error { code: code.as_str().to_owned(), reason: news.reason.clone() };
            self.errors.get_or_create(&labels).inc();
        }
    }

    pub(super) fn wrote(&self, kind: &'static str, what: &'static str, count: usize) {
        self.writes.get_or_create(&Write { kind, what }).inc_by(count as u64);
    }
}
