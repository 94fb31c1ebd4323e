//! What the tests on a whole cluster share.

pub mod documents;
mod instances;
pub mod load;
#[path = "../support/place.rs"]
pub mod place;
pub mod scoring;
#[path = "../support/waits.rs"]
pub mod waits;
