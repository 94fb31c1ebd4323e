//! The view that the `EndpointSlices` of the gateway's Service show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;

use super::view::{Member, View};
use super::{Options, Peers};

/// Name of the port of the slices that replicas listen on for one another; without it, their own.
const PORT: &str = "peers";

/// What is known of the gateway's Service.
#[derive(Debug)]
pub struct Membership {
    /// Namespace and name of the Service.
    pub service: (String, String),
    peers: Arc<Peers>,
    /// Port of whoever says none.
    port: u16,
    slices: BTreeMap<String, EndpointSlice>,
    /// The newest revision that was seen.
    seen: u64,
}

impl Membership {
    /// What tells `peers` who they are.
    #[must_use]
    pub fn new(peers: Arc<Peers>, options: Options, port: u16) -> Self {
        let service = (options.namespace, options.service);
        Self { service, peers, port, slices: BTreeMap::new(), seen: 0 }
    }

    /// Takes over a slice.
    pub fn set(&mut self, slice: EndpointSlice) {
        self.seen = self.seen.max(revision(&slice));
        self.slices.insert(slice.name_any(), slice);
    }

    /// Forgets a slice.
    pub fn remove(&mut self, slice: &EndpointSlice) {
        self.seen = self.seen.max(revision(slice));
        self.slices.remove(&slice.name_any());
    }

    /// Forgets all slices but those of these names.
    pub fn retain(&mut self, names: &BTreeSet<String>) {
        self.slices.retain(|name, _| names.contains(name));
    }

    /// Puts in force what is known.
    pub fn publish(&self) {
        self.peers.adopt(&view(self.slices.values(), self.port, self.seen));
    }
}

/// The view of these slices, in which whoever has no port of its own has `port`. `seen` is the newest revision that was
/// seen otherwise.
#[must_use]
fn view<'a>(slices: impl IntoIterator<Item = &'a EndpointSlice>, port: u16, seen: u64) -> View {
    let mut revision = seen;
    let mut members = Vec::new();
    for slice in slices {
        revision = revision.max(self::revision(slice));
        let named = slice.ports.iter().flatten().find(|port| port.name.as_deref() == Some(PORT));
        let port = named.and_then(|port| u16::try_from(port.port?).ok()).unwrap_or(port);
        members.extend(slice.endpoints.iter().filter_map(|endpoint| member(endpoint, port)));
    }
    View::new(revision, members)
}

/// When a slice was written, as a place in the order of all writes.
fn revision(slice: &EndpointSlice) -> u64 {
    slice.resource_version().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn member(endpoint: &Endpoint, port: u16) -> Option<Member> {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
    let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
    if !ready && !serving && !terminating {
        return None;
    }
    let text = endpoint.addresses.first()?;
    let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.as_ref());
    Some(Member {
        id: pod.unwrap_or(text).clone(),
        address: (text.parse::<std::net::IpAddr>().ok()?, port).into(),
        leaving: terminating || !ready,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slice(revision: &str, ports: &serde_json::Value, endpoints: &serde_json::Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": "one", "namespace": "n", "resourceVersion": revision},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": ports
        }))
        .unwrap()
    }

    #[test]
    fn members_are_those_who_may_still_have_requests() {
        let endpoints = json!([
            {"addresses": ["198.18.0.1"], "targetRef": {"name": "a"}},
            {"addresses": ["198.18.0.2"], "targetRef": {"name": "b"}, "conditions": {"ready": false}},
            {"addresses": ["198.18.0.3"], "targetRef": {"name": "c"},
             "conditions": {"ready": false, "serving": false, "terminating": true}},
            {"addresses": ["198.18.0.4"], "targetRef": {"name": "d"}, "conditions": {"ready": true}}
        ]);
        let view = view(&[slice("7", &json!([]), &endpoints)], 8082, 3);
        let members: Vec<_> = view.members().iter().map(|member| (member.id.as_str(), member.leaving)).collect();
        assert_eq!(members, [("a", false), ("c", true), ("d", false)]);
        assert_eq!(view.version.revision, 7);
        assert_eq!(view.members()[0].address.to_string(), "198.18.0.1:8082");
    }

    #[test]
    fn a_port_of_its_own_counts_and_the_newest_revision() {
        let endpoints = json!([{"addresses": ["198.18.0.1"], "targetRef": {"name": "a"}}]);
        let slice = slice("7", &json!([{"name": "http", "port": 1}, {"name": "peers", "port": 2}]), &endpoints);
        let view = view(&[slice], 8082, 9);
        assert_eq!((view.members()[0].address.port(), view.version.revision), (2, 9));
    }
}
