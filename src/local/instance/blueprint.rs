//! What an instance is made from.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use serde::{Deserialize, Serialize};

use crate::plan::build::pod::SERVER;
use crate::plan::change::digest;

/// What an instance is made from.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Blueprint {
    /// The name of its endpoint.
    pub endpoint: String,
    /// The name of its deployment.
    pub deployment: String,
    /// The digest of its template.
    pub revision: String,
    /// The state folder of its deployment: others may have one of the same name on the same engine.
    pub place: PathBuf,
    /// Its number.
    pub number: u32,
    /// The pod.
    pub pod: PodSpec,
    /// The Dockerfile that its image is built from.
    pub build: Option<(PathBuf, String)>,
    /// How many GPUs it gets: -1 is all of them.
    pub gpus: Option<i64>,
    /// What distinguishes this start of the deployment from the one before.
    pub start: String,
    /// The longest that a request may take.
    pub drain: Duration,
    /// The time that the server has to end.
    pub grace: Duration,
}

impl Blueprint {
    /// The name of the instance and of its container.
    #[must_use]
    pub fn name(&self) -> String {
        let mark = digest(&(&self.place, &self.endpoint, &self.deployment, &self.revision));
        format!("mooring-{}-{}-{}-{}", self.endpoint, self.deployment, self.number, mark.get(..8).unwrap_or(&mark))
    }

    /// The container of the inference server.
    #[must_use]
    pub fn server(&self) -> Option<&Container> {
        self.pod.containers.iter().find(|container| container.name == SERVER)
    }
}
