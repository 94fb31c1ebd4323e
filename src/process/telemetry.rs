//! Logs on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, for log stores.
    Json,
}

/// Starts the log. `filter` has the syntax of `RUST_LOG` (`info,mooring_operator=debug`); an unreadable filter
/// falls back to `info` and says so.
pub fn init(format: Format, filter: &str) {
    let (filter, unreadable) = match EnvFilter::try_new(filter) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call keeps the first log: only tests call twice.
    let _ = match format {
        Format::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Some(error) = unreadable {
        tracing::warn!(%error, "the log filter can't be read; using info");
    }
}
