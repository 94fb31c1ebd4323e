//! How much is told.

use clap::Args;

/// How much is told on standard error.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Talk")]
pub struct Talk {
    /// Tell failures alone: no progress, no notes.
    #[arg(long, global = true)]
    pub only_show_errors: bool,
    /// Tell each question to the cluster, and how long its answer took.
    #[arg(long, global = true)]
    pub verbose: bool,
    /// Tell each HTTP request too, without what it is signed with.
    #[arg(long, global = true)]
    pub debug: bool,
}
