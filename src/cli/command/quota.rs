//! What a namespace may use, and what it uses.

use kube::ResourceExt;
use kube::api::ListParams;

use crate::api::compute_quota::ComputeQuota;
use crate::cli::arguments::output::{Document, Output};
use crate::cli::connect::Connection;
use crate::cli::table::table;
use crate::cli::{CliError, print};

pub(super) async fn show(connection: &Connection, output: Output) -> Result<(), CliError> {
    let quotas: Vec<ComputeQuota> = connection.list(&ListParams::default()).await?;
    if quotas.is_empty() {
        eprintln!(
            "namespace {:?} has no ComputeQuota: its deployments may use what the cluster has",
            connection.namespace
        );
    }
    match output {
        Output::Json => print::document(Document::Json, &quotas),
        Output::Yaml => print::document(Document::Yaml, &quotas),
        Output::Name => print::names(quotas.iter().filter_map(|quota| quota.metadata.name.as_deref())),
        Output::Table | Output::Wide => {
            let rows: Vec<Vec<String>> = quotas.iter().flat_map(rows).collect();
            print::text(&table(&["QUOTA", "RESOURCE", "USED", "LIMIT", "FREE"], &rows))
        }
    }
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
