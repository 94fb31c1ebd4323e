//! Kubernetes objects, one file for each kind that we make.

pub mod cache;
pub mod deployment;
pub mod http_route;
pub mod identity;
pub mod ingress;
pub mod pod;
pub mod route;
pub mod secret;
pub mod service;
pub mod service_account;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

/// Metadata of an object that goes when `owner` goes.
fn owned_by<K: Resource<DynamicType = ()>>(owner: &K, name: String, labels: BTreeMap<String, String>) -> ObjectMeta {
    let metadata = owner.meta();
    ObjectMeta {
        name: Some(name),
        namespace: metadata.namespace.clone(),
        labels: Some(labels),
        owner_references: Some(vec![OwnerReference {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    }
}
