//! The agent of each endpoint, as a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{FOLDER_VARIABLE, PERIOD, Store, StoreError, check};
use crate::local::agent;
use crate::local::engine::Engine;
use crate::local::folder::{self, EndpointFolder};

/// Longest wait for an agent to begin.
const BEGIN: Duration = Duration::from_secs(20);

/// Lines of the agent's log that an error shows.
const SHOWN: usize = 10;

/// Time after which one that does not live is started again: others may have looked at the lock at that moment.
const AGAIN: Duration = Duration::from_secs(3);

impl Store {
    /// Where the gateway of an endpoint listens; `None` when it never has.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn gateway_address(&self, endpoint: &str) -> Result<Option<SocketAddr>, StoreError> {
        check::name("metadata.name", endpoint)?;
        let port = folder::text(&self.folder(endpoint).port())?.and_then(|text| text.trim().parse().ok());
        Ok(port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
    }

    /// Whether the agent of an endpoint lives.
    ///
    /// # Errors
    /// When the lock can't be looked at.
    pub fn has_agent(&self, endpoint: &str) -> Result<bool, StoreError> {
        check::name("metadata.name", endpoint)?;
        Ok(agent::lives(&self.folder(endpoint))?)
    }

    /// Whether there is what carries out a change: a container engine, and the program of the agents.
    /// Asked before a change: nothing is changed while nobody could carry it out.
    ///
    /// # Errors
    /// When one of them is missing.
    pub async fn is_able(&self) -> Result<(), StoreError> {
        let program = std::fs::metadata(&self.program);
        program.map_err(|source| StoreError::Start { program: self.program.clone(), source })?;
        Ok(Engine::connect().await.map(drop)?)
    }

    /// Sees to it that the agent of an endpoint lives and its gateway listens.
    ///
    /// # Errors
    /// When there is no container engine, the endpoint does not exist, or the agent does not begin.
    pub async fn ensure_agent(&self, endpoint: &str) -> Result<SocketAddr, StoreError> {
        self.existing(endpoint)?;
        let folder = self.folder(endpoint);
        let since = Instant::now();
        let mut started: Option<Instant> = None;
        loop {
            if agent::is_up(&folder)?
                && let Some(address) = self.gateway_address(endpoint)?
                && tokio::net::TcpStream::connect(address).await.is_ok()
            {
                return Ok(address);
            }
            if started.is_none_or(|last| last.elapsed() > AGAIN) && !self.has_agent(endpoint)? {
                self.is_able().await?;
                self.start_agent(endpoint, &folder)?;
                started = Some(Instant::now());
            }
            if since.elapsed() > BEGIN {
                let text = folder::text(&folder.agent_log())?.unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let log = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n");
                return Err(StoreError::Agent { endpoint: endpoint.to_owned(), log });
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    fn start_agent(&self, endpoint: &str, folder: &EndpointFolder) -> Result<(), StoreError> {
        let out = folder::log(&folder.agent_log())?;
        let failed = |source| StoreError::Start { program: self.program.clone(), source };
        let err = out.try_clone().map_err(failed)?;
        let child = Command::new(&self.program)
            .arg(agent::VERB)
            .arg("--name")
            .arg(endpoint)
            .env(FOLDER_VARIABLE, &self.root)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // It outlives the terminal.
            .process_group(0)
            .spawn();
        let mut child = child.map_err(failed)?;
        // Somebody has to take its exit code if it ends before this process.
        std::thread::spawn(move || child.wait());
        Ok(())
    }
}
