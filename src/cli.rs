//! The command line: endpoints and deployments as data on standard output, all talk on standard error.

mod alike;
pub mod arguments;
pub mod azure;
pub mod called;
mod code_map;
pub mod command;
pub mod complete;
mod connect;
mod dockerfile;
mod documents;
mod error;
mod face;
mod field;
mod follow;
mod input;
mod machine;
mod man;
mod on_machine;
mod parcel;
mod print;
mod remembered;
mod schema;
mod store;
mod table;
pub mod talk;
mod target;
mod upload;
mod wire;

pub use error::CliError;

/// A text without line breaks.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
