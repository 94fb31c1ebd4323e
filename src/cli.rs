//! The command line: endpoints and deployments as data on standard output, all talk on standard error.

pub mod arguments;
pub mod azure;
pub mod command;
mod connect;
mod error;
mod print;
mod table;
mod wire;

pub use error::CliError;
