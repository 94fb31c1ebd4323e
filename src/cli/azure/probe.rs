//! `liveness_probe`, `readiness_probe`, and the `startup_probe` that only REST has.

use serde_json::{Map, Value};

use super::endpoint::put;
use super::limits;
use super::reading::{Field, Fields, Report};

/// How often a liveness or startup probe has to succeed, in Azure and in Kubernetes.
const ONCE: std::ops::RangeInclusive<i64> = 1..=1;

/// Reads the probes.
pub(super) fn read(fields: &mut Fields<'_>, spec: &mut Map<String, Value>, report: &mut Report) {
    for (key, name, is_once) in [
        ("liveness_probe", "livenessProbe", true),
        ("readiness_probe", "readinessProbe", false),
        ("startup_probe", "startupProbe", true),
    ] {
        if let Some(field) = fields.take(key) {
            put(spec, name, probe(field, is_once, report));
        }
    }
}

fn probe(field: Field<'_>, is_once: bool, report: &mut Report) -> Option<Map<String, Value>> {
    field.fields(report, |fields, report| {
        let mut probe = Map::new();
        for (key, name) in [
            ("initial_delay", "initialDelaySeconds"),
            ("period", "periodSeconds"),
            ("timeout", "timeoutSeconds"),
            ("success_threshold", "successThreshold"),
            ("failure_threshold", "failureThreshold"),
        ] {
            let Some(field) = fields.take(key) else { continue };
            // Each probe has the same ones.
            let of_schema = || limits::of(&format!("livenessProbe.{name}"));
            let range = if is_once && key == "success_threshold" { ONCE } else { of_schema() };
            let is_time = name.ends_with("Seconds");
            let number = if is_time { field.seconds(report, &range) } else { field.whole(report, &range) };
            put(&mut probe, name, number);
        }
        probe
    })
}
