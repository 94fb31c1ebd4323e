//! Forms of the output.

use clap::ValueEnum;

/// Form of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Diagnosis {
    /// Columns for people.
    Table,
    /// For programs.
    Json,
}

/// Form of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// For programs.
    Json,
    /// For people and files.
    Yaml,
    /// Names alone, a line each.
    Name,
}

/// Form of what is no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// For programs.
    Json,
    /// For people and files.
    Yaml,
}
