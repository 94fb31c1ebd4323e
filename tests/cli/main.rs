//! The command line as a process: its words, and what it does with a real API server and a real gateway.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod azure;
mod cluster;
mod doctor;
mod help;
mod plugin;
mod program;
#[cfg(feature = "gateway")]
mod scoring;
mod tokens;
mod upload;
mod verbs;

#[path = "../support/place.rs"]
mod place;

// A real store of the storage initializer's own tests.
#[expect(dead_code, clippy::expect_used, reason = "the storage initializer's tests use all of it")]
#[path = "../fetch/store.rs"]
mod store;

// The gateway of the gateway's own tests, and their models.
#[cfg(feature = "gateway")]
#[path = "../gateway/documents.rs"]
mod documents;
#[cfg(feature = "gateway")]
#[expect(dead_code, clippy::expect_used, reason = "the gateway's tests use all of it")]
#[path = "../gateway/model.rs"]
mod model;
#[cfg(feature = "gateway")]
#[expect(dead_code, reason = "the gateway's tests use all of it")]
#[path = "../gateway/process.rs"]
mod process;
#[cfg(feature = "gateway")]
#[expect(dead_code, clippy::expect_used, reason = "the gateway's tests use all of it")]
#[path = "../gateway/wire.rs"]
mod wire;
