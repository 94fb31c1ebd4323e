//! Mooring: managed online endpoints for any Kubernetes cluster.
//!
//! Each room answers one question, and a line of code is found by asking *which verb is it?*
//!
//! | room | verb | may use |
//! |---|---|---|
//! | [`catalogue`] | names a failure | – |
//! | [`api`] | says what a user may write | catalogue |
//! | [`process`] | is the same in every program | – |
//! | [`plan`] | decides, purely | api, catalogue |
//! | [`operator`] | touches the API server | plan, webhook, api, catalogue, process |
//! | [`webhook`] | answers the API server | plan, api, catalogue, process |
//! | [`gateway`] | touches a scoring request | api, catalogue, process |
//! | [`fetch`] | touches a model's bytes | api, catalogue, process |
//! | [`local`] | touches a container engine | plan, gateway, fetch, api, catalogue, process |
//! | [`cli`] | touches a terminal | local, fetch, plan, api, catalogue, process |
//!
//! `tests/rooms.rs` reads the sources and fails when a room uses one that it must not know.

pub mod api;
pub mod catalogue;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "fetch")]
pub mod fetch;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "local")]
pub mod local;
#[cfg(feature = "operator")]
pub mod operator;
#[cfg(feature = "plan")]
pub mod plan;
pub mod process;
#[cfg(feature = "operator")]
pub mod webhook;
