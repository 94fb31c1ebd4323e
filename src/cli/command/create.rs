//! New endpoints and deployments.

use kube::{CustomResourceExt, Resource, ResourceExt};
use serde_json::json;

use super::{ended, traffic};
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::{self, OnlineEndpoint};
use crate::cli::arguments::deployment::CreateDeployment;
use crate::cli::arguments::endpoint::{AuthMode, CreateEndpoint};
use crate::cli::connect::Connection;
use crate::cli::documents::{self, Documents, Given, Local, Subject, name_deployment};
use crate::cli::remembered::Chosen;
use crate::cli::{CliError, follow, upload};

/// An endpoint, and whatever its file holds beside it.
pub(super) async fn endpoint(connection: &Connection, asked: &CreateEndpoint) -> Result<(), CliError> {
    let chosen = Chosen::of(asked.azure.artifact_store.as_ref(), connection.context.as_deref());
    let mut found = match &asked.file {
        Some(file) => documents::read(
            file,
            Given {
                subject: Subject::Endpoint,
                fields: &asked.change.set,
                endpoint: asked.name.as_deref(),
                deployment: None,
                azure: &asked.azure,
                local: Local::Fetchable(chosen.store.as_ref()),
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
    if found.has_local() {
        // Nothing is uploaded or stored for what would be refused in the end.
        connection.try_create("endpoint", &object).await?;
        for deployment in &found.deployments {
            connection.try_create("deployment", deployment).await?;
        }
    }
    beside(connection, &found, &chosen).await?;
    let object = connection.create("endpoint", &object).await?;
    eprintln!("endpoint {:?} is created in namespace {:?}", object.name_any(), connection.namespace);
    let mut deployments = Vec::new();
    for deployment in &found.deployments {
        deployments.push(created(connection, deployment, &found).await?);
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
    let chosen = Chosen::of(asked.azure.artifact_store.as_ref(), connection.context.as_deref());
    let store = chosen.store.as_ref();
    let mut found = documents::read_deployments(&asked.file, names, &asked.change.set, &asked.azure, store)?;
    let object = one(&mut found, names)?;
    // An operator would wait for the endpoint, and so would the user, in vain.
    connection.endpoint(&object.spec.endpoint_name).await?;
    if found.has_local() {
        // Nothing is uploaded or stored for what would be refused in the end.
        connection.try_create("deployment", &object).await?;
    }
    beside(connection, &found, &chosen).await?;
    let object = created(connection, &object, &found).await?;
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
        eprintln!("the endpoint in the file is left alone; `mooring endpoint create` and `update` take it");
    }
    name_deployment(object, endpoint, name).map_err(CliError::Usage)?;
    Ok(object.clone())
}

/// What deployments and endpoints name has to be there before them.
pub(super) async fn beside(connection: &Connection, found: &Documents, chosen: &Chosen) -> Result<(), CliError> {
    if !found.uploads.is_empty() {
        chosen.tell();
        upload::all(&found.uploads).await?;
    }
    chosen.remember();
    for config_map in &found.config_maps {
        connection.apply(config_map).await?;
        eprintln!("ConfigMap {:?} is as the file says", config_map.name_any());
    }
    for secret in &found.secrets {
        connection.apply(secret).await?;
        eprintln!("Secret {:?} is as the file says", secret.name_any());
    }
    Ok(())
}

/// Gives the deployment the `ConfigMap` that was made of its code, so that it goes when the deployment does.
///
/// A `ConfigMap` comes first without an owner, which has no uid yet, and whoever ends in between leaves at worst a
/// `ConfigMap` that nobody names, and never a deployment without its code: the next try finds and owns it. One that belonged
/// to a deployment of the same name may be collected meanwhile, as long as this one is not its owner; then it is made
/// anew.
pub(super) async fn own(connection: &Connection, object: &OnlineDeployment, found: &Documents) -> Result<(), CliError> {
    let code = object.spec.code_configuration.as_ref().and_then(|code| code.code.config_map_name.as_ref());
    let Some(name) = code.filter(|name| found.made.contains(name)) else { return Ok(()) };
    if connection.own(name, object).await? {
        return Ok(());
    }
    if let Some(config_map) = found.config_maps.iter().find(|one| one.metadata.name.as_ref() == Some(name)) {
        connection.apply(config_map).await?;
    }
    connection.own(name, object).await.map(drop)
}

async fn created(
    connection: &Connection,
    object: &OnlineDeployment,
    found: &Documents,
) -> Result<OnlineDeployment, CliError> {
    let object = connection.create("deployment", object).await?;
    own(connection, &object, found).await?;
    let (name, endpoint) = (object.deployment_name(), &object.spec.endpoint_name);
    eprintln!("deployment {name:?} of endpoint {endpoint:?} is created, as OnlineDeployment {:?}", object.name_any());
    Ok(object)
}
