//! `ComputeQuota`: how much a namespace's deployments may use.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// How many cores, endpoints and deployments a namespace may use.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "mooring.dev",
    version = "v1alpha1",
    kind = "ComputeQuota",
    namespaced,
    shortname = "cq",
    category = "mooring",
    status = "ComputeQuotaStatus",
    derive = "PartialEq",
    doc = "How many cores, endpoints and deployments a namespace may use.",
    printcolumn(name = "Cores", type_ = "integer", json_path = ".spec.totalCores"),
    printcolumn(name = "Used", type_ = "integer", json_path = ".status.used.totalCores"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ComputeQuotaSpec {
    /// Cores of all deployments together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub total_cores: Option<i64>,
    /// Cores of each instance family.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub families: BTreeMap<String, i64>,
    /// Number of endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub endpoints: Option<i64>,
    /// Number of deployments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub deployments: Option<i64>,
    /// Percent of the instances that is counted on top, as room for upgrades (the managed product keeps 20).
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub reserve_percent: i32,
}

/// What is used of a `ComputeQuota`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ComputeQuotaStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is used, in the shape of the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<ComputeUsage>,
}

/// Amounts in use.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ComputeUsage {
    /// Cores of all deployments together.
    pub total_cores: i64,
    /// Cores of each instance family.
    #[serde(default)]
    pub families: BTreeMap<String, i64>,
    /// Number of endpoints.
    pub endpoints: i64,
    /// Number of deployments.
    pub deployments: i64,
}
