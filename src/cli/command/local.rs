//! The processes behind local mode, which nobody starts by hand.

use std::path::Path;

use crate::cli::CliError;
use crate::local::store::Store;
use crate::local::{agent, fetch};
use crate::process::{shutdown, telemetry};

/// What is logged: the gateway's word on every new table is of no use to one person.
const FILTER: &str = "info,mooring_operator::gateway::source=warn";

/// Runs the agent of an endpoint until the endpoint is gone.
pub(super) async fn agent(name: &str) -> Result<(), CliError> {
    telemetry::init(telemetry::Format::Text, FILTER);
    let shutdown = shutdown::on_signal().map_err(|error| CliError::Agent(error.into()))?;
    let store = Store::open().map_err(|error| CliError::Agent(error.into()))?;
    agent::run(&store, name, shutdown).await.map_err(|error| CliError::Agent(error.into()))
}

/// Fetches what the plan in a folder says.
pub(super) async fn fetch(folder: &Path) -> Result<(), CliError> {
    telemetry::init(telemetry::Format::Text, "info");
    match fetch::run(folder).await {
        0 => Ok(()),
        code => Err(CliError::NotFetched { code }),
    }
}
