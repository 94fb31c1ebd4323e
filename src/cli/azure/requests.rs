//! `request_settings`.

use serde_json::{Map, Value};

use super::endpoint::put;
use super::limits;
use super::reading::{Fields, Report};

/// Reads how requests are handed to instances.
pub(super) fn read(fields: &mut Fields<'_>, spec: &mut Map<String, Value>, report: &mut Report) {
    let Some(field) = fields.take("request_settings") else { return };
    let settings = field.fields(report, |fields, report| {
        let mut settings = Map::new();
        let range = |name: &str| limits::of(&format!("requestSettings.{name}"));
        for (keys, name) in [
            (["request_timeout_ms", "request_timeout"], "requestTimeoutMs"),
            (["max_queue_wait_ms", "max_queue_wait"], "maxQueueWaitMs"),
        ] {
            let field = fields.take_any(&keys, report);
            put(&mut settings, name, field.and_then(|field| field.milliseconds(report, &range(name))));
        }
        let name = "maxConcurrentRequestsPerInstance";
        if let Some(field) = fields.take("max_concurrent_requests_per_instance") {
            put(&mut settings, name, field.whole(report, &range(name)));
        }
        settings
    });
    put(spec, "requestSettings", settings);
}
