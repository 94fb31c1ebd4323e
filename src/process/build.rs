//! What this program is.

/// Version of the package, as `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How our HTTP requests introduce themselves.
pub const USER_AGENT: &str = concat!("mooring/", env!("CARGO_PKG_VERSION"));
