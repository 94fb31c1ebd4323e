//! Changes of endpoints and deployments: a spec as a whole by a file, or single fields of it.

use kube::ResourceExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{create, ended, traffic};
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::cli::arguments::deployment::UpdateDeployment;
use crate::cli::arguments::endpoint::UpdateEndpoint;
use crate::cli::documents::{self, Given, Local, Subject};
use crate::cli::talk::say;
use crate::cli::target::Target;
use crate::cli::{CliError, follow, schema};
use crate::process::tree::typed;

pub(super) async fn endpoint(target: &Target, asked: &UpdateEndpoint) -> Result<(), CliError> {
    let given = Given {
        subject: Subject::Endpoint,
        fields: &asked.set,
        endpoint: asked.name.as_deref(),
        deployment: None,
        azure: &asked.azure,
        local: Local::Left,
    };
    let file = asked.file.as_ref().map(|file| documents::read(file, given)).transpose()?;
    let of_file = match file.as_ref().map(|found| found.endpoints.as_slice()) {
        None => None,
        Some([object]) => Some(object),
        Some(others) => {
            return Err(CliError::Usage(format!("the file holds {} endpoints and not one", others.len())));
        }
    };
    let name = asked.name.clone().or_else(|| of_file.map(ResourceExt::name_any)).unwrap_or_default();
    let object = target.endpoint(&name).await?;
    if let Some(found) = &file {
        target.put_beside(found, &target.chosen(&asked.azure)?).await?;
        if !found.deployments.is_empty() {
            say!("the deployments in the file are left alone; `mooring deployment update` takes them");
        }
    }
    let object = target
        .change_endpoint(object, |object: &mut OnlineEndpoint| {
            match of_file {
                Some(new) => {
                    object.spec = new.spec.clone();
                    describe(object, new);
                }
                None => object.spec = changed(&object.spec, &schema::ENDPOINT, &asked.set)?,
            }
            if !asked.traffic.is_empty() {
                object.spec.traffic = traffic::split(&asked.traffic);
            }
            if let Some(mirror) = &asked.mirror_traffic {
                object.spec.mirror_traffic = traffic::mirror(mirror);
            }
            Ok(())
        })
        .await?;
    ended(target, object, asked.ending).await
}

pub(super) async fn deployment(target: &Target, asked: &UpdateDeployment) -> Result<(), CliError> {
    let names @ (endpoint, name) = (asked.endpoint_name.as_deref(), asked.name.as_deref());
    let (new, object) = match &asked.file {
        Some(file) => {
            let chosen = target.chosen(&asked.azure)?;
            let given = Given::deployment(names, &asked.set, &asked.azure, target.files(&chosen));
            let mut found = documents::read(file, given)?;
            let new = create::one(&mut found, names)?;
            let object = target.deployment(Some(&new.spec.endpoint_name), new.deployment_name()).await?;
            target.put_beside(&found, &chosen).await?;
            // Before the change, so that no end in between leaves it without an owner. What the revisions before this one
            // name stays until the deployment goes: a rollback needs it.
            let owner = OnlineDeployment { spec: new.spec.clone(), ..object.clone() };
            target.own(&owner, &found).await?;
            (Some(new), object)
        }
        None => (None, target.deployment(endpoint, name.unwrap_or_default()).await?),
    };
    let object = target
        .change_deployment(object, |object: &mut OnlineDeployment| {
            match &new {
                Some(new) => {
                    // A name that was made by default is no change of a name that can't be changed.
                    let name = object.spec.deployment_name.clone();
                    object.spec = new.spec.clone();
                    object.spec.deployment_name = name.or_else(|| object.spec.deployment_name.clone());
                    describe(object, new);
                }
                None => object.spec = changed(&object.spec, &schema::DEPLOYMENT, &asked.set)?,
            }
            target.prepare(object, &asked.on_machine)
        })
        .await?;
    if asked.ending.waiting.no_wait {
        return asked.ending.print(object);
    }
    let object = follow::deployment(target, &object).await?;
    target.develop(&object, &asked.on_machine)?;
    asked.ending.print(object)
}

/// A spec with some of its fields set.
fn changed<S: Serialize + DeserializeOwned>(
    spec: &S,
    schema: &Value,
    fields: &[(String, String)],
) -> Result<S, CliError> {
    let mut document: Value = serde_json::to_value(spec).map_err(|error| CliError::Form(error.into()))?;
    documents::set(&mut document, schema, fields).map_err(|problems| documents::usage(&problems))?;
    typed(document).map_err(CliError::Usage)
}

/// Adds the labels and annotations of a file; those of others stay.
fn describe<K: ResourceExt>(object: &mut K, new: &K) {
    object.labels_mut().extend(new.labels().clone());
    object.annotations_mut().extend(new.annotations().clone());
}
