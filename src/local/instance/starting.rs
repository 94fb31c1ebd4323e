//! From an image to a container that runs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;

use super::container::{self, Found, Recipe};
use super::image::{self, NoImage};
use super::view::{End, State};
use super::{Instance, RETRY, Running, back_off};
use crate::local::annotation::{DEPLOYMENT, ENDPOINT, FOLDER, INSTANCE, REVISION};
use crate::local::build::{self, Order as Build};
use crate::local::{engine, folder, mount, variable};
use crate::plan::build::pod::SERVER;
use crate::plan::diagnose::image::BUILD_FAILED;
use crate::plan::seen::note::Topic;

/// Why a container does not run.
enum NotStarted {
    /// The kubelet's word for the step, and what was said of it.
    Refused(&'static str, String),
    /// The engine could not be asked.
    Silent(String),
}

impl Instance {
    /// The image, then the container, until one runs.
    pub(super) async fn start(&self) -> Running {
        let mut failures = 0;
        loop {
            self.pull().await;
            match self.try_start().await {
                Ok(running) => return running,
                Err(NotStarted::Silent(words)) => self.is_silent(&words).await,
                Err(NotStarted::Refused(step, words)) => {
                    self.tell(|view, _| view.server.wait(step, &words));
                    let _ = container::remove(&self.shared.engine, &self.name).await;
                    failures += 1;
                    let is_config = step == "CreateContainerConfigError";
                    sleep(if is_config { RETRY } else { back_off::after(failures) }).await;
                }
            }
        }
    }

    async fn pull(&self) {
        let Some(container) = self.blueprint.server() else { return };
        let image = container.image.clone().unwrap_or_default();
        let mut failures = 0;
        loop {
            // What stands there from an earlier try is no longer so.
            let found = match &self.blueprint.build {
                None => image::have(&self.shared.engine, &image).await,
                Some((context, dockerfile)) => {
                    let order =
                        Build { context: context.clone(), dockerfile: dockerfile.clone(), image: image.clone() };
                    self.built(&order).await
                }
            };
            match found {
                Ok(()) => return,
                Err(NoImage::Silent(words)) => self.is_silent(&words).await,
                Err(NoImage::Refused(step, words)) => {
                    failures += 1;
                    let text = format!("Failed to pull image \"{image}\": {words}");
                    self.tell(|view, now| {
                        view.server.wait(step, &words);
                        if step == "ErrImagePull" {
                            view.note(Topic::FailedPull, Some(SERVER), text, now);
                        }
                    });
                    let wait = back_off::after(failures);
                    let shown = wait.min(Duration::from_secs(2));
                    sleep(shown).await;
                    if step == "ErrImagePull" {
                        let text = format!("Back-off pulling image \"{image}\": ErrImagePull: {words}");
                        self.tell(|view, _| view.server.wait("ImagePullBackOff", &text));
                    }
                    sleep(wait.saturating_sub(shown)).await;
                }
            }
        }
    }

    /// The image of this revision, built once for all of its instances.
    async fn built(&self, order: &Build) -> Result<(), NoImage> {
        let mark = self.place.volume("image-built");
        let _alone = self.shared.downloads.alone(&mark).await;
        let is_built = folder::text(&mark).ok().flatten().as_deref() == Some(self.blueprint.revision.as_str());
        if is_built && image::have(&self.shared.engine, &order.image).await.is_ok() {
            return Ok(());
        }
        build::build(&self.shared.engine, order).await.map_err(|words| NoImage::Refused(BUILD_FAILED, words))?;
        if let Err(error) = folder::write_bytes(&mark, self.blueprint.revision.as_bytes(), 0o600) {
            tracing::warn!(%error, "it is not remembered that the image is built");
        }
        Ok(())
    }

    async fn try_start(&self) -> Result<Running, NotStarted> {
        let Some(server) = self.blueprint.server() else {
            return Err(NotStarted::Refused("CreateContainerError", "the pod has no container".to_owned()));
        };
        let variables = variable::of(server, &self.name, &self.secrets(), &self.shared.folder)
            .map_err(|words| NotStarted::Refused("CreateContainerConfigError", words))?;
        let fetched = |volume: &str| self.needs.as_ref().and_then(|needs| needs.data(volume));
        let recipe = Recipe {
            name: &self.name,
            labels: self.labels(),
            pod: &self.blueprint.pod,
            container: server,
            variables,
            mounts: mount::of_server(&self.blueprint.pod, server, &self.shared.folder, fetched),
            gpus: self.blueprint.gpus,
        };
        let engine = &self.shared.engine;
        if engine.is_podman && recipe.gpus.is_some() {
            let words = "Podman gives no gpu by Docker's interface; use Docker, or leave out --gpus".to_owned();
            return Err(NotStarted::Refused("CreateContainerError", words));
        }
        let not_started = |step: &'static str, error: &bollard::errors::Error| {
            let words = engine::words(error);
            if engine::is_answer(error) { NotStarted::Refused(step, words) } else { NotStarted::Silent(words) }
        };
        // What a try before this one may have left.
        container::remove(engine, &self.name).await.map_err(|error| not_started("CreateContainerError", &error))?;
        container::start(engine, &recipe).await.map_err(|(step, error)| not_started(step, &error))?;
        let found = container::look(engine, &self.name).await;
        let found = found.map_err(|error| not_started("RunContainerError", &error))?;
        let (since, ports, image) = if let Some(Found::Running { since, ports, image }) = found {
            (since, ports, image)
        } else {
            // It has ended already, which is for the watch to find.
            (Timestamp::now(), HashMap::new(), server.image.clone().unwrap_or_default())
        };
        self.runs(since, &ports, &image);
        Ok(Running { since, ports })
    }

    fn labels(&self) -> HashMap<String, String> {
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        HashMap::from([
            label(ENDPOINT, &self.blueprint.endpoint),
            label(DEPLOYMENT, &self.blueprint.deployment),
            label(INSTANCE, &self.name),
            label(REVISION, &self.blueprint.revision),
            label(FOLDER, &self.shared.folder.path().display().to_string()),
        ])
    }

    pub(super) fn runs(&self, since: Timestamp, ports: &HashMap<u16, SocketAddr>, image: &str) {
        self.lead.send_replace(ports.clone());
        // One that is found again may look as it did, and is reached all the same only from now on.
        self.shared.changed.notify_one();
        self.tell(|view, _| {
            image.clone_into(&mut view.server.image);
            view.server.state = State::Running { since };
            // Nothing else was in its way.
            if let Some(initializer) = &mut view.initializer
                && !initializer.is_done()
            {
                let (started, finished) = (since, since);
                let reason = "Completed".to_owned();
                initializer.end(End { exit_code: 0, reason, message: String::new(), started, finished });
            }
        });
    }
}
