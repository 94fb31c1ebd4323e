//! How our programs introduce themselves over HTTP.

/// The storage initializer, to stores.
pub const FETCH: &str = concat!("mooring-fetch/", env!("CARGO_PKG_VERSION"));
/// The operator, to the API server.
pub const OPERATOR: &str = concat!("mooring-operator/", env!("CARGO_PKG_VERSION"));
/// The command line, to the API server.
pub const CLI: &str = concat!("mooring/", env!("CARGO_PKG_VERSION"));
/// The gateway, to the API server.
pub const GATEWAY: &str = concat!("mooring-gateway/", env!("CARGO_PKG_VERSION"));
