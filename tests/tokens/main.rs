//! Tokens at the gateway's door: the real gateway, a real API server, and tokens that it has made.
//!
//! `tests/run it` starts the control plane, applies the definitions and sets the variables that are read here.

#![expect(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test ends by a panic, its helpers too")]

mod api_server;
mod door;
mod flood;
mod outage;
mod rights;
mod stage;
mod token;

#[path = "../support/place.rs"]
mod place;

// The gateway of the gateway's own tests.
#[path = "../gateway/documents.rs"]
#[expect(dead_code, reason = "the gateway's tests use all of it")]
mod documents;
#[path = "../gateway/process.rs"]
#[expect(dead_code, reason = "the gateway's tests use all of it")]
mod process;
#[path = "../gateway/wire.rs"]
#[expect(dead_code, reason = "the gateway's tests use all of it")]
mod wire;
