//! The only author of status and conditions.

pub mod condition;
pub mod deployment;
pub mod endpoint;
pub mod failure;
pub mod news;
