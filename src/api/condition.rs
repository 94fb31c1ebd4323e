//! Condition types and the reasons that are no failure of a stage (those are the catalogue's codes).

/// The current generation serves as asked.
pub const READY: &str = "Ready";
/// kstatus: a change is on its way; present only while true.
pub const RECONCILING: &str = "Reconciling";
/// kstatus: only a change by somebody helps; present only while true.
pub const STALLED: &str = "Stalled";

/// At least one instance of any revision answers.
pub const SERVING: &str = "Serving";
/// The instances fit quota and instance type.
pub const QUOTA_AVAILABLE: &str = "QuotaAvailable";
/// Every instance of the current revision has its image.
pub const IMAGE_PULLED: &str = "ImagePulled";
/// The initializer finished everywhere.
pub const ARTIFACTS_DOWNLOADED: &str = "ArtifactsDownloaded";
/// Scheduled and started.
pub const CONTAINER_STARTED: &str = "ContainerStarted";
/// The probes pass.
pub const CONTAINER_HEALTHY: &str = "ContainerHealthy";

/// The gateway's table equals `spec.traffic`.
pub const TRAFFIC_ASSIGNED: &str = "TrafficAssigned";
/// Keys or token review work.
pub const AUTH_READY: &str = "AuthReady";

/// Reasons of conditions.
pub mod reason {
    /// A change is on its way.
    pub const PROVISIONING: &str = "Provisioning";
    /// Not as asked within `rollout.provisioningTimeoutSeconds`.
    pub const PROVISIONING_TIMED_OUT: &str = "ProvisioningTimedOut";
    /// As asked.
    pub const SUCCEEDED: &str = "Succeeded";
    /// The endpoint of a deployment does not exist.
    pub const ENDPOINT_NOT_FOUND: &str = "EndpointNotFound";
    /// An object of a name that we need belongs to somebody else.
    pub const NAME_CONFLICT: &str = "NameConflict";
    /// The spec can't be carried out.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// No instance answers.
    pub const NO_READY_INSTANCES: &str = "NoReadyInstances";
    /// `instanceCount` is 0.
    pub const SCALED_TO_ZERO: &str = "ScaledToZero";
    /// The image is on its way.
    pub const PULLING: &str = "Pulling";
    /// Model and code are on their way.
    pub const DOWNLOADING: &str = "Downloading";
    /// There is nothing to download.
    pub const NOT_NEEDED: &str = "NotNeeded";
    /// Waiting for an earlier stage.
    pub const PENDING: &str = "Pending";
    /// The container runs and is not yet ready.
    pub const STARTING: &str = "Starting";
    /// `spec.traffic` names a deployment that does not exist.
    pub const DEPLOYMENT_NOT_FOUND: &str = "DeploymentNotFound";
    /// `spec.traffic` names a deployment that can't serve yet.
    pub const DEPLOYMENT_NOT_READY: &str = "DeploymentNotReady";
    /// `spec.traffic` gives nobody anything.
    pub const NO_TRAFFIC: &str = "NoTraffic";
    /// The Secret with the keys is missing or has the wrong shape.
    pub const KEYS_MISSING: &str = "KeysMissing";
}
