//! Other instances of the same deployment: more, fewer, or new ones.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::ended_deployment;
use crate::cli::arguments::deployment::{Restart, RolloutStatus, Scale};
use crate::cli::connect::Connection;
use crate::cli::documents::deployment_name;
use crate::cli::{CliError, follow};

/// The annotation by which `kubectl rollout restart` makes the pods new.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

pub(super) async fn scale(connection: &Connection, asked: &Scale) -> Result<(), CliError> {
    let name = &asked.deployment;
    let object = connection.deployment(name.endpoint_name.as_deref(), &name.name).await?;
    let fields = json!({"spec": {"instanceCount": asked.instance_count}});
    let object = connection.merge(&object.name_any(), &fields).await?;
    let object = ended_deployment(connection, object, asked.waiting).await?;
    asked.printing.print(object)
}

pub(super) async fn restart(connection: &Connection, asked: &Restart) -> Result<(), CliError> {
    let name = &asked.deployment;
    let object = connection.deployment(name.endpoint_name.as_deref(), &name.name).await?;
    let now = jiff::Timestamp::now().to_string();
    let fields = json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}}});
    let restarted: Deployment = connection.merge(&object.name_any(), &fields).await?;
    eprintln!("deployment {:?}: every instance is replaced by a new one", deployment_name(&object));
    let generation = restarted.meta().generation;
    let object =
        if asked.waiting.no_wait { object } else { follow::restarted(connection, &object, generation).await? };
    asked.printing.print(object)
}

pub(super) async fn status(connection: &Connection, asked: &RolloutStatus) -> Result<(), CliError> {
    let name = &asked.deployment;
    let object = connection.deployment(name.endpoint_name.as_deref(), &name.name).await?;
    follow::deployment(connection, &object).await.map(drop)
}
