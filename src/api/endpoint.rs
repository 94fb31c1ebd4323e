//! `OnlineEndpoint`: a stable URI with keys and a traffic rule.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Percent;
use crate::catalogue::Code;

/// A stable URI for scoring, with its keys, limits and the split of traffic between its deployments.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "mooring.dev",
    version = "v1alpha1",
    kind = "OnlineEndpoint",
    namespaced,
    shortname = "oe",
    category = "mooring",
    status = "OnlineEndpointStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A stable URI for scoring, with its keys, limits and the split of traffic between its deployments.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.provisioningState"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.scoringUri", priority = 1),
    printcolumn(name = "Traffic", type_ = "string", json_path = ".status.traffic"),
    printcolumn(
        name = "Code",
        type_ = "string",
        json_path = ".status.deployments[?(@.code)].code"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() >= 3 && self.metadata.name.size() <= 32 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be 3 to 32 characters: lower-case letters, digits and '-', starting with a letter and ending with a letter or digit")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.mirrorTraffic.all(mirror, !self.traffic.exists(live, live.lowerAscii() == mirror.lowerAscii() && self.traffic[live] > 0))")
        .message("mirrorTraffic must name a deployment that has no live traffic")
)]
pub struct OnlineEndpointSpec {
    /// What this endpoint is for, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,

    /// How callers prove who they are: `Key` (two long-lived keys in a Secret) or `AMLToken`
    /// (short-lived Kubernetes tokens for the audience `mooring.dev/<namespace>/<name>`, whose user has the verb
    /// `score` on this endpoint; that one is taken away is felt within 60 seconds).
    #[serde(default)]
    pub auth_mode: AuthMode,

    /// A Secret of your own with `primaryKey` and `secondaryKey`. Without it, `<name>-keys` is generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub keys_secret_name: Option<String>,

    /// Percent of the traffic for each deployment, by its deploymentName (upper and lower case are the same).
    /// The sum is 100, or 0 to switch the traffic off.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 20))]
    #[x_kube(validation = Rule::new("self.size() == 0 || self.map(name, self[name]).sum() in [0, 100]")
        .message("the percentages must sum to 100, or to 0 to switch traffic off"),
        validation = Rule::new("self.all(name, self.exists_one(other, other.lowerAscii() == name.lowerAscii()))")
        .message("upper and lower case are the same name: give each deployment one entry"))]
    pub traffic: BTreeMap<String, Percent>,

    /// Copies this percent of the live requests to one deployment and discards its answers. At most one entry.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 1))]
    #[x_kube(validation = Rule::new("self.all(name, self[name] <= 50)")
        .message("at most 50 percent can be mirrored"))]
    pub mirror_traffic: BTreeMap<String, Percent>,

    /// Whose rights the instances use to fetch images, models and code.
    #[serde(default)]
    pub identity: Identity,

    /// Limits of the scoring path, for each endpoint.
    #[serde(default)]
    pub limits: EndpointLimits,

    /// Which web pages of other origins may call the endpoint. Without it, what the model says of that is passed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<EndpointCors>,

    /// Whether the endpoint may be reached from outside the cluster. `Enabled` needs `ingress` as well.
    #[serde(default)]
    pub public_network_access: PublicNetworkAccess,

    /// How the endpoint is reached from outside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<EndpointIngress>,
}

/// How callers of an endpoint are authenticated.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthMode {
    /// One of two keys, sent as `Authorization: Bearer KEY`.
    #[default]
    Key,
    /// A short-lived Kubernetes token with the endpoint's audience.
    #[serde(rename = "AMLToken")]
    AmlToken,
}

/// The identity that the endpoint's instances use.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'UserAssigned') == has(self.serviceAccountName)")
        .message("serviceAccountName goes with type UserAssigned, and only with it")
)]
pub struct Identity {
    /// `SystemAssigned`: a service account made for this endpoint. `UserAssigned`: the one you name.
    #[serde(rename = "type", default)]
    pub kind: IdentityKind,
    /// The service account of a `UserAssigned` identity, in the endpoint's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
}

impl Identity {
    /// The service account that the user owns, where there is one.
    #[must_use]
    pub fn user_account(&self) -> Option<&str> {
        self.service_account_name.as_deref().filter(|_| self.kind == IdentityKind::UserAssigned)
    }
}

/// Who owns the identity of an endpoint.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityKind {
    /// A service account that is made and removed with the endpoint.
    #[default]
    SystemAssigned,
    /// A service account that the user owns.
    UserAssigned,
}

/// Limits of an endpoint's scoring path.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EndpointLimits {
    /// Requests accepted each second, over all deployments.
    #[serde(default = "EndpointLimits::requests_per_second")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_second: i32,
    /// Largest request body, in bytes.
    #[serde(default = "EndpointLimits::max_bytes")]
    #[schemars(range(min = 1))]
    pub max_request_bytes: i64,
    /// Largest response body, in bytes.
    #[serde(default = "EndpointLimits::max_bytes")]
    #[schemars(range(min = 1))]
    pub max_response_bytes: i64,
}

impl EndpointLimits {
    /// The managed product's 100 requests a second (troubleshooting page of May 2021).
    const fn requests_per_second() -> i32 {
        100
    }

    /// The managed product's 1.5 megabytes each way (troubleshooting page of May 2021).
    const fn max_bytes() -> i64 {
        1_572_864
    }
}

impl Default for EndpointLimits {
    fn default() -> Self {
        Self {
            requests_per_second: Self::requests_per_second(),
            max_request_bytes: Self::max_bytes(),
            max_response_bytes: Self::max_bytes(),
        }
    }
}

/// Cross-origin resource sharing, in the words of the Gateway API's `HTTPCORSFilter`. The gateway itself answers
/// preflight requests then, which have no credential.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.allowCredentials) || !self.allowCredentials || !self.allowOrigins.exists(origin, origin == '*')")
        .message("allowCredentials needs origins by name: browsers refuse it for '*'")
)]
pub struct EndpointCors {
    /// Origins such as `https://app.example.com` or `http://localhost:3000`. `https://*.example.com` stands for
    /// all hosts below, `*` for all origins.
    #[schemars(length(min = 1, max = 64))]
    #[schemars(inner(
        length(max = 260),
        regex(pattern = r"^(\*|[a-z][-+.a-z0-9]*://(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?)$")
    ))]
    pub allow_origins: Vec<String>,
    /// Methods beside GET, HEAD and POST.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9), inner(length(max = 32), regex(pattern = r"^(\*|[A-Z]+)$")))]
    pub allow_methods: Vec<String>,
    /// Request headers beside those that the endpoint itself understands, such as `Authorization`, `Content-Type` and
    /// `azureml-model-deployment`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 256), regex(pattern = r"^(\*|[-!#$%&'+.^_`|~0-9A-Za-z]+)$")))]
    pub allow_headers: Vec<String>,
    /// Headers of the answer that pages may read, beside those of the gateway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 256), regex(pattern = r"^(\*|[-!#$%&'+.^_`|~0-9A-Za-z]+)$")))]
    pub expose_headers: Vec<String>,
    /// Whether browsers may send cookies and client certificates. The endpoint's keys need none of that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_credentials: bool,
    /// Seconds that a browser may remember the answer to a preflight request.
    #[serde(default = "EndpointCors::max_age")]
    #[schemars(range(min = 0, max = 86_400))]
    pub max_age: i32,
}

impl EndpointCors {
    /// What browsers take without a word (Fetch standard), and the default of the Gateway API.
    const fn max_age() -> i32 {
        5
    }
}

/// Whether an endpoint may be reached from outside the cluster.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PublicNetworkAccess {
    /// Reachable from outside when `ingress` says how.
    #[default]
    Enabled,
    /// Reachable from inside the cluster alone.
    Disabled,
}

/// How an endpoint is reached from outside the cluster: by an Ingress, or with `gateway` by an `HTTPRoute`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.gateway) || (!has(self.className) && !has(self.tlsSecretName))")
        .message("className and tlsSecretName belong to an Ingress; a Gateway has its own class and certificates")
)]
pub struct EndpointIngress {
    /// The ingress class; the cluster's default class without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// The host name that callers use.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub host: String,
    /// The Secret with the certificate of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub tls_secret_name: Option<String>,
    /// Annotations for the Ingress or `HTTPRoute`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The Gateway of the Gateway API that takes the host's requests: an `HTTPRoute` is made in place of an Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayReference>,
}

/// A Gateway of the Gateway API.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GatewayReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace; the endpoint's own without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The listener of it; all that fit without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}

/// What the operator has made of an `OnlineEndpoint`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OnlineEndpointStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the endpoint is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioning_state: Option<EndpointState>,
    /// Where to send scoring requests from inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scoring_uri: Option<String>,
    /// Where the `OpenAPI` description of the model is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openapi_uri: Option<String>,
    /// The Secret with the endpoint's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_secret_name: Option<String>,
    /// The split of traffic in force now; a deployment gets its percentage only once it can serve.
    #[serde(default)]
    pub traffic: BTreeMap<String, i32>,
    /// The deployments of this endpoint, by name.
    #[serde(default)]
    pub deployments: Vec<DeploymentSummary>,
    /// The latest observations, in the form that `kubectl wait` reads.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// One deployment in the status of its endpoint.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentSummary {
    /// The deploymentName, as traffic and the pin header use it.
    pub name: String,
    /// The name of the `OnlineDeployment` object.
    pub resource: String,
    /// Its provisioning state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<super::deployment::DeploymentState>,
    /// Instances that can serve.
    pub ready_instances: i32,
    /// The code of the failed stage, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub code: Option<Code>,
}

/// Where an endpoint is in its life.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointState {
    /// Being made for the first time.
    #[default]
    Creating,
    /// A change is on its way.
    Updating,
    /// As asked.
    Succeeded,
    /// Can't become as asked without a change by somebody.
    Failed,
    /// On its way out.
    Deleting,
}
