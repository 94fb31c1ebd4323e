//! The processes behind local mode, which `mooring` starts: so that it stays small itself.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use mooring_operator::local::store::Store;
use mooring_operator::local::{agent, fetch};
use mooring_operator::process::{shutdown, telemetry};

const EXAMPLE: &str = "Nobody has to start it by hand: `mooring` does, for every verb with --local. \
                       It has to be in the folder that mooring is in.

Example:
  mooring-local agent --name iris";

/// Runs endpoints on this machine's container engine.
#[derive(Parser)]
#[command(name = "mooring-local", version, after_help = EXAMPLE)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway and the instances of a local endpoint until the endpoint is gone.
    #[command(name = agent::VERB, after_help = "Example:\n  mooring-local agent --name iris")]
    Agent {
        /// Name of the endpoint.
        #[arg(short, long)]
        name: String,
    },
    /// Fetch what the plan in a folder says. The agent starts it.
    #[command(name = fetch::VERB, after_help = "Example:\n  mooring-local fetch --folder fetches/iris-blue-0")]
    Fetch {
        /// The folder of plan and report.
        #[arg(long)]
        folder: PathBuf,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    // Every library uses the same provider; a second installation is no error.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match arguments.command {
        Command::Agent { name } => {
            // The gateway's word on every new table is of no use to one person.
            telemetry::init(telemetry::Format::Text, "info,mooring_operator::gateway::source=warn");
            // It is there for as long as the endpoint is, and for one person.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                agent::run(&Store::open()?, &name, shutdown::on_signal()?).await.context("the local agent can't go on")
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Fetch { folder } => {
            telemetry::init(telemetry::Format::Text, "info");
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            Ok(ExitCode::from(runtime.block_on(fetch::run(&folder))))
        }
    }
}
