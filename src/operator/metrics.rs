//! What the operator counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds of the duration of a pass, in seconds.
const BUCKETS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0];

/// Handles of the operator's metrics.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    passes: Family<Pass, Counter>,
    durations: Family<Kind, Histogram>,
    writes: Family<Write, Counter>,
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
        };
        registry.register("mooring_reconcile", "Passes over an object, by outcome", metrics.passes.clone());
        registry.register_with_unit(
            "mooring_reconcile_duration",
            "Duration of a pass",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register("mooring_writes", "Writes to the API server", metrics.writes.clone());
        metrics
    }

    pub(super) fn passed(&self, kind: &'static str, outcome: &'static str, duration: Duration) {
        self.passes.get_or_create(&Pass { kind, outcome }).inc();
        self.durations.get_or_create(&Kind { kind }).observe(duration.as_secs_f64());
    }

    pub(super) fn wrote(&self, kind: &'static str, what: &'static str, count: usize) {
        self.writes.get_or_create(&Write { kind, what }).inc_by(count as u64);
    }
}
