//! What is converted.

use std::path::PathBuf;

use clap::Args;

use super::assignment;
use super::change::FromAzure;
use super::output::Document;

/// A file to be converted.
#[derive(Args, Clone, Debug)]
pub struct Convert {
    /// The file, ours or of az ml; `-` is standard input.
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Name of the deployment in its endpoint; outranks that of the file.
    #[arg(short, long)]
    pub name: Option<String>,
    /// Name of the endpoint; outranks that of the file.
    #[arg(short, long, value_name = "NAME")]
    pub endpoint_name: Option<String>,
    /// What a file of Azure ML is read with.
    #[command(flatten)]
    pub azure: FromAzure,
    /// One field of each deployment, as in instanceCount=3; may be repeated.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Document::Yaml)]
    pub output: Document,
}
