//! The controller of `OnlineDeployment`: observe → plan → act → tell.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube_runtime::controller::Action;

use super::cache::Guarded;
use super::pass::{PassError, Tools, guarded};
use super::{act, run, tell};
use crate::api::deployment::{OnlineDeployment, OnlineDeploymentStatus};
use crate::plan::deployment::{plan, waits_for_service_account};
use crate::plan::status::deployment::failed;
use crate::plan::status::news;

/// The name of the kind in metrics and logs.
pub(super) const KIND: &str = "OnlineDeployment";

/// One pass, with its failure told.
pub(super) async fn reconcile(told: Arc<Guarded<OnlineDeployment>>, tools: Arc<Tools>) -> Result<Action, PassError> {
    let caches = tools.observer.caches();
    let latest = caches.deployments.get(&told.namespace().unwrap_or_default(), &told.name_any()).unwrap_or(told);
    let object = match &latest.0 {
        Ok(object) => Arc::new(object.clone()),
        Err(invalid) => return run::unreadable::<OnlineDeployment>(&tools, invalid).await,
    };
    let outcome = Box::pin(guarded(pass(&tools, Arc::clone(&object)))).await;
    if let Err(error) = &outcome
        && let Some(failure) = error.failure()
    {
        say(&tools, &object, &failed(&object, &failure, Timestamp::now())).await?;
    }
    outcome
}

async fn pass(tools: &Tools, object: Arc<OnlineDeployment>) -> Result<Action, PassError> {
    tools.may_look()?;
    let namespace = object.namespace().unwrap_or_default();
    let seen = tools.observer.deployment(Arc::clone(&object)).await.map_err(PassError::Observe)?;
    if waits_for_service_account(&seen) {
        // Its appearance brings us back.
        return Ok(Action::await_change());
    }
    let plan = plan(Timestamp::now(), &tools.config, &seen);
    tools.metrics.wrote(KIND, "child", plan.changes.len());
    act::act(&tools.client, &tools.observer, &namespace, plan.changes).await?;
    say(tools, &object, &plan.status).await?;
    Ok(run::next(&plan.status.conditions, plan.again))
}

async fn say(tools: &Tools, object: &OnlineDeployment, status: &OnlineDeploymentStatus) -> Result<(), PassError> {
    let before = object.status.as_ref();
    if let Some(written) = tell::status(&tools.client, object, before, status).await.map_err(PassError::Tell)? {
        tools.metrics.wrote(KIND, "status", 1);
        // How far a download is says the status alone: a line every few seconds would be noise.
        let but_the_download = |of: &OnlineDeploymentStatus| OnlineDeploymentStatus { download: None, ..of.clone() };
        if before.map(but_the_download).as_ref() != Some(&but_the_download(status)) {
            run::log(KIND, &object.metadata, &status.conditions);
        }
        tools.observer.caches().deployments.wrote(DeserializeGuard(Ok(written)));
        if let Some(news) = news::of_deployment(before, status) {
            tools.metrics.news(&news);
            tell::event(&tools.client, object, &news).await;
        }
    }
    Ok(())
}
