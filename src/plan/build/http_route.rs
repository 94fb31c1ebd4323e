//! The way to an endpoint through a Gateway of the Gateway API.

use super::service::PORT;
use crate::api::endpoint::{EndpointIngress, GatewayReference, OnlineEndpoint};
use crate::api::http_route::{BackendReference, HTTPRoute, HttpRouteRule, HttpRouteSpec, HttpRouteTimeouts};
use crate::api::label;

/// The route, by which the whole host leads to our gateway. It names the gateway's own Service, since Gateways take
/// no alias; `gateway_host` is `<service>.<namespace>.svc…`.
#[must_use]
pub fn of_endpoint(
    endpoint: &OnlineEndpoint,
    ingress: &EndpointIngress,
    gateway: &GatewayReference,
    gateway_host: &str,
) -> HTTPRoute {
    let name = endpoint.metadata.name.clone().unwrap_or_default();
    let mut metadata = super::owned_by(endpoint, name.clone(), label::of_endpoint(&name));
    metadata.annotations.get_or_insert_default().extend(ingress.annotations.clone());
    let mut parts = gateway_host.split('.').map(str::to_owned);
    let service = parts.next().unwrap_or_default();
    HTTPRoute {
        metadata,
        spec: HttpRouteSpec {
            parent_refs: vec![gateway.clone()],
            hostnames: vec![ingress.host.clone()],
            rules: vec![HttpRouteRule {
                backend_refs: vec![BackendReference { namespace: parts.next(), name: service, port: PORT }],
                // Ours ends a request by what its deployment says; a shorter limit in front would hide that.
                timeouts: Some(HttpRouteTimeouts { request: Some("0s".to_owned()) }),
            }],
        },
    }
}
