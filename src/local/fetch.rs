//! The storage initializer of local mode: `mooring-fetch`'s own engine, as a child process of the agent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::folder;
use crate::api::artifact::{ArtifactPlan, ArtifactReport};
use crate::fetch::progress::Board;
use crate::fetch::{self, Patience, report};

/// The verb of `mooring-local` that runs it.
pub const VERB: &str = "fetch";
/// Patience, as `mooring-fetch` has it by default.
const PATIENCE: Patience = Patience { attempts: 5, connect: Duration::from_secs(10), stall: Duration::from_secs(10) };
/// Time between two writings of the progress.
const TICK: Duration = Duration::from_millis(500);

/// The files of one fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desk(PathBuf);

impl Desk {
    /// The files in this folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What to fetch. In a file, since a uri may hold a signature and arguments can be seen by all.
    #[must_use]
    pub fn plan(&self) -> PathBuf {
        self.0.join("plan.json")
    }

    /// How it ended.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.0.join("report.json")
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> PathBuf {
        self.0.join("progress.json")
    }
}

/// Follows the plan in a folder, and leaves the report there. Returns the exit code.
pub async fn run(folder: &Path) -> u8 {
    // An agent that is killed is followed by one that fetches the same.
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)) {
        tracing::warn!(%error, "this process may outlive its agent");
    }
    let desk = Desk::new(folder.to_owned());
    let text = folder::text(&desk.plan()).ok().flatten().unwrap_or_default();
    let report = match fetch::read_plan(&text) {
        Ok(plan) => follow(&plan, &desk).await,
        Err(error) => report::without_plan(&error),
    };
    report::tell(&report);
    if let Err(error) = report::write(&report, Some(&desk.report())) {
        tracing::error!("can't write the report: {error}");
    }
    report::exit_code(&report)
}

async fn follow(plan: &ArtifactPlan, desk: &Desk) -> ArtifactReport {
    let board = Board::default();
    let mut work = std::pin::pin!(fetch::run(plan, PATIENCE, &board));
    loop {
        tokio::select! {
            report = &mut work => return report,
            () = tokio::time::sleep(TICK) => {
                if let Some(document) = board.document() {
                    // Nobody needs it to fetch.
                    let _ = folder::write_json(&desk.progress(), &document);
                }
            }
        }
    }
}
