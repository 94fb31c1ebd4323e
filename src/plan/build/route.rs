//! The routing table of an endpoint.

use std::collections::BTreeMap;

use crate::api::endpoint::{AuthMode, OnlineEndpoint};
use crate::api::endpoint_route::{EndpointRoute, EndpointRouteSpec, RouteAuth, RouteDeployment, token_audience};
use crate::api::units::Percent;
use crate::api::{label, name};
use crate::plan::seen::{SeenKeys, SeenMember};
use crate::plan::{traffic, validate};

/// The table, with the weights in force (by deploymentName). `members` are the deployments that take part, `kept`
/// the entries of those that can't be read now.
#[must_use]
pub fn of_endpoint(
    endpoint: &OnlineEndpoint,
    keys: &SeenKeys,
    members: &[&SeenMember],
    kept: Vec<RouteDeployment>,
    weights: &BTreeMap<String, i32>,
) -> EndpointRoute {
    let spec = &endpoint.spec;
    let endpoint_name = endpoint.metadata.name.clone().unwrap_or_default();
    let namespace = endpoint.metadata.namespace.as_deref().unwrap_or_default();
    let host = super::ingress::wanted(endpoint);
    let mut deployments = kept;
    deployments.extend(members.iter().map(|member| entry(member, spec, weights)));
    deployments.sort_by(|left, right| left.name.cmp(&right.name));
    EndpointRoute {
        metadata: super::owned_by(endpoint, endpoint_name.clone(), label::of_endpoint(&endpoint_name)),
        spec: EndpointRouteSpec {
            endpoint_generation: endpoint.metadata.generation.unwrap_or_default(),
            hosts: host.map(|ingress| ingress.host.to_ascii_lowercase()).into_iter().collect(),
            auth: RouteAuth {
                mode: spec.auth_mode,
                key_digests: match (spec.auth_mode, keys) {
                    (AuthMode::Key, SeenKeys::Digests(digests)) => digests.clone(),
                    _ => Vec::new(),
                },
                token_audience: (spec.auth_mode == AuthMode::AmlToken)
                    .then(|| token_audience(namespace, &endpoint_name)),
            },
            endpoint_name,
            limits: spec.limits,
            cors: spec.cors.clone(),
            deployments,
        },
    }
}

fn entry(
    member: &SeenMember,
    endpoint: &crate::api::endpoint::OnlineEndpointSpec,
    weights: &BTreeMap<String, i32>,
) -> RouteDeployment {
    let spec = &member.object.spec;
    let deployment_name = member.object.deployment_name();
    let routes = validate::routes(spec);
    let scoring = routes.scoring_route;
    RouteDeployment {
        name: deployment_name.to_owned(),
        weight: Percent(weights.get(deployment_name).copied().unwrap_or_default()),
        mirror: Percent(traffic::share(&endpoint.mirror_traffic, deployment_name)),
        service: name::instances_service(member.object.metadata.name.as_deref().unwrap_or_default()),
        port: scoring.port,
        app_protocol: routes.app_protocol,
        scoring_path: scoring.path,
        request_timeout_ms: spec.request_settings.request_timeout_ms,
        max_concurrent_requests_per_instance: spec.request_settings.max_concurrent_requests_per_instance,
        max_queue_wait_ms: spec.request_settings.max_queue_wait_ms,
        instances: spec.instance_count,
    }
}
