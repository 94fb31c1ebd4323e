//! Whole plans: what is wanted and seen → changes and status.

mod admission;
mod benign;
mod cache;
mod corpus;
mod deployment;
mod download;
mod endpoint;
mod example;
mod identity;
mod orders;
mod redaction;
mod rules;
mod world;
