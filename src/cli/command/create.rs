//! New endpoints and deployments.

use kube::{CustomResourceExt, Resource, ResourceExt};
use serde_json::json;

use super::{ended, traffic};
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::{self, OnlineEndpoint};
use crate::cli::arguments::deployment::CreateDeployment;
use crate::cli::arguments::endpoint::{AuthMode, CreateEndpoint};
use crate::cli::connect::Connection;
use crate::cli::documents::{self, Documents, Given, Subject, name_deployment};
use crate::cli::talk::say;
use crate::cli::{CliError, follow};

/// An endpoint, and whatever its file holds beside it.
pub(super) async fn endpoint(connection: &Connection, asked: &CreateEndpoint) -> Result<(), CliError> {
    let mut found = match &asked.file {
        Some(file) => documents::read(
            file,
            Given {
                subject: Subject::Endpoint,
                fields: &asked.change.set,
                endpoint: asked.name.as_deref(),
                deployment: None,
                azure: &asked.azure,
            },
        )?,
        None => Documents { endpoints: vec![named(asked)?], ..Documents::default() },
    };
    let [object] = found.endpoints.as_slice() else {
        let count = found.endpoints.len();
        return Err(CliError::Usage(format!(
            "the file holds {count} endpoints and not one; without an endpoint, use `mooring deployment create`"
        )));
    };
    let mut object = object.clone();
    let renamed = asked.name.as_deref().filter(|name| *name != object.name_any());
    for deployment in &mut found.deployments {
        name_deployment(deployment, renamed, None).map_err(CliError::Usage)?;
    }
    if let Some(name) = renamed {
        object.metadata.name = Some(name.to_owned());
    }
    if let Some(mode) = asked.auth_mode {
        object.spec.auth_mode = match mode {
            AuthMode::Key => endpoint::AuthMode::Key,
            AuthMode::AmlToken => endpoint::AuthMode::AmlToken,
        };
    }
    beside(connection, &found).await?;
    let object = connection.create("endpoint", &object).await?;
    say!("endpoint {:?} is created in namespace {:?}", object.name_any(), connection.namespace);
    let mut deployments = Vec::new();
    for deployment in &found.deployments {
        deployments.push(created(connection, deployment).await?);
    }
    if !asked.ending.waiting.no_wait {
        for deployment in &deployments {
            follow::deployment(connection, deployment).await?;
        }
    }
    ended(connection, object, asked.ending).await
}

/// The endpoint that the arguments alone describe.
fn named(asked: &CreateEndpoint) -> Result<OnlineEndpoint, CliError> {
    let mut spec = json!({});
    documents::set(&mut spec, &OnlineEndpoint::crd(), &asked.change.set)
        .map_err(|problems| documents::usage(&problems))?;
    let document = json!({
        "apiVersion": OnlineEndpoint::api_version(&()), "kind": OnlineEndpoint::kind(&()),
        "metadata": {"name": asked.name.clone().unwrap_or_default()}, "spec": spec,
    });
    documents::typed(document).map_err(CliError::Usage)
}

/// One deployment.
pub(super) async fn deployment(connection: &Connection, asked: &CreateDeployment) -> Result<(), CliError> {
    let names = (asked.endpoint_name.as_deref(), asked.name.as_deref());
    let mut found = documents::read_deployments(&asked.file, names, &asked.change.set, &asked.azure)?;
    let object = one(&mut found, names)?;
    // An operator would wait for the endpoint, and so would the user, in vain.
    connection.endpoint(&object.spec.endpoint_name).await?;
    beside(connection, &found).await?;
    let object = created(connection, &object).await?;
    if asked.ending.waiting.no_wait {
        if asked.all_traffic {
            traffic::all_to(connection, &object).await?;
        }
        return asked.ending.print(object);
    }
    let object = follow::deployment(connection, &object).await?;
    if asked.all_traffic {
        let endpoint = traffic::all_to(connection, &object).await?;
        follow::endpoint(connection, &endpoint).await?;
    }
    asked.ending.print(object)
}

/// The only deployment of a file, by the names of the command line.
pub(super) fn one(
    found: &mut Documents,
    (endpoint, name): (Option<&str>, Option<&str>),
) -> Result<OnlineDeployment, CliError> {
    let [object] = found.deployments.as_mut_slice() else {
        let count = found.deployments.len();
        return Err(CliError::Usage(format!(
            "the file holds {count} deployments and not one; `mooring endpoint create` takes a file with an endpoint and all of its \
             deployments"
        )));
    };
    if !found.endpoints.is_empty() {
        say!("the endpoint in the file is left alone; `mooring endpoint create` and `update` take it");
    }
    name_deployment(object, endpoint, name).map_err(CliError::Usage)?;
    Ok(object.clone())
}

/// What deployments and endpoints name has to be there before them.
pub(super) async fn beside(connection: &Connection, found: &Documents) -> Result<(), CliError> {
    for config_map in &found.config_maps {
        connection.apply(config_map).await?;
        say!("ConfigMap {:?} is as the file says", config_map.name_any());
    }
    for secret in &found.secrets {
        connection.apply(secret).await?;
        say!("Secret {:?} is as the file says", secret.name_any());
    }
    Ok(())
}

async fn created(connection: &Connection, object: &OnlineDeployment) -> Result<OnlineDeployment, CliError> {
    let object = connection.create("deployment", object).await?;
    let (name, endpoint) = (object.deployment_name(), &object.spec.endpoint_name);
    say!("deployment {name:?} of endpoint {endpoint:?} is created, as OnlineDeployment {:?}", object.name_any());
    Ok(object)
}
