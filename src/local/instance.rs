//! One instance, by itself: fetched, pulled, made, started, asked, ended and started again, as the kubelet does it.

pub mod back_off;
pub mod blueprint;
pub mod container;
pub mod download;
pub mod image;
pub mod probe;
mod starting;
pub mod view;
mod watching;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::engine::{self, Engine};
use super::fetch::Desk;
use super::folder::{self, DeploymentFolder, EndpointFolder};
use super::mount;
use super::variable::Secrets;
use crate::plan::build::pod::{INITIALIZER, SERVER};
use crate::plan::seen::note::Topic;
use back_off::Crashes;
pub use blueprint::Blueprint;
use container::Found;
use download::{Downloads, Needs};
use view::{End, State, View};

/// Time between two tries of what is cheap and waits for the user: a Secret, a volume.
const RETRY: Duration = Duration::from_secs(2);
/// Time between two looks at an engine that does not answer.
const SILENCE: Duration = Duration::from_secs(2);
/// Time in which a gateway learns that an instance is going.
const ROUTE: Duration = Duration::from_millis(500);

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
    /// Whether its container has been looked for.
    pub found: watch::Receiver<bool>,
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
    let (look, found) = watch::channel(false);
    let desk = Desk::new(place.fetch(&name));
    let instance = Instance { blueprint, shared, place, name, needs, show, lead, look, desk: desk.clone() };
    let task = tokio::spawn(instance.exist(orders));
    Handle { view: seen, found, addresses, order, task, desk }
}

struct Instance {
    blueprint: Blueprint,
    shared: Shared,
    place: DeploymentFolder,
    name: String,
    needs: Option<Needs>,
    show: watch::Sender<View>,
    lead: watch::Sender<HashMap<u16, SocketAddr>>,
    look: watch::Sender<bool>,
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
                    self.look.send_replace(true);
                    return None;
                }
                Ok(Some(Found::Running { since, ports, image })) => {
                    self.runs(since, &ports, &image);
                    self.look.send_replace(true);
                    return Some(Running { since, ports });
                }
                Ok(Some(Found::Ended(end))) => {
                    let end = End { message: self.message(&end).await, ..end };
                    self.look.send_replace(true);
                    self.ended(end, crashes).await;
                    return None;
                }
                Ok(Some(Found::Made)) => {
                    let _ = container::remove(engine, &self.name).await;
                    self.stands_no_more();
                    self.look.send_replace(true);
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
