//! What verbs that change something have in common.

use clap::Args;

use super::assignment;
use super::output::Output;

/// What a file of Azure ML is read with.
#[derive(Args, Clone, Debug, Default)]
pub struct FromAzure {
    /// Image in place of a file's `environment`, for files of az ml.
    #[arg(long, value_name = "IMAGE", requires = "file")]
    pub image: Option<String>,
    /// What a reference to an Azure ML workspace stands for, as in azureml:iris:1=s3://models/iris/; may be repeated.
    #[arg(long, value_name = "REFERENCE=URI", value_parser = assignment, requires = "file")]
    pub asset: Vec<(String, String)>,
}

/// What differs from the file.
#[derive(Args, Clone, Debug, Default)]
pub struct Change {
    /// One field, as in instanceCount=3; may be repeated. Azure's spellings are understood.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
}

/// What only a deployment of this machine has.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "With --local")]
pub struct OnMachine {
    /// GPUs of this machine for each instance: all, or how many.
    #[arg(long, value_name = "NUMBER", num_args = 0..=1, default_missing_value = "all", visible_alias = "local-enable-gpu", value_parser = gpus)]
    pub gpus: Option<String>,
    /// Write a development container beside the code, in which VS Code runs and debugs the scoring script.
    #[arg(long, conflicts_with = "no_wait")]
    pub vscode_debug: bool,
}

/// `all` or a number.
fn gpus(text: &str) -> Result<String, String> {
    match text.parse::<u16>() {
        Ok(count) if count > 0 => Ok(count.to_string()),
        _ if text == "all" => Ok(text.to_owned()),
        _ => Err("it must be all or a number above 0".to_owned()),
    }
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
