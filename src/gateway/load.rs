//! How busy each deployment is, for whoever scales it: `/internal/load` on the admin port.
//!
//! Each replica of the gateway tells of its own requests; the load of a deployment is the sum over them.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::table::Table;
use crate::process::answer;

/// The whole answer.
#[derive(Serialize, Debug)]
pub struct Load<'a> {
    /// All deployments of all endpoints, in the order of their names.
    pub deployments: Vec<DeploymentLoad<'a>>,
}

/// One deployment.
#[derive(Serialize, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeploymentLoad<'a> {
    /// Namespace of the endpoint.
    pub namespace: &'a str,
    /// Name of the endpoint.
    pub endpoint: &'a str,
    /// The deploymentName.
    pub deployment: &'a str,
    /// The Service of its instances.
    pub service: &'a str,
    /// Requests of this replica that its ready instances work on, copies for a mirror too.
    pub busy: usize,
    /// Requests that wait for a free instance here; where replicas share limits, those of all wait at one of them.
    pub queued: usize,
    /// Instances that may get requests.
    pub instances: usize,
    /// Requests that these may work on at once, over all replicas.
    pub capacity: usize,
}

/// The answer to whoever asks.
#[must_use]
pub fn answer(table: &Table) -> Response<Full<Bytes>> {
    match serde_json::to_string(&of(table)) {
        Ok(load) => answer::with_type(StatusCode::OK, load, "application/json"),
        Err(_) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, "encoding the load failed\n".to_owned()),
    }
}

/// The load of all deployments of `table`.
#[must_use]
pub fn of(table: &Table) -> Load<'_> {
    let mut deployments: Vec<_> = table
        .endpoints()
        .flat_map(|endpoint| {
            endpoint.deployments.iter().map(|deployment| DeploymentLoad {
                namespace: &endpoint.namespace,
                endpoint: &endpoint.name,
                deployment: &deployment.name,
                service: &deployment.service,
                busy: deployment.backend.own_in_flight(),
                queued: deployment.backend.waiting(),
                instances: deployment.backend.ready().len(),
                capacity: deployment.capacity(),
            })
        })
        .collect();
    deployments.sort_unstable();
    Load { deployments }
}
