//! What is looked up: artifacts, instance types, quotas, errors.

use clap::{Args, Subcommand};

use super::output::Output;

/// Verbs of models and of code.
#[derive(Debug, Subcommand)]
pub enum Artifact {
    /// List what the deployments of a namespace use, each once.
    #[command(after_help = "Examples:\n  mooring model list\n  mooring code list -o json")]
    List(ListArtifacts),
    /// Show where one is used, with its uri, digest and size.
    #[command(after_help = "Examples:\n  mooring model show -n iris\n  mooring code show -n iris-score -v 1")]
    Show(ShowArtifact),
}

/// Which artifacts, in which form.
#[derive(Args, Clone, Debug)]
pub struct ListArtifacts {
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Which artifact, in which form.
#[derive(Args, Clone, Debug)]
pub struct ShowArtifact {
    /// Its name.
    #[arg(short, long)]
    pub name: String,
    /// Its version; every one without it.
    #[arg(short, long)]
    pub version: Option<String>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
    pub output: Output,
}

/// Verbs of instance types.
#[derive(Debug, Subcommand)]
pub enum InstanceTypes {
    /// List the instance types of the cluster and those that are built in.
    #[command(after_help = "Example:\n  mooring instance-type list")]
    List(ListArtifacts),
}

/// Verbs of quotas.
#[derive(Debug, Subcommand)]
pub enum Quotas {
    /// Show what a namespace may use and what it uses.
    #[command(after_help = "Example:\n  mooring quota show --namespace team")]
    Show(ListArtifacts),
}

/// An error to be explained.
#[derive(Args, Clone, Debug)]
pub struct Explain {
    /// A code such as `ERR_1200`, a reason such as `ImageNotFound`, or the status of an answer such as 424.
    pub what: String,
}
