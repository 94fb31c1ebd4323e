//! The plan for one `OnlineDeployment`.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;

use super::change::{self, Change, Child, TargetKind};
use super::diagnose::{self, Diagnosis, Fault};
use super::seen::{Found, SeenDeployment, SeenOwner};
use super::status::deployment::{self as status, Applied, Verdict};
use super::validate::{self, Problem, Valid};
use super::{Config, build, quota};
use crate::api::condition::reason;
use crate::api::deployment::OnlineDeploymentStatus;
use crate::api::endpoint::{EndpointState, IdentityKind, OnlineEndpoint};
use crate::api::{label, name};

/// What to do and what to say.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Writes, in order.
    pub changes: Vec<Change>,
    /// The status as it is to be.
    pub status: OnlineDeploymentStatus,
    /// When to decide again though nothing changes.
    pub again: Option<Timestamp>,
}

/// Decides for one deployment.
#[must_use]
pub fn plan(now: Timestamp, config: &Config, seen: &SeenDeployment) -> Plan {
    let (changes, verdict) = decide(now, config, seen);
    let diagnosed = match &verdict {
        Verdict::Running { diagnosis, .. } => diagnosis.again,
        Verdict::Blocked { .. } => None,
    };
    let status = status::of(&seen.object, &verdict, now);
    let again = diagnosed.into_iter().chain(status::deadline(&seen.object, &status)).filter(|time| *time > now).min();
    Plan { changes, status, again }
}

/// Whether the first instances have to wait a moment for the service account that the endpoint's own pass makes: the
/// API server would refuse them, and the `ReplicaSet` would name that cause long after it is gone.
#[must_use]
pub fn waits_for_service_account(seen: &SeenDeployment) -> bool {
    let SeenOwner::Present(endpoint) = &seen.endpoint else { return false };
    endpoint.spec.identity.kind == IdentityKind::SystemAssigned
        && endpoint.status.as_ref().is_none_or(|it| it.provisioning_state != Some(EndpointState::Failed))
        && !seen.has_service_account
        && matches!(seen.deployment, Found::Absent)
}

fn decide<'a>(now: Timestamp, config: &Config, seen: &'a SeenDeployment) -> (Vec<Change>, Verdict<'a>) {
    let object = &seen.object;
    let blocked = |reason, message, waiting| Verdict::Blocked { reason, message, waiting };
    if object.metadata.deletion_timestamp.is_some() {
        // What we made goes with its owner.
        return (Vec::new(), blocked(reason::PROVISIONING, "being deleted".to_owned(), true));
    }
    let endpoint = match &seen.endpoint {
        SeenOwner::Present(endpoint) => endpoint,
        SeenOwner::Unreadable(why) => {
            let message = format!("OnlineEndpoint {:?} can't be read: {why}", object.spec.endpoint_name);
            return (Vec::new(), blocked(reason::INVALID_SPEC, message, false));
        }
        SeenOwner::Missing => {
            // Nobody can reach its instances, and they would hold their cores for nothing.
            let gone = [
                change::delete(TargetKind::Deployment, &seen.deployment),
                change::delete(TargetKind::Service, &seen.service),
            ];
            let message = format!(
                "OnlineEndpoint {:?} does not exist; the instances start once it does",
                object.spec.endpoint_name
            );
            return (gone.into_iter().flatten().collect(), blocked(reason::ENDPOINT_NOT_FOUND, message, true));
        }
    };
    if let Some(conflict) = conflict(seen) {
        return (Vec::new(), blocked(reason::NAME_CONFLICT, conflict, false));
    }
    let quota =
        || quota::check_deployment(&seen.quotas, &seen.claims, object.metadata.name.as_deref().unwrap_or_default());
    match validate::deployment(seen).and_then(|valid| quota().map(|()| valid)) {
        // Only what would be carried out waits: an endpoint that has failed because of this very spec would else be well
        // while it waits, and so on in turn.
        Ok(valid) => match unaccounted(endpoint, seen) {
            Some(message) => (Vec::new(), blocked(reason::PROVISIONING, message, true)),
            None => carry_out(now, config, seen, endpoint, &valid),
        },
        // What runs goes on running: a bad change takes nothing away.
        Err(Problem { reason, message }) => {
            let fault = Fault::new(reason, &message).told(&object.spec);
            let mut diagnosis = Diagnosis { fault: Some(fault), ..Diagnosis::default() };
            if let Some(there) = seen.deployment.ours() {
                diagnosis.phases = diagnose::current_revision(seen, now).phases;
                return (Vec::new(), running(diagnosis, Some(there), Applied::No, true));
            }
            (Vec::new(), running(diagnosis, None, Applied::No, true))
        }
    }
}

/// Why no instances are made yet: their service account is missing, and the endpoint is in no state to make it.
fn unaccounted(endpoint: &OnlineEndpoint, seen: &SeenDeployment) -> Option<String> {
    let failed = endpoint.status.as_ref().is_some_and(|it| it.provisioning_state == Some(EndpointState::Failed));
    (failed && matches!(seen.deployment, Found::Absent) && !seen.has_service_account).then(|| {
        let name = &seen.object.spec.endpoint_name;
        format!("OnlineEndpoint {name:?} has failed; the instances start once it is repaired")
    })
}

fn carry_out<'a>(
    now: Timestamp,
    config: &Config,
    seen: &'a SeenDeployment,
    endpoint: &OnlineEndpoint,
    valid: &Valid<'_>,
) -> (Vec<Change>, Verdict<'a>) {
    let object = &*seen.object;
    let needs_download = valid.model.is_some() || valid.code.is_some();
    let service = change::apply(build::service::of_instances(object, valid), &seen.service, Child::Service);
    let wanted = build::deployment::of(object, valid, endpoint, &seen.deployment, config);
    let inputs = |of: &Deployment| of.annotations().get(label::TEMPLATE_INPUTS).cloned();
    let same_template = seen.deployment.ours().is_some_and(|there| inputs(there) == inputs(&wanted));
    let deployment = change::apply(wanted, &seen.deployment, Child::Deployment);
    let applied = match (&deployment, same_template) {
        (None, _) => Applied::Whole,
        (Some(_), true) => Applied::Template,
        (Some(_), false) => Applied::No,
    };
    let mut diagnosis = diagnose::current_revision(seen, now);
    if applied == Applied::No {
        // What is seen speaks of the revision before this change.
        diagnosis.fault = None;
        diagnosis.download = None;
    }
    let there = seen.deployment.ours();
    // The Service first: gateways know the instances as soon as they are ready.
    (service.into_iter().chain(deployment).collect(), running(diagnosis, there, applied, needs_download))
}

fn running(
    diagnosis: Diagnosis,
    deployment: Option<&Deployment>,
    applied: Applied,
    needs_download: bool,
) -> Verdict<'_> {
    Verdict::Running { diagnosis, deployment, applied, needs_download }
}

fn conflict(seen: &SeenDeployment) -> Option<String> {
    let resource = seen.object.metadata.name.as_deref().unwrap_or_default();
    if let Some(rival) = &seen.rival {
        return Some(format!(
            "OnlineDeployment {rival:?} has the deploymentName {:?} in this endpoint already; choose another",
            seen.object.deployment_name()
        ));
    }
    let foreign =
        |kind: &str, name: &str| Some(format!("{kind} {name:?} belongs to somebody else; rename or remove it"));
    if seen.deployment.is_foreign() {
        return foreign("Deployment", resource);
    }
    if seen.service.is_foreign() {
        return foreign("Service", &name::instances_service(resource));
    }
    None
}
