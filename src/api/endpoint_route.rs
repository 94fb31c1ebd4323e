//! `EndpointRoute`: the compiled routing table of one endpoint, written by the operator and read by gateways.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::deployment::AppProtocol;
use super::endpoint::{AuthMode, EndpointCors, EndpointLimits};
use super::units::Percent;

/// The longest that a gateway takes a token for good without asking again, in seconds.
pub const TOKEN_SECONDS: u64 = 60;

/// The audience of the tokens for an endpoint.
#[must_use]
pub fn token_audience(namespace: &str, endpoint: &str) -> String {
    format!("mooring.dev/{namespace}/{endpoint}")
}

/// The compiled routing table of one endpoint. Internal: the operator writes it, gateways read it; its name is
/// the endpoint's.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "mooring.dev",
    version = "v1alpha1",
    kind = "EndpointRoute",
    namespaced,
    derive = "PartialEq",
    doc = "The compiled routing table of one endpoint. Internal: the operator writes it, gateways read it.",
    printcolumn(name = "Endpoint-Generation", type_ = "integer", json_path = ".spec.endpointGeneration"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct EndpointRouteSpec {
    /// Name of the endpoint; its namespace is the route's own.
    pub endpoint_name: String,
    /// Generation of the endpoint that the route was made from. A gateway never goes back to an older one.
    pub endpoint_generation: i64,
    /// Host names that lead here besides `<name>.<namespace>[.svc[.<cluster-domain>]]`, in lower case.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// How callers are authenticated.
    pub auth: RouteAuth,
    /// Limits of the scoring path.
    pub limits: EndpointLimits,
    /// Which web pages of other origins may call the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<EndpointCors>,
    /// All deployments of the endpoint that exist, those without weight too (a pin header reaches them).
    #[serde(default)]
    pub deployments: Vec<RouteDeployment>,
}

/// How callers of an endpoint are authenticated. Never holds a key, only digests.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RouteAuth {
    /// Keys or tokens.
    pub mode: AuthMode,
    /// SHA-256 of each accepted key, in lower-case hexadecimal. Empty while the keys are missing: nobody gets in.
    #[serde(default)]
    pub key_digests: Vec<String>,
    /// The audience that tokens must have, in mode `AMLToken`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_audience: Option<String>,
}

/// One deployment as gateways see it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RouteDeployment {
    /// The deploymentName; compared without regard to case.
    pub name: String,
    /// Share of the traffic, relative to the sum over all deployments.
    pub weight: Percent,
    /// Percent of the live requests that is copied to it.
    #[serde(default)]
    pub mirror: Percent,
    /// The headless Service whose `EndpointSlices` hold the instances.
    pub service: String,
    /// Port of the instances.
    pub port: i32,
    /// What the instances speak there.
    #[serde(default, skip_serializing_if = "AppProtocol::is_default")]
    pub app_protocol: AppProtocol,
    /// Path of the instances that `/score` is rewritten to.
    pub scoring_path: String,
    /// The longest a request may take, in milliseconds.
    pub request_timeout_ms: i32,
    /// Requests that one instance works on at the same time.
    pub max_concurrent_requests_per_instance: i32,
    /// The longest a request may wait for a free instance, in milliseconds.
    pub max_queue_wait_ms: i32,
    /// Instances that the spec asks for.
    pub instances: i32,
}
