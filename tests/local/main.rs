//! Local mode against a real container engine: `DOCKER_HOST=$(tests/local/engine up) cargo test --test local`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]
#![expect(clippy::needless_pass_by_value, reason = "documents are written where they are passed")]

mod faults;
mod gateway;
mod life;
mod support;
mod verbs;

// The command line, run as its own tests run it.
#[path = "../support/place.rs"]
#[expect(dead_code, reason = "a cluster is not spoken to")]
mod place;
#[path = "../cli/program.rs"]
#[expect(dead_code, reason = "a cluster is not spoken to")]
mod program;
