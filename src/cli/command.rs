//! What each verb does.

mod credentials;
mod doctor;
mod invoke;
mod local;
mod logs;

use clap::CommandFactory;
use kube::api::ListParams;

use super::CliError;
use super::arguments::{Arguments, Command, Deployment, Endpoint};
use super::connect::{Connection, connect};
use super::print;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;

/// Runs one command.
///
/// # Errors
/// [`CliError`], with the exit code that belongs to it.
pub async fn run(arguments: Arguments) -> Result<(), CliError> {
    match arguments.command {
        Command::Completion { shell } => {
            // Into memory first: clap panics when it can't write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "mooring", &mut script);
            print::bytes(&script)
        }
        Command::Version => print::text(concat!("mooring ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::LocalAgent { name } => local::agent(&name).await,
        Command::LocalFetch { folder } => local::fetch(&folder).await,
        Command::Doctor(asked) => doctor::run(&connect(&arguments.cluster).await?, &asked).await,
        Command::Endpoint(verb) => endpoint(&connect(&arguments.cluster).await?, verb).await,
        Command::Deployment(verb) => deployment(&connect(&arguments.cluster).await?, verb).await,
    }
}

async fn endpoint(connection: &Connection, verb: Endpoint) -> Result<(), CliError> {
    match verb {
        Endpoint::List(list) => {
            let endpoints: Vec<OnlineEndpoint> = connection.list(&ListParams::default()).await?;
            print::objects(list.output, endpoints)
        }
        Endpoint::Show(show) => print::object(show.output, connection.endpoint(&show.name).await?),
        Endpoint::GetCredentials(get) => print::document(get.output, &credentials::of(connection, &get.name).await?),
        Endpoint::Invoke(request) => invoke::invoke(connection, request).await,
    }
}

async fn deployment(connection: &Connection, verb: Deployment) -> Result<(), CliError> {
    match verb {
        Deployment::List(list) => {
            let mut deployments: Vec<OnlineDeployment> = connection.list(&ListParams::default()).await?;
            if let Some(endpoint) = &list.endpoint_name {
                deployments.retain(|deployment| deployment.spec.endpoint_name == *endpoint);
            }
            print::objects(list.output, deployments)
        }
        Deployment::Show(show) => {
            let name = &show.deployment;
            let deployment = connection.deployment(name.endpoint_name.as_deref(), &name.name).await?;
            print::object(show.output, deployment)
        }
        Deployment::GetLogs(request) => logs::get(connection, request).await,
    }
}
