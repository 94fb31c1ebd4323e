//! What verbs that change something have in common.

use clap::Args;

use super::assignment;
use super::output::Output;
use crate::cli::store::{self, Store};

/// What a file of Azure ML is read with.
#[derive(Args, Clone, Debug, Default)]
pub struct FromAzure {
    /// Image in place of a file's `environment`, for files of az ml.
    #[arg(long, value_name = "IMAGE", requires = "file")]
    pub image: Option<String>,
    /// What a reference to an Azure ML workspace stands for, as in azureml:iris:1=s3://models/iris/; may be repeated.
    #[arg(long, value_name = "REFERENCE=URI", value_parser = assignment, requires = "file")]
    pub asset: Vec<(String, String)>,
    /// Where the models of a file of az ml that are on this machine are uploaded, and code that no `ConfigMap` can hold, as
    /// `s3://BUCKET/PREFIX`, `azure://ACCOUNT/CONTAINER/PREFIX` or `oci://REGISTRY/REPOSITORY`. Verbs that change a cluster
    /// remember it for the context.
    #[arg(long, value_name = "URI", value_parser = store::parse, requires = "file")]
    pub artifact_store: Option<Store>,
}

/// What differs from the file.
#[derive(Args, Clone, Debug, Default)]
pub struct Change {
    /// One field, as in instanceCount=3; may be repeated. Azure's spellings are understood.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
}

/// Whether the end is waited for.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Waiting {
    /// Do not wait for the end.
    #[arg(long)]
    pub no_wait: bool,
}

/// How a change ends.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Ending {
    /// Whether it is waited for.
    #[command(flatten)]
    pub waiting: Waiting,
    /// Print the object in the end, in this form; nothing without it.
    #[arg(short, long, value_enum)]
    pub output: Option<Output>,
}
