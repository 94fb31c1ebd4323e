//! `InstanceType`: the kind of machine that an instance runs on.

pub mod azure;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::deployment::Resources;
use super::units::Quantity;

/// The instance type of deployments that name none. It exists without an object; an object of this name replaces it.
pub const DEFAULT_INSTANCE_TYPE: &str = "defaultinstancetype";

/// The kind of machine that an instance runs on: what it may use and where it may run.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "mooring.dev",
    version = "v1alpha1",
    kind = "InstanceType",
    shortname = "it",
    category = "mooring",
    derive = "PartialEq",
    doc = "The kind of machine that an instance runs on: what it may use and where it may run.",
    printcolumn(name = "Family", type_ = "string", json_path = ".spec.family"),
    printcolumn(name = "CPU", type_ = "string", json_path = ".spec.resources.limits.cpu"),
    printcolumn(name = "Memory", type_ = "string", json_path = ".spec.resources.limits.memory"),
    printcolumn(name = "GPU", type_ = "string", json_path = r".spec.resources.limits.nvidia\.com/gpu"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct InstanceTypeSpec {
    /// The family that quotas count it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub family: Option<String>,
    /// What an instance is guaranteed and what it may not exceed.
    #[x_kube(
        validation = Rule::new("has(self.requests) && 'cpu' in self.requests && 'memory' in self.requests")
            .message("resources.requests needs cpu and memory"),
        validation = Rule::new("has(self.limits) && 'cpu' in self.limits && 'memory' in self.limits")
            .message("resources.limits needs cpu and memory")
    )]
    pub resources: Resources,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that instances tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub tolerations: Vec<Toleration>,
}

/// The instance types that exist without an object: `defaultinstancetype` and Azure's sizes. A size guarantees an
/// instance what it names, as the machine of its own would.
#[must_use]
pub fn built_in(name: &str) -> Option<InstanceTypeSpec> {
    if name == DEFAULT_INSTANCE_TYPE {
        return Some(InstanceTypeSpec {
            resources: Resources {
                requests: amounts([("cpu", "100m".into()), ("memory", "2Gi".into())]),
                limits: amounts([("cpu", "2".into()), ("memory", "2Gi".into())]),
            },
            ..InstanceTypeSpec::default()
        });
    }
    let size = azure::SIZES.iter().find(|size| size.name.eq_ignore_ascii_case(name))?;
    let whole = |number: u32| Quantity::from(number.to_string().as_str());
    let mut all = amounts([("cpu", whole(size.cores)), ("memory", size.memory.into())]);
    if size.gpus > 0 {
        all.insert(GPU.to_owned(), whole(size.gpus));
    }
    Some(InstanceTypeSpec {
        family: Some(size.family.to_owned()),
        resources: Resources { requests: all.clone(), limits: all },
        ..InstanceTypeSpec::default()
    })
}

/// The names of those.
pub fn built_in_names() -> impl Iterator<Item = &'static str> {
    std::iter::once(DEFAULT_INSTANCE_TYPE).chain(azure::SIZES.iter().map(|size| size.name))
}

/// The resource that GPUs are counted in.
const GPU: &str = "nvidia.com/gpu";

fn amounts<const N: usize>(of: [(&str, Quantity); N]) -> BTreeMap<String, Quantity> {
    of.into_iter().map(|(name, amount)| (name.to_owned(), amount)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azures_sizes_are_found_in_any_case() {
        let found = built_in("standard_nc24ads_a100_v4").unwrap();
        assert_eq!(found.family.as_deref(), Some("ncadsa100v4"));
        assert_eq!(found.resources.limits["cpu"], "24".into());
        assert_eq!(found.resources.limits["nvidia.com/gpu"], "1".into());
        assert!(built_in("Standard_DS3_v2").is_some() && built_in("Standard_DS3").is_none());
    }

    #[test]
    fn every_amount_is_a_quantity() {
        for size in azure::SIZES {
            for amount in built_in(size.name).unwrap().resources.limits.values() {
                assert!(amount.millis().is_ok(), "{} {amount}", size.name);
            }
        }
    }
}
