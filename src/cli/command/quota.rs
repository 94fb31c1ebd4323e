//! What a namespace may use, and what it uses.

use kube::ResourceExt;
use kube::api::ListParams;

use crate::api::compute_quota::ComputeQuota;
use crate::cli::arguments::output::Output;
use crate::cli::connect::Connection;
use crate::cli::table::table;
use crate::cli::talk::say;
use crate::cli::{CliError, print};

pub(super) async fn show(connection: &Connection, output: Output) -> Result<(), CliError> {
    let mut quotas: Vec<ComputeQuota> = connection.list(&ListParams::default()).await?;
    if quotas.is_empty() {
        say!("namespace {:?} has no ComputeQuota: its deployments may use what the cluster has", connection.namespace);
    }
    quotas.iter_mut().for_each(print::tidy);
    let lines =
        || table(&["QUOTA", "RESOURCE", "USED", "LIMIT", "FREE"], &quotas.iter().flat_map(rows).collect::<Vec<_>>());
    print::items(output, &quotas, |quota| quota.metadata.name.as_deref().unwrap_or_default(), lines)
}

/// A line for each limit.
fn rows(quota: &ComputeQuota) -> Vec<Vec<String>> {
    let used = quota.status.as_ref().and_then(|status| status.used.clone()).unwrap_or_default();
    let spec = &quota.spec;
    let mut limits = vec![
        ("cores".to_owned(), used.total_cores, spec.total_cores),
        ("endpoints".to_owned(), used.endpoints, spec.endpoints),
        ("deployments".to_owned(), used.deployments, spec.deployments),
    ];
    limits.extend(spec.families.iter().map(|(family, limit)| {
        let used = used.families.get(family).copied().unwrap_or_default();
        (format!("cores of {family}"), used, Some(*limit))
    }));
    let line = |(resource, used, limit): (String, i64, Option<i64>)| {
        let limit = limit?;
        Some(vec![quota.name_any(), resource, used.to_string(), limit.to_string(), (limit - used).to_string()])
    };
    limits.into_iter().filter_map(line).collect()
}
