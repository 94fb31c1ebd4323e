//! `resources` of an instance.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::endpoint::put;
use super::reading::{Field, Fields, Report};
use crate::api::units::Quantity;

/// What Kubernetes counts GPUs of NVIDIA as.
const GPU: &str = "nvidia.com/gpu";

/// Longest quantity, as the schema has it.
const LONGEST: usize = 32;

/// Reads requests and limits, in the words of the command line or of REST.
pub(super) fn read(fields: &mut Fields<'_>, spec: &mut Map<String, Value>, report: &mut Report) {
    let Some(field) = fields.take_any(&["resources", "container_resource_requirements"], report) else { return };
    let path = field.path().to_owned();
    let read = field.fields(report, |fields, report| {
        let mut part = |keys: [&'static str; 2], report: &mut Report| {
            let field = fields.take_any(&keys, report)?;
            amounts(field, report)
        };
        let requests = part(["requests", "container_resource_requests"], report);
        let limits = part(["limits", "container_resource_limits"], report);
        (requests, limits)
    });
    let Some((requests, limits)) = read else { return };
    for (name, amount) in requests.iter().flatten() {
        let limit = limits.as_ref().and_then(|limits| limits.get(name));
        check(name, amount, limit, &path, report);
    }
    let text = |amounts: Vec<(String, Quantity)>| -> Map<String, Value> {
        amounts.into_iter().map(|(name, amount)| (name, json!(amount))).collect()
    };
    let mut resources = Map::new();
    put(&mut resources, "requests", requests.map(|amounts| text(amounts.into_iter().collect())));
    put(&mut resources, "limits", limits.map(|amounts| text(amounts.into_iter().collect())));
    put(spec, "resources", Some(resources));
}

/// A request within its limit; of GPUs Kubernetes wants both to be the same.
fn check(name: &str, amount: &Quantity, limit: Option<&Quantity>, path: &str, report: &mut Report) {
    let field = if name.contains('.') { format!("{path}.requests[{name}]") } else { format!("{path}.requests.{name}") };
    let order = limit.and_then(|limit| amount.compare(limit).ok());
    match (limit, order) {
        (Some(limit), Some(Ordering::Greater)) => {
            report.refuse(&field, format!("is {amount}, and its limit is {limit}; requests must not be above limits"));
        }
        (Some(limit), Some(Ordering::Less)) if name == GPU => {
            report.refuse(&field, format!("is {amount}, and its limit is {limit}; write GPUs in limits alone"));
        }
        (None, _) if name == GPU => report.refuse(&field, "has no limit; write GPUs in limits"),
        _ => {}
    }
}

type Amounts = std::collections::BTreeMap<String, Quantity>;

fn amounts(field: Field<'_>, report: &mut Report) -> Option<Amounts> {
    field.fields(report, |fields, report| {
        let mut amounts = Amounts::new();
        for (keys, name) in [(&["cpu"][..], "cpu"), (&["memory"][..], "memory"), (&[GPU, "nvidia_gpu", "gpu"][..], GPU)]
        {
            let Some(field) = fields.take_any(keys, report) else { continue };
            if let Some(amount) = quantity(field, name == GPU, report) {
                amounts.insert(name.to_owned(), amount);
            }
        }
        // Devices of other makers have names with a slash.
        for (name, field) in fields.take_where(|name| name.contains('/')) {
            if let Some(amount) = quantity(field, true, report) {
                amounts.insert(name, amount);
            }
        }
        amounts
    })
}

fn quantity(field: Field<'_>, is_whole: bool, report: &mut Report) -> Option<Quantity> {
    let path = field.path().to_owned();
    let text = field.text(report)?;
    let quantity = Quantity::from(text.as_str());
    let Some(millis) = quantity.millis().ok().filter(|_| text.len() <= LONGEST) else {
        report.refuse(&path, format!("is {text:?}; it must be a quantity such as 500m, 2 or 1Gi"));
        return None;
    };
    if is_whole && millis % 1000 != 0 {
        report.refuse(&path, format!("is {text:?}; devices are counted in whole numbers"));
        return None;
    }
    Some(quantity)
}
