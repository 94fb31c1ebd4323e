//! What is the same in every program: logs, signals, health and metrics.

#[cfg(feature = "answer")]
pub mod accept;
#[cfg(feature = "admin")]
pub mod admin;
#[cfg(feature = "answer")]
pub mod answer;
pub mod build;
pub mod cause;
#[cfg(feature = "gateway")]
pub mod descriptors;
#[cfg(any(feature = "operator", feature = "local"))]
pub mod key;
#[cfg(feature = "admin")]
pub mod readiness;
#[cfg(feature = "admin")]
pub mod shutdown;
pub mod telemetry;
#[cfg(feature = "local")]
pub mod tree;
