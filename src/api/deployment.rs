//! `OnlineDeployment`: a model, its code and its environment, running in instances behind an endpoint.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::EnvVarSource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Quantity;
use crate::catalogue::{Code, Stage};

/// A model, its code and its environment, running in instances behind an endpoint.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "mooring.dev",
    version = "v1alpha1",
    kind = "OnlineDeployment",
    namespaced,
    shortname = "od",
    category = "mooring",
    status = "OnlineDeploymentStatus",
    derive = "PartialEq",
    doc = "A model, its code and its environment, running in instances behind an endpoint.",
    scale(
        spec_replicas_path = ".spec.instanceCount",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".spec.endpointName"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.provisioningState"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready"),
    printcolumn(name = "Code", type_ = "string", json_path = ".status.error.code"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.error.reason"),
    printcolumn(name = "Download", type_ = "string", json_path = ".status.download.summary", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() >= 3 && self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be 3 to 63 characters: lower-case letters, digits and '-', starting with a letter and ending with a letter or digit"),
    validation = Rule::new("has(self.spec.deploymentName) || self.metadata.name.size() <= 32")
        .message("a metadata.name over 32 characters needs a spec.deploymentName of 3 to 32 characters"),
    validation = Rule::new("self.spec.endpointName.size() + (has(self.spec.deploymentName) ? self.spec.deploymentName : self.metadata.name).size() <= 62")
        .message("the names of endpoint and deployment may have 62 characters together")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.deploymentName) == has(oldSelf.deploymentName) && (!has(self.deploymentName) || self.deploymentName == oldSelf.deploymentName)")
        .message("deploymentName is immutable"),
    validation = Rule::new("!has(self.modelMountPath) || has(self.model)")
        .message("modelMountPath needs a model")
)]
pub struct OnlineDeploymentSpec {
    /// The endpoint, in the same namespace. It may be created later.
    #[schemars(length(min = 3, max = 32), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("endpointName is immutable"))]
    pub endpoint_name: String,

    /// The name that traffic rules and the `azureml-model-deployment` header use, unique in the endpoint
    /// (upper and lower case are the same). Default: metadata.name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 32), regex(pattern = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"))]
    pub deployment_name: Option<String>,

    /// The model's files. Optional for containers that bring their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,

    /// Where models are mounted. Default: /var/azureml-app/azureml-models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 512), regex(pattern = r"^/[^:]+$"))]
    #[x_kube(validation = Rule::new("!self.split('/').exists(part, part == '..')").message("modelMountPath must not hold '..'"))]
    pub model_mount_path: Option<String>,

    /// The scoring code. Optional for containers that bring their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_configuration: Option<CodeConfiguration>,

    /// Downloads that instances share, so that each model is fetched once. Without it, the operator's own default; `{}`
    /// means that none are shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,

    /// The container image and how to speak to it.
    pub environment: Environment,

    /// Environment variables of the inference server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub environment_variables: Vec<EnvironmentVariable>,

    /// The kind of machine of each instance: an `InstanceType` object, a built-in Azure size such as
    /// `Standard_DS3_v2`, or `defaultinstancetype`.
    #[serde(default = "OnlineDeploymentSpec::default_instance_type")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("instanceType is immutable"))]
    pub instance_type: String,

    /// Number of instances; what `kubectl scale` changes.
    #[serde(default = "OnlineDeploymentSpec::default_instance_count")]
    #[schemars(range(min = 0, max = 50))]
    pub instance_count: i32,

    /// Resources of each instance, within the instance type. Default: those of the instance type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,

    /// How requests are handed to an instance.
    #[serde(default)]
    pub request_settings: RequestSettings,

    /// When a running instance counts as dead and is restarted.
    #[serde(default)]
    #[x_kube(validation = Rule::new("!has(self.successThreshold) || self.successThreshold == 1")
        .message("the successThreshold of a liveness probe is 1"))]
    pub liveness_probe: Probe,

    /// When an instance is ready for requests.
    #[serde(default)]
    pub readiness_probe: Probe,

    /// How long a slow start may take; until it passes, the other probes wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("!has(self.successThreshold) || self.successThreshold == 1")
        .message("the successThreshold of a startup probe is 1"))]
    pub startup_probe: Option<Probe>,

    /// How the number of instances follows the load.
    #[serde(default)]
    pub scale_settings: ScaleSettings,

    /// How a change replaces the running instances.
    #[serde(default)]
    pub rollout: Rollout,
}

impl OnlineDeploymentSpec {
    fn default_instance_type() -> String {
        super::instance_type::DEFAULT_INSTANCE_TYPE.to_owned()
    }

    const fn default_instance_count() -> i32 {
        1
    }
}

/// A model's files and where they come from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.unpack) || !self.unpack || !self.uri.startsWith('pvc://')")
        .message("unpack does not go with pvc://, which is mounted as it is")
)]
pub struct Model {
    /// Default: the last part of the uri without its extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[a-zA-Z0-9][-a-zA-Z0-9_.]*$"))]
    pub name: Option<String>,
    /// Version of the model, as a part of `AZUREML_MODEL_DIR`.
    #[serde(default = "Model::default_version")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[a-zA-Z0-9][-a-zA-Z0-9_.]*$"))]
    pub version: String,
    /// Where the files are. A trailing slash or a folder becomes a sub-folder of `AZUREML_MODEL_DIR`.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^([a-z][a-z0-9+.-]*://|azureml:).+$"))]
    pub uri: String,
    /// SHA-256 of a single object, in hexadecimal; of an archive with `unpack` too, not of what is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-fA-F0-9]{64}$"))]
    pub sha256: Option<String>,
    /// The uri is an archive, which is unpacked: tar, tar.gz, tar.zst or zip (stored and deflated files). Its content
    /// lies directly in `AZUREML_MODEL_DIR`, with the folders that it has in the archive and without the archive itself:
    /// `iris/model.pkl` in `iris.tar.gz` becomes `AZUREML_MODEL_DIR/iris/model.pkl`. Links become second names of the
    /// files that they point at in the archive. Not with pvc://. Default: false, the archive is the model's file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpack: bool,
    /// The Secret with the store's credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub credentials_secret_name: Option<String>,
}

impl Model {
    fn default_version() -> String {
        "1".to_owned()
    }
}

/// The scoring code and its entry.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CodeConfiguration {
    /// Where the code is.
    pub code: CodeSource,
    /// The entry script, relative to the code.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && !self.split('/').exists(part, part == '..')")
        .message("scoringScript must be relative and must not hold '..'"))]
    pub scoring_script: String,
}

/// Where scoring code comes from: a uri or a `ConfigMap`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.uri) != has(self.configMapName)")
        .message("code needs either uri or configMapName"),
    validation = Rule::new("!has(self.credentialsSecretName) || has(self.uri)")
        .message("credentialsSecretName goes with uri"),
    validation = Rule::new("!has(self.unpack) || !self.unpack || (has(self.uri) && !self.uri.startsWith('pvc://'))")
        .message("unpack goes with a uri that is downloaded, neither with configMapName nor with pvc://")
)]
pub struct CodeSource {
    /// An object or a folder, as `model.uri`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^([a-z][a-z0-9+.-]*://|azureml:).+$"))]
    pub uri: Option<String>,
    /// The uri is an archive, which is unpacked, as `model.unpack`. `scoringScript` is then a path in the archive:
    /// `src/score.py` when the archive has it so. Neither with pvc:// nor with configMapName. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpack: bool,
    /// A `ConfigMap` whose keys are the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub config_map_name: Option<String>,
    /// The Secret with the store's credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub credentials_secret_name: Option<String>,
}

/// A claim on which downloads are kept for other instances.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.maxSize) || has(self.claimName)").message("maxSize goes with a claimName"))]
pub struct Cache {
    /// The `PersistentVolumeClaim`, in the same namespace. Instances on several nodes need one that they can write to
    /// together (`ReadWriteMany`). Without it, this deployment shares nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: Option<String>,
    /// What the cache may hold, as `200Gi`; what was used least lately goes first. Default: as much as the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("quantity(string(self)).isGreaterThan(quantity('0'))").message("maxSize must be above 0"))]
    pub max_size: Option<Quantity>,
}

/// The container image and how to speak to it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Environment {
    /// The image of the inference server.
    #[schemars(length(min = 1, max = 1024))]
    pub image: String,
    /// Secrets with the registry's credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub image_pull_secret_names: Vec<String>,
    /// The numeric user of the container. 0 is root, outside the restricted profile.
    /// Default: 1000, the user of Azure's images, whose USER is a name that the kubelet can't check.
    #[serde(default = "Environment::default_run_as_user")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub run_as_user: i64,
    /// Ports and paths of a custom server. Default: port 5001 with `/`, `/` and `/score`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inference_config: Option<InferenceConfig>,
}

impl Environment {
    const fn default_run_as_user() -> i64 {
        1000
    }
}

/// Ports and paths of a custom server: all three or none.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct InferenceConfig {
    /// Answers 200 while the server lives.
    pub liveness_route: Route,
    /// Answers 200 while the server can take requests.
    pub readiness_route: Route,
    /// Answers the scoring requests.
    pub scoring_route: Route,
    /// What the server speaks on its scoring route.
    #[serde(default, skip_serializing_if = "AppProtocol::is_default")]
    pub app_protocol: AppProtocol,
}

/// What a server speaks, in the words of a Service's `appProtocol`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppProtocol {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "http")]
    Http,
    /// HTTP/2 without TLS, as gRPC wants it.
    #[serde(rename = "kubernetes.io/h2c")]
    H2c,
}

impl AppProtocol {
    /// Whether it is what is taken when nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A port and a path of the container.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Port of the container.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Path, with its leading slash.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[^\s]*$"))]
    pub path: String,
}

impl InferenceConfig {
    /// Port of Azure's inference server (azureml-inference-server-http).
    pub const DEFAULT_PORT: i32 = 5001;

    /// The routes of Azure's inference server, used when the user names none.
    #[must_use]
    pub fn standard() -> Self {
        let route = |path: &str| Route { port: Self::DEFAULT_PORT, path: path.to_owned() };
        Self {
            liveness_route: route("/"),
            readiness_route: route("/"),
            scoring_route: route("/score"),
            app_protocol: AppProtocol::Http,
        }
    }
}

/// One environment variable: a value, or a reference to one.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.value) && has(self.valueFrom))").message("value and valueFrom exclude each other"))]
pub struct EnvironmentVariable {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[-._a-zA-Z][-._a-zA-Z0-9]*$"))]
    pub name: String,
    /// The value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where the value comes from: a key of a Secret or `ConfigMap`, a field of the pod, a resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
}

/// Requests and limits of one instance.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.requests.all(name, !(name in self.limits) || quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)")
    .message("requests must not be above limits"))]
pub struct Resources {
    /// What each instance is guaranteed: `cpu`, `memory`, …
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: BTreeMap<String, Quantity>,
    /// What each instance may not exceed: `cpu`, `memory`, `nvidia.com/gpu`, …
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16))]
    pub limits: BTreeMap<String, Quantity>,
}

/// How requests are handed to an instance.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RequestSettings {
    /// The longest a request may take, in milliseconds; after it the caller gets 408.
    #[serde(default = "RequestSettings::request_timeout_ms")]
    #[schemars(range(min = 1, max = 300_000))]
    pub request_timeout_ms: i32,
    /// Requests that one instance works on at the same time.
    #[serde(default = "RequestSettings::max_concurrent")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_concurrent_requests_per_instance: i32,
    /// The longest a request may wait for a free instance, in milliseconds; after it the caller gets 429.
    #[serde(default = "RequestSettings::max_queue_wait_ms")]
    #[schemars(range(min = 0, max = 300_000))]
    pub max_queue_wait_ms: i32,
}

impl RequestSettings {
    const fn request_timeout_ms() -> i32 {
        5000
    }
    const fn max_concurrent() -> i32 {
        1
    }
    const fn max_queue_wait_ms() -> i32 {
        500
    }
}

impl Default for RequestSettings {
    fn default() -> Self {
        Self {
            request_timeout_ms: Self::request_timeout_ms(),
            max_concurrent_requests_per_instance: Self::max_concurrent(),
            max_queue_wait_ms: Self::max_queue_wait_ms(),
        }
    }
}

/// When and how often an instance is asked for its health. The defaults are the managed product's.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Seconds after the start before the first question.
    #[serde(default = "Probe::ten")]
    #[schemars(range(min = 1, max = 86_400))]
    pub initial_delay_seconds: i32,
    /// Seconds between questions.
    #[serde(default = "Probe::ten")]
    #[schemars(range(min = 1, max = 86_400))]
    pub period_seconds: i32,
    /// Seconds that an answer may take.
    #[serde(default = "Probe::two")]
    #[schemars(range(min = 1, max = 3_600))]
    pub timeout_seconds: i32,
    /// Good answers in a row that make it healthy.
    #[serde(default = "Probe::one")]
    #[schemars(range(min = 1, max = 1_000))]
    pub success_threshold: i32,
    /// Bad answers in a row that make it unhealthy.
    #[serde(default = "Probe::thirty")]
    #[schemars(range(min = 1, max = 10_000))]
    pub failure_threshold: i32,
}

impl Probe {
    const fn one() -> i32 {
        1
    }
    const fn two() -> i32 {
        2
    }
    const fn ten() -> i32 {
        10
    }
    const fn thirty() -> i32 {
        30
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            initial_delay_seconds: Self::ten(),
            period_seconds: Self::ten(),
            timeout_seconds: Self::two(),
            success_threshold: Self::one(),
            failure_threshold: Self::thirty(),
        }
    }
}

/// How the number of instances follows the load.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.type == 'TargetUtilization' || !(has(self.minInstances) || has(self.maxInstances) || has(self.targetUtilizationPercentage) || has(self.pollingIntervalSeconds))")
        .message("minInstances, maxInstances, targetUtilizationPercentage and pollingIntervalSeconds go with type TargetUtilization"),
    validation = Rule::new("(has(self.minInstances) ? self.minInstances : 1) <= (has(self.maxInstances) ? self.maxInstances : 1)")
        .message("minInstances must not be above maxInstances (both are 1 by default)")
)]
pub struct ScaleSettings {
    /// `Default`: always instanceCount. `TargetUtilization`: between minInstances and maxInstances.
    #[serde(rename = "type", default)]
    pub kind: ScaleKind,
    /// Fewest instances. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 50))]
    pub min_instances: Option<i32>,
    /// Most instances. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50))]
    pub max_instances: Option<i32>,
    /// Busy and queued requests over what all instances can take, in percent. Default: 70.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub target_utilization_percentage: Option<i32>,
    /// Seconds between two looks at the load. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600))]
    pub polling_interval_seconds: Option<i32>,
}

/// What decides the number of instances.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScaleKind {
    /// instanceCount alone.
    #[default]
    Default,
    /// The load, between minInstances and maxInstances.
    TargetUtilization,
}

/// How a change replaces the running instances.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.maxSurge > 0 || self.maxUnavailable > 0")
    .message("maxSurge and maxUnavailable must not both be 0"))]
pub struct Rollout {
    /// Instances above instanceCount while a change rolls out.
    #[serde(default = "Rollout::max_surge")]
    #[schemars(range(min = 0, max = 50))]
    pub max_surge: i32,
    /// Instances that may be missing while a change rolls out.
    #[serde(default)]
    #[schemars(range(min = 0, max = 50))]
    pub max_unavailable: i32,
    /// Seconds after which a change that is still not there counts as failed.
    #[serde(default = "Rollout::provisioning_timeout_seconds")]
    #[schemars(range(min = 1, max = 86_400))]
    pub provisioning_timeout_seconds: i32,
}

impl Rollout {
    const fn max_surge() -> i32 {
        1
    }
    const fn provisioning_timeout_seconds() -> i32 {
        1800
    }
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            max_surge: Self::max_surge(),
            max_unavailable: 0,
            provisioning_timeout_seconds: Self::provisioning_timeout_seconds(),
        }
    }
}

impl OnlineDeployment {
    /// The name in its endpoint, which traffic and the pin header use.
    #[must_use]
    pub fn deployment_name(&self) -> &str {
        self.spec.deployment_name.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

/// What the operator has made of an `OnlineDeployment`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OnlineDeploymentStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the deployment is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioning_state: Option<DeploymentState>,
    /// When the change began that is under way; absent when none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioning_started_at: Option<Time>,
    /// The four stages of provisioning, as `get-logs` prints them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phases: Option<Phases>,
    /// Instances that exist, of any revision.
    #[serde(default)]
    pub replicas: i32,
    /// Instances that can serve, of any revision.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Instances of the current revision.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Ready and wanted instances as `1/2`, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// Label selector of the instances, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// How far model or code have been downloaded, by all instances of the current revision that download now, taken
    /// together. Written at most once in 10 s; absent while none downloads or none can be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download: Option<Download>,
    /// What is wrong now; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DeploymentError>,
    /// What was wrong before, newest first, at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub recent_errors: Vec<DeploymentError>,
    /// The latest observations, in the form that `kubectl wait` reads.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Where a deployment is in its life.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeploymentState {
    /// Being made for the first time.
    #[default]
    Creating,
    /// A change of the spec is rolling out.
    Updating,
    /// The number of instances is changing.
    Scaling,
    /// As asked.
    Succeeded,
    /// Can't become as asked without a change by somebody.
    Failed,
    /// On its way out.
    Deleting,
}

/// The stages of provisioning.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Phases {
    /// A place to run has been found.
    pub system_setup: Phase,
    /// The container image is on the machine.
    pub user_container_image_pull: Phase,
    /// Model and code are in place.
    pub model_download: Phase,
    /// The container answers its probes.
    pub user_container_start: Phase,
}

/// Progress of one stage.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Went wrong.
    Failed,
    /// Not begun.
    #[default]
    Waiting,
    /// Begun.
    InProgress,
    /// Done.
    Succeeded,
}

/// Progress of a download, over all instances that download.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Download {
    /// Bytes in place, of all these instances.
    pub bytes_done: i64,
    /// Bytes that they need in all; absent until every one of them knows its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<i64>,
    /// Bytes each second, lately, of all of them.
    pub bytes_per_second: i64,
    /// Seconds that the last one of them needs at its rate; absent until every one knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_seconds: Option<i64>,
    /// The same in words, as `1.2 GiB of 4.0 GiB (30 %), 12 s left`.
    #[serde(default)]
    pub summary: String,
}

/// A failed stage: what, why and what to do now.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentError {
    /// The code of the failed stage.
    #[schemars(with = "String")]
    pub code: Code,
    /// The cause, as the catalogue names it. A text, so that a status written by a newer operator still decodes.
    pub reason: String,
    /// The failed stage.
    #[schemars(with = "String")]
    pub stage: Stage,
    /// The facts.
    pub message: String,
    /// What a person does now.
    pub next_step: String,
    /// The object that shows it, as `Pod/iris-blue-abc12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The container that shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Its exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The last lines that it wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_tail: Option<String>,
    /// True when only a change by somebody helps.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// When it was first seen.
    pub first_seen: Time,
    /// When it was last seen.
    pub last_seen: Time,
    /// How often it was seen.
    pub count: i32,
}
