//! What a plan may look at: the state of the cluster when the pass began. No other input exists.

pub mod note;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;

use super::quota::{Claims, Quota};
use crate::api::deployment::{Download, OnlineDeployment};
use crate::api::endpoint::OnlineEndpoint;
use crate::api::endpoint_route::EndpointRoute;
use crate::api::http_route::HTTPRoute;
use crate::api::instance_type::InstanceTypeSpec;
use note::Note;

/// What stands under a name that we need.
#[derive(Clone, Debug)]
pub enum Found<K> {
    /// Nothing.
    Absent,
    /// The object that we made.
    Ours(Arc<K>),
    /// Somebody else's object: never touched.
    Foreign,
}

impl<K> Found<K> {
    /// Our object, when there is one.
    #[must_use]
    pub fn ours(&self) -> Option<&K> {
        match self {
            Self::Ours(object) => Some(object),
            Self::Absent | Self::Foreign => None,
        }
    }

    /// Whether somebody else's object stands there.
    #[must_use]
    pub const fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign)
    }
}

/// Whether `metadata` names `uid` as its controller.
#[must_use]
pub fn is_controlled_by(metadata: &ObjectMeta, uid: &str) -> bool {
    metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

/// The state around one `OnlineDeployment`.
#[derive(Clone, Debug)]
pub struct SeenDeployment {
    /// The object itself.
    pub object: Arc<OnlineDeployment>,
    /// Its endpoint.
    pub endpoint: SeenOwner,
    /// Whether the service account exists that the operator makes for the endpoint.
    pub has_service_account: bool,
    /// What the annotations of the service account that a `UserAssigned` identity names say of clouds; `None` while
    /// there is no such account.
    pub user_account: Option<BTreeMap<String, String>>,
    /// An older `OnlineDeployment` of the same endpoint with the same deploymentName.
    pub rival: Option<String>,
    /// What `spec.instanceType` stands for.
    pub instance_type: Option<InstanceTypeSpec>,
    /// The quotas of the namespace.
    pub quotas: Vec<Quota>,
    /// What is claimed in the namespace; empty when it has no quota.
    pub claims: Claims,
    /// The Deployment.
    pub deployment: Found<Deployment>,
    /// The headless Service.
    pub service: Found<Service>,
    /// The `ReplicaSets` of the Deployment.
    pub replica_sets: Vec<Arc<ReplicaSet>>,
    /// The pods of all revisions.
    pub pods: Vec<Arc<Pod>>,
    /// What the instances that download have said together, when they were last listened to.
    pub download: Option<Download>,
    /// The nodes with taints, while a pod has no node; `None` when nodes can't be looked at.
    pub tainted_nodes: Option<Vec<Arc<Node>>>,
    /// What Events say of those pods and `ReplicaSets`, by the uid of the object.
    pub notes: BTreeMap<String, Vec<Note>>,
    /// The Secrets that `environment.imagePullSecretNames` names, with the time at which each was created; `None` for
    /// one that does not exist.
    pub pull_secrets: BTreeMap<String, Option<Timestamp>>,
}

/// The endpoint of a deployment.
#[derive(Clone, Debug)]
pub enum SeenOwner {
    /// It does not exist.
    Missing,
    /// It is there.
    Present(Arc<OnlineEndpoint>),
    /// It is there and can't be read; nothing is changed until it can.
    Unreadable(String),
}

/// The state around one `OnlineEndpoint`.
#[derive(Clone, Debug)]
pub struct SeenEndpoint {
    /// The object itself.
    pub object: Arc<OnlineEndpoint>,
    /// The Secret that holds the keys: the user's or ours.
    pub keys: SeenKeys,
    /// The generated Secret, also when the user's own is in use now.
    pub generated_secret: Found<PartialObjectMeta<Secret>>,
    /// The Service with the endpoint's in-cluster name.
    pub service: Found<Service>,
    /// The generated service account.
    pub service_account: Found<PartialObjectMeta<ServiceAccount>>,
    /// The way from outside the cluster.
    pub ingress: Found<Ingress>,
    /// The way from outside the cluster through a Gateway; `None` where the cluster has no Gateway API.
    pub http_route: Option<Found<HTTPRoute>>,
    /// The routing table.
    pub route: Found<EndpointRoute>,
    /// The deployments that name this endpoint.
    pub deployments: Vec<SeenMember>,
    /// The quotas of the namespace.
    pub quotas: Vec<Quota>,
    /// What is claimed in the namespace; empty when it has no quota.
    pub claims: Claims,
    /// Deployments that name this endpoint and can't be read; their entries in the route stay as they are.
    pub unreadable: Vec<String>,
}

/// The keys of an endpoint, as digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeenKeys {
    /// The Secret does not exist.
    Absent,
    /// It lacks these keys.
    Incomplete(Vec<&'static str>),
    /// SHA-256 of each key, in lower-case hexadecimal.
    Digests(Vec<String>),
}

/// One deployment, as its endpoint sees it.
#[derive(Clone, Debug)]
pub struct SeenMember {
    /// The object.
    pub object: Arc<OnlineDeployment>,
    /// Instances that a gateway can reach now.
    pub reachable_instances: usize,
}

/// Fresh keys for an endpoint, made by the caller from a system source of randomness.
#[derive(Clone, PartialEq, Eq)]
pub struct FreshKeys(pub BTreeMap<&'static str, String>);

impl std::fmt::Debug for FreshKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FreshKeys")
    }
}
