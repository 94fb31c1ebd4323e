//! The addresses: of a deployment's instances, and of an endpoint.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::deployment::{AppProtocol, OnlineDeployment};
use crate::api::endpoint::OnlineEndpoint;
use crate::api::{label, name};
use crate::plan::validate::Valid;

/// The port of an endpoint's Service, which is the gateway's.
pub const PORT: i32 = 80;

/// The headless Service whose `EndpointSlices` tell gateways the instances.
#[must_use]
pub fn of_instances(object: &OnlineDeployment, valid: &Valid<'_>) -> Service {
    let labels = label::of_deployment(&valid.spec.endpoint_name, valid.resource);
    let port = valid.routes.scoring_route.port;
    Service {
        metadata: super::owned_by(object, name::instances_service(valid.resource), labels),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some("None".to_owned()),
            selector: Some(label::instance_selector(valid.resource)),
            ports: Some(vec![ServicePort {
                name: Some("scoring".to_owned()),
                port,
                target_port: Some(IntOrString::Int(port)),
                protocol: Some("TCP".to_owned()),
                app_protocol: match valid.routes.app_protocol {
                    AppProtocol::Http => None,
                    AppProtocol::H2c => Some("kubernetes.io/h2c".to_owned()),
                },
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The endpoint's in-cluster name: an alias of the gateway, which routes by the Host header.
#[must_use]
pub fn of_endpoint(endpoint: &OnlineEndpoint, gateway_host: &str) -> Service {
    let endpoint_name = endpoint.metadata.name.clone().unwrap_or_default();
    let labels = label::of_endpoint(&endpoint_name);
    Service {
        metadata: super::owned_by(endpoint, endpoint_name, labels),
        spec: Some(ServiceSpec {
            type_: Some("ExternalName".to_owned()),
            external_name: Some(gateway_host.to_owned()),
            // An alias needs none; an Ingress finds its backend by it.
            ports: Some(vec![ServicePort {
                name: Some("http".to_owned()),
                port: PORT,
                target_port: Some(IntOrString::Int(PORT)),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
