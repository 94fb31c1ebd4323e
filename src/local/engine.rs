//! The container engine: where it is, and its errors in its own words.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::errors::Error as EngineAnswer;
use bollard::models::SystemInfo;
use bollard::{API_DEFAULT_VERSION, Docker};

use crate::process::cause;

/// Seconds that an answer of the engine may take; streams are not bound by it.
const TIMEOUT: u64 = 120;
/// Longest wait for a sign of life.
const PING: Duration = Duration::from_secs(5);

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// None was found.
    #[error(
        "no container engine was found at {looked}; install Docker (https://docs.docker.com/engine/install/) or Podman and \
         start it (systemctl start docker, or systemctl --user start podman.socket), or say where it is with DOCKER_HOST"
    )]
    None {
        /// Where it was looked for.
        looked: String,
    },
    /// It does not answer.
    #[error(
        "the container engine at {address} does not answer: {}; start it (systemctl start docker, or systemctl --user start \
         podman.socket), give yourself the right to use it (usermod -aG docker $USER), or say where it is with DOCKER_HOST",
        words(source)
    )]
    Silent {
        /// Where it is.
        address: String,
        /// What came instead.
        source: Box<EngineAnswer>,
    },
}

/// A container engine that has answered once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The way to it.
    pub api: Docker,
    /// Its processors, in millionths of a thousandth as it counts them; `None` when it can't limit them.
    pub nano_cpus: Option<i64>,
    /// Its memory, in bytes; `None` when it can't limit that.
    pub memory: Option<i64>,
    /// Whether it is Podman, which drops a request for GPUs by Docker's interface without a word.
    pub is_podman: bool,
}

impl Engine {
    /// Finds the engine and asks for a sign of life.
    ///
    /// # Errors
    /// When there is none, or none that answers; the message says how to get one.
    pub async fn connect() -> Result<Self, EngineError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let address = match variable("DOCKER_HOST") {
            Some(address) => address,
            None => found(&candidates(variable("XDG_RUNTIME_DIR").as_deref(), variable("HOME").as_deref()))?,
        };
        Self::at(&address).await
    }

    /// The engine at an address such as `unix:///var/run/docker.sock`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn at(address: &str) -> Result<Self, EngineError> {
        let silent = |source| EngineError::Silent { address: address.to_owned(), source: Box::new(source) };
        let api = match address.strip_prefix("unix://") {
            Some(path) => Docker::connect_with_socket(path, TIMEOUT, API_DEFAULT_VERSION),
            None => Docker::connect_with_host(address),
        };
        let ask = async {
            let api = api?.negotiate_version().await?;
            let (info, version) = tokio::try_join!(api.info(), api.version())?;
            Ok((api, info, version))
        };
        let answer = tokio::time::timeout(PING, ask).await.unwrap_or(Err(EngineAnswer::RequestTimeoutError));
        let (api, info, version) = answer.map_err(silent)?;
        let is_podman = version.components.iter().flatten().any(|component| component.name.contains("Podman"));
        Ok(Self { api, nano_cpus: nano_cpus(&info), memory: memory(&info), is_podman })
    }
}

fn nano_cpus(info: &SystemInfo) -> Option<i64> {
    let can_limit = info.cpu_cfs_quota != Some(false) && info.cpu_cfs_period != Some(false);
    info.ncpu.filter(|count| can_limit && *count > 0).map(|count| count.saturating_mul(1_000_000_000))
}

fn memory(info: &SystemInfo) -> Option<i64> {
    info.mem_total.filter(|bytes| info.memory_limit != Some(false) && *bytes > 0)
}

/// Where engines listen, the likeliest first.
fn candidates(runtime: Option<&str>, home: Option<&str>) -> Vec<PathBuf> {
    let fixed = |path: &str| Some(PathBuf::from(path));
    [
        fixed("/var/run/docker.sock"),
        runtime.map(|folder| Path::new(folder).join("docker.sock")),
        runtime.map(|folder| Path::new(folder).join("podman/podman.sock")),
        fixed("/run/podman/podman.sock"),
        home.map(|folder| Path::new(folder).join(".docker/run/docker.sock")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The first that is there.
fn found(candidates: &[PathBuf]) -> Result<String, EngineError> {
    let looked = || candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let there = candidates.iter().find(|path| path.exists());
    there.map(|path| format!("unix://{}", path.display())).ok_or_else(|| EngineError::None { looked: looked() })
}

/// What the engine said, without what a library wrote around it.
#[must_use]
pub fn words(error: &EngineAnswer) -> String {
    match error {
        EngineAnswer::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        EngineAnswer::DockerStreamError { error } => error.trim().to_owned(),
        other => cause::told(other).join(": "),
    }
}

/// The HTTP status of an engine's refusal.
#[must_use]
pub const fn status(error: &EngineAnswer) -> Option<u16> {
    match error {
        EngineAnswer::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether the engine said something about what it was asked for; else it was not reached.
#[must_use]
pub const fn is_answer(error: &EngineAnswer) -> bool {
    matches!(error, EngineAnswer::DockerResponseServerError { .. } | EngineAnswer::DockerStreamError { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_engine_it_is_said_how_to_get_one() {
        let error = found(&candidates(Some("/absent/run"), None).split_off(1)[..1]).unwrap_err().to_string();
        for words in ["/absent/run/docker.sock", "install Docker", "podman.socket", "DOCKER_HOST"] {
            assert!(error.contains(words), "{error}");
        }
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_told_with_its_address() {
        let error = Engine::at("unix:///absent/docker.sock").await.unwrap_err().to_string();
        assert!(error.contains("unix:///absent/docker.sock") && error.contains("DOCKER_HOST"), "{error}");
    }

    #[test]
    fn an_engine_that_limits_no_processors_is_not_asked_to() {
        let info = SystemInfo { ncpu: Some(2), ..SystemInfo::default() };
        assert_eq!(nano_cpus(&info), Some(2_000_000_000));
        assert_eq!(nano_cpus(&SystemInfo { cpu_cfs_quota: Some(false), ..info }), None);
    }
}
