//! What the control-plane tests share.

pub mod audit;
pub mod documents;
pub mod kubectl;
pub mod kubelet;
pub mod operator;
pub mod outcomes;
#[path = "../support/place.rs"]
pub mod place;
pub mod proxy;
pub mod schema;
pub mod specs;
pub mod stage;
pub mod state;
#[path = "../support/waits.rs"]
pub mod waits;
#[path = "../support/way.rs"]
pub mod way;
