//! What instances are up to, and what they have written.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::{Store, StoreError, check};
use crate::local::development::{self, Development, DevelopmentError};
use crate::local::engine::Engine;
use crate::local::instance::Blueprint;
use crate::local::instance::view::View;
use crate::local::logs::{self, Extent, Pieces};
use crate::local::{agent, evidence, folder};

impl Store {
    /// The names of the instances of a deployment, the oldest first.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn instances(&self, endpoint: &str, name: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.views(endpoint, name)?.into_iter().map(|view| view.name).collect())
    }

    /// What is known of the instances of a deployment, the oldest first.
    ///
    /// # Errors
    /// When a name can't be one.
    pub fn views(&self, endpoint: &str, name: &str) -> Result<Vec<View>, StoreError> {
        check::name("spec.endpointName", endpoint)?;
        check::name("spec.deploymentName", name)?;
        let mut views = agent::views(&self.folder(endpoint).deployment(name));
        views.sort_by_key(|view| view.created);
        Ok(views)
    }

    /// The instances of a deployment as pods, the oldest first.
    ///
    /// # Errors
    /// When a name can't be one.
    pub fn pods(&self, endpoint: &str, name: &str) -> Result<Vec<Pod>, StoreError> {
        Ok(self.views(endpoint, name)?.iter().map(|view| Arc::unwrap_or_clone(evidence::pod(view))).collect())
    }

    /// Writes the development container of a deployment, from its newest instance.
    ///
    /// # Errors
    /// When there is nothing to debug, or it can't be written.
    pub fn develop(&self, endpoint: &str, name: &str) -> Result<Development, StoreError> {
        let folder = self.folder(endpoint);
        let place = folder.deployment(name);
        let newest = self.views(endpoint, name)?.pop();
        let blueprint = newest.map(|view| folder::read_json::<Blueprint>(&place.blueprint(&view.name))).transpose()?;
        let blueprint = blueprint.flatten().ok_or_else(|| DevelopmentError::NoInstance(name.to_owned()))?;
        Ok(development::write(&folder, &place, &blueprint)?)
    }

    /// The log of the inference server of an instance.
    ///
    /// # Errors
    /// When there is no container engine.
    pub async fn server_log(&self, instance: &str, extent: Extent) -> Result<Pieces, StoreError> {
        Ok(logs::of_server(&Engine::connect().await?, instance, extent))
    }

    /// The log of the storage initializer of a deployment.
    ///
    /// # Errors
    /// When a name can't be one.
    pub fn initializer_log(&self, endpoint: &str, name: &str, extent: Extent) -> Result<Pieces, StoreError> {
        check::name("spec.endpointName", endpoint)?;
        check::name("spec.deploymentName", name)?;
        Ok(logs::of_file(self.folder(endpoint).deployment(name).initializer_log(), extent))
    }
}
