//! The status of an `OnlineEndpoint`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::condition::{Draft, Status, settle};
use super::failure::{self, Failure};
use crate::api::condition::{self, reason};
use crate::api::deployment::DeploymentState;
use crate::api::endpoint::{AuthMode, DeploymentSummary, EndpointState, OnlineEndpoint, OnlineEndpointStatus};
use crate::api::endpoint_route::{TOKEN_SECONDS, token_audience};
use crate::plan::endpoint::keys_secret_name;
use crate::plan::seen::{SeenKeys, SeenMember};
use crate::plan::validate::Problem;
use crate::plan::{Config, traffic};

/// What an endpoint comes to, before it is put into words.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The deployments that take part, by name.
    pub members: &'a [&'a SeenMember],
    /// The weights in force, by deploymentName.
    pub weights: &'a BTreeMap<String, i32>,
    /// The keys.
    pub keys: &'a SeenKeys,
    /// Somebody else's object in our way.
    pub conflict: Option<String>,
    /// The quota that does not allow another endpoint.
    pub over_quota: Option<Problem>,
    /// It is to be reached through a Gateway, and the cluster knows none.
    pub no_gateway_api: bool,
}

/// The whole status, told after the plan's changes have been made.
#[must_use]
pub fn of(object: &OnlineEndpoint, facts: &Facts<'_>, config: &Config, now: Timestamp) -> OnlineEndpointStatus {
    let previous = object.status.clone().unwrap_or_default();
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let base = format!("http://{name}.{namespace}.svc.{}", config.cluster_domain);
    let deployments: Vec<DeploymentSummary> = facts.members.iter().map(|member| summary(member)).collect();
    let assigned = traffic_assigned(object, facts);
    let auth = auth_ready(object, facts);
    let ready = ready(object, facts, &assigned, &auth);
    let state = state(object, &previous, facts, &ready);
    let mut drafts = vec![ready.clone(), assigned, auth];
    match state {
        EndpointState::Failed => drafts.push(Draft { kind: condition::STALLED, status: Status::True, ..ready }),
        EndpointState::Succeeded => {}
        _ => drafts.push(Draft { kind: condition::RECONCILING, status: Status::True, ..ready }),
    }
    OnlineEndpointStatus {
        observed_generation: object.metadata.generation,
        provisioning_state: Some(state),
        scoring_uri: Some(format!("{base}/score")),
        openapi_uri: Some(format!("{base}/swagger.json")),
        keys_secret_name: keys_secret_name(object),
        traffic: facts
            .weights
            .iter()
            .filter(|(_, weight)| **weight > 0)
            .map(|(name, weight)| (name.clone(), *weight))
            .collect(),
        deployments,
        conditions: settle(drafts, &previous.conditions, now, object.metadata.generation),
    }
}

fn summary(member: &SeenMember) -> DeploymentSummary {
    let status = member.object.status.clone().unwrap_or_default();
    DeploymentSummary {
        name: member.object.deployment_name().to_owned(),
        resource: member.object.metadata.name.clone().unwrap_or_default(),
        state: Some(status.provisioning_state.unwrap_or_default()),
        ready_instances: status.ready_replicas,
        code: status.error.map(|error| error.code),
    }
}

fn traffic_assigned(object: &OnlineEndpoint, facts: &Facts<'_>) -> Draft {
    let wanted: Vec<(&String, i32)> = object
        .spec
        .traffic
        .iter()
        .map(|(name, percent)| (name, percent.0))
        .filter(|(_, percent)| *percent > 0)
        .collect();
    let draft = |status, reason, message: String| Draft::new(condition::TRAFFIC_ASSIGNED, status, reason, message);
    if wanted.is_empty() {
        return draft(Status::False, reason::NO_TRAFFIC, "spec.traffic gives no deployment any traffic".to_owned());
    }
    let names: Vec<&str> = facts.members.iter().map(|member| member.object.deployment_name()).collect();
    let missing: Vec<&str> = wanted
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !names.iter().any(|there| there.eq_ignore_ascii_case(name)))
        .collect();
    if !missing.is_empty() {
        let message = format!("spec.traffic names {}, which does not exist", missing.join(", "));
        return draft(Status::False, reason::DEPLOYMENT_NOT_FOUND, message);
    }
    let waiting: Vec<String> = facts
        .weights
        .iter()
        .filter(|(name, weight)| traffic::share(&object.spec.traffic, name) != **weight)
        .map(|(name, weight)| format!("{name} has {weight} of {} percent", traffic::share(&object.spec.traffic, name)))
        .collect();
    if !waiting.is_empty() {
        return draft(
            Status::False,
            reason::DEPLOYMENT_NOT_READY,
            format!("{} until it can serve", waiting.join(", ")),
        );
    }
    draft(Status::True, reason::SUCCEEDED, "the gateway's table equals spec.traffic".to_owned())
}

fn auth_ready(object: &OnlineEndpoint, facts: &Facts<'_>) -> Draft {
    let secret = keys_secret_name(object).unwrap_or_default();
    let draft = |status, reason, message: String| Draft::new(condition::AUTH_READY, status, reason, message);
    match (object.spec.auth_mode, facts.keys) {
        (AuthMode::AmlToken, _) => {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            let audience = token_audience(object.metadata.namespace.as_deref().unwrap_or_default(), name);
            let message = format!(
                "tokens for the audience {audience} open it, when RBAC gives their user the verb score on \
                 onlineendpoints/{name}; a change of that is felt within {TOKEN_SECONDS} s"
            );
            draft(Status::True, reason::SUCCEEDED, message)
        }
        (AuthMode::Key, SeenKeys::Digests(_)) => {
            draft(Status::True, reason::SUCCEEDED, format!("the keys are in Secret {secret:?}"))
        }
        (AuthMode::Key, SeenKeys::Absent) => {
            draft(Status::False, reason::KEYS_MISSING, format!("Secret {secret:?} does not exist"))
        }
        (AuthMode::Key, SeenKeys::Incomplete(missing)) => {
            draft(Status::False, reason::KEYS_MISSING, format!("Secret {secret:?} lacks {}", missing.join(" and ")))
        }
    }
}

/// Serves as asked: callers get in, and the traffic goes where it should (or nowhere, when that is what was asked).
fn ready(object: &OnlineEndpoint, facts: &Facts<'_>, assigned: &Draft, auth: &Draft) -> Draft {
    let draft = |status, reason: &str, message: &str| Draft::new(condition::READY, status, reason, message);
    if let Some(conflict) = &facts.conflict {
        return draft(Status::False, reason::NAME_CONFLICT, conflict);
    }
    if let Some(Problem { reason, message }) = &facts.over_quota {
        let message = format!("{}: {}. {}", reason.as_str(), reason.message(message), reason.next_step());
        return draft(Status::False, reason.code().as_str(), &message);
    }
    if facts.no_gateway_api {
        let message = "spec.ingress.gateway: the cluster has no HTTPRoute of gateway.networking.k8s.io/v1; install the \
                       Gateway API, or ask for an Ingress by leaving spec.ingress.gateway out";
        return draft(Status::False, reason::INVALID_SPEC, message);
    }
    if let Some(member) = blamed(object, facts)
        && let Some(error) = member.object.status.as_ref().and_then(|status| status.error.as_ref())
    {
        let name = member.object.deployment_name();
        return draft(
            Status::False,
            error.code.as_str(),
            &format!("deployment {name}: {}: {}", error.reason, error.message),
        );
    }
    if auth.status != Status::True {
        return draft(Status::False, &auth.reason, &auth.message);
    }
    match (assigned.status, assigned.reason.as_str()) {
        (Status::True, _) | (_, reason::NO_TRAFFIC) => draft(Status::True, reason::SUCCEEDED, &assigned.message),
        (_, reason::DEPLOYMENT_NOT_FOUND) => draft(Status::False, reason::DEPLOYMENT_NOT_FOUND, &assigned.message),
        _ => draft(Status::False, reason::PROVISIONING, &assigned.message),
    }
}

/// The deployment with wanted traffic that has an error and does not serve.
fn blamed<'a>(object: &OnlineEndpoint, facts: &Facts<'a>) -> Option<&'a SeenMember> {
    facts
        .members
        .iter()
        .find(|member| {
            let status = member.object.status.as_ref();
            traffic::share(&object.spec.traffic, member.object.deployment_name()) > 0
                && status.is_some_and(|status| status.error.is_some() && status.ready_replicas == 0)
        })
        .copied()
}

fn state(object: &OnlineEndpoint, previous: &OnlineEndpointStatus, facts: &Facts<'_>, ready: &Draft) -> EndpointState {
    if object.metadata.deletion_timestamp.is_some() {
        return EndpointState::Deleting;
    }
    if ready.status == Status::True {
        return EndpointState::Succeeded;
    }
    let stuck = blamed(object, facts)
        .and_then(|member| member.object.status.as_ref())
        .is_some_and(|status| status.provisioning_state == Some(DeploymentState::Failed));
    if stuck || facts.conflict.is_some() || facts.over_quota.is_some() || facts.no_gateway_api {
        return EndpointState::Failed;
    }
    match previous.provisioning_state {
        None | Some(EndpointState::Creating) => EndpointState::Creating,
        Some(_) => EndpointState::Updating,
    }
}

/// The status after a pass that could not be carried out: what was known stays.
#[must_use]
pub fn failed(object: &OnlineEndpoint, failure: &Failure, now: Timestamp) -> OnlineEndpointStatus {
    let previous = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation;
    OnlineEndpointStatus {
        observed_generation: generation,
        provisioning_state: match failure.internal {
            None => Some(EndpointState::Failed),
            Some(_) => previous.provisioning_state.or(Some(EndpointState::Creating)),
        },
        conditions: failure::conditions(failure, &previous.conditions, now, generation),
        ..previous
    }
}
