//! The controller of `OnlineEndpoint`: observe → plan → act → tell.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube_runtime::controller::Action;

use super::cache::Guarded;
use super::pass::{PassError, Tools, guarded};
use super::{act, run, tell};
use crate::api::endpoint::{OnlineEndpoint, OnlineEndpointStatus};
use crate::plan::build::secret::{PRIMARY, SECONDARY};
use crate::plan::endpoint::plan;
use crate::plan::seen::FreshKeys;
use crate::plan::status::endpoint::failed;
use crate::plan::status::news;
use crate::process::key;

/// The name of the kind in metrics and logs.
pub(super) const KIND: &str = "OnlineEndpoint";

/// One pass, with its failure told.
pub(super) async fn reconcile(told: Arc<Guarded<OnlineEndpoint>>, tools: Arc<Tools>) -> Result<Action, PassError> {
    let caches = tools.observer.caches();
    let latest = caches.endpoints.get(&told.namespace().unwrap_or_default(), &told.name_any()).unwrap_or(told);
    let object = match &latest.0 {
        Ok(object) => Arc::new(object.clone()),
        Err(invalid) => return run::unreadable::<OnlineEndpoint>(&tools, invalid).await,
    };
    let outcome = guarded(pass(&tools, Arc::clone(&object))).await;
    if let Err(error) = &outcome
        && let Some(failure) = error.failure()
    {
        say(&tools, &object, &failed(&object, &failure, Timestamp::now())).await?;
    }
    outcome
}

async fn pass(tools: &Tools, object: Arc<OnlineEndpoint>) -> Result<Action, PassError> {
    tools.may_look()?;
    let namespace = object.namespace().unwrap_or_default();
    let seen = tools.observer.endpoint(Arc::clone(&object)).await.map_err(PassError::Observe)?;
    let plan = plan(Timestamp::now(), &tools.config, &seen, &fresh_keys()?);
    tools.metrics.wrote(KIND, "child", plan.changes.len());
    act::act(&tools.client, &tools.observer, &namespace, plan.changes).await?;
    say(tools, &object, &plan.status).await?;
    Ok(run::next(&plan.status.conditions, None))
}

async fn say(tools: &Tools, object: &OnlineEndpoint, status: &OnlineEndpointStatus) -> Result<(), PassError> {
    let before = object.status.as_ref();
    if let Some(written) = tell::status(&tools.client, object, before, status).await.map_err(PassError::Tell)? {
        tools.metrics.wrote(KIND, "status", 1);
        run::log(KIND, &object.metadata, &status.conditions);
        tools.observer.caches().endpoints.wrote(DeserializeGuard(Ok(written)));
        let conditions = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
        if let Some(news) = news::of_endpoint(conditions, &status.conditions) {
            tell::event(&tools.client, object, &news).await;
        }
    }
    Ok(())
}

/// Keys for an endpoint that has none yet.
fn fresh_keys() -> Result<FreshKeys, PassError> {
    let keys = [PRIMARY, SECONDARY].into_iter().map(|name| Ok((name, key::fresh()?))).collect::<Result<_, _>>();
    keys.map(FreshKeys).map_err(PassError::Randomness)
}
