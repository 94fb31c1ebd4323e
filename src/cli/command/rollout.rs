//! Other instances of the same deployment: more, fewer, or new ones.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::ended_deployment;
use crate::api::deployment::OnlineDeployment;
use crate::cli::arguments::deployment::{Restart, RolloutStatus, Scale};
use crate::cli::talk::say;
use crate::cli::target::Target;
use crate::cli::{CliError, follow};

/// The annotation by which `kubectl rollout restart` makes the pods new.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

pub(super) async fn scale(target: &Target, asked: &Scale) -> Result<(), CliError> {
    let object = target.named(&asked.deployment).await?;
    let count = asked.instance_count;
    let change = |object: &mut OnlineDeployment| {
        object.spec.instance_count = count;
        Ok(())
    };
    let object = target.change_deployment(object, change).await?;
    ended_deployment(target, object, asked.ending).await
}

pub(super) async fn restart(target: &Target, asked: &Restart) -> Result<(), CliError> {
    let object = target.named(&asked.deployment).await?;
    let connection = match target {
        Target::Cluster(connection) => connection,
        Target::Local(machine) => {
            let object = machine.restart(&object).await?;
            return ended_deployment(target, object, asked.ending).await;
        }
    };
    let now = jiff::Timestamp::now().to_string();
    let fields = json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}}});
    let restarted: Deployment = connection.merge(&object.name_any(), &fields).await?;
    say!("deployment {:?}: every instance is replaced by a new one", object.deployment_name());
    let generation = restarted.meta().generation;
    let object = if asked.ending.waiting.no_wait {
        object
    } else {
        follow::restarted(target, connection, &object, generation).await?
    };
    asked.ending.print(object)
}

pub(super) async fn status(target: &Target, asked: &RolloutStatus) -> Result<(), CliError> {
    let object = target.named(&asked.deployment).await?;
    target.wake(&object.spec.endpoint_name).await?;
    follow::deployment(target, &object).await.map(drop)
}
