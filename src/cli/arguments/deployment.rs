//! Verbs of a deployment.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::assignment;
use super::change::{Change, Ending, FromAzure, OnMachine, Waiting};
use super::output::Output;

/// Verbs of a deployment.
#[derive(Debug, Subcommand)]
pub enum Deployment {
    /// Create a deployment from a file, and wait until it serves.
    ///
    /// Ctrl-C ends the waiting, not the work.
    #[command(after_help = "Examples:
  mooring deployment create -f blue.yaml --all-traffic
  mooring deployment create -f blue.yaml -n green --set environment.image=registry/iris:2
  mooring deployment create -f blue.yaml --no-wait")]
    Create(CreateDeployment),
    /// Change a deployment: its spec as a whole by a file, or single fields with --set.
    #[command(after_help = "Examples:
  mooring deployment update -f blue.yaml
  mooring deployment update -e iris -n blue --set instanceCount=3 --set requestSettings.requestTimeoutMs=10000")]
    Update(UpdateDeployment),
    /// Delete a deployment.
    #[command(after_help = "Example:\n  mooring deployment delete -e iris -n blue --yes")]
    Delete(DeleteDeployment),
    /// List the deployments of a namespace.
    #[command(after_help = "Example:\n  mooring deployment list --endpoint-name iris")]
    List(ListDeployments),
    /// Show a deployment with its status.
    #[command(after_help = "Examples:
  mooring deployment show -e iris -n blue
  mooring deployment show -n iris-blue -o json")]
    Show(ShowDeployment),
    /// Change the number of instances.
    #[command(after_help = "Example:\n  mooring deployment scale -e iris -n blue --instance-count 3")]
    Scale(Scale),
    /// Replace every instance by a new one, one after the other, without an end of service.
    #[command(after_help = "Example:\n  mooring deployment restart -e iris -n blue")]
    Restart(Restart),
    /// How a change of a deployment goes.
    #[command(subcommand, after_help = "Example:\n  mooring deployment rollout status -e iris -n blue")]
    Rollout(Rollout),
    /// Print the state, the events and the log of an instance.
    #[command(after_help = "Examples:
  mooring deployment get-logs -e iris -n blue --lines 100
  mooring deployment get-logs -e iris -n blue --container storage-initializer
  mooring deployment get-logs -n iris-blue --follow")]
    GetLogs(GetLogs),
}

/// A new deployment.
#[derive(Args, Clone, Debug)]
pub struct CreateDeployment {
    /// The file; `-` is standard input.
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Name of the deployment in its endpoint; outranks that of the file.
    #[arg(short, long)]
    pub name: Option<String>,
    /// Name of the endpoint; outranks that of the file.
    #[arg(short, long, value_name = "NAME")]
    pub endpoint_name: Option<String>,
    /// Give it all of the endpoint's traffic once it serves.
    #[arg(long)]
    pub all_traffic: bool,
    /// What differs from the file.
    #[command(flatten)]
    pub change: Change,
    /// What a file of Azure ML is read with.
    #[command(flatten)]
    pub azure: FromAzure,
    /// What only a deployment of this machine has.
    #[command(flatten)]
    pub on_machine: OnMachine,
    /// How it ends.
    #[command(flatten)]
    pub ending: Ending,
}

/// A change of a deployment.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
pub struct UpdateDeployment {
    /// Name of the deployment in its endpoint, which outranks that of the file; without --endpoint-name and file, of the
    /// `OnlineDeployment` object.
    #[arg(short, long, required_unless_present = "file")]
    pub name: Option<String>,
    /// Name of the endpoint; outranks that of the file.
    #[arg(short, long, value_name = "NAME")]
    pub endpoint_name: Option<String>,
    /// The file with the whole spec; `-` is standard input.
    #[arg(short, long, value_name = "FILE", group = "what")]
    pub file: Option<PathBuf>,
    /// One field, as in instanceCount=3; may be repeated. Azure's spellings are understood.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = assignment, group = "what")]
    pub set: Vec<(String, String)>,
    /// What a file of Azure ML is read with.
    #[command(flatten)]
    pub azure: FromAzure,
    /// What only a deployment of this machine has.
    #[command(flatten)]
    pub on_machine: OnMachine,
    /// How it ends.
    #[command(flatten)]
    pub ending: Ending,
}

/// The end of a deployment.
#[derive(Args, Clone, Debug)]
pub struct DeleteDeployment {
    /// The deployment.
    #[command(flatten)]
    pub deployment: DeploymentName,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    /// Whether the end is waited for.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// A number of instances.
#[derive(Args, Clone, Debug)]
pub struct Scale {
    /// The deployment.
    #[command(flatten)]
    pub deployment: DeploymentName,
    /// Instances.
    #[arg(short, long, visible_alias = "replicas", value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..=50))]
    pub instance_count: i32,
    /// How it ends.
    #[command(flatten)]
    pub ending: Ending,
}

/// New instances.
#[derive(Args, Clone, Debug)]
pub struct Restart {
    /// The deployment.
    #[command(flatten)]
    pub deployment: DeploymentName,
    /// How it ends.
    #[command(flatten)]
    pub ending: Ending,
}

/// How a change goes.
#[derive(Debug, Subcommand)]
pub enum Rollout {
    /// Wait until a deployment serves as asked, or has failed.
    #[command(after_help = "Examples:
  mooring deployment rollout status -e iris -n blue
  mooring deployment rollout status -n iris-blue --timeout 600")]
    Status(RolloutStatus),
}

/// Which deployment.
#[derive(Args, Clone, Debug)]
pub struct RolloutStatus {
    /// The deployment.
    #[command(flatten)]
    pub deployment: DeploymentName,
}

/// Which deployments, in which form.
#[derive(Args, Clone, Debug)]
pub struct ListDeployments {
    /// Those of this endpoint alone.
    #[arg(short, long, value_name = "NAME")]
    pub endpoint_name: Option<String>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Which deployment, in which form.
#[derive(Args, Clone, Debug)]
pub struct ShowDeployment {
    /// The deployment.
    #[command(flatten)]
    pub deployment: DeploymentName,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
    pub output: Output,
}

/// Names a deployment.
#[derive(Args, Clone, Debug)]
pub struct DeploymentName {
    /// Name of the deployment in the endpoint; without --endpoint-name, of the `OnlineDeployment` object.
    #[arg(short, long)]
    pub name: String,
    /// Name of the endpoint.
    #[arg(short, long, value_name = "NAME")]
    pub endpoint_name: Option<String>,
}

/// The log of which deployment.
#[derive(Args, Clone, Debug)]
pub struct GetLogs {
    /// The deployment.
    #[command(flatten)]
    pub deployment: DeploymentName,
    /// Which log.
    #[command(flatten)]
    pub logs: Logs,
}

/// Which log.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct Logs {
    /// Lines from the end.
    #[arg(short, long, visible_alias = "tail", value_name = "NUMBER", default_value_t = 100,
          value_parser = clap::value_parser!(i64).range(0..))]
    pub lines: i64,
    /// The container.
    #[arg(short, long, value_enum, default_value_t = Container::InferenceServer)]
    pub container: Container,
    /// The instance, a pod; the newest without it.
    #[arg(long, value_name = "POD", conflicts_with = "all_instances")]
    pub instance: Option<String>,
    /// Every instance; each line begins with its name.
    #[arg(long)]
    pub all_instances: bool,
    /// Begin each line with its time.
    #[arg(long)]
    pub timestamps: bool,
    /// The log before the container's last restart.
    #[arg(long, conflicts_with = "follow")]
    pub previous: bool,
    /// Go on printing what is logged from now on.
    #[arg(short, long)]
    pub follow: bool,
}

/// A container of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Container {
    /// The server with the model.
    InferenceServer,
    /// What fetches model and code before it.
    StorageInitializer,
}

impl Container {
    /// Its name in the pod.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InferenceServer => "inference-server",
            Self::StorageInitializer => "storage-initializer",
        }
    }
}
