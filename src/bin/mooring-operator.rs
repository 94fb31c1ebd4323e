//! The operator.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use mooring_operator::operator::crds;

/// Makes managed online endpoints out of OnlineEndpoint and OnlineDeployment objects.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the custom resource definitions, or write them as files.
    Crds {
        /// The folder to write one file for each kind into.
        #[arg(long, value_name = "FOLDER")]
        write: Option<PathBuf>,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Crds { write: Some(folder) } => {
            for path in crds::write(&folder)? {
                eprintln!("wrote {}", path.display());
            }
        }
        Command::Crds { write: None } => {
            for (_, document) in crds::documents()? {
                print!("---\n{document}");
            }
        }
    }
    Ok(())
}
