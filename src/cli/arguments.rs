//! What may be typed.

pub mod catalogue;
pub mod change;
pub mod convert;
pub mod deployment;
pub mod doctor;
pub mod endpoint;
pub mod output;
pub mod talk;
pub mod workspace;

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use hyper::Uri;

use catalogue::{Artifact, Explain, InstanceTypes, Quotas};
use convert::Convert;
use deployment::Deployment;
use doctor::Doctor;
use endpoint::Endpoint;
use talk::Talk;
use workspace::Workspace;

/// Managed online endpoints, from the terminal.
#[derive(Debug, Parser)]
#[command(
    name = "mooring",
    version,
    after_help = "Examples:
  mooring deployment create -f blue.yaml --all-traffic
  mooring endpoint invoke -n iris --request-file request.json
  mooring deployment get-logs -e iris -n blue --lines 100

Data goes to standard output, all talk to standard error.

Exit codes:
  0    done
  1    failed
  2    the arguments can't be understood
  3    what was named does not exist
  4    not done in time
  130  ended by Ctrl-C, while the cluster goes on"
)]
pub struct Arguments {
    /// What to reach the cluster with.
    #[command(flatten)]
    pub cluster: Cluster,
    /// How much is told.
    #[command(flatten)]
    pub talk: Talk,
    /// What scripts for az ml say besides.
    #[command(flatten)]
    pub workspace: Workspace,
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
    /// On this machine's container engine, Docker or Podman, and not in a cluster.
    #[arg(long, global = true)]
    pub local: bool,
    /// Longest wait: for an answer, 30 without it and 330 for a model; for a change to be carried out, as long as the
    /// deployment's own provisioningTimeoutSeconds without it.
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
    /// Models: what is deployed where.
    #[command(subcommand, after_help = "Example:\n  mooring model show -n iris")]
    Model(Artifact),
    /// Code: what is deployed where.
    #[command(subcommand, after_help = "Example:\n  mooring code list")]
    Code(Artifact),
    /// Instance types: what an instance may use.
    #[command(subcommand, after_help = "Example:\n  mooring instance-type list")]
    InstanceType(InstanceTypes),
    /// Quotas: what a namespace may use.
    #[command(subcommand, after_help = "Example:\n  mooring quota show")]
    Quota(Quotas),
    /// Explain an error: what it means and what to do.
    #[command(
        after_help = "Examples:\n  mooring explain ERR_1200\n  mooring explain ImageNotFound\n  mooring explain 424"
    )]
    Explain(Explain),
    /// Print what a file of az ml becomes; nothing is stored in a cluster.
    #[command(after_help = "Examples:
  mooring convert -f endpoint.yml > iris.yaml
  mooring convert -f blue.yml --artifact-store s3://models/iris > blue.yaml
  mooring convert -f blue.yml --image registry/iris:1 --asset azureml:iris:1=s3://models/iris/ | kubectl apply -f -")]
    Convert(Convert),
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
    /// Write a manual page for each command.
    #[command(after_help = "Examples:
  mooring man --directory /usr/local/share/man/man1
  mooring man --directory . && man ./mooring-endpoint-invoke.1")]
    Man {
        /// Where the pages go; made when it is not there.
        #[arg(long, value_name = "DIRECTORY")]
        directory: PathBuf,
    },
    /// Print the version of this program.
    #[command(after_help = "Example:\n  mooring version")]
    Version,
}

/// An absolute URI of the web.
fn web_address(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
    match uri.scheme_str() {
        Some("http" | "https") => Ok(uri),
        _ => Err("it must begin with http:// or https://".to_owned()),
    }
}

/// `FIELD=VALUE`.
fn assignment(text: &str) -> Result<(String, String), String> {
    let (field, value) = text.split_once('=').ok_or("it must be FIELD=VALUE, as in instanceCount=3")?;
    if field.is_empty() {
        Err("the field before = is missing".to_owned())
    } else {
        Ok((field.to_owned(), value.to_owned()))
    }
}

/// `NAME=PERCENT`.
fn share(text: &str) -> Result<(String, i32), String> {
    let wrong = || "it must be NAME=PERCENT, as in blue=90".to_owned();
    let (name, percent) = text.split_once('=').ok_or_else(wrong)?;
    match percent.trim_end_matches('%').parse() {
        Ok(percent @ 0..=100) if !name.is_empty() => Ok((name.to_owned(), percent)),
        _ => Err(wrong()),
    }
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
