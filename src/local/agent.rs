//! The agent of one endpoint: runs the gateway, and makes of the files what they say.
//!
//! Level-triggered: each pass looks at the files and at the instances, decides, and acts. An agent that starts finds the
//! containers of the one before it by their names.

mod member;
mod table;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::annotation::{ENDPOINT, FOLDER, INSTANCE};
use super::engine::{self, Engine};
use super::folder::{self, DeploymentFolder, EndpointFolder, FolderError};
use super::instance::view::View;
use super::instance::{Order, Shared, container};
use super::store::Store;
use crate::api::endpoint::{OnlineEndpoint, OnlineEndpointStatus};
use crate::gateway::{self, GatewayError, Options, Source};
use crate::plan::Config;
use member::Member;

/// The verb of `mooring-local` that runs it.
pub const VERB: &str = "agent";
/// Time between two looks at the files.
const PERIOD: Duration = Duration::from_millis(200);
/// Longest time between two passes: some decisions are of the clock alone.
const REVIEW: Duration = Duration::from_secs(1);
/// Time between two searches for containers that belong to nobody.
const SEARCH: Duration = Duration::from_secs(30);
/// Time in which requests in flight may finish when the endpoint goes.
const DRAIN: Duration = Duration::from_secs(2);
/// Tries for the lock, which others hold for a moment to look whether there is an agent.
const TRIES: u32 = 40;
/// Passes over an endpoint whose files can't be understood before it is told again.
const COMPLAINTS: u32 = 300;

/// What an agent writes behind its process id once it is up.
const UP: &str = "\nup\n";
/// Time in which the gateway reads its table.
const READ: Duration = Duration::from_millis(200);

/// Why an agent ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Another one lives.
    #[error("endpoint {0:?} has a local agent already")]
    Another(String),
    /// A file can't be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// No port can be had.
    #[error("no port for the gateway can be had")]
    Port(#[source] std::io::Error),
    /// The gateway ended.
    #[error("the gateway ended")]
    Gateway(#[source] GatewayError),
}

/// The lock of an endpoint's agent: `None` when one lives. Made when it is missing.
///
/// # Errors
/// When the file can't be used.
pub fn lock(folder: &EndpointFolder) -> Result<Option<File>, FolderError> {
    let path = folder.lock();
    let disk = |source| FolderError::Disk { act: "locking", path: path.clone(), source };
    let file = File::options().read(true).append(true).create(true).open(&path).map_err(disk)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(disk(source)),
    }
}

/// Whether the agent of an endpoint lives.
///
/// # Errors
/// When the lock can't be looked at.
pub fn lives(folder: &EndpointFolder) -> Result<bool, FolderError> {
    if folder.lock().exists() { lock(folder).map(|lock| lock.is_none()) } else { Ok(false) }
}

/// Whether the agent of an endpoint lives and has found all that an agent before it has left: status and gateway tell
/// what is.
///
/// # Errors
/// When the lock can't be looked at.
pub fn is_up(folder: &EndpointFolder) -> Result<bool, FolderError> {
    let is_marked = folder::text(&folder.lock())?.is_some_and(|text| text.ends_with(UP));
    Ok(is_marked && lives(folder)?)
}

/// Ends an agent that does not end by itself, by the process id that it has left in its lock.
pub fn end(folder: &EndpointFolder) {
    let text = folder::text(&folder.lock()).ok().flatten().unwrap_or_default();
    let process = text.lines().next().and_then(|first| first.parse().ok()).and_then(rustix::process::Pid::from_raw);
    // Held by whoever wrote it.
    if let (Some(process), Ok(true)) = (process, lives(folder)) {
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
    }
}

/// What the agent knows of the instances of a deployment.
#[must_use]
pub fn views(place: &DeploymentFolder) -> Vec<View> {
    let folder = place.instances();
    let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
    let paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    let of = |path: &PathBuf| {
        if path.extension().is_some_and(|extension| extension == "json") { folder::read_json(path).ok()? } else { None }
    };
    paths.iter().filter_map(of).collect()
}

/// What is planned with: nothing of it is looked at on an engine.
fn config(address: SocketAddr) -> Config {
    Config {
        fetch_image: "mooring-fetch".to_owned(),
        cache_claim: None,
        gateway_host: address.to_string(),
        cluster_domain: "localhost".to_owned(),
    }
}

/// Runs the agent of an endpoint until the endpoint is gone, or until `shutdown`; containers then stay as they are.
///
/// # Errors
/// When another agent lives, or the gateway can't go on.
pub async fn run(store: &Store, endpoint: &str, shutdown: CancellationToken) -> Result<(), AgentError> {
    let folder = store.folder(endpoint);
    if !folder.object().exists() {
        tracing::info!(endpoint, "there is no such endpoint");
        return Ok(());
    }
    let lock = take_lock(&folder, endpoint).await?;
    // What is fetched is read by the user of the container.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let address = port(&folder)?;
    let mut agent = Agent::new(store, endpoint.to_owned(), folder, address);
    let folder = agent.folder.clone();
    write_empty_route(&folder)?;
    let stop = CancellationToken::new();
    let mut gateway = tokio::spawn(gateway::run(gateway_options(&folder, address), stop.clone()));
    let mut is_up = false;
    let mut seen = None;
    let mut due = Instant::now();
    let mut is_told = false;
    let ended = loop {
        let written = agent.folder.written().ok();
        if is_told || seen != written || Instant::now() >= due || !is_up {
            (seen, due) = (written, Instant::now() + REVIEW);
            let was_found = agent.is_found();
            if !agent.pass().await {
                break Ok(());
            }
            if !is_up && was_found {
                tokio::time::sleep(READ).await;
                mark(&lock, &folder, UP)?;
                is_up = true;
            }
        }
        is_told = tokio::select! {
            () = tokio::time::sleep(PERIOD) => false,
            () = agent.changed.notified() => true,
            () = shutdown.cancelled() => break Ok(()),
            ended = &mut gateway => {
                let error = match ended {
                    Ok(Err(error)) => error,
                    _ => GatewayError::Ended("gateway"),
                };
                break Err(AgentError::Gateway(error));
            }
        };
    };
    stop.cancel();
    if ended.is_ok() && !gateway.is_finished() {
        let _ = tokio::time::timeout(DRAIN * 2, &mut gateway).await;
    }
    tracing::info!(endpoint = agent.name, "the agent ends");
    ended
}

async fn take_lock(folder: &EndpointFolder, endpoint: &str) -> Result<File, AgentError> {
    for _ in 0..TRIES {
        if let Some(lock) = lock(folder)? {
            let disk = |source| FolderError::Disk { act: "writing", path: folder.lock(), source };
            lock.set_len(0).map_err(disk)?;
            mark(&lock, folder, &std::process::id().to_string())?;
            return Ok(lock);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Err(AgentError::Another(endpoint.to_owned()))
}

/// Writes at the end of the lock.
fn mark(lock: &File, folder: &EndpointFolder, text: &str) -> Result<(), FolderError> {
    let mut end = lock;
    let written = std::io::Write::write_all(&mut end, text.as_bytes());
    written.map_err(|source| FolderError::Disk { act: "writing", path: folder.lock(), source })
}

/// The port that the endpoint had before, or a free one.
fn port(folder: &EndpointFolder) -> Result<SocketAddr, AgentError> {
    let before = folder::text(&folder.port())?.and_then(|text| text.trim().parse::<u16>().ok());
    let free = |port: u16| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.local_addr()
    };
    let address = match before.map(free) {
        Some(Ok(address)) => address,
        _ => free(0).map_err(AgentError::Port)?,
    };
    folder::write_bytes(&folder.port(), address.port().to_string().as_bytes(), 0o600)?;
    Ok(address)
}

/// The gateway has a table from the start. Not the one of the agent before: its ports may be others' by now.
fn write_empty_route(folder: &EndpointFolder) -> Result<(), FolderError> {
    folder::write_bytes(&folder.route(), b"routes: []\n", 0o600)
}

fn gateway_options(folder: &EndpointFolder, address: SocketAddr) -> Options {
    Options {
        listen: address,
        tls: None,
        admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        source: Source::File { path: folder.route() },
        cluster_domain: "localhost".to_owned(),
        peers: None,
        threads: 1,
        // It would grow for as long as the endpoint is there.
        access_log: false,
        shutdown_delay: Duration::ZERO,
        drain: DRAIN,
    }
}

/// What an agent has between two passes.
struct Agent {
    name: String,
    folder: EndpointFolder,
    program: PathBuf,
    address: SocketAddr,
    config: Config,
    changed: Arc<Notify>,
    shared: Option<Shared>,
    members: BTreeMap<String, Member>,
    searched: Option<Instant>,
    route: Option<crate::api::endpoint_route::EndpointRoute>,
    written: String,
    told: Option<OnlineEndpointStatus>,
    complaint: String,
    complaints: u32,
    /// Whether it has been through all of the files once.
    has_passed: bool,
}

impl Agent {
    fn new(store: &Store, name: String, folder: EndpointFolder, address: SocketAddr) -> Self {
        Self {
            name,
            program: store.program().to_owned(),
            address,
            config: config(address),
            changed: Arc::default(),
            shared: None,
            members: BTreeMap::new(),
            searched: None,
            route: table::before(&folder),
            written: String::new(),
            told: folder::read(&folder.status()).ok().flatten(),
            complaint: String::new(),
            complaints: 0,
            has_passed: false,
            folder,
        }
    }

    /// Whether there has been a pass, and every instance that it found in the files has been looked for on the engine.
    fn is_found(&self) -> bool {
        self.has_passed && self.members.values().all(Member::is_found)
    }

    /// One pass; false when the endpoint is gone.
    async fn pass(&mut self) -> bool {
        let endpoint = match folder::read::<OnlineEndpoint>(&self.folder.object()) {
            Ok(Some(endpoint)) => endpoint,
            Ok(None) => {
                self.end().await;
                return false;
            }
            Err(error) => {
                self.complain(&error);
                return true;
            }
        };
        let Some(shared) = self.shared().await else { return true };
        let names = match self.folder.deployments() {
            Ok(names) => names,
            Err(error) => {
                self.complain(&error);
                return true;
            }
        };
        let endpoint = Arc::new(endpoint);
        for name in names {
            let place = self.folder.deployment(&name);
            let member = self.members.entry(name.clone()).or_insert_with(|| Member::new(name, place));
            if let Err(error) = member.pass(&endpoint, &self.config, &shared) {
                self.complain(&error);
            }
        }
        self.members.retain(|_, member| !member.is_gone());
        if let Err(error) = self.tell(&endpoint).await {
            self.complain(&error);
        }
        self.search(&shared.engine).await;
        self.has_passed = true;
        true
    }

    /// Status of the endpoint, and the gateway's table.
    async fn tell(&mut self, endpoint: &OnlineEndpoint) -> Result<(), FolderError> {
        let members: Vec<&Member> = self.members.values().filter(|member| member.object.is_some()).collect();
        let mut object = endpoint.clone();
        object.status.clone_from(&self.told);
        let planned = table::plan(object, &members, self.route.clone(), &self.folder, &self.config, self.address)?;
        if planned.text != self.written {
            folder::write_bytes(&self.folder.route(), planned.text.as_bytes(), 0o600)?;
            self.written = planned.text;
            // Nobody is told of a table before the gateway has read it.
            tokio::time::sleep(READ).await;
        }
        self.route = planned.route;
        if self.told.as_ref() != Some(&planned.status) {
            folder::write(&self.folder.status(), &planned.status)?;
            self.told = Some(planned.status);
        }
        Ok(())
    }

    /// What all instances share, once the engine answers.
    async fn shared(&mut self) -> Option<Shared> {
        if self.shared.is_none() {
            match Engine::connect().await {
                Ok(engine) => {
                    self.shared = Some(Shared {
                        engine,
                        program: self.program.clone(),
                        folder: self.folder.clone(),
                        downloads: Arc::default(),
                        changed: Arc::clone(&self.changed),
                    });
                }
                Err(error) => self.complain(&error),
            }
        }
        self.shared.clone()
    }

    /// Removes containers that belong to no instance: left by an agent that was killed, or made while their instance went.
    async fn search(&mut self, engine: &Engine) {
        if self.searched.is_some_and(|last| last.elapsed() < SEARCH) {
            return;
        }
        self.searched = Some(Instant::now());
        match self.labelled(engine).await {
            Ok(found) => {
                let is_known = |instance: &str| self.members.values().any(|member| member.has(instance));
                for (name, _) in found.iter().filter(|(_, instance)| !is_known(instance)) {
                    tracing::info!(container = name, "removing it: it belongs to no instance");
                    let _ = container::remove(engine, name).await;
                }
            }
            Err(error) => self.complain(&engine::words(&error)),
        }
    }

    async fn labelled(&self, engine: &Engine) -> Result<Vec<(String, String)>, bollard::errors::Error> {
        let folder = self.folder.path().display().to_string();
        container::labelled(engine, &[(ENDPOINT, &self.name), (FOLDER, &folder)], INSTANCE).await
    }

    /// The endpoint is gone: so is everything of it.
    async fn end(&mut self) {
        let tasks: Vec<JoinHandle<()>> = self.members.values_mut().flat_map(|member| member.end(Order::End)).collect();
        for task in tasks {
            let _ = task.await;
        }
        if let Some(shared) = &self.shared {
            for (name, _) in self.labelled(&shared.engine).await.unwrap_or_default() {
                let _ = container::remove(&shared.engine, &name).await;
            }
        }
    }

    /// Once for each new trouble, and again when it lasts.
    fn complain(&mut self, error: &dyn std::fmt::Display) {
        let complaint = error.to_string();
        self.complaints += 1;
        if self.complaint != complaint || self.complaints > COMPLAINTS {
            tracing::error!("{complaint}");
            (self.complaint, self.complaints) = (complaint, 0);
        }
    }
}

/// The time of a pass, in whole milliseconds.
fn now() -> Timestamp {
    Timestamp::now()
}
