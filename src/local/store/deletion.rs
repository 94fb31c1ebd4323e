//! The end of objects, whatever of them is left.

use std::time::{Duration, Instant};

use super::{PERIOD, Store, StoreError, check};
use crate::local::agent;
use crate::local::annotation::{DEPLOYMENT, ENDPOINT, FOLDER, INSTANCE};
use crate::local::engine::{self, Engine, EngineError};
use crate::local::folder::{self, EndpointFolder};
use crate::local::instance::container;

/// Longest wait for an agent to end by itself.
const END: Duration = Duration::from_secs(15);

/// What was removed.
#[derive(Debug, Default)]
pub struct Deleted {
    /// Whether there was anything.
    pub found: bool,
    /// Containers that were removed here, beside those that the agent removed itself.
    pub containers: usize,
    /// Why containers may be left: the engine does not answer. Deleting again, once it does, removes them.
    pub engine: Option<EngineError>,
}

impl Store {
    /// Whether anything of an endpoint is left: files or containers.
    ///
    /// # Errors
    /// When the name can't be one.
    pub async fn has_traces(&self, name: &str) -> Result<bool, StoreError> {
        check::name("metadata.name", name)?;
        let folder = self.folder(name);
        if folder.path().exists() {
            return Ok(true);
        }
        let Ok(engine) = Engine::connect().await else { return Ok(false) };
        let path = folder.path().display().to_string();
        let found = container::labelled(&engine, &[(ENDPOINT, name), (FOLDER, &path)], INSTANCE).await;
        Ok(found.is_ok_and(|found| !found.is_empty()))
    }

    /// Deletes an endpoint with its deployments, whatever of it is left.
    ///
    /// # Errors
    /// When a file can't be removed.
    pub async fn delete_endpoint(&self, name: &str) -> Result<Deleted, StoreError> {
        check::name("metadata.name", name)?;
        let folder = self.folder(name);
        let found = folder.path().exists();
        // What the agent ends by.
        folder::remove(&folder.object())?;
        self.wait_for_agent(name).await?;
        let mut deleted = self.remove_containers(&folder, &[(ENDPOINT, name)]).await;
        folder::remove(folder.path())?;
        deleted.found = found || deleted.containers > 0;
        Ok(deleted)
    }

    /// Deletes a deployment, whatever of it is left. Its traffic goes to the others.
    ///
    /// # Errors
    /// When a file can't be removed.
    pub async fn delete_deployment(&self, endpoint: &str, name: &str) -> Result<Deleted, StoreError> {
        check::name("spec.endpointName", endpoint)?;
        check::name("spec.deploymentName", name)?;
        let folder = self.folder(endpoint);
        let place = folder.deployment(name);
        let found = place.path().exists();
        for path in [place.object(), place.status(), place.workload()] {
            folder::remove(&path)?;
        }
        let since = Instant::now();
        // An agent takes the instances out of the table first.
        while place.path().exists() && self.has_agent(endpoint)? && since.elapsed() < END {
            tokio::time::sleep(PERIOD).await;
        }
        let name = name.to_ascii_lowercase();
        let mut deleted = self.remove_containers(&folder, &[(ENDPOINT, endpoint), (DEPLOYMENT, &name)]).await;
        folder::remove(place.path())?;
        deleted.found = found || deleted.containers > 0;
        Ok(deleted)
    }

    async fn wait_for_agent(&self, endpoint: &str) -> Result<(), StoreError> {
        let folder = self.folder(endpoint);
        let since = Instant::now();
        while folder.path().exists() && self.has_agent(endpoint)? {
            if since.elapsed() > END {
                agent::end(&folder);
                return Ok(());
            }
            tokio::time::sleep(PERIOD).await;
        }
        Ok(())
    }

    async fn remove_containers(&self, folder: &EndpointFolder, labels: &[(&str, &str)]) -> Deleted {
        let engine = match Engine::connect().await {
            Ok(engine) => engine,
            Err(error) => return Deleted { engine: Some(error), ..Deleted::default() },
        };
        let path = folder.path().display().to_string();
        let labels: Vec<(&str, &str)> = labels.iter().copied().chain([(FOLDER, path.as_str())]).collect();
        let mut containers = 0;
        for (name, _) in container::labelled(&engine, &labels, INSTANCE).await.unwrap_or_default() {
            match container::remove(&engine, &name).await {
                Ok(()) => containers += 1,
                Err(error) => tracing::warn!(container = name, "removing it failed: {}", engine::words(&error)),
            }
        }
        Deleted { containers, ..Deleted::default() }
    }
}
