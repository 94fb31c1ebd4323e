//! What the tests on a whole cluster share.

pub mod claim;
pub mod documents;
pub mod evidence;
pub mod history;
pub mod instance_type;
mod instances;
pub mod load;
pub mod node;
#[path = "../support/place.rs"]
pub mod place;
pub mod policy;
pub mod registry;
pub mod scoring;
mod server;
mod states;
pub mod store;
pub mod trial;
#[path = "../fetch/vast.rs"]
#[expect(dead_code, reason = "the tests of mooring-fetch use more of it")]
pub mod vast;
#[path = "../support/waits.rs"]
pub mod waits;
#[path = "../support/way.rs"]
pub mod way;
