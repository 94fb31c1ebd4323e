//! Tests on a whole cluster: real kubelet, real registry, real inference server, our images by our chart.
//!
//! `tests/run e2e` starts everything and sets the variables that `support::cluster` reads.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod admission;
mod alike;
mod benign;
mod callers;
mod download;
mod faults;
mod local;
mod outage;
mod redaction;
mod rollout;
mod sample;
mod support;
mod terminal;
mod traffic;

// The command line, run as its own tests run it.
#[path = "../cli/program.rs"]
#[expect(dead_code, reason = "the tests of the command line use more of it")]
mod program;
use support::place;
