//! Every failure that a user can see: its code, its cause and what a person does now. One table.

pub mod answer;
pub mod page;
pub mod troubleshooting;

use serde::{Deserialize, Serialize};

/// The provisioning stage that failed, as the managed product numbers them. Never reused or renamed.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// Not enough quota.
    #[serde(rename = "ERR_1100")]
    Err1100,
    /// Unable to download user container image.
    #[serde(rename = "ERR_1200")]
    Err1200,
    /// Unable to download user model/code artifacts.
    #[serde(rename = "ERR_1300")]
    Err1300,
    /// Unable to start user container.
    #[serde(rename = "ERR_2100")]
    Err2100,
    /// User container has crashed/terminated.
    #[serde(rename = "ERR_2200")]
    Err2200,
    /// Internal error.
    #[serde(rename = "ERR_5000")]
    Err5000,
}

impl Code {
    /// All codes, in the order of the stages.
    pub const ALL: &[Self] =
        &[Self::Err1100, Self::Err1200, Self::Err1300, Self::Err2100, Self::Err2200, Self::Err5000];

    /// As users see it: `ERR_1200`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Err1100 => "ERR_1100",
            Self::Err1200 => "ERR_1200",
            Self::Err1300 => "ERR_1300",
            Self::Err2100 => "ERR_2100",
            Self::Err2200 => "ERR_2200",
            Self::Err5000 => "ERR_5000",
        }
    }

    /// What the managed product says with the code.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Err1100 => "not enough quota",
            Self::Err1200 => "unable to download user container image",
            Self::Err1300 => "unable to download user model/code artifacts",
            Self::Err2100 => "unable to start user container",
            Self::Err2200 => "user container has crashed/terminated",
            Self::Err5000 => "internal error",
        }
    }

    /// The stage that the code belongs to.
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self {
            Self::Err1100 => Stage::Quota,
            Self::Err1200 => Stage::Image,
            Self::Err1300 => Stage::Artifacts,
            Self::Err2100 => Stage::Start,
            Self::Err2200 => Stage::Crash,
            Self::Err5000 => Stage::Internal,
        }
    }
}

/// A stage of provisioning, in the order in which they are passed.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Instances against quota.
    Quota,
    /// The container image.
    Image,
    /// Model and code.
    Artifacts,
    /// Scheduling and starting the container.
    Start,
    /// The running container.
    Crash,
    /// Our own part.
    Internal,
}

/// One row for each cause: variant, code, whether only a change by somebody helps, the message (`{}` stands for the
/// facts), and what a person does now.
macro_rules! catalogue {
    ($($reason:ident $code:ident $is_final:literal $message:literal $next_step:literal;)+) => {
        /// A cause of failure. Stable: never reused or renamed.
        #[expect(clippy::doc_markdown, reason = "the texts are written for terminals and status messages")]
        #[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $next_step] $reason,)+
        }

        impl Reason {
            /// All causes, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$reason,)+];

            /// As users see it: `ImageNotFound`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$reason => stringify!($reason),)+ }
            }

            /// The code of the stage.
            #[must_use]
            pub const fn code(self) -> Code {
                match self { $(Self::$reason => Code::$code,)+ }
            }

            /// True when only a change by somebody helps.
            #[must_use]
            pub const fn is_final(self) -> bool {
                match self { $(Self::$reason => $is_final,)+ }
            }

            /// The message, with `{}` in the place of the facts.
            #[must_use]
            pub const fn template(self) -> &'static str {
                match self { $(Self::$reason => $message,)+ }
            }

            /// What a person does now.
            #[must_use]
            pub const fn next_step(self) -> &'static str {
                match self { $(Self::$reason => $next_step,)+ }
            }
        }
    };
}

impl Reason {
    /// The message for these facts.
    #[must_use]
    pub fn message(self, facts: &str) -> String {
        self.template().replacen("{}", facts, 1)
    }
}

catalogue! {
    OutOfQuotaCores Err1100 true "the namespace's ComputeQuota has too few cores left: {}" "Delete deployments that are not needed, lower instanceCount, use a smaller instanceType, or ask for a larger ComputeQuota; it is tried again when cores are freed.";
    OutOfQuotaFamily Err1100 true "the namespace's ComputeQuota has too few cores of this instance family left: {}" "Delete deployments of this family, use an instanceType of another family, or ask for a larger ComputeQuota; it is tried again when cores are freed.";
    OutOfQuotaEndpoints Err1100 true "the namespace's ComputeQuota allows no more endpoints: {}" "Delete endpoints that are not needed, or ask for a larger ComputeQuota; it is tried again when one is deleted.";
    OutOfQuotaDeployments Err1100 true "the namespace's ComputeQuota allows no more deployments: {}" "Delete deployments that are not needed, or ask for a larger ComputeQuota; it is tried again when one is deleted.";
    OutOfResourceQuota Err1100 false "the namespace's ResourceQuota is used up: {}" "Delete deployments that are not needed, lower instanceCount or resources, or ask for a larger ResourceQuota.";

    ImageNotFound Err1200 true "the registry has no such image: {}" "Check the name, tag or digest in environment.image and push the image; the deployment heals once it is there.";
    ImagePullUnauthorized Err1200 true "the registry refuses access to the image: {}" "Check that the image exists, and name a Secret with the registry's credentials in environment.imagePullSecretNames, or let the identity pull from the registry.";
    ImagePullSecretMissing Err1200 true "a Secret that environment.imagePullSecretNames names does not exist, and the registry refuses access without it: {}" "Create the Secret (kubectl create secret docker-registry), or correct environment.imagePullSecretNames.";
    ImagePullRateLimited Err1200 false "the registry asks for fewer pulls: {}" "Wait, it is tried again by itself; or pull with credentials (environment.imagePullSecretNames), or from a mirror of your own.";
    ImageRegistryUnreachable Err1200 false "the registry can't be reached: {}" "Check that the nodes reach the registry named in environment.image: DNS, network policy, proxy.";
    ImageRegistryTls Err1200 true "the registry's TLS can't be trusted: {}" "Give the registry a certificate that the nodes trust, or make the nodes trust it; a registry without TLS must be allowed in the container runtime's configuration.";
    ImagePlatformMismatch Err1200 true "the image is not made for the node's platform: {}" "Build the image for the nodes' platform (docker build --platform linux/amd64), or use an instanceType whose nodes have the image's.";
    ImageNameInvalid Err1200 true "this is no image name: {}" "Correct environment.image; it must look like registry/name:tag or registry/name@sha256:digest.";
    ImageNeverPull Err1200 true "the image is not on the node, and the cluster forbids pulling it: {}" "Put the image on the nodes, or let the cluster pull images.";
    ImageDiskFull Err1200 false "the node's disk is too small for the image: {}" "Free disk space on the node, use nodes with a larger disk, or make the image smaller.";
    ImageBuildFailed Err1200 true "the image can't be built: {}" "Correct the Dockerfile or what it copies; the message ends with the build's last lines.";
    ImagePullFailed Err1200 false "pulling the image failed: {}" "Read the message; it is the container runtime's own.";

    ArtifactNotFound Err1300 true "{}" "Check model.uri or code.uri; the bucket, folder or object named in the message does not exist.";
    ArtifactEmpty Err1300 true "{}" "The folder or archive named in the message holds nothing; check the uri and upload the files.";
    ArtifactUriInvalid Err1300 true "{}" "Correct the uri; use http://, https://, s3://, azure://, abfss://, gs://, hf://, oci:// or pvc://.";
    ArtifactForbidden Err1300 true "{}" "Give the identity or the credentials the right to read what the message names.";
    ArtifactUnauthenticated Err1300 true "{}" "Correct the credentials in the Secret that credentialsSecretName names.";
    ArtifactCredentialsMissing Err1300 true "{}" "Add the keys that the message names to the Secret, or set credentialsSecretName.";
    ArtifactChecksumMismatch Err1300 true "{}" "The object is damaged or not the one that sha256 describes; upload the right file or correct model.sha256.";
    ArtifactUnpackUnsafe Err1300 true "{}" "A path leaves the artifact's folder or can't be a file, or the archive is none that can be unpacked; rename in the store or pack anew what the message names.";
    ArtifactDiskFull Err1300 true "{}" "The model does not fit the disk that an instance may use; use a node with a larger disk, raise the limit of ephemeral-storage, or use a smaller model.";
    ScoringScriptMissing Err1300 true "{}" "Check codeConfiguration.scoringScript; the message lists the files that are there.";
    ArtifactStoreUnreachable Err1300 false "{}" "Check that pods reach the store named in the message: DNS, network policy, endpoint.";
    ArtifactStoreTls Err1300 false "{}" "Check the store's certificate, or use the right host name.";
    ArtifactStoreThrottled Err1300 false "{}" "The store asks for fewer requests; it is tried again by itself.";
    ArtifactStoreError Err1300 false "{}" "The store failed; it is tried again by itself. Read the message for its own words.";
    ArtifactStalled Err1300 false "{}" "The store named in the message stopped sending; it is tried again by itself. Look at the store and the network to it.";
    ArtifactDownloaderKilled Err1300 false "the storage initializer ended without a report: {}" "It is tried again by itself; look for memory or disk pressure on the node, and give the instances more memory when it was OOMKilled.";
    ArtifactVolumeUnavailable Err1300 false "a volume of the model or the code can't be used: {}" "Create the claim or ConfigMap that the message names, or check its mount and the rights of runAsUser.";

    InstanceTypeNotFound Err2100 true "{}" "Create the InstanceType, or name one that exists (kubectl get instancetypes) or a built-in Azure size.";
    ResourcesExceedInstanceType Err2100 true "{}" "Lower resources, or use a larger instanceType.";
    InsufficientResources Err2100 false "no node has enough free resources: {}" "Add a node that fits, free what others use, or lower resources or instanceCount.";
    NodeSelectorMismatch Err2100 false "no node has the labels that the instanceType asks for: {}" "Label a node as the instanceType's nodeSelector says, add such a node, or use another instanceType; when the message names a taint too, the nodes behind it may be the ones: tolerate it in the instanceType.";
    TaintNotTolerated Err2100 false "every node that is left has a taint that the instanceType does not tolerate: {}" "Add the toleration to the instanceType, remove the taint, or add a node without it.";
    Unschedulable Err2100 false "no node can take the instance: {}" "Read the scheduler's message; add a node that fits, or ask for less.";
    ServiceAccountNotFound Err2100 false "{}" "Create the ServiceAccount that the message names, or name one that exists in the endpoint's spec.identity.";
    PodRejected Err2100 true "the cluster refuses the pod: {}" "An admission rule named in the message refuses it; change what it objects to, or ask for an exception.";
    ContainerConfigInvalid Err2100 true "the container can't be configured: {}" "Create the Secret, ConfigMap or key that the message names, or correct runAsUser.";
    CommandNotFound Err2100 true "the image's command can't be run: {}" "Correct the image's ENTRYPOINT: the file must exist in the image and be executable.";
    VolumeMountFailed Err2100 false "a volume can't be mounted: {}" "Look at the volume that the message names; it is not one of the model or the code, so something in the cluster added it.";
    SandboxFailed Err2100 false "the node can't make the pod's sandbox: {}" "It is tried again by itself; look at the node's container runtime and network plugin.";
    ContainerCreateFailed Err2100 false "the node can't make the container: {}" "Read the message; it is the container runtime's own.";

    UserScriptImportError Err2200 true "the scoring script can't be imported: {}" "Add the missing package to the image, or the missing file to the code, or correct what the script does when it is imported.";
    UserScriptSyntaxError Err2200 true "the scoring script is no valid Python: {}" "Correct the line that the message names, and upload the code again.";
    UserScriptInitFailed Err2200 true "init() of the scoring script failed: {}" "Correct init(), or the model that it loads; the log tail shows where it failed.";
    UserScriptFunctionNotFound Err2200 true "the scoring script lacks a function: {}" "Define init() and run() in the scoring script.";
    OutOfMemory Err2200 true "{}" "Give the instances more memory (resources.limits.memory or a larger instanceType; for a GPU's memory a larger GPU or a smaller batch), or lower WORKER_COUNT.";
    ContainerCrashed Err2200 true "{}" "Read the log of the inference server; correct the code or the environment.";
    ContainerExited Err2200 true "{}" "The container ended by itself without an error; a server must keep running.";
    LivenessProbeFailed Err2200 false "the liveness probe failed and the container was restarted: {}" "Check livenessRoute and the server's log; raise livenessProbe's failureThreshold or timeoutSeconds when the server is only slow.";
    ReadinessProbeFailed Err2200 false "the container runs and does not become ready: {}" "Check readinessRoute and the server's log; raise readinessProbe's failureThreshold or initialDelaySeconds when the server is only slow to start.";
    StartupProbeFailed Err2200 false "the container did not start within the startup probe's time and was restarted: {}" "Check livenessRoute and the server's log; raise startupProbe's failureThreshold when the server is only slow to start.";
    PodEvicted Err2200 false "the node evicted the instance: {}" "Lower what the instance uses of the resource that the message names, or ask for more of it (resources), so that the node keeps it free.";

    OperatorPermissionDenied Err5000 false "{}" "Give the operator's service account the right that the message names, or install the chart again.";
    KubernetesApiUnavailable Err5000 false "{}" "The Kubernetes API does not answer; it is tried again by itself.";
    ReconcilePanicked Err5000 false "{}" "This is a bug in Mooring; report it with the operator's log.";
    RouteRejected Err5000 false "the API server refuses the endpoint's routing table: {}" "Install the chart again, so that operator and EndpointRoute definition are of the same version; else report it as a bug in Mooring.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_reads_and_writes_as_its_name() {
        for reason in Reason::ALL {
            let json = serde_json::to_string(reason).unwrap();
            assert_eq!(json, format!("\"{}\"", reason.as_str()));
            assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), *reason);
        }
    }

    #[test]
    fn every_next_step_is_a_sentence_and_every_message_has_a_place_for_the_facts() {
        for reason in Reason::ALL {
            assert!(reason.next_step().ends_with('.'), "{}", reason.as_str());
            assert_eq!(reason.template().matches("{}").count(), 1, "{}", reason.as_str());
        }
    }

    #[test]
    fn facts_are_taken_as_they_are() {
        assert!(Reason::ImageNotFound.message("{} 100%").ends_with(": {} 100%"));
    }

    #[test]
    fn the_table_is_in_the_order_of_the_stages() {
        assert!(Reason::ALL.is_sorted_by_key(|reason| reason.code()));
    }
}
