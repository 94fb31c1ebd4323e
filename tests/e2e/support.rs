//! What the tests on a whole cluster share.

pub mod cluster;
pub mod documents;
pub mod load;
pub mod scoring;
