//! The documents between the operator and the storage initializer: the plan that it gets in an environment
//! variable, the progress that it serves, and the report that it leaves in its termination message.

use serde::{Deserialize, Serialize};

use crate::catalogue::Reason;

/// The environment variable that holds the [`ArtifactPlan`] as JSON.
pub const PLAN_VARIABLE: &str = "MOORING_ARTIFACT_PLAN";

/// The version of all documents that this program writes.
pub const VERSION: u32 = 1;

/// Longest report, in bytes: what Kubernetes keeps of a termination message.
pub const MAX_REPORT_BYTES: usize = 4096;

/// The port of the pod where the storage initializer serves its [`DownloadProgress`].
pub const PROGRESS_PORT: u16 = 8089;

/// The environment variable that says where it serves it, as in `[::]:8089`.
pub const PROGRESS_VARIABLE: &str = "MOORING_FETCH_PROGRESS";

/// The path there.
pub const PROGRESS_PATH: &str = "/progress";

/// What the storage initializer has to put in place before the inference server starts.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactPlan {
    /// Version of this document.
    pub version: u32,
    /// What to fetch, in this order.
    pub artifacts: Vec<Artifact>,
    /// Where downloads are shared with other instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CachePlace>,
}

/// A folder of shared downloads.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CachePlace {
    /// The absolute directory, which is there.
    pub directory: String,
    /// Bytes that it may hold; as much as its disk has without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

/// One artifact: a model or the scoring code.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// What it is to the user.
    pub kind: ArtifactKind,
    /// Where it comes from, as the user wrote it.
    pub uri: String,
    /// How it gets to its place.
    pub delivery: Delivery,
    /// SHA-256 that a single object must have, in lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Whether it is an archive, whose content shall lie directly in the directory instead of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpack: bool,
    /// The folder where the Secret with the credentials is mounted: one file for each key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_directory: Option<String>,
    /// A file that must be there in the end, relative to the directory of the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_file: Option<String>,
}

/// How an artifact gets to its place.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    /// Downloaded into this directory (absolute). A single object keeps its file name; a folder becomes the
    /// sub-folder that `folder` says.
    #[serde(rename_all = "camelCase")]
    Download {
        /// The absolute directory.
        directory: String,
        /// Where the content of a folder goes below `directory`.
        folder: FolderPlacement,
        /// The absolute directory, on the same filesystem, for files on their way and for what a second run has to
        /// know. Default: a hidden folder in `directory`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scratch: Option<String>,
    },
    /// Mounted here already by Kubernetes (absolute path of a file or folder): only looked at, never copied.
    #[serde(rename_all = "camelCase")]
    Mounted {
        /// The absolute path.
        path: String,
    },
}

/// Where the content of a folder goes.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum FolderPlacement {
    /// Into a sub-folder named as the last segment of the uri's path, as Azure ML places folder models.
    SubFolder,
    /// Directly into the directory, as Azure ML places code.
    Direct,
}

/// What an artifact is to the user.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactKind {
    /// The model's files.
    Model,
    /// The scoring code.
    Code,
}

impl ArtifactKind {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Code => "code",
        }
    }
}

/// How far the storage initializer is with the artifact that it downloads; `GET` [`PROGRESS_PATH`] at [`PROGRESS_PORT`].
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DownloadProgress {
    /// Version of this document.
    pub version: u32,
    /// The artifact that is being put in place.
    pub artifact: ArtifactKind,
    /// Bytes in place, those of an earlier run included.
    pub bytes_done: u64,
    /// Bytes that there are, once the stores have said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    /// Bytes that arrived per second, lately.
    pub bytes_per_second: u64,
    /// Seconds that the rest takes at that rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_seconds: Option<u64>,
    /// The file that is being written, relative to the directory of the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_file: Option<String>,
}

/// How the storage initializer ended, as one JSON document of at most [`MAX_REPORT_BYTES`].
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactReport {
    /// Version of this document.
    pub version: u32,
    /// Whether everything is in place.
    pub outcome: Outcome,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The artifact that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ArtifactKind>,
    /// Its uri without credentials, signatures and query values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The store's HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The store's own error code, as `NoSuchKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_code: Option<String>,
    /// The facts, for people; never a secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Bytes put in place.
    pub bytes: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// Files put in place.
    pub files: u64,
}

/// Whether the storage initializer put everything in place.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Everything is in place.
    Succeeded,
    /// Something is missing.
    Failed,
}
