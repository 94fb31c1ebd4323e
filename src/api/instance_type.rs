//! `InstanceType`: the kind of machine that an instance runs on.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::deployment::Resources;

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

/// The instance types that exist without an object: `defaultinstancetype`.
#[must_use]
pub fn built_in(name: &str) -> Option<InstanceTypeSpec> {
    (name == DEFAULT_INSTANCE_TYPE).then(|| InstanceTypeSpec {
        family: None,
        resources: Resources {
            requests: amounts([("cpu", "100m"), ("memory", "2Gi")]),
            limits: amounts([("cpu", "2"), ("memory", "2Gi")]),
        },
        node_selector: BTreeMap::new(),
        tolerations: Vec::new(),
    })
}

fn amounts<const N: usize>(of: [(&str, &str); N]) -> BTreeMap<String, super::units::Quantity> {
    of.into_iter().map(|(name, amount)| (name.to_owned(), amount.into())).collect()
}
