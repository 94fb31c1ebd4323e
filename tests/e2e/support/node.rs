//! The node, which is this machine.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};

use super::place::Place;

/// The address at which pods and containerd reach what listens on this machine, and which is no loopback.
pub async fn address(place: &Place) -> IpAddr {
    let nodes: Api<Node> = Api::all(place.client.clone());
    let nodes = nodes.list(&ListParams::default()).await.unwrap();
    let addresses = nodes.items.into_iter().find_map(|node| node.status?.addresses).unwrap();
    let internal = addresses.into_iter().find(|address| address.type_ == "InternalIP").unwrap();
    internal.address.parse().unwrap()
}
