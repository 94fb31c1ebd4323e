//! Whole plans: what is wanted and seen → changes and status.

mod benign;
mod corpus;
mod deployment;
mod endpoint;
mod example;
mod orders;
mod redaction;
mod rules;
mod world;
