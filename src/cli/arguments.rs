//! What may be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Managed online endpoints, from the terminal.
#[derive(Debug, Parser)]
#[command(
    name = "mooring",
    version,
    after_help = "Examples:
  mooring endpoint list
  mooring endpoint invoke -n iris --request-file request.json
  mooring deployment get-logs -n iris-blue --lines 100

Exit codes: 0 done, 1 failed, 2 usage, 3 not found."
)]
pub struct Arguments {
    /// What to reach the cluster with.
    #[command(flatten)]
    pub cluster: Cluster,
    /// The verb.
    #[command(subcommand)]
    pub command: Command,
}

/// What to reach the cluster with; as kubectl has it.
#[derive(Args, Clone, Debug, Default)]
pub struct Cluster {
    /// Context of the kubeconfig.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// Namespace; that of the context without it.
    #[arg(long, global = true)]
    pub namespace: Option<String>,
}

/// What is asked for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Endpoints: stable URIs with keys and a traffic rule.
    #[command(subcommand, alias = "online-endpoint")]
    Endpoint(Endpoint),
    /// Deployments: a model, its code and its environment behind an endpoint.
    #[command(subcommand, alias = "online-deployment")]
    Deployment(Deployment),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  mooring completion bash > /etc/bash_completion.d/mooring")]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Verbs of an endpoint.
#[derive(Debug, Subcommand)]
pub enum Endpoint {
    /// List the endpoints of a namespace.
    #[command(after_help = "Example:\n  mooring endpoint list --namespace team -o json")]
    List(List),
    /// Show an endpoint with its status.
    #[command(after_help = "Example:\n  mooring endpoint show -n iris -o yaml")]
    Show(Show),
    /// Print the keys of an endpoint.
    #[command(after_help = "Example:\n  mooring endpoint get-credentials -n iris -o json | jq -r .primaryKey")]
    GetCredentials(Show),
    /// Send a scoring request with the endpoint's key, through a gateway of the cluster.
    #[command(
        after_help = "Example:\n  echo '{\"data\": [[5.1, 3.5, 1.4, 0.2]]}' | mooring endpoint invoke -n iris --request-file -"
    )]
    Invoke(Invoke),
}

/// Verbs of a deployment.
#[derive(Debug, Subcommand)]
pub enum Deployment {
    /// List the deployments of a namespace.
    #[command(after_help = "Example:\n  mooring deployment list")]
    List(List),
    /// Show a deployment with its status.
    #[command(after_help = "Example:\n  mooring deployment show -n iris-blue -o yaml")]
    Show(Show),
    /// Print the log of the inference server or of the storage initializer.
    #[command(
        after_help = "Example:\n  mooring deployment get-logs -n iris-blue --lines 100 --container storage-initializer"
    )]
    GetLogs(GetLogs),
}

/// Which form.
#[derive(Args, Clone, Copy, Debug)]
pub struct List {
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Which object, in which form.
#[derive(Args, Clone, Debug)]
pub struct Show {
    /// Name of the object.
    #[arg(short, long)]
    pub name: String,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
    pub output: Output,
}

/// A scoring request.
#[derive(Args, Clone, Debug)]
pub struct Invoke {
    /// Name of the endpoint.
    #[arg(short, long)]
    pub name: String,
    /// The body; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub request_file: PathBuf,
    /// The deployment to ask, whatever the traffic rule says.
    #[arg(short, long)]
    pub deployment: Option<String>,
    /// Media type of the body.
    #[arg(long, default_value = "application/json")]
    pub content_type: String,
    /// Print the status and the headers of the answer on standard error.
    #[arg(short, long)]
    pub verbose: bool,
}

/// Which log.
#[derive(Args, Clone, Debug)]
pub struct GetLogs {
    /// Name of the `OnlineDeployment` object.
    #[arg(short, long)]
    pub name: String,
    /// Lines from the end.
    #[arg(short, long, visible_alias = "tail", default_value_t = 100)]
    pub lines: i64,
    /// The container.
    #[arg(short, long, value_enum, default_value_t = Container::InferenceServer)]
    pub container: Container,
    /// The pod; the first one without it.
    #[arg(long, value_name = "POD")]
    pub instance: Option<String>,
    /// The container before the last restart.
    #[arg(long)]
    pub previous: bool,
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

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns for people.
    Table,
    /// For programs.
    Json,
    /// For people and files.
    Yaml,
    /// Names alone, a line each.
    Name,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound_and_every_verb_has_an_example() {
        fn walk(command: &clap::Command) {
            if command.get_subcommands().next().is_none() && command.get_name() != "help" {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{} has no example", command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        Arguments::command().debug_assert();
        walk(&Arguments::command());
    }
}
