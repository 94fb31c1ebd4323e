//! Local mode against a real container engine: `DOCKER_HOST=$(tests/local/engine up) cargo test --test local`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod faults;
mod life;
mod support;
