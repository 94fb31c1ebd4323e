//! The split of an endpoint's traffic: wanted and in force.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::api::units::Percent;
use crate::cli::arguments::endpoint::Traffic;
use crate::cli::table::table;
use crate::cli::talk::say;
use crate::cli::target::Target;
use crate::cli::{CliError, follow, print};

/// One deployment's part.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Share {
    deployment: String,
    /// Percent, as `spec` has it.
    wanted: i32,
    /// Percent that the gateway gives it now.
    in_force: i32,
    /// Percent that is copied to it.
    mirrored: i32,
    state: String,
}

pub(super) async fn traffic(target: &Target, asked: &Traffic) -> Result<(), CliError> {
    let mut object = target.endpoint(&asked.name).await?;
    if !asked.shares.is_empty() || asked.mirror.is_some() {
        let sum: i32 = asked.shares.iter().map(|(_, percent)| percent).sum();
        if !matches!(sum, 0 | 100) {
            return Err(CliError::Usage(format!("the percentages sum to {sum}; they have to sum to 100, or to 0")));
        }
        object = target
            .change_endpoint(object, |object: &mut OnlineEndpoint| {
                if !asked.shares.is_empty() {
                    object.spec.traffic = split(&asked.shares);
                }
                if let Some(share) = &asked.mirror {
                    object.spec.mirror_traffic = mirror(share);
                }
                Ok(())
            })
            .await?;
        if !asked.waiting.no_wait {
            object = follow::endpoint(target, &object).await?;
        }
    }
    let shares = shares(&object);
    print::items(
        asked.output,
        &shares,
        |share| &share.deployment,
        || {
            table(
                &["DEPLOYMENT", "WANTED", "IN FORCE", "MIRRORED", "STATE"],
                &shares.iter().map(row).collect::<Vec<_>>(),
            )
        },
    )
}

fn row(Share { deployment, wanted, in_force, mirrored, state }: &Share) -> Vec<String> {
    vec![deployment.clone(), wanted.to_string(), in_force.to_string(), mirrored.to_string(), state.clone()]
}

/// Those that exist and those that are only named; upper and lower case are the same name.
fn shares(object: &OnlineEndpoint) -> Vec<Share> {
    let status = object.status.clone().unwrap_or_default();
    let mut names: BTreeMap<String, (String, String)> = BTreeMap::new();
    for one in &status.deployments {
        let state = one.state.map(|state| format!("{state:?}")).unwrap_or_default();
        names.insert(one.name.to_lowercase(), (one.name.clone(), state));
    }
    for name in object.spec.traffic.keys().chain(object.spec.mirror_traffic.keys()) {
        names.entry(name.to_lowercase()).or_insert_with(|| (name.clone(), "does not exist".to_owned()));
    }
    let of = |map: &BTreeMap<String, Percent>, name: &str| {
        map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or(0, |(_, percent)| percent.0)
    };
    let in_force =
        |name: &str| status.traffic.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or(0, |(_, it)| *it);
    names
        .into_iter()
        .map(|(key, (deployment, state))| Share {
            wanted: of(&object.spec.traffic, &key),
            in_force: in_force(&key),
            mirrored: of(&object.spec.mirror_traffic, &key),
            deployment,
            state,
        })
        .collect()
}

/// The traffic of a spec.
pub(super) fn split(shares: &[(String, i32)]) -> BTreeMap<String, Percent> {
    shares.iter().map(|(name, percent)| (name.clone(), Percent(*percent))).collect()
}

/// The mirror of a spec; none with 0 percent.
pub(super) fn mirror((name, percent): &(String, i32)) -> BTreeMap<String, Percent> {
    if *percent == 0 { BTreeMap::new() } else { [(name.clone(), Percent(*percent))].into() }
}

/// Gives a deployment all of its endpoint's traffic.
pub(super) async fn all_to(target: &Target, object: &OnlineDeployment) -> Result<OnlineEndpoint, CliError> {
    let endpoint = target.endpoint(&object.spec.endpoint_name).await?;
    let name = object.deployment_name();
    let endpoint_name = &object.spec.endpoint_name;
    let change = |endpoint: &mut OnlineEndpoint| {
        endpoint.spec.traffic = [(name.to_owned(), Percent(100))].into();
        Ok(())
    };
    let changed = target.change_endpoint(endpoint, change).await?;
    say!("deployment {name:?} gets all of the traffic of endpoint {endpoint_name:?}");
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_deployment_has_a_line_and_so_has_a_name_that_nobody_has() {
        let object: OnlineEndpoint = serde_json::from_value(json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint", "metadata": {"name": "iris"},
            "spec": {"traffic": {"Blue": 90, "red": 10}, "mirrorTraffic": {"green": 5}},
            "status": {"traffic": {"blue": 100}, "deployments": [
                {"name": "blue", "resource": "iris-blue", "readyInstances": 1, "state": "Succeeded"},
                {"name": "green", "resource": "iris-green", "readyInstances": 0},
            ]},
        }))
        .unwrap();
        let lines: Vec<_> = shares(&object)
            .into_iter()
            .map(|share| (share.deployment, share.wanted, share.in_force, share.mirrored, share.state))
            .collect();
        let line = |name: &str, numbers: (i32, i32, i32), state: &str| {
            (name.to_owned(), numbers.0, numbers.1, numbers.2, state.to_owned())
        };
        assert_eq!(
            lines,
            [
                line("blue", (90, 100, 0), "Succeeded"),
                line("green", (0, 0, 5), ""),
                line("red", (10, 0, 0), "does not exist"),
            ]
        );
    }
}
