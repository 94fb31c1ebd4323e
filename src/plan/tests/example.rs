//! Objects as the API server gives them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::api::instance_type::built_in;
use crate::plan::Config;
use crate::plan::build::secret::{PRIMARY, SECONDARY};
use crate::plan::change::{Change, Child};
use crate::plan::quota::Claims;
use crate::plan::seen::{Found, FreshKeys, SeenDeployment, SeenEndpoint, SeenKeys, SeenOwner};

pub(super) fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

pub(super) fn config() -> Config {
    Config {
        fetch_image: "registry/mooring/fetch:1".to_owned(),
        cache_claim: None,
        gateway_host: "mooring-gateway.mooring-system.svc.cluster.local".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
    }
}

pub(super) fn fresh_keys() -> FreshKeys {
    FreshKeys(BTreeMap::from([(PRIMARY, "first".to_owned()), (SECONDARY, "second".to_owned())]))
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name, "namespace": "team", "uid": format!("uid-of-{name}"), "generation": 1,
        "creationTimestamp": "2023-11-14T22:00:00Z",
    })
}

pub(super) fn endpoint(spec: &Value) -> OnlineEndpoint {
    serde_json::from_value(json!({
        "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint", "metadata": metadata("iris"), "spec": spec,
    }))
    .unwrap()
}

/// A deployment of the scikit-learn kind, with `changes` merged into its spec.
pub(super) fn deployment(changes: &Value) -> OnlineDeployment {
    named_deployment("iris-blue", "blue", changes)
}

pub(super) fn named_deployment(resource: &str, name: &str, changes: &Value) -> OnlineDeployment {
    let mut spec = json!({
        "endpointName": "iris",
        "deploymentName": name,
        "model": {"uri": "s3://models/iris/model/"},
        "codeConfiguration": {"code": {"configMapName": "score"}, "scoringScript": "src/score.py"},
        "environment": {"image": "registry/sklearn@sha256:1"},
    });
    spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineDeployment", "metadata": metadata(resource), "spec": spec,
    }))
    .unwrap()
}

pub(super) fn seen_deployment(object: OnlineDeployment) -> SeenDeployment {
    SeenDeployment {
        endpoint: SeenOwner::Present(Arc::new(endpoint(&json!({})))),
        has_service_account: true,
        user_account: None,
        rival: None,
        instance_type: built_in(&object.spec.instance_type),
        deployment: Found::Absent,
        service: Found::Absent,
        replica_sets: Vec::new(),
        pods: Vec::new(),
        notes: BTreeMap::new(),
        download: None,
        tainted_nodes: None,
        quotas: Vec::new(),
        claims: Claims::default(),
        pull_secrets: BTreeMap::new(),
        object: Arc::new(object),
    }
}

pub(super) fn seen_endpoint(object: OnlineEndpoint) -> SeenEndpoint {
    SeenEndpoint {
        object: Arc::new(object),
        keys: SeenKeys::Absent,
        generated_secret: Found::Absent,
        service: Found::Absent,
        service_account: Found::Absent,
        ingress: Found::Absent,
        http_route: Some(Found::Absent),
        route: Found::Absent,
        deployments: Vec::new(),
        quotas: Vec::new(),
        claims: Claims::default(),
        unreadable: Vec::new(),
    }
}

/// What the API server keeps of a Deployment, with its controller's counts.
pub(super) fn kept_deployment(changes: &[Change], replicas: i32, updated: i32, ready: i32) -> Option<Deployment> {
    let mut deployment = changes.iter().find_map(|change| match change {
        Change::Apply(Child::Deployment(deployment)) => Some((**deployment).clone()),
        _ => None,
    })?;
    deployment.metadata.uid = Some("uid-of-the-deployment".to_owned());
    deployment.metadata.generation = Some(1);
    let status =
        json!({"observedGeneration": 1, "replicas": replicas, "updatedReplicas": updated, "readyReplicas": ready});
    deployment.status = serde_json::from_value(status).unwrap();
    Some(deployment)
}

pub(super) fn kept_service(changes: &[Change]) -> Option<Service> {
    let mut service = changes.iter().find_map(|change| match change {
        Change::Apply(Child::Service(service)) => Some((**service).clone()),
        _ => None,
    })?;
    service.metadata.uid = Some("uid-of-the-service".to_owned());
    Some(service)
}
