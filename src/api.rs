//! What a user may say: the custom resources and the documents between our programs.
//!
//! Knows `catalogue` alone: no clock, no client, no environment.

pub mod artifact;
#[cfg(feature = "resources")]
pub mod compute_quota;
#[cfg(feature = "resources")]
pub mod condition;
#[cfg(feature = "resources")]
pub mod deployment;
#[cfg(feature = "resources")]
pub mod endpoint;
#[cfg(feature = "resources")]
pub mod endpoint_route;
#[cfg(feature = "resources")]
pub mod http_route;
#[cfg(feature = "resources")]
pub mod instance_type;
#[cfg(feature = "resources")]
pub mod label;
#[cfg(feature = "resources")]
pub mod name;
pub mod size;
#[cfg(feature = "resources")]
pub mod units;
