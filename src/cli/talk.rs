//! Talk on standard error, in the words by which the program was called.

use std::fmt::Arguments;
use std::io::Write;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::fmt::time::uptime;

use super::arguments::talk::Talk;
use super::called::Called;

/// What `--verbose` tells: the questions to the cluster.
const QUESTIONS: &str = "mooring_operator::cli=info";
/// What `--debug` tells: the requests too, of which this one module logs method, address and status. Others log bodies when
/// they can't be read, and a body may be a Secret.
const REQUESTS: &str = "mooring_operator::cli=debug,kube_client::client::builder=debug";

/// How this process talks; fixed at its beginning.
static MANNER: OnceLock<Manner> = OnceLock::new();

/// How a process talks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// What it was called as.
    pub called: Called,
    /// Whether only what failed is told, as az has it.
    pub only_errors: bool,
}

/// Fixes how this process talks; the first word counts.
pub fn begin(manner: Manner) {
    // A second call is no error: only tests call twice.
    let _ = MANNER.set(manner);
}

/// Starts the log that was asked for.
pub fn log(talk: Talk) {
    let (filter, spans) = match talk {
        Talk { debug: true, .. } => (REQUESTS, FmtSpan::CLOSE),
        Talk { verbose: true, .. } => (QUESTIONS, FmtSpan::NONE),
        _ => return,
    };
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(std::io::stderr);
    // A second call keeps the first log: only tests call twice.
    let _ = log.with_timer(uptime()).with_span_events(spans).with_target(false).with_ansi(false).try_init();
}

fn manner() -> Manner {
    MANNER.get().copied().unwrap_or_default()
}

/// What the program was called as.
pub(super) fn called() -> Called {
    manner().called
}

/// Whether more than failures is told.
pub(super) fn is_welcome() -> bool {
    !manner().only_errors
}

/// Says a line, where not only errors are told.
pub(super) fn say_line(words: Arguments<'_>) {
    if is_welcome() {
        tell_line(words);
    }
}

/// Says a line that belongs to a failure, or that was asked for.
pub(super) fn tell_line(words: Arguments<'_>) {
    // Whoever has closed standard error does not want to hear of it.
    let _ = writeln!(std::io::stderr(), "{}", manner().called.rewrite(&words.to_string()));
}

/// Says a line of progress, or what else is only for who watches.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::talk::say_line(format_args!($($words)*)) };
}

/// Says a line of a failure, or one that was asked for.
macro_rules! tell {
    ($($words:tt)*) => { $crate::cli::talk::tell_line(format_args!($($words)*)) };
}

pub(super) use {say, tell};
