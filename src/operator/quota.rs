//! The controller of `ComputeQuota`: observe → tell.

use std::sync::Arc;

use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube_runtime::controller::Action;

use super::cache::Guarded;
use super::pass::{PassError, Tools, guarded};
use super::{run, tell};
use crate::api::compute_quota::{ComputeQuota, ComputeQuotaStatus};
use crate::plan::quota::{Quota, used};

/// The name of the kind in metrics and logs.
pub(super) const KIND: &str = "ComputeQuota";

/// One pass. What goes wrong is tried again: a quota has no conditions to say it in.
pub(super) async fn reconcile(told: Arc<Guarded<ComputeQuota>>, tools: Arc<Tools>) -> Result<Action, PassError> {
    let caches = tools.observer.caches();
    let latest = caches.quotas.get(&told.namespace().unwrap_or_default(), &told.name_any()).unwrap_or(told);
    // One that can't be read limits nobody, and there is no shape to say so in.
    let Ok(object) = &latest.0 else { return Ok(Action::await_change()) };
    guarded(pass(&tools, object)).await
}

async fn pass(tools: &Tools, object: &ComputeQuota) -> Result<Action, PassError> {
    tools.may_look()?;
    let claims = tools.observer.claims(&object.namespace().unwrap_or_default());
    let quota = Quota { name: object.name_any(), spec: object.spec.clone() };
    let status =
        ComputeQuotaStatus { observed_generation: object.metadata.generation, used: Some(used(&quota, &claims)) };
    let written = tell::status(&tools.client, object, object.status.as_ref(), &status).await;
    if let Some(written) = written.map_err(PassError::Tell)? {
        tools.metrics.wrote(KIND, "status", 1);
        tools.observer.caches().quotas.wrote(DeserializeGuard(Ok(written)));
    }
    Ok(run::next(&[], None))
}
