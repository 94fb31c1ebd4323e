//! Every failure that a user can see: its code, its cause and what a person does now. One table.

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

/// One row for each cause: variant, code, whether only a change by somebody helps, and what a person does now.
macro_rules! catalogue {
    ($($reason:ident $code:ident $is_final:literal $next_step:literal;)+) => {
        /// A cause of failure. Stable: never reused or renamed.
        #[expect(clippy::doc_markdown, reason = "the next steps are written for terminals and status messages")]
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

            /// What a person does now.
            #[must_use]
            pub const fn next_step(self) -> &'static str {
                match self { $(Self::$reason => $next_step,)+ }
            }
        }
    };
}

catalogue! {
    OutOfResourceQuota Err1100 false "Delete deployments that are not needed, lower instanceCount or resources, or ask for a larger ResourceQuota.";

    ImageNotFound Err1200 true "Check the name, tag or digest in environment.image and push the image; the deployment heals once it is there.";
    ImagePullUnauthorized Err1200 true "Name a Secret with the registry's credentials in environment.imagePullSecretNames, or let the identity pull from the registry.";
    ImageRegistryUnreachable Err1200 false "Check that the nodes reach the registry named in environment.image: DNS, network policy, proxy.";
    ImageNameInvalid Err1200 true "Correct environment.image; it must look like registry/name:tag or registry/name@sha256:digest.";
    ImagePullFailed Err1200 false "Read the message; it is the container runtime's own.";

    ArtifactNotFound Err1300 true "Check model.uri or code.uri; the bucket, folder or object named in the message does not exist.";
    ArtifactEmpty Err1300 true "The folder named in the message holds nothing; check the uri and upload the files.";
    ArtifactUriInvalid Err1300 true "Correct the uri; use http://, https://, s3:// or pvc://.";
    ArtifactForbidden Err1300 true "Give the identity or the credentials the right to read what the message names.";
    ArtifactUnauthenticated Err1300 true "Correct the credentials in the Secret that credentialsSecretName names.";
    ArtifactCredentialsMissing Err1300 true "Add the keys that the message names to the Secret, or set credentialsSecretName.";
    ArtifactChecksumMismatch Err1300 true "The object is not the one that sha256 describes; correct model.sha256 or upload the right file.";
    ArtifactUnpackUnsafe Err1300 true "The path that the message names leaves the artifact's folder or can't be a file; rename it in the store.";
    ArtifactDiskFull Err1300 true "The model does not fit the node's disk; use a larger node or a smaller model.";
    ScoringScriptMissing Err1300 true "Check codeConfiguration.scoringScript; the message lists the files that are there.";
    ArtifactStoreUnreachable Err1300 false "Check that pods reach the store named in the message: DNS, network policy, endpoint.";
    ArtifactStoreTls Err1300 false "Check the store's certificate, or use the right host name.";
    ArtifactStoreThrottled Err1300 false "The store asks for fewer requests; it is tried again by itself.";
    ArtifactStoreError Err1300 false "The store failed; it is tried again by itself. Read the message for its own words.";
    ArtifactStalled Err1300 false "The store named in the message stopped sending; it is tried again by itself. Look at the store and the network to it.";
    ArtifactVolumeUnavailable Err1300 false "Check the volume that the message names: its claim, its mount and the rights of runAsUser.";
    ArtifactDownloaderKilled Err1300 false "The storage initializer was killed; look for memory or disk pressure on the node.";

    InstanceTypeNotFound Err2100 true "Create the InstanceType, or name one that exists (kubectl get instancetypes).";
    ResourcesExceedInstanceType Err2100 true "Lower resources, or use a larger instanceType.";
    Unschedulable Err2100 false "Read the scheduler's message; add a node that fits, or ask for less.";
    PodRejected Err2100 true "An admission rule of the cluster refuses the pod; the message names it.";
    ContainerConfigInvalid Err2100 true "Create the Secret, ConfigMap or key that the message names, or correct runAsUser.";
    CommandNotFound Err2100 true "The image can't be started as it is; check its entry point and platform.";
    ContainerCreateFailed Err2100 false "Read the message; it is the container runtime's own.";

    OutOfMemory Err2200 true "Give the instances more memory (resources.limits.memory or a larger instanceType), or lower WORKER_COUNT.";
    ContainerCrashed Err2200 true "Read the log of the inference server; correct the code or the environment.";
    ContainerExited Err2200 true "The container ended by itself without an error; a server must keep running.";

    OperatorPermissionDenied Err5000 false "Give the operator's service account the right that the message names, or install the chart again.";
    KubernetesApiUnavailable Err5000 false "The Kubernetes API does not answer; it is tried again by itself.";
    ReconcilePanicked Err5000 false "This is a bug in Mooring; report it with the operator's log.";
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
    fn every_next_step_is_a_sentence() {
        for reason in Reason::ALL {
            assert!(reason.next_step().ends_with('.'), "{}", reason.as_str());
        }
    }
}
