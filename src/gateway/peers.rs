//! Limits that hold over all replicas of the gateway together.

pub mod message;
pub mod replica;
pub mod view;

#[cfg(test)]
mod simulation;
