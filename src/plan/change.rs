//! What a plan wants done: the only way from a decision to a write.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use kube::core::PartialObjectMeta;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::seen::Found;
use crate::api::endpoint_route::EndpointRoute;
use crate::api::http_route::HTTPRoute;
use crate::api::label;
use crate::api::units::Quantity;

/// One write.
#[derive(Clone, Debug)]
pub enum Change {
    /// Server-side apply.
    Apply(Child),
    /// Deletion of exactly this object.
    Delete(Target),
}

/// An object that we make, with the fields that we mean and no others.
#[derive(Clone, Debug)]
pub enum Child {
    /// The instances of a deployment.
    Deployment(Box<Deployment>),
    /// The address of instances or of an endpoint.
    Service(Box<Service>),
    /// The identity of an endpoint.
    ServiceAccount(Box<ServiceAccount>),
    /// The way to an endpoint from outside the cluster.
    Ingress(Box<Ingress>),
    /// The same through a Gateway.
    HttpRoute(Box<HTTPRoute>),
    /// The keys of an endpoint; made once, never written again.
    Keys(Box<Secret>),
    /// The routing table of an endpoint.
    Route(Box<EndpointRoute>),
}

/// The object that a deletion means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its kind.
    pub kind: TargetKind,
    /// Its name.
    pub name: String,
    /// Its uid: a new object of the same name is never hit.
    pub uid: String,
}

/// Kinds that we delete ourselves; the rest goes with its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// apps/v1 Deployment.
    Deployment,
    /// v1 Service.
    Service,
    /// v1 `ServiceAccount`.
    ServiceAccount,
    /// v1 Secret.
    Secret,
    /// networking.k8s.io/v1 Ingress.
    Ingress,
    /// gateway.networking.k8s.io/v1 `HTTPRoute`.
    HttpRoute,
}

/// A deletion of our object, when there is one.
#[must_use]
pub fn delete<K: Resource>(kind: TargetKind, found: &Found<K>) -> Option<Change> {
    let object = found.ours()?;
    let metadata = object.meta();
    if metadata.deletion_timestamp.is_some() {
        return None;
    }
    Some(Change::Delete(Target { kind, name: metadata.name.clone()?, uid: metadata.uid.clone()? }))
}

/// An application of `wanted`, unless what stands there is equal already.
///
/// Equal means: the digest of what we last applied is that of `wanted` (nothing to add or take away), and every
/// field of `wanted` has its value still (nobody else changed it).
#[must_use]
pub fn apply<K, F>(mut wanted: K, found: &Found<F>, child: impl FnOnce(Box<K>) -> Child) -> Option<Change>
where
    K: Resource + Serialize,
    F: Resource + Serialize + Comparable,
{
    let digest = digest(&wanted);
    wanted.annotations_mut().insert(label::APPLIED.to_owned(), digest);
    match found {
        Found::Foreign => None,
        Found::Ours(there) if there.meta().deletion_timestamp.is_some() => None,
        Found::Ours(there) => {
            let (Ok(mut want), Ok(have)) = (serde_json::to_value(&wanted), serde_json::to_value(&**there)) else {
                return Some(Change::Apply(child(Box::new(wanted))));
            };
            if F::METADATA_ONLY {
                want = serde_json::json!({ "metadata": want.get("metadata") });
            }
            if holds(&have, &want) {
                return None;
            }
            // Only this very object: a new one of the same name is somebody else's.
            wanted.meta_mut().uid.clone_from(&there.meta().uid);
            Some(Change::Apply(child(Box::new(wanted))))
        }
        Found::Absent => Some(Change::Apply(child(Box::new(wanted)))),
    }
}

/// How much of a found object can be compared.
pub trait Comparable {
    /// True when only its metadata was read.
    const METADATA_ONLY: bool = false;
}

impl Comparable for Deployment {}
impl Comparable for Service {}
impl Comparable for Ingress {}
impl Comparable for HTTPRoute {}
impl Comparable for EndpointRoute {}
impl<K> Comparable for PartialObjectMeta<K> {
    const METADATA_ONLY: bool = true;
}

/// SHA-256 of the object as JSON with sorted keys, in hexadecimal.
pub(crate) fn digest<T: Serialize>(of: &T) -> String {
    // serde_json's Value keeps its keys sorted; our objects hold nothing that can't be written.
    let json = serde_json::to_value(of).map(|value| value.to_string()).unwrap_or_default();
    sha256_hex(json.as_bytes())
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether `have` holds every field of `want`. Lists of named things are matched by name, as the API server merges
/// them; amounts are compared by value (`1000m` is `1`); an empty value and an absent one are the same.
fn holds(have: &Value, want: &Value) -> bool {
    match (have, want) {
        (Value::Object(have), Value::Object(want)) => {
            want.iter().all(|(key, value)| have.get(key).map_or_else(|| is_empty(value), |there| holds(there, value)))
        }
        (Value::Array(have), Value::Array(want)) => {
            have.len() == want.len()
                && want.iter().zip(have).all(|(value, same_place)| {
                    let there = match value.get("name") {
                        Some(name) => have.iter().find(|other| other.get("name") == Some(name)),
                        None => Some(same_place),
                    };
                    there.is_some_and(|there| holds(there, value))
                })
        }
        (Value::String(have), Value::String(want)) => {
            have == want
                || matches!(Quantity::from(have.as_str()).compare(&Quantity::from(want.as_str())), Ok(order) if order.is_eq())
        }
        _ => have == want,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_of_the_api_server_are_no_difference() {
        let want = json!({"spec": {"replicas": 1, "ports": [{"name": "http", "port": 80}]}});
        let have = json!({"spec": {"replicas": 1, "x": 2, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}});
        assert!(holds(&have, &want));
    }

    #[test]
    fn a_changed_a_missing_and_an_added_field_are_differences() {
        let want = json!({"a": {"b": "1", "c": [{"name": "x", "v": 1}]}});
        assert!(!holds(&json!({"a": {"b": "2", "c": [{"name": "x", "v": 1}]}}), &want));
        assert!(!holds(&json!({"a": {"b": "1"}}), &want));
        assert!(!holds(&json!({"a": {"b": "1", "c": [{"name": "x", "v": 1}, {"name": "y"}]}}), &want));
    }

    #[test]
    fn named_items_may_stand_in_another_order_and_amounts_in_another_form() {
        let want = json!([{"name": "a", "cpu": "1000m"}, {"name": "b", "memory": "1Gi"}]);
        let have = json!([{"name": "b", "memory": "1024Mi"}, {"name": "a", "cpu": "1"}]);
        assert!(holds(&have, &want));
    }

    #[test]
    fn an_empty_value_and_an_absent_one_are_the_same() {
        assert!(holds(&json!({}), &json!({"hosts": [], "on": false, "map": {}})));
    }
}
