//! What each verb does.

mod credentials;
mod invoke;
mod logs;

use std::io::Write;

use clap::CommandFactory;
use kube::api::ListParams;

use super::CliError;
use super::arguments::{Arguments, Command, Deployment, Endpoint};
use super::connect::{Connection, api, connect};
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
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "mooring", &mut script);
            std::io::stdout().write_all(&script).map_err(|error| CliError::Write(error.into()))
        }
        Command::Endpoint(verb) => endpoint(&connect(&arguments.cluster).await?, verb).await,
        Command::Deployment(verb) => deployment(&connect(&arguments.cluster).await?, verb).await,
    }
}

async fn endpoint(connection: &Connection, verb: Endpoint) -> Result<(), CliError> {
    match verb {
        Endpoint::List(list) => {
            let endpoints = connection.api::<OnlineEndpoint>().list(&ListParams::default()).await;
            let endpoints = endpoints.map_err(api("listing the endpoints"))?.items;
            print::objects(list.output, &endpoints, ["NAME", "STATE", "TRAFFIC", "URL"], |endpoint| {
                let status = endpoint.status.clone().unwrap_or_default();
                let traffic: Vec<String> =
                    status.traffic.iter().map(|(name, percent)| format!("{name}={percent}")).collect();
                let state = status.provisioning_state.unwrap_or_default();
                [name(endpoint), format!("{state:?}"), traffic.join(","), status.scoring_uri.unwrap_or_default()]
            })
        }
        Endpoint::Show(show) => {
            let endpoint: OnlineEndpoint = connection.get("OnlineEndpoint", "endpoint", &show.name).await?;
            print::document(show.output, &endpoint)
        }
        Endpoint::GetCredentials(show) => print::document(show.output, &credentials::of(connection, &show.name).await?),
        Endpoint::Invoke(request) => invoke::invoke(connection, request).await,
    }
}

async fn deployment(connection: &Connection, verb: Deployment) -> Result<(), CliError> {
    match verb {
        Deployment::List(list) => {
            let deployments = connection.api::<OnlineDeployment>().list(&ListParams::default()).await;
            let deployments = deployments.map_err(api("listing the deployments"))?.items;
            print::objects(list.output, &deployments, ["NAME", "ENDPOINT", "STATE", "READY", "CODE"], |deployment| {
                let status = deployment.status.clone().unwrap_or_default();
                let state = status.provisioning_state.unwrap_or_default();
                let code = status.error.map(|error| format!("{} {}", error.code.as_str(), error.reason));
                [
                    name(deployment),
                    deployment.spec.endpoint_name.clone(),
                    format!("{state:?}"),
                    status.ready.unwrap_or_default(),
                    code.unwrap_or_default(),
                ]
            })
        }
        Deployment::Show(show) => {
            let deployment: OnlineDeployment = connection.get("OnlineDeployment", "deployment", &show.name).await?;
            print::document(show.output, &deployment)
        }
        Deployment::GetLogs(request) => logs::get(connection, request).await,
    }
}

fn name<K: kube::ResourceExt>(object: &K) -> String {
    object.name_any()
}
