//! The imperative shell: observe → plan → act → tell, for each object.

mod act;
pub mod admission;
mod backoff;
mod cache;
mod claim;
pub mod crds;
mod denial;
mod deployment;
mod download;
mod endpoint;
mod evidence;
pub mod lease;
mod metrics;
mod observe;
mod pass;
mod peer_secret;
pub mod place;
mod quota;
mod rights;
pub mod run;
mod tell;
mod trigger;
mod watch;
pub mod webhook_arguments;
