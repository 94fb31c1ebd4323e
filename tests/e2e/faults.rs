//! Faults of a real node and of what it depends on, a file for each stage: each is brought about, told with its cause
//! and nothing else, and repaired.
//!
//! `support::trial` holds what is checked of every one. A repair is mostly a change of the spec: a new instance waits
//! for no back-off of the kubelet.

mod alone;
mod artifacts;
mod crash;
mod image;
mod quota;
mod start;
