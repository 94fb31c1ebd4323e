//! Verbs of an endpoint.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use hyper::Uri;

use super::change::{Change, Ending, FromAzure, Waiting};
use super::deployment::Logs;
use super::output::{Document, Output};
use super::{assignment, share, web_address};

/// Verbs of an endpoint.
#[derive(Debug, Subcommand)]
pub enum Endpoint {
    /// Create an endpoint, and the deployments that its file holds.
    ///
    /// A name alone is enough: it has keys and no deployment then. A file may hold the endpoint, its deployments, and
    /// each `ConfigMap` and Secret that they name.
    #[command(after_help = "Examples:
  mooring endpoint create -n iris
  mooring endpoint create -f endpoint.yaml
  mooring endpoint create -n iris --auth-mode aml_token --set limits.requestsPerSecond=500")]
    Create(CreateEndpoint),
    /// Change an endpoint: its spec as a whole by a file, single fields with --set, or its traffic.
    #[command(after_help = "Examples:
  mooring endpoint update -n iris --traffic \"blue=90 green=10\"
  mooring endpoint update -n iris --set limits.requestsPerSecond=500
  mooring endpoint update -f endpoint.yaml")]
    Update(UpdateEndpoint),
    /// Delete an endpoint and its deployments.
    #[command(after_help = "Examples:
  mooring endpoint delete -n iris
  mooring endpoint delete -n iris --yes --no-wait")]
    Delete(DeleteEndpoint),
    /// List the endpoints of a namespace.
    #[command(after_help = "Example:\n  mooring endpoint list --namespace team -o json")]
    List(ListEndpoints),
    /// Show an endpoint with its status.
    #[command(after_help = "Example:\n  mooring endpoint show -n iris -o yaml")]
    Show(ShowEndpoint),
    /// Print the keys of an endpoint, or a token for it.
    ///
    /// With authMode `AMLToken` the API server makes a token of a service account for this endpoint alone, which lasts an
    /// hour.
    #[command(after_help = "Examples:
  mooring endpoint get-credentials -n iris -o json | jq -r .primaryKey
  mooring endpoint get-credentials -n iris --service-account shop:web -o json | jq -r .accessToken")]
    GetCredentials(GetCredentials),
    /// Make one of the two keys anew; the other one goes on working.
    #[command(after_help = "Example, all callers move to the secondary key first:
  mooring endpoint regenerate-keys -n iris --key-type primary")]
    RegenerateKeys(RegenerateKeys),
    /// Print the state, the events and the log of an endpoint's deployment.
    #[command(after_help = "Examples:
  mooring endpoint get-logs -n iris -d blue -l 100
  mooring endpoint get-logs -n iris -d blue --container storage-initializer")]
    GetLogs(EndpointLogs),
    /// Show how the traffic is split between deployments, or split it anew.
    #[command(after_help = "Examples:
  mooring endpoint traffic -n iris
  mooring endpoint traffic -n iris blue=90 green=10
  mooring endpoint traffic -n iris --mirror green=10")]
    Traffic(Traffic),
    /// Send a scoring request with the endpoint's key, or a token for it, and print the answer.
    ///
    /// Both are got with your own rights: the key is read, and the token is made for a service account, your own where you
    /// are one. The way leads through a port-forward to a gateway of the cluster, or straight to --url.
    #[command(after_help = "Examples:
  mooring endpoint invoke -n iris --request-file request.json
  echo '{\"data\": [[5.1, 3.5, 1.4, 0.2]]}' | mooring endpoint invoke -n iris --request-file - -d blue -v
  mooring endpoint invoke -n iris --request-file request.json --service-account shop:web
  mooring endpoint invoke -n iris --request-file request.json --url https://iris.example.com/score --credential-file key.txt")]
    Invoke(Invoke),
}

/// A new endpoint.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
pub struct CreateEndpoint {
    /// Name of the endpoint; outranks that of the file.
    #[arg(short, long, group = "what")]
    pub name: Option<String>,
    /// The file; `-` is standard input.
    #[arg(short, long, value_name = "FILE", group = "what")]
    pub file: Option<PathBuf>,
    /// How callers prove who they are.
    #[arg(long, value_enum, ignore_case = true)]
    pub auth_mode: Option<AuthMode>,
    /// What differs from the file.
    #[command(flatten)]
    pub change: Change,
    /// What a file of Azure ML is read with.
    #[command(flatten)]
    pub azure: FromAzure,
    /// How it ends.
    #[command(flatten)]
    pub ending: Ending,
}

/// How callers prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuthMode {
    /// With one of two keys.
    Key,
    /// With a short-lived Kubernetes token.
    #[value(name = "aml_token", alias = "amltoken")]
    AmlToken,
}

/// A change of an endpoint.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
pub struct UpdateEndpoint {
    /// Name of the endpoint; outranks that of the file.
    #[arg(short, long, required_unless_present = "file")]
    pub name: Option<String>,
    /// The file with the whole spec; `-` is standard input.
    #[arg(short, long, value_name = "FILE", group = "what")]
    pub file: Option<PathBuf>,
    /// Percent of the traffic for each deployment; all others get none.
    #[arg(long, value_name = "NAME=PERCENT...", num_args = 1.., value_delimiter = ' ', value_parser = share, group = "what")]
    pub traffic: Vec<(String, i32)>,
    /// Percent of the requests that is copied to a deployment, which callers never notice.
    #[arg(long, value_name = "NAME=PERCENT", value_parser = share, group = "what")]
    pub mirror_traffic: Option<(String, i32)>,
    /// One field, as in limits.requestsPerSecond=500; may be repeated. Azure's spellings are understood.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = assignment, group = "what")]
    pub set: Vec<(String, String)>,
    /// What a file of Azure ML is read with.
    #[command(flatten)]
    pub azure: FromAzure,
    /// How it ends.
    #[command(flatten)]
    pub ending: Ending,
}

/// The end of an endpoint.
#[derive(Args, Clone, Debug)]
pub struct DeleteEndpoint {
    /// Name of the endpoint.
    #[arg(short, long)]
    pub name: String,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    /// Whether the end is waited for.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Which form.
#[derive(Args, Clone, Copy, Debug)]
pub struct ListEndpoints {
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

/// Who is calling.
#[derive(Args, Clone, Debug, Default)]
pub struct Caller {
    /// Service account whose token is made, for an endpoint with authMode `AMLToken`; your own without it.
    #[arg(long, value_name = "[NAMESPACE:]NAME", value_parser = account)]
    pub service_account: Option<(Option<String>, String)>,
}

/// `NAMESPACE:NAME` or `NAME`.
fn account(text: &str) -> Result<(Option<String>, String), String> {
    let (namespace, name) = match text.split_once(':') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, text),
    };
    if name.is_empty() || namespace.as_ref().is_some_and(String::is_empty) || name.contains(':') {
        return Err("it must be NAMESPACE:NAME or NAME, as in shop:web".to_owned());
    }
    Ok((namespace, name.to_owned()))
}

/// The keys of which endpoint, in which form.
#[derive(Args, Clone, Debug)]
pub struct GetCredentials {
    /// Name of the endpoint.
    #[arg(short, long)]
    pub name: String,
    /// Who is calling.
    #[command(flatten)]
    pub caller: Caller,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Document::Yaml)]
    pub output: Document,
}

/// A key to be made anew.
#[derive(Args, Clone, Debug)]
pub struct RegenerateKeys {
    /// Name of the endpoint.
    #[arg(short, long)]
    pub name: String,
    /// Which of the two.
    #[arg(long, value_enum, default_value_t = KeyType::Primary)]
    pub key_type: KeyType,
}

/// One of the two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyType {
    /// The first.
    Primary,
    /// The second.
    Secondary,
}

impl KeyType {
    /// Its name in the Secret.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primaryKey",
            Self::Secondary => "secondaryKey",
        }
    }
}

/// The log of which deployment.
#[derive(Args, Clone, Debug)]
pub struct EndpointLogs {
    /// Name of the endpoint.
    #[arg(short, long)]
    pub name: String,
    /// Name of the deployment in the endpoint.
    #[arg(short, long, value_name = "NAME", visible_alias = "deployment-name")]
    pub deployment: String,
    /// Which log.
    #[command(flatten)]
    pub logs: Logs,
}

/// A split of traffic.
#[derive(Args, Clone, Debug)]
pub struct Traffic {
    /// Name of the endpoint.
    #[arg(short, long)]
    pub name: String,
    /// Percent for each deployment, to sum to 100 or 0; all others get none.
    #[arg(value_name = "NAME=PERCENT", value_parser = share)]
    pub shares: Vec<(String, i32)>,
    /// Percent of the requests that is copied to a deployment, which callers never notice; 0 ends it.
    #[arg(long, value_name = "NAME=PERCENT", value_parser = share)]
    pub mirror: Option<(String, i32)>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Whether the end is waited for.
    #[command(flatten)]
    pub waiting: Waiting,
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
    /// Who is calling.
    #[command(flatten)]
    pub caller: Caller,
    /// File with a key or a token to send; `-` is standard input. Without it, one is got with your own rights.
    #[arg(long, value_name = "FILE", conflicts_with = "service_account")]
    pub credential_file: Option<PathBuf>,
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
