//! What the tests on a whole cluster share.

pub mod documents;
mod instances;
pub mod load;
#[expect(dead_code, reason = "for the tests of the node's faults, which are to come")]
pub mod node;
#[path = "../support/place.rs"]
pub mod place;
#[expect(dead_code, reason = "for the tests of the node's faults, which are to come")]
pub mod registry;
pub mod scoring;
mod server;
#[expect(dead_code, reason = "for the tests of the node's faults, which are to come")]
pub mod store;
#[path = "../support/waits.rs"]
pub mod waits;
