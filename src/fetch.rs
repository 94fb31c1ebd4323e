//! The storage initializer: puts the bytes of models and code in place before the inference server starts.
//!
//! One way through for every artifact: [`uri`] says what is meant, [`source`] lists and opens it, [`place`] decides
//! where each file goes, [`transfer`] streams it there through [`verify`], and [`report`] tells how it ended.

pub mod address;
pub mod blocking;
pub mod cache;
pub mod client;
pub mod credentials;
pub mod download;
pub mod failure;
pub mod identity;
pub mod mounted;
pub mod place;
pub mod progress;
pub mod redirect;
pub mod report;
pub mod retry;
pub mod settings;
pub mod source;
pub mod transfer;
pub mod unpack;
pub mod uri;
pub mod verify;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::artifact::{Artifact, ArtifactPlan, ArtifactReport, Delivery, VERSION};
use crate::fetch::cache::Cache;
use crate::fetch::failure::Failure;
use crate::fetch::place::SCRATCH;
use crate::fetch::progress::{Board, Progress};
use crate::fetch::source::Source;
use crate::fetch::transfer::{Location, Order};

/// How patient the storage initializer is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How often a request or a file is tried in all; at least 1.
    pub attempts: usize,
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest wait for the next bytes of an answer.
    pub stall: Duration,
}

/// Files and bytes that were put in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Number of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why a plan can't be followed.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It is not the JSON document that it should be.
    #[error("the artifact plan can't be read")]
    Unreadable(#[source] serde_json::Error),
    /// It was written by a newer operator.
    #[error("the artifact plan has version {found}, but this program knows version {VERSION}")]
    VersionUnknown {
        /// The version in the document.
        found: u32,
    },
}

/// Reads an artifact plan from its JSON `text`.
///
/// # Errors
///
/// When `text` is no plan, or one of a version that this program does not know.
pub fn read_plan(text: &str) -> Result<ArtifactPlan, PlanError> {
    let plan: ArtifactPlan = serde_json::from_str(text).map_err(PlanError::Unreadable)?;
    if plan.version == VERSION { Ok(plan) } else { Err(PlanError::VersionUnknown { found: plan.version }) }
}

/// Puts every artifact of `plan` in place, in order, up to the first that fails, and tells how it went. Meanwhile `board`
/// shows how far it is.
pub async fn run(plan: &ArtifactPlan, patience: Patience, board: &Board) -> ArtifactReport {
    let start = Instant::now();
    let mut placed = Placed::default();
    let cache = plan.cache.as_ref();
    let cache = cache.map(|cache| Cache { directory: Path::new(&cache.directory), most: cache.max_bytes });
    for artifact in &plan.artifacts {
        match put_in_place(artifact, cache, patience, board).await {
            Ok(more) => {
                placed.files += more.files;
                placed.bytes += more.bytes;
            }
            Err(failure) => return report::failed(artifact, &failure, placed, start.elapsed()),
        }
    }
    report::succeeded(placed, start.elapsed())
}

async fn put_in_place(
    artifact: &Artifact,
    cache: Option<Cache<'_>>,
    patience: Patience,
    board: &Board,
) -> Result<Placed, Failure> {
    let kind = artifact.kind.as_str();
    let shown = uri::redact(&artifact.uri);
    match &artifact.delivery {
        Delivery::Mounted { path } => {
            mounted::look(Path::new(path), artifact.required_file.as_deref()).await?;
            tracing::info!("the {kind} of {shown} is mounted at {path}");
            Ok(Placed::default())
        }
        Delivery::Download { directory, folder, scratch } => {
            let credentials = artifact.credentials_directory.as_deref().map(Path::new);
            let source = Source::open(&artifact.uri, credentials, patience).await?;
            tracing::info!("fetching the {kind} from {shown} ({source}) into {directory}");
            let directory = Path::new(directory);
            // Nobody else has to see it once everything is in place.
            let hidden = directory.join(SCRATCH);
            let order = Order {
                uri: &artifact.uri,
                place: Location { directory, scratch: scratch.as_deref().map_or(&hidden, Path::new) },
                folder: *folder,
                sha256: artifact.sha256.as_deref(),
                unpack: artifact.unpack,
                cache,
            };
            let progress = Arc::new(Progress::new(artifact.kind));
            board.show(&progress);
            let work = transfer::download(Arc::new(source), order, Arc::clone(&progress), patience);
            let placed = progress.told_during(work).await?;
            if scratch.is_none() {
                let _ = tokio::fs::remove_dir_all(&hidden).await;
            }
            if let Some(required) = &artifact.required_file {
                place::require(directory, required).await?;
            }
            progress.tell_end(placed);
            Ok(placed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_of_another_version_is_refused() {
        let error = read_plan(r#"{"version": 2, "artifacts": []}"#).unwrap_err();
        assert!(matches!(error, PlanError::VersionUnknown { found: 2 }));
    }

    #[test]
    fn a_plan_that_is_no_json_is_refused() {
        assert!(matches!(read_plan("s3://b/k").unwrap_err(), PlanError::Unreadable(_)));
    }
}
