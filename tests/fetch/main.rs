//! The real program against real stores: files, report, exit code, and no secret anywhere.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test ends by a panic, its helpers too")]

mod archive;
mod azure;
mod cache;
mod gcs;
mod hf;
mod hostile;
mod http;
mod mounted;
mod nginx;
mod oci;
mod program;
mod progress;
mod redirects;
mod resume;
mod s3;
mod s3_identity;
mod shelf;
mod store;
mod unpack;
#[cfg(feature = "cli")]
mod upload;
mod vast;
mod web;
