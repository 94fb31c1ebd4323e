//! The control-plane layer: the real operator against a real API server and its controllers; the tests play the kubelet.
//!
//! `tests/run it` starts the control plane, applies the definitions and sets the variables that `support` reads.

#![expect(clippy::too_many_lines, reason = "tables of cases")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod api;
mod conflicts;
mod counts;
mod crash;
mod download;
mod faults;
mod gitops;
mod identity;
mod ingress;
mod keys;
mod kubectl;
mod lease;
mod lifecycle;
mod news;
mod quota;
mod rights;
mod rollout;
mod support;
mod webhook;
