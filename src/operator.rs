//! The imperative shell: observe → plan → act → tell, for each object.

mod act;
mod backoff;
mod cache;
pub mod crds;
mod deployment;
mod download;
mod endpoint;
mod evidence;
mod metrics;
mod observe;
mod pass;
pub mod peer_secret;
mod quota;
pub mod run;
mod tell;
mod trigger;
mod watch;
