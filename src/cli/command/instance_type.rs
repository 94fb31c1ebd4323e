//! The instance types: objects of the cluster, and those that are there without one.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::Serialize;

use crate::api::instance_type::{InstanceType, InstanceTypeSpec, built_in, built_in_names};
use crate::cli::arguments::output::Output;
use crate::cli::table::table;
use crate::cli::target::Target;
use crate::cli::{CliError, print};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    name: String,
    /// Whether it is there without an object.
    built_in: bool,
    #[serde(flatten)]
    spec: InstanceTypeSpec,
}

pub(super) async fn list(target: &Target, output: Output) -> Result<(), CliError> {
    let objects = match target {
        Target::Cluster(connection) => {
            let api: Api<InstanceType> = Api::all(connection.client.clone());
            connection.ask("listing instancetypes", api.list(&ListParams::default())).await?.items
        }
        Target::Local(_) => Vec::new(),
    };
    let mut all: BTreeMap<String, (bool, InstanceTypeSpec)> =
        built_in_names().filter_map(|name| Some((name.to_owned(), (true, built_in(name)?)))).collect();
    // An object takes the place of what is built in.
    all.extend(objects.into_iter().map(|object| (object.name_any(), (false, object.spec))));
    let known: Vec<Known> = all.into_iter().map(|(name, (built_in, spec))| Known { name, built_in, spec }).collect();
    let lines =
        || table(&["NAME", "FAMILY", "CPU", "MEMORY", "GPU", "FROM"], &known.iter().map(row).collect::<Vec<_>>());
    print::items(output, &known, |one| &one.name, lines)
}

fn row(one: &Known) -> Vec<String> {
    let limit = |name: &str| one.spec.resources.limits.get(name).map(ToString::to_string).unwrap_or_default();
    vec![
        one.name.clone(),
        one.spec.family.clone().unwrap_or_default(),
        limit("cpu"),
        limit("memory"),
        limit("nvidia.com/gpu"),
        if one.built_in { "built in" } else { "InstanceType" }.to_owned(),
    ]
}
