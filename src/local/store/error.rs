//! Why a verb of local mode fails.

use std::path::PathBuf;

use super::FOLDER_VARIABLE;
use crate::local::development::DevelopmentError;
use crate::local::engine::EngineError;
use crate::local::folder::FolderError;

/// Why a verb of local mode failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file can't be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// There is no container engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It is not known where state belongs.
    #[error("it is not known where to keep the state; set HOME, XDG_STATE_HOME or {FOLDER_VARIABLE}")]
    Homeless,
    /// It can't be developed.
    #[error(transparent)]
    Development(#[from] DevelopmentError),
    /// There is no such object.
    #[error("there is no local {kind} {name:?}; create it first")]
    NotFound {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The document can't be carried out.
    #[error("{field}: {why}")]
    Invalid {
        /// The field, such as `spec.traffic`.
        field: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    Randomness(#[source] getrandom::Error),
    /// The agent does not begin.
    #[error("the local agent of endpoint {endpoint:?} does not begin; its log says:\n{log}")]
    Agent {
        /// The endpoint.
        endpoint: String,
        /// The end of its log.
        log: String,
    },
    /// It is not known where this program is, or where it works.
    #[error("it is not known where this program is")]
    Own(#[source] std::io::Error),
    /// The program of the agents can't be started.
    #[error("{} can't be started; put the mooring-local of the same release into the folder of mooring", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// There is nothing of this name.
pub(super) fn not_found(kind: &'static str, name: &str) -> StoreError {
    StoreError::NotFound { kind, name: name.to_owned() }
}
