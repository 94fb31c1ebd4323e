//! New endpoints and deployments.

use kube::{Resource, ResourceExt};
use serde_json::json;

use super::{ended, traffic};
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::{self, OnlineEndpoint};
use crate::cli::arguments::deployment::CreateDeployment;
use crate::cli::arguments::endpoint::{AuthMode, CreateEndpoint};
use crate::cli::documents::{self, Documents, Given, Subject, name_deployment};
use crate::cli::talk::say;
use crate::cli::target::Target;
use crate::cli::{CliError, follow, schema};
use crate::process::tree::typed;

/// An endpoint, and whatever its file holds beside it.
pub(super) async fn endpoint(target: &Target, asked: &CreateEndpoint) -> Result<(), CliError> {
    let chosen = target.chosen(&asked.azure)?;
    let mut found = match &asked.file {
        Some(file) => documents::read(
            file,
            Given {
                subject: Subject::Endpoint,
                fields: &asked.change.set,
                endpoint: asked.name.as_deref(),
                deployment: None,
                azure: &asked.azure,
                local: target.files(&chosen),
            },
        )?,
        None => Documents { endpoints: vec![named(asked)?], ..Documents::default() },
    };
    let [object] = found.endpoints.as_mut_slice() else {
        let count = found.endpoints.len();
        return Err(CliError::Usage(format!(
            "the file holds {count} endpoints and not one; without an endpoint, use `mooring deployment create`"
        )));
    };
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
    let object = object.clone();
    target.would_take(&found, Some(&object), &found.deployments).await?;
    target.put_beside(&found, &chosen).await?;
    let object = target.create_endpoint(&object).await?;
    say!("endpoint {:?} is created {}", object.name_any(), target.place());
    let mut deployments = Vec::new();
    for deployment in &found.deployments {
        deployments.push(created(target, deployment, &found).await?);
    }
    if !asked.ending.waiting.no_wait {
        for deployment in &deployments {
            follow::deployment(target, deployment).await?;
        }
    }
    ended(target, object, asked.ending).await
}

/// The endpoint that the arguments alone describe.
fn named(asked: &CreateEndpoint) -> Result<OnlineEndpoint, CliError> {
    let mut spec = json!({});
    documents::set(&mut spec, &schema::ENDPOINT, &asked.change.set).map_err(|problems| documents::usage(&problems))?;
    let document = json!({
        "apiVersion": OnlineEndpoint::api_version(&()), "kind": OnlineEndpoint::kind(&()),
        "metadata": {"name": asked.name.clone().unwrap_or_default()}, "spec": spec,
    });
    typed(document).map_err(CliError::Usage)
}

/// One deployment.
pub(super) async fn deployment(target: &Target, asked: &CreateDeployment) -> Result<(), CliError> {
    let names = (asked.endpoint_name.as_deref(), asked.name.as_deref());
    let chosen = target.chosen(&asked.azure)?;
    let given = Given::deployment(names, &asked.change.set, &asked.azure, target.files(&chosen));
    let mut found = documents::read(&asked.file, given)?;
    let mut object = one(&mut found, names)?;
    target.prepare(&mut object, &asked.on_machine)?;
    // An operator would wait for the endpoint, and so would the user, in vain.
    target.endpoint(&object.spec.endpoint_name).await?;
    target.would_take(&found, None, std::slice::from_ref(&object)).await?;
    target.put_beside(&found, &chosen).await?;
    let object = created(target, &object, &found).await?;
    if asked.ending.waiting.no_wait {
        if asked.all_traffic {
            traffic::all_to(target, &object).await?;
        }
        return asked.ending.print(object);
    }
    let object = follow::deployment(target, &object).await?;
    target.develop(&object, &asked.on_machine)?;
    if asked.all_traffic {
        let endpoint = traffic::all_to(target, &object).await?;
        follow::endpoint(target, &endpoint).await?;
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

async fn created(target: &Target, object: &OnlineDeployment, found: &Documents) -> Result<OnlineDeployment, CliError> {
    let object = target.create_deployment(object).await?;
    target.own(&object, found).await?;
    let (name, endpoint) = (object.deployment_name(), &object.spec.endpoint_name);
    say!("deployment {name:?} of endpoint {endpoint:?} is created, as OnlineDeployment {:?}", object.name_any());
    Ok(object)
}
