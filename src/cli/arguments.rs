//! What may be typed.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hyper::Uri;

/// Managed online endpoints, from the terminal.
#[derive(Debug, Parser)]
#[command(
    name = "mooring",
    version,
    after_help = "Examples:
  mooring endpoint list
  mooring endpoint invoke -n iris --request-file request.json
  mooring deployment get-logs -e iris -n blue --lines 100

Data goes to standard output, all talk to standard error.

Exit codes:
  0  done
  1  failed
  2  the arguments can't be understood
  3  what was named does not exist
  4  no answer in time"
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
#[command(next_help_heading = "Cluster")]
pub struct Cluster {
    /// The kubeconfig; that of KUBECONFIG or ~/.kube/config without it.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; the current one without it.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace; that of the context without it.
    #[arg(long, global = true)]
    pub namespace: Option<String>,
    /// Longest wait for an answer; without it, 30 for the cluster and 330 for a model.
    #[arg(long, global = true, value_name = "SECONDS")]
    pub timeout: Option<NonZeroU64>,
}

/// What is asked for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Endpoints: stable URIs with keys and a traffic rule.
    #[command(
        subcommand,
        visible_alias = "online-endpoint",
        after_help = "Example:\n  mooring endpoint show --name iris"
    )]
    Endpoint(Endpoint),
    /// Deployments: a model, its code and its environment behind an endpoint.
    #[command(
        subcommand,
        visible_alias = "online-deployment",
        after_help = "Example:\n  mooring deployment get-logs --endpoint-name iris --name blue"
    )]
    Deployment(Deployment),
    /// Look at everything that has to be right for an endpoint to serve, and print numbered findings.
    ///
    /// Nothing is stored: the webhook is tried with a dry run. Fails when a finding is `failed`.
    #[command(after_help = "Examples:
  mooring doctor
  mooring doctor --namespace team -o json
  mooring doctor --system-namespace platform --webhook")]
    Doctor(Doctor),
    /// Print a completion script for a shell.
    #[command(after_help = "Examples:
  mooring completion bash > /etc/bash_completion.d/mooring
  source <(mooring completion zsh)")]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the version of this program.
    #[command(after_help = "Example:\n  mooring version")]
    Version,
    /// Run the gateway and the instances of a local endpoint. Started by the verbs with --local.
    #[command(hide = true, after_help = "Example:\n  mooring local-agent --name iris")]
    LocalAgent {
        /// Name of the endpoint.
        #[arg(short, long)]
        name: String,
    },
    /// Fetch what the plan in a folder says. Started by the local agent.
    #[command(hide = true, after_help = "Example:\n  mooring local-fetch --folder fetches/iris-blue-0")]
    LocalFetch {
        /// The folder of plan and report.
        #[arg(long)]
        folder: PathBuf,
    },
}

impl Command {
    /// Whether it has work for several processors.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        matches!(self, Self::LocalFetch { .. })
    }
}

/// Verbs of an endpoint.
#[derive(Debug, Subcommand)]
pub enum Endpoint {
    /// List the endpoints of a namespace.
    #[command(after_help = "Example:\n  mooring endpoint list --namespace team -o json")]
    List(ListEndpoints),
    /// Show an endpoint with its status.
    #[command(after_help = "Example:\n  mooring endpoint show -n iris -o yaml")]
    Show(ShowEndpoint),
    /// Print the keys of an endpoint.
    #[command(after_help = "Example:\n  mooring endpoint get-credentials -n iris -o json | jq -r .primaryKey")]
    GetCredentials(GetCredentials),
    /// Send a scoring request with the endpoint's key and print the answer.
    ///
    /// The way leads through a port-forward to a gateway of the cluster, or straight to --url.
    #[command(after_help = "Examples:
  mooring endpoint invoke -n iris --request-file request.json
  echo '{\"data\": [[5.1, 3.5, 1.4, 0.2]]}' | mooring endpoint invoke -n iris --request-file - -d blue -v
  mooring endpoint invoke -n iris --request-file request.json --url https://iris.example.com/score")]
    Invoke(Invoke),
}

/// Verbs of a deployment.
#[derive(Debug, Subcommand)]
pub enum Deployment {
    /// List the deployments of a namespace.
    #[command(after_help = "Example:\n  mooring deployment list --endpoint-name iris")]
    List(ListDeployments),
    /// Show a deployment with its status.
    #[command(after_help = "Examples:
  mooring deployment show -e iris -n blue
  mooring deployment show -n iris-blue -o json")]
    Show(ShowDeployment),
    /// Print the state, the events and the log of an instance.
    #[command(after_help = "Examples:
  mooring deployment get-logs -e iris -n blue --lines 100
  mooring deployment get-logs -e iris -n blue --container storage-initializer
  mooring deployment get-logs -n iris-blue --follow")]
    GetLogs(GetLogs),
}

/// What is looked at.
#[derive(Args, Clone, Debug)]
pub struct Doctor {
    /// Namespace of the operator and the gateway.
    #[arg(long, value_name = "NAME", default_value = "mooring-system")]
    pub system_namespace: String,
    /// Where the gateway is asked, in place of a port-forward to one of its pods: `http://mooring-gateway.mooring-system.svc`
    /// within the cluster.
    #[arg(long, value_parser = web_address)]
    pub url: Option<Uri>,
    /// A finding to leave out, by its number; may be repeated.
    #[arg(long, value_name = "NUMBER")]
    pub skip: Vec<String>,
    /// Fail when no webhook is asked, and not only warn.
    #[arg(long)]
    pub webhook: bool,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Diagnosis::Table)]
    pub output: Diagnosis,
}

/// Form of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Diagnosis {
    /// Columns for people.
    Table,
    /// For programs.
    Json,
}

/// Which form.
#[derive(Args, Clone, Copy, Debug)]
pub struct ListEndpoints {
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
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

/// Which endpoint, in which form.
#[derive(Args, Clone, Debug)]
pub struct ShowEndpoint {
    /// Name of the endpoint.
    #[arg(short, long)]
    pub name: String,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
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

/// The keys of which endpoint, in which form.
#[derive(Args, Clone, Debug)]
pub struct GetCredentials {
    /// Name of the endpoint.
    #[arg(short, long)]
    pub name: String,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Document::Yaml)]
    pub output: Document,
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
    #[arg(short, long, value_name = "NAME", visible_alias = "deployment-name")]
    pub deployment: Option<String>,
    /// Media type of the body.
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    pub content_type: String,
    /// Where to send it: a gateway as `http://127.0.0.1:8080`, or a scoring URI with its path.
    #[arg(long, value_parser = web_address, conflicts_with = "gateway_namespace")]
    pub url: Option<Uri>,
    /// Namespace of the gateway; without it, all are searched.
    #[arg(long, value_name = "NAME")]
    pub gateway_namespace: Option<String>,
    /// Print status, ids, model headers and times of the answer on standard error.
    #[arg(short, long)]
    pub verbose: bool,
}

/// Which log.
#[derive(Args, Clone, Debug)]
pub struct GetLogs {
    /// The deployment.
    #[command(flatten)]
    pub deployment: DeploymentName,
    /// Lines from the end.
    #[arg(short, long, visible_alias = "tail", value_name = "NUMBER", default_value_t = 100,
          value_parser = clap::value_parser!(i64).range(0..))]
    pub lines: i64,
    /// The container.
    #[arg(short, long, value_enum, default_value_t = Container::InferenceServer)]
    pub container: Container,
    /// The instance, a pod; the newest without it.
    #[arg(long, value_name = "POD")]
    pub instance: Option<String>,
    /// The log before the container's last restart.
    #[arg(long, conflicts_with = "follow")]
    pub previous: bool,
    /// Go on printing what is logged from now on.
    #[arg(short, long)]
    pub follow: bool,
}

/// An absolute URI of the web.
fn web_address(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
    match uri.scheme_str() {
        Some("http" | "https") => Ok(uri),
        _ => Err("it must begin with http:// or https://".to_owned()),
    }
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

/// Form of objects.
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

/// Form of what is no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// For programs.
    Json,
    /// For people and files.
    Yaml,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound_and_every_verb_has_an_example() {
        fn walk(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{} has no example", command.get_name());
            command.get_subcommands().for_each(walk);
        }
        Arguments::command().debug_assert();
        walk(&Arguments::command());
    }

    #[test]
    fn an_address_says_how_to_speak_to_it() {
        assert!(web_address("http://127.0.0.1:8080").is_ok());
        for wrong in ["127.0.0.1:8080", "ftp://gateway/", "/score", ""] {
            assert!(web_address(wrong).is_err(), "{wrong}");
        }
    }
}
