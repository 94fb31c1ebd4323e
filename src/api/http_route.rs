//! `HTTPRoute` of the Gateway API, as far as we write it: k8s-openapi has only what is built into Kubernetes.
//!
//! Fields from <https://gateway-api.sigs.k8s.io/reference/spec/#httproute>.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::endpoint::GatewayReference;

/// What an `HTTPRoute` asks for.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "HTTPRoute",
    plural = "httproutes",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// The Gateways that it belongs to.
    #[serde(default)]
    pub parent_refs: Vec<GatewayReference>,
    /// The hosts whose requests it takes.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// Where those go.
    #[serde(default)]
    pub rules: Vec<HttpRouteRule>,
}

/// A rule without conditions: every request.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRule {
    /// The Services that answer.
    #[serde(default)]
    pub backend_refs: Vec<BackendReference>,
    /// How long they may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<HttpRouteTimeouts>,
}

/// How long an answer may take.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteTimeouts {
    /// The whole of a request, as `90s`; `0s` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// A port of a Service.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BackendReference {
    /// Namespace of the Service; the route's own without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the Service.
    pub name: String,
    /// Its port.
    pub port: i32,
}
