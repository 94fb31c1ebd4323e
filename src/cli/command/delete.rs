//! The end of endpoints and deployments.

use std::io::{BufRead, IsTerminal, Write};

use kube::ResourceExt;

use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::cli::arguments::deployment::DeleteDeployment;
use crate::cli::arguments::endpoint::DeleteEndpoint;
use crate::cli::connect::Connection;
use crate::cli::talk::say;
use crate::cli::{CliError, follow};

pub(super) async fn endpoint(connection: &Connection, asked: &DeleteEndpoint) -> Result<(), CliError> {
    let found: Option<OnlineEndpoint> = connection.get(&asked.name).await?;
    let deployments = connection.deployments_of(&asked.name).await?;
    if found.is_none() && deployments.is_empty() {
        // With the words for an endpoint that is not there.
        connection.endpoint(&asked.name).await?;
    }
    let names: Vec<&str> = deployments.iter().map(OnlineDeployment::deployment_name).collect();
    let with = match names.as_slice() {
        [] => String::new(),
        names => format!(" and its deployments {}", names.join(", ")),
    };
    confirm(asked.yes, &format!("Delete endpoint {:?}{with} in namespace {:?}?", asked.name, connection.namespace))?;
    // The endpoint first: from then on no deployment has traffic that it could be kept for.
    connection.delete::<OnlineEndpoint>(&asked.name).await?;
    for deployment in &deployments {
        connection.delete::<OnlineDeployment>(&deployment.name_any()).await?;
    }
    if asked.waiting.no_wait {
        say!("endpoint {:?}{with} is being deleted", asked.name);
        return Ok(());
    }
    for deployment in &deployments {
        follow::gone::<OnlineDeployment>(connection, "deployment", &deployment.name_any()).await?;
    }
    follow::gone::<OnlineEndpoint>(connection, "endpoint", &asked.name).await
}

pub(super) async fn deployment(connection: &Connection, asked: &DeleteDeployment) -> Result<(), CliError> {
    let found = connection.named(&asked.deployment).await?;
    let (shown, endpoint) = (found.deployment_name(), &found.spec.endpoint_name);
    let place = &connection.namespace;
    confirm(asked.yes, &format!("Delete deployment {shown:?} of endpoint {endpoint:?} in namespace {place:?}?"))?;
    let object = found.name_any();
    connection.delete::<OnlineDeployment>(&object).await?;
    if asked.waiting.no_wait {
        say!("deployment {shown:?} of endpoint {endpoint:?} is being deleted");
        return Ok(());
    }
    follow::gone::<OnlineDeployment>(connection, "deployment", &object).await
}

/// Asks a person, where there is one.
fn confirm(yes: bool, question: &str) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(CliError::Usage(format!("{question} Nobody is there to be asked; say so with --yes")));
    }
    write!(std::io::stderr(), "{question} (y/N) ").map_err(CliError::Write)?;
    let mut answer = String::new();
    let read = input.lock().read_line(&mut answer);
    read.map_err(|source| CliError::Read { path: "the answer".to_owned(), flag: "--yes", source })?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") { Ok(()) } else { Err(CliError::Declined) }
}
