//! Other instances of the same deployment: more, fewer, or new ones.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::ended_deployment;
use crate::cli::arguments::deployment::{Restart, RolloutStatus, Scale};
use crate::cli::connect::Connection;
use crate::cli::talk::say;
use crate::cli::{CliError, follow};

/// The annotation by which `kubectl rollout restart` makes the pods new.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

pub(super) async fn scale(connection: &Connection, asked: &Scale) -> Result<(), CliError> {
    let object = connection.named(&asked.deployment).await?;
    let fields = json!({"spec": {"instanceCount": asked.instance_count}});
    let object = connection.merge(&object.name_any(), &fields).await?;
    ended_deployment(connection, object, asked.ending).await
}

pub(super) async fn restart(connection: &Connection, asked: &Restart) -> Result<(), CliError> {
    let object = connection.named(&asked.deployment).await?;
    let now = jiff::Timestamp::now().to_string();
    let fields = json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}}});
    let restarted: Deployment = connection.merge(&object.name_any(), &fields).await?;
    say!("deployment {:?}: every instance is replaced by a new one", object.deployment_name());
    let generation = restarted.meta().generation;
    let object =
        if asked.ending.waiting.no_wait { object } else { follow::restarted(connection, &object, generation).await? };
    asked.ending.print(object)
}

pub(super) async fn status(connection: &Connection, asked: &RolloutStatus) -> Result<(), CliError> {
    let object = connection.named(&asked.deployment).await?;
    follow::deployment(connection, &object).await.map(drop)
}
