//! The ranges of numbers, from the definition of the resource: written down once.

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::cli::schema::{self, DEPLOYMENT};

/// The range of a field of a deployment's spec, by its path in the resource.
pub(super) fn of(path: &str) -> RangeInclusive<i64> {
    let field = path.split('.').try_fold(&*DEPLOYMENT, |schema, name| schema::property(schema, name));
    // A definition has its bounds as numbers with a fraction.
    let bound =
        |word: &str| field?.get(word).and_then(Value::as_f64).and_then(|bound| format!("{bound:.0}").parse().ok());
    bound("minimum").unwrap_or(i64::MIN)..=bound("maximum").unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_bounds_every_number_that_is_read() {
        for path in [
            "instanceCount",
            "livenessProbe.initialDelaySeconds",
            "livenessProbe.periodSeconds",
            "livenessProbe.timeoutSeconds",
            "livenessProbe.successThreshold",
            "livenessProbe.failureThreshold",
            "requestSettings.requestTimeoutMs",
            "requestSettings.maxConcurrentRequestsPerInstance",
            "requestSettings.maxQueueWaitMs",
            "environment.inferenceConfig.scoringRoute.port",
            "scaleSettings.minInstances",
            "scaleSettings.maxInstances",
            "scaleSettings.targetUtilizationPercentage",
            "scaleSettings.pollingIntervalSeconds",
        ] {
            let range = of(path);
            assert!(*range.start() >= 0 && *range.end() < i64::MAX, "{path}: {range:?}");
        }
        assert_eq!(of("environment.inferenceConfig.scoringRoute.port"), 1..=65535);
    }
}
