//! The way to an endpoint from outside the cluster.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    IngressTLS, ServiceBackendPort,
};

use super::service::PORT;
use crate::api::endpoint::{EndpointIngress, GatewayReference, OnlineEndpoint, PublicNetworkAccess};
use crate::api::label;

/// What an endpoint says of that way, when it has one.
#[must_use]
pub fn wanted(endpoint: &OnlineEndpoint) -> Option<&EndpointIngress> {
    let spec = &endpoint.spec;
    spec.ingress.as_ref().filter(|_| spec.public_network_access == PublicNetworkAccess::Enabled)
}

/// What it says of an Ingress.
#[must_use]
pub fn as_ingress(endpoint: &OnlineEndpoint) -> Option<&EndpointIngress> {
    wanted(endpoint).filter(|wanted| wanted.gateway.is_none())
}

/// What it says of a way through a Gateway.
#[must_use]
pub fn as_http_route(endpoint: &OnlineEndpoint) -> Option<(&EndpointIngress, &GatewayReference)> {
    wanted(endpoint).and_then(|wanted| Some((wanted, wanted.gateway.as_ref()?)))
}

/// The Ingress, by which the whole host leads to the endpoint's Service.
#[must_use]
pub fn of_endpoint(endpoint: &OnlineEndpoint, ingress: &EndpointIngress) -> Ingress {
    let name = endpoint.metadata.name.clone().unwrap_or_default();
    let mut metadata = super::owned_by(endpoint, name.clone(), label::of_endpoint(&name));
    metadata.annotations.get_or_insert_default().extend(ingress.annotations.clone());
    let service = IngressServiceBackend { name, port: Some(ServiceBackendPort { number: Some(PORT), name: None }) };
    let path = HTTPIngressPath {
        backend: IngressBackend { service: Some(service), resource: None },
        path: Some("/".to_owned()),
        path_type: "Prefix".to_owned(),
    };
    let secret =
        |secret: &String| IngressTLS { hosts: Some(vec![ingress.host.clone()]), secret_name: Some(secret.clone()) };
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: ingress.class_name.clone(),
            rules: Some(vec![IngressRule {
                host: Some(ingress.host.clone()),
                http: Some(HTTPIngressRuleValue { paths: vec![path] }),
            }]),
            tls: ingress.tls_secret_name.as_ref().map(|name| vec![secret(name)]),
            default_backend: None,
        }),
        status: None,
    }
}
