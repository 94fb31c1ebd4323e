//! The ranges of numbers, from the schema of the resources: written down once.

use std::ops::RangeInclusive;

use schemars::JsonSchema;

/// The range of a property of `T`, by its name in the resource.
pub(super) fn of<T: JsonSchema>(property: &str) -> RangeInclusive<i64> {
    let schema = schemars::schema_for!(T);
    let bound =
        |word: &str| schema.pointer(&format!("/properties/{property}/{word}")).and_then(serde_json::Value::as_i64);
    bound("minimum").unwrap_or(i64::MIN)..=bound("maximum").unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::deployment::{OnlineDeploymentSpec, Probe, RequestSettings, Route, ScaleSettings};

    #[test]
    fn the_schema_bounds_every_number_that_is_read() {
        let ranges = [
            of::<OnlineDeploymentSpec>("instanceCount"),
            of::<Probe>("initialDelaySeconds"),
            of::<Probe>("periodSeconds"),
            of::<Probe>("timeoutSeconds"),
            of::<Probe>("successThreshold"),
            of::<Probe>("failureThreshold"),
            of::<RequestSettings>("requestTimeoutMs"),
            of::<RequestSettings>("maxConcurrentRequestsPerInstance"),
            of::<RequestSettings>("maxQueueWaitMs"),
            of::<Route>("port"),
            of::<ScaleSettings>("minInstances"),
            of::<ScaleSettings>("maxInstances"),
            of::<ScaleSettings>("targetUtilizationPercentage"),
            of::<ScaleSettings>("pollingIntervalSeconds"),
        ];
        for range in ranges {
            assert!(*range.start() >= 0 && *range.end() < i64::MAX, "{range:?}");
        }
    }
}
