//! One instance, by itself: fetched, pulled, made, started, asked, ended and started again, as the kubelet does it.

pub mod back_off;
pub mod container;
pub mod download;
pub mod image;
pub mod probe;
pub mod view;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::WaitContainerOptions;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::annotation::{DEPLOYMENT, ENDPOINT, FOLDER, INSTANCE, REVISION};
use super::build::{self, Order as Build};
use super::engine::{self, Engine};
use super::fetch::Desk;
use super::folder::{self, DeploymentFolder, EndpointFolder};
use super::mount;
use super::variable::{self, Secrets};
use crate::plan::build::pod::{INITIALIZER, SERVER};
use crate::plan::diagnose::image::BUILD_FAILED;
use crate::plan::seen::note::Topic;
use back_off::Crashes;
use container::{Found, Recipe};
use download::{Downloads, Needs};
use image::NoImage;
use probe::{Question, Row, Verdict};
use view::{End, State, View};

/// Time between two tries of what is cheap and waits for the user: a Secret, a volume.
const RETRY: Duration = Duration::from_secs(2);
/// Time between two looks at an engine that does not answer.
const SILENCE: Duration = Duration::from_secs(2);
/// Time in which a gateway learns that an instance is going.
const ROUTE: Duration = Duration::from_millis(500);

/// What an instance is made from.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Blueprint {
    /// The name of its endpoint.
    pub endpoint: String,
    /// The name of its deployment.
    pub deployment: String,
    /// The digest of its template.
    pub revision: String,
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
        let revision = self.revision.get(..8).unwrap_or(&self.revision);
        format!("mooring-{}-{}-{}-{revision}", self.endpoint, self.deployment, self.number)
    }

    fn server(&self) -> Option<&Container> {
        self.pod.containers.iter().find(|container| container.name == SERVER)
    }
}

/// What all instances share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The engine.
    pub engine: Engine,
    /// This program, which fetches artifacts as well.
    pub program: PathBuf,
    /// The folder of the endpoint.
    pub folder: EndpointFolder,
    /// Who fetches what.
    pub downloads: Arc<Downloads>,
    /// Told whenever something has changed.
    pub changed: Arc<Notify>,
}

/// What an instance is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Live.
    Live,
    /// Finish the requests that it has, and go.
    Leave,
    /// Go at once.
    End,
}

/// An instance that lives, as others see it.
#[derive(Debug)]
pub struct Handle {
    /// What is seen of it.
    pub view: watch::Receiver<View>,
    /// Where its ports are on this machine.
    pub addresses: watch::Receiver<HashMap<u16, SocketAddr>>,
    /// What it is to do.
    pub order: watch::Sender<Order>,
    /// It itself; ended when nothing of it is left.
    pub task: tokio::task::JoinHandle<()>,
    /// Where its fetch is to be seen.
    pub desk: Desk,
}

/// Brings an instance to life, or finds it again.
#[must_use]
pub fn spawn(blueprint: Blueprint, shared: Shared) -> Handle {
    let place = shared.folder.deployment(&blueprint.deployment);
    let name = blueprint.name();
    let needs = Needs::of(&blueprint.pod, &name, &blueprint.start, &shared.folder, &place);
    let known = folder::read_json::<View>(&place.instance(&name)).ok().flatten();
    let view = known.unwrap_or_else(|| {
        let revision = blueprint.revision.clone();
        View::new(name.clone(), revision, blueprint.number, needs.is_some(), Timestamp::now())
    });
    let (show, seen) = watch::channel(view);
    let (lead, addresses) = watch::channel(HashMap::new());
    let (order, orders) = watch::channel(Order::Live);
    let desk = Desk::new(place.fetch(&name));
    let instance = Instance { blueprint, shared, place, name, needs, show, lead, desk: desk.clone() };
    let task = tokio::spawn(instance.exist(orders));
    Handle { view: seen, addresses, order, task, desk }
}

struct Instance {
    blueprint: Blueprint,
    shared: Shared,
    place: DeploymentFolder,
    name: String,
    needs: Option<Needs>,
    show: watch::Sender<View>,
    lead: watch::Sender<HashMap<u16, SocketAddr>>,
    desk: Desk,
}

/// A container that runs.
struct Running {
    since: Timestamp,
    ports: HashMap<u16, SocketAddr>,
}

impl Instance {
    async fn exist(self, mut orders: watch::Receiver<Order>) {
        let order = {
            let life = self.live();
            tokio::select! {
                never = life => match never {},
                order = until_told(&mut orders, Order::Live) => order,
            }
        };
        if order == Order::Leave && self.show.borrow().ready {
            // No more requests come, and those that it has finish.
            tokio::select! {
                () = sleep(ROUTE + self.blueprint.drain) => {}
                _ = until_told(&mut orders, Order::Leave) => {}
            }
        }
        let engine = &self.shared.engine;
        if *orders.borrow() == Order::Leave {
            tokio::select! {
                () = container::stop(engine, &self.name, self.blueprint.grace) => {}
                _ = until_told(&mut orders, Order::Leave) => {}
            }
        }
        for name in [self.name.clone(), format!("{}{}", self.name, container::PREVIOUS)] {
            if let Err(error) = container::remove(engine, &name).await {
                tracing::warn!(container = name, "removing it failed: {}", engine::words(&error));
            }
        }
        let paths = [self.place.instance(&self.name), self.place.blueprint(&self.name), self.desk.path().to_owned()];
        for path in paths {
            if let Err(error) = folder::remove(&path) {
                tracing::warn!(%error, "something of an instance is left");
            }
        }
        self.shared.changed.notify_one();
    }

    /// Changes what is seen, and keeps it.
    fn tell(&self, change: impl FnOnce(&mut View, Timestamp)) {
        let changed = self.show.send_if_modified(|view| {
            let before = view.clone();
            change(view, Timestamp::now());
            *view != before
        });
        if changed {
            let written = folder::write_json(&self.place.instance(&self.name), &*self.show.borrow());
            if let Err(error) = written {
                tracing::warn!(%error, "the state of an instance can't be kept");
            }
            self.shared.changed.notify_one();
        }
    }

    async fn live(&self) -> Infallible {
        let mut crashes = Crashes::of_restarts(self.show.borrow().server.restarts);
        let mut running = self.find(&mut crashes).await;
        loop {
            let container = if let Some(container) = running.take() {
                container
            } else {
                self.prepare().await;
                self.start().await
            };
            let end = self.watch(&container).await;
            self.ended(end, &mut crashes).await;
        }
    }

    /// Looks for the container that an agent before this one has left.
    async fn find(&self, crashes: &mut Crashes) -> Option<Running> {
        let engine = &self.shared.engine;
        loop {
            match container::look(engine, &self.name).await {
                Ok(None) => {
                    self.stands_no_more();
                    return None;
                }
                Ok(Some(Found::Running { since, ports, image })) => {
                    self.runs(since, &ports, &image);
                    return Some(Running { since, ports });
                }
                Ok(Some(Found::Ended(end))) => {
                    let end = End { message: self.message(&end).await, ..end };
                    self.ended(end, crashes).await;
                    return None;
                }
                Ok(Some(Found::Made)) => {
                    let _ = container::remove(engine, &self.name).await;
                    self.stands_no_more();
                    return None;
                }
                Err(error) => self.is_silent(&engine::words(&error)).await,
            }
        }
    }

    /// What an agent before this one has seen run is not there.
    fn stands_no_more(&self) {
        self.tell(|view, now| {
            view.set_ready(false, now);
            if matches!(view.server.state, State::Running { .. }) {
                view.server.wait("ContainerCreating", "");
            }
        });
    }

    /// The engine does not answer: for the kubelet, a node that can't make a sandbox.
    async fn is_silent(&self, words: &str) {
        let text = format!("Failed to create pod sandbox: the container engine does not answer: {words}");
        self.tell(|view, now| view.note(Topic::FailedSandbox, None, text, now));
        sleep(SILENCE).await;
    }

    /// Model and code.
    async fn prepare(&self) {
        while let Some(why) = mount::missing(&self.blueprint.pod, &self.shared.folder) {
            self.tell(|view, now| view.note(Topic::FailedMount, None, why, now));
            sleep(RETRY).await;
        }
        let Some(needs) = &self.needs else { return };
        let is_done = || self.show.borrow().initializer.as_ref().is_none_or(view::ContainerView::is_done);
        let mut failures = 0;
        while !is_done() {
            let since = Timestamp::now();
            self.tell(|view, _| {
                if let Some(initializer) = &mut view.initializer {
                    initializer.state = State::Running { since };
                }
            });
            let secrets = self.secrets();
            let log = self.place.initializer_log();
            let followed = needs.follow(&self.shared.program, &self.desk, &log, &secrets, &self.shared.downloads).await;
            let end = followed.unwrap_or_else(|error| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                let message = format!("{error}{cause}");
                End { exit_code: 1, reason: "Error".to_owned(), message, started: since, finished: Timestamp::now() }
            });
            let failed = end.exit_code != 0;
            self.tell(|view, _| {
                if let Some(initializer) = &mut view.initializer {
                    initializer.end(end);
                }
            });
            if failed {
                failures += 1;
                let wait = back_off::after(failures);
                self.tell(|view, _| {
                    if let Some(initializer) = &mut view.initializer {
                        initializer.restarts += 1;
                        initializer.wait("CrashLoopBackOff", &back_off_words(wait, INITIALIZER, &self.name));
                    }
                });
                sleep(wait).await;
            }
        }
    }

    fn secrets(&self) -> Secrets {
        folder::read(&self.shared.folder.secrets()).ok().flatten().unwrap_or_default()
    }

    /// The image, then the container, until one runs.
    async fn start(&self) -> Running {
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

    fn runs(&self, since: Timestamp, ports: &HashMap<u16, SocketAddr>, image: &str) {
        self.lead.send_replace(ports.clone());
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

    /// Asks a running container until it ends.
    async fn watch(&self, container: &Running) -> End {
        let server = self.blueprint.server();
        let question = |of: fn(&Container) -> Option<&k8s_openapi::api::core::v1::Probe>| {
            server.and_then(of).and_then(Question::of)
        };
        let (started, has_started) = watch::channel(false);
        let kill = tokio::select! {
            end = self.end() => return end,
            kill = self.startup(container, question(|it| it.startup_probe.as_ref()), &started) => kill,
            kill = self.liveness(container, question(|it| it.liveness_probe.as_ref()), has_started.clone()) => kill,
            never = self.readiness(container, question(|it| it.readiness_probe.as_ref()), has_started.clone()) => match never {},
        };
        let text = format!("Container {SERVER} failed {kill} probe, will be restarted");
        self.tell(|view, now| {
            view.note(Topic::KilledByProbe, Some(SERVER), text, now);
            view.set_ready(false, now);
        });
        container::stop(&self.shared.engine, &self.name, self.blueprint.grace).await;
        self.end().await
    }

    /// Resolves when the container has to be ended.
    async fn startup(
        &self,
        container: &Running,
        question: Option<Question>,
        started: &watch::Sender<bool>,
    ) -> &'static str {
        let begin = || {
            self.tell(|view, _| view.server.started = true);
            started.send_replace(true);
        };
        let Some(question) = question.filter(|_| !self.show.borrow().server.started) else {
            begin();
            return std::future::pending().await;
        };
        let mut row = Row::default();
        let mut next = first(container, &question);
        loop {
            sleep_until(next).await;
            next = Instant::now() + question.period;
            match self.ask(container, &question, "Startup", &mut row).await {
                Verdict::Healthy => {
                    begin();
                    return std::future::pending().await;
                }
                Verdict::Unhealthy => return "startup",
                Verdict::Open => {}
            }
        }
    }

    /// Resolves when the container has to be ended.
    async fn liveness(
        &self,
        container: &Running,
        question: Option<Question>,
        mut started: watch::Receiver<bool>,
    ) -> &'static str {
        let Some(question) = question else { return std::future::pending().await };
        let _ = started.wait_for(|started| *started).await;
        let mut row = Row::default();
        let mut next = first(container, &question);
        loop {
            sleep_until(next).await;
            next = Instant::now() + question.period;
            if self.ask(container, &question, "Liveness", &mut row).await == Verdict::Unhealthy {
                return "liveness";
            }
        }
    }

    async fn readiness(
        &self,
        container: &Running,
        question: Option<Question>,
        mut started: watch::Receiver<bool>,
    ) -> Infallible {
        let _ = started.wait_for(|started| *started).await;
        let Some(question) = question else {
            self.tell(|view, now| view.set_ready(true, now));
            return std::future::pending().await;
        };
        let mut row = Row::default();
        let mut next = first(container, &question);
        loop {
            sleep_until(next).await;
            next = Instant::now() + question.period;
            match self.ask(container, &question, "Readiness", &mut row).await {
                Verdict::Healthy => self.tell(|view, now| view.set_ready(true, now)),
                Verdict::Unhealthy => self.tell(|view, now| view.set_ready(false, now)),
                Verdict::Open => {}
            }
        }
    }

    async fn ask(&self, container: &Running, question: &Question, kind: &str, row: &mut Row) -> Verdict {
        let answer = match container.ports.get(&question.port) {
            Some(address) => question.ask(*address).await,
            None => Err(format!("the engine has not published port {}", question.port)),
        };
        if let Err(words) = &answer {
            let text = format!("{kind} probe failed: {words}");
            self.tell(|view, now| view.note(Topic::Unhealthy, Some(SERVER), text, now));
        }
        row.add(answer.is_ok(), question)
    }

    /// Resolves when the container has ended, however long that takes.
    async fn end(&self) -> End {
        let engine = &self.shared.engine;
        loop {
            {
                let mut waits = std::pin::pin!(engine.api.wait_container(&self.name, None::<WaitContainerOptions>));
                // An exit code other than 0 is an error to the library; what it was is looked up.
                let _ = waits.next().await;
            }
            match container::look(engine, &self.name).await {
                Ok(Some(Found::Ended(end))) => {
                    let message = self.message(&end).await;
                    return End { message, ..end };
                }
                // Somebody has taken it away.
                Ok(None | Some(Found::Made)) => {
                    let now = Timestamp::now();
                    let reason = "ContainerStatusUnknown".to_owned();
                    let message = "the container is no longer there".to_owned();
                    return End { exit_code: 137, reason, message, started: now, finished: now };
                }
                Ok(Some(Found::Running { .. })) => sleep(Duration::from_millis(200)).await,
                Err(_) => sleep(SILENCE).await,
            }
        }
    }

    /// The termination message: the end of the log, unless all was well.
    async fn message(&self, end: &End) -> String {
        if end.exit_code == 0 { String::new() } else { container::tail(&self.shared.engine, &self.name).await }
    }

    /// Waits for as long as the kubelet would before it starts the container again.
    async fn ended(&self, end: End, crashes: &mut Crashes) {
        self.lead.send_replace(HashMap::new());
        let ran = Duration::try_from(end.finished.duration_since(end.started)).unwrap_or_default();
        let wait = crashes.ended(ran);
        let passed = Duration::try_from(Timestamp::now().duration_since(end.finished)).unwrap_or_default();
        tracing::info!(instance = self.name, exit_code = end.exit_code, reason = end.reason, "the server has ended");
        self.tell(|view, now| {
            view.set_ready(false, now);
            view.server.end(end);
        });
        if !wait.is_zero() {
            let words = back_off_words(wait, SERVER, &self.name);
            self.tell(|view, _| view.server.wait("CrashLoopBackOff", &words));
            sleep(wait.saturating_sub(passed)).await;
        }
        container::keep_as_previous(&self.shared.engine, &self.name).await;
        self.tell(|view, _| view.server.restarts += 1);
    }
}

/// Why a container does not run.
enum NotStarted {
    /// The kubelet's word for the step, and what was said of it.
    Refused(&'static str, String),
    /// The engine could not be asked.
    Silent(String),
}

/// When a probe asks first.
fn first(container: &Running, question: &Question) -> Instant {
    let passed = Duration::try_from(Timestamp::now().duration_since(container.since)).unwrap_or_default();
    Instant::now() + question.delay.saturating_sub(passed)
}

fn back_off_words(wait: Duration, container: &str, instance: &str) -> String {
    format!("back-off {}s restarting failed container={container} pod={instance}", wait.as_secs())
}

/// Waits for another order than `now`; without anybody to give one, for the end.
async fn until_told(orders: &mut watch::Receiver<Order>, now: Order) -> Order {
    let told = orders.wait_for(|order| *order != now).await.map(|order| *order);
    match told {
        Ok(order) => order,
        Err(_) => std::future::pending().await,
    }
}
