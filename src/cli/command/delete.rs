//! The end of endpoints and deployments.

use std::io::{BufRead, IsTerminal, Write};

use kube::ResourceExt;

use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::cli::arguments::deployment::DeleteDeployment;
use crate::cli::arguments::endpoint::DeleteEndpoint;
use crate::cli::connect::Connection;
use crate::cli::machine::Machine;
use crate::cli::talk::say;
use crate::cli::target::Target;
use crate::cli::{CliError, follow};
use crate::local::store::Deleted;
use crate::plan::traffic;

pub(super) async fn endpoint(target: &Target, asked: &DeleteEndpoint) -> Result<(), CliError> {
    let name = &asked.name;
    let deployments = match target {
        Target::Cluster(_) => target.deployments(Some(name)).await?,
        // What can't be read is deleted all the same.
        Target::Local(_) => target.deployments(Some(name)).await.unwrap_or_default(),
    };
    let exists = match target {
        Target::Cluster(_) => target.find_endpoint(name).await?.is_some() || !deployments.is_empty(),
        // Containers may be all that is left.
        Target::Local(machine) => machine.store.has_traces(name).await?,
    };
    if !exists {
        return Err(target.not_found("endpoint", name));
    }
    let names: Vec<&str> = deployments.iter().map(OnlineDeployment::deployment_name).collect();
    let with = match names.as_slice() {
        [] => String::new(),
        names => format!(" and its deployments {}", names.join(", ")),
    };
    confirm(asked.yes, &format!("Delete endpoint {name:?}{with} {}?", target.place()))?;
    let connection = match target {
        Target::Cluster(connection) => connection,
        Target::Local(machine) => return told("endpoint", name, machine.store.delete_endpoint(name).await?),
    };
    // The endpoint first: from then on no deployment has traffic that it could be kept for.
    connection.delete::<OnlineEndpoint>(name).await?;
    for deployment in &deployments {
        connection.delete::<OnlineDeployment>(&deployment.name_any()).await?;
    }
    if asked.waiting.no_wait {
        say!("endpoint {name:?}{with} is being deleted");
        return Ok(());
    }
    for deployment in &deployments {
        follow::gone::<OnlineDeployment>(connection, "deployment", &deployment.name_any()).await?;
    }
    follow::gone::<OnlineEndpoint>(connection, "endpoint", name).await
}

pub(super) async fn deployment(target: &Target, asked: &DeleteDeployment) -> Result<(), CliError> {
    let found = target.named(&asked.deployment).await;
    let name = &asked.deployment.name;
    if let (Target::Local(machine), Err(_), Some(endpoint)) = (target, &found, &asked.deployment.endpoint_name)
        && machine.store.deployment_names(endpoint)?.iter().any(|one| one.eq_ignore_ascii_case(name))
    {
        // What can't be read is deleted all the same.
        confirm(asked.yes, &format!("Delete deployment {name:?} of endpoint {endpoint:?} {}?", target.place()))?;
        return told("deployment", name, machine.store.delete_deployment(endpoint, name).await?);
    }
    let found = found?;
    let (shown, endpoint) = (found.deployment_name(), &found.spec.endpoint_name);
    confirm(asked.yes, &format!("Delete deployment {shown:?} of endpoint {endpoint:?} {}?", target.place()))?;
    match target {
        Target::Cluster(connection) => in_cluster(connection, &found, asked.waiting.no_wait).await,
        Target::Local(machine) => on_machine(machine, &found).await,
    }
}

async fn in_cluster(connection: &Connection, found: &OnlineDeployment, no_wait: bool) -> Result<(), CliError> {
    let object = found.name_any();
    connection.delete::<OnlineDeployment>(&object).await?;
    if no_wait {
        let (shown, endpoint) = (found.deployment_name(), &found.spec.endpoint_name);
        say!("deployment {shown:?} of endpoint {endpoint:?} is being deleted");
        return Ok(());
    }
    follow::gone::<OnlineDeployment>(connection, "deployment", &object).await
}

/// Not while callers are sent to it, as a cluster's webhook has it.
async fn on_machine(machine: &Machine, found: &OnlineDeployment) -> Result<(), CliError> {
    let (name, endpoint) = (found.deployment_name(), &found.spec.endpoint_name);
    let object = machine.store.endpoint(endpoint)?;
    let share = object.map_or(0, |object| traffic::share(&object.spec.traffic, name));
    if share > 0 {
        return Err(CliError::Served { name: name.to_owned(), endpoint: endpoint.clone(), share });
    }
    told("deployment", name, machine.store.delete_deployment(endpoint, name).await?)
}

/// Says what was deleted, and what could not be.
fn told(kind: &str, name: &str, deleted: Deleted) -> Result<(), CliError> {
    match deleted.engine {
        None => {
            say!("{kind} {name:?} is deleted");
            Ok(())
        }
        Some(error) => Err(CliError::Left { kind: kind.to_owned(), name: name.to_owned(), source: error }),
    }
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
