//! The plan for one `OnlineEndpoint`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::change::{self, Change, Child, TargetKind};
use super::seen::{Found, FreshKeys, SeenEndpoint, SeenKeys, SeenMember};
use super::status::endpoint::{self as status, Facts};
use super::traffic::{self, Candidate};
use super::{Config, build, quota, validate};
use crate::api::endpoint::{AuthMode, IdentityKind, OnlineEndpoint, OnlineEndpointStatus};
use crate::api::endpoint_route::RouteDeployment;
use crate::api::name;

/// What to do and what to say.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Writes, in order.
    pub changes: Vec<Change>,
    /// The status as it is to be.
    pub status: OnlineEndpointStatus,
}

/// Name of the Secret that holds the keys of an endpoint, when it has any.
#[must_use]
pub fn keys_secret_name(endpoint: &OnlineEndpoint) -> Option<String> {
    let generated = || name::keys_secret(endpoint.metadata.name.as_deref().unwrap_or_default());
    (endpoint.spec.auth_mode == AuthMode::Key).then(|| endpoint.spec.keys_secret_name.clone().unwrap_or_else(generated))
}

/// Whether the operator makes the keys itself.
#[must_use]
pub fn generates_keys(endpoint: &OnlineEndpoint) -> bool {
    endpoint.spec.auth_mode == AuthMode::Key && endpoint.spec.keys_secret_name.is_none()
}

/// Decides for one endpoint. `fresh` is used only when keys have to be made.
#[must_use]
pub fn plan(now: Timestamp, config: &Config, seen: &SeenEndpoint, fresh: &FreshKeys) -> Plan {
    let object = &*seen.object;
    let deleting = object.metadata.deletion_timestamp.is_some();
    let current = current_weights(seen);
    let members = members(seen);
    let candidates: Vec<Candidate<'_>> = members
        .iter()
        .map(|member| {
            let name = member.object.deployment_name();
            Candidate {
                name,
                can_serve: member.reachable_instances > 0,
                current: current.get(name).map_or(0, |entry| entry.weight.0),
            }
        })
        .collect();
    let weights = traffic::in_force(&object.spec.traffic, &candidates);
    let conflict = conflict(seen);
    // Keys that are about to be made count already: the Secret is written before the table.
    let made = generates_keys(object) && matches!(seen.generated_secret, Found::Absent);
    let keys = if made { build::secret::fresh_digests(fresh) } else { seen.keys.clone() };
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let over_quota = quota::check_endpoint(&seen.quotas, &seen.claims, name).err();
    let changes = if deleting || conflict.is_some() || over_quota.is_some() {
        Vec::new()
    } else {
        changes(config, seen, &members, &current, Decided { weights: &weights, keys: &keys, fresh })
    };
    let no_gateway_api = seen.http_route.is_none() && build::ingress::as_http_route(object).is_some();
    let facts = Facts { members: &members, weights: &weights, keys: &keys, conflict, over_quota, no_gateway_api };
    let status = status::of(object, &facts, config, now);
    Plan { changes, status }
}

/// What has been decided before the objects are built.
#[derive(Clone, Copy)]
struct Decided<'a> {
    weights: &'a BTreeMap<String, i32>,
    keys: &'a SeenKeys,
    fresh: &'a FreshKeys,
}

fn changes(
    config: &Config,
    seen: &SeenEndpoint,
    members: &[&SeenMember],
    current: &BTreeMap<&str, &RouteDeployment>,
    decided: Decided<'_>,
) -> Vec<Change> {
    let Decided { weights, keys: digests, fresh } = decided;
    let object = &*seen.object;
    let account = if object.spec.identity.kind == IdentityKind::SystemAssigned {
        change::apply(build::service_account::of_endpoint(object), &seen.service_account, Child::ServiceAccount)
    } else {
        change::delete(TargetKind::ServiceAccount, &seen.service_account)
    };
    let makes_keys = generates_keys(object);
    let keys = match (&seen.generated_secret, makes_keys) {
        (Found::Absent, true) => Some(Change::Apply(Child::Keys(Box::new(build::secret::of_endpoint(object, fresh))))),
        (found, false) => change::delete(TargetKind::Secret, found),
        _ => None,
    };
    let service = build::service::of_endpoint(object, &config.gateway_host);
    let service = change::apply(service, &seen.service, Child::Service);
    let kept = seen
        .unreadable
        .iter()
        .filter_map(|resource| {
            let service = name::instances_service(resource);
            current.values().find(|entry| entry.service == service).map(|entry| (*entry).clone())
        })
        .collect();
    let route = build::route::of_endpoint(object, digests, members, kept, weights);
    let route = change::apply(route, &seen.route, Child::Route);
    let ingress = match build::ingress::as_ingress(object) {
        Some(wanted) => change::apply(build::ingress::of_endpoint(object, wanted), &seen.ingress, Child::Ingress),
        None => change::delete(TargetKind::Ingress, &seen.ingress),
    };
    let http_route = seen.http_route.as_ref().and_then(|found| match build::ingress::as_http_route(object) {
        Some((wanted, gateway)) => {
            let route = build::http_route::of_endpoint(object, wanted, gateway, &config.gateway_host);
            change::apply(route, found, Child::HttpRoute)
        }
        None => change::delete(TargetKind::HttpRoute, found),
    });
    account.into_iter().chain(keys).chain(service).chain(route).chain(ingress).chain(http_route).collect()
}

/// The entries of the table in force, by deploymentName.
fn current_weights(seen: &SeenEndpoint) -> BTreeMap<&str, &RouteDeployment> {
    seen.route
        .ours()
        .map(|route| route.spec.deployments.iter().map(|entry| (entry.name.as_str(), entry)).collect())
        .unwrap_or_default()
}

/// The deployments that take part: not on their way out, and of two with the same name the older one.
fn members(seen: &SeenEndpoint) -> Vec<&SeenMember> {
    let mut members: Vec<&SeenMember> = seen
        .deployments
        .iter()
        .filter(|member| member.object.metadata.deletion_timestamp.is_none())
        .filter(|member| !seen.deployments.iter().any(|other| is_rival(other, member)))
        .collect();
    members.sort_by_key(|member| member.object.deployment_name().to_owned());
    members
}

fn is_rival(other: &SeenMember, member: &SeenMember) -> bool {
    validate::is_older_namesake(&other.object, &member.object)
}

fn conflict(seen: &SeenEndpoint) -> Option<String> {
    let object = &*seen.object;
    let endpoint = object.metadata.name.as_deref().unwrap_or_default();
    let system_assigned = object.spec.identity.kind == IdentityKind::SystemAssigned;
    let foreign_http_route = seen.http_route.as_ref().is_some_and(Found::is_foreign);
    [
        ("Service", endpoint.to_owned(), seen.service.is_foreign()),
        ("EndpointRoute", endpoint.to_owned(), seen.route.is_foreign()),
        ("Ingress", endpoint.to_owned(), build::ingress::as_ingress(object).is_some() && seen.ingress.is_foreign()),
        ("HTTPRoute", endpoint.to_owned(), build::ingress::as_http_route(object).is_some() && foreign_http_route),
        ("Secret", name::keys_secret(endpoint), generates_keys(object) && seen.generated_secret.is_foreign()),
        ("ServiceAccount", name::service_account(endpoint), system_assigned && seen.service_account.is_foreign()),
    ]
    .into_iter()
    .find(|(.., foreign)| *foreign)
    .map(|(kind, name, _)| format!("{kind} {name:?} belongs to somebody else; rename or remove it"))
}
