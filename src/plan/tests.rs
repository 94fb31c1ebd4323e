//! Whole plans: what is wanted and seen → changes and status.

mod deployment;
mod endpoint;
mod example;
