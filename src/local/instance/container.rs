//! The container of an instance: made from the pod template, found again, ended, taken away.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bollard::errors::Error as EngineAnswer;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, DeviceRequest, HostConfig, Mount, PortBinding, RestartPolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, RenameContainerOptions, StartContainerOptions, StopContainerOptionsBuilder,
};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::view::End;
use crate::api::units::Quantity;
use crate::local::engine::{self, Engine};

/// Lines of a log that the kubelet looks at for a termination message.
const TAIL_LINES: &str = "80";
/// Bytes of them that it keeps.
const TAIL_BYTES: usize = 2048;
/// What the container before the last restart is called.
pub const PREVIOUS: &str = "-previous";

/// What a container is made from.
#[derive(Clone, Debug)]
pub struct Recipe<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// The pod.
    pub pod: &'a PodSpec,
    /// The container of the pod.
    pub container: &'a Container,
    /// Its variables, as `NAME=VALUE`.
    pub variables: Vec<String>,
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// How many GPUs it gets: -1 is all of them.
    pub gpus: Option<i64>,
}

/// What the engine says of a container.
#[derive(Clone, Debug)]
pub enum Found {
    /// It runs.
    Running {
        /// When it was started.
        since: Timestamp,
        /// Where its ports are on this machine, by port of the container.
        ports: HashMap<u16, SocketAddr>,
        /// The digest of its image.
        image: String,
    },
    /// It has ended.
    Ended(End),
    /// It was made and never started.
    Made,
}

/// Makes and starts a container.
///
/// # Errors
/// The kubelet's word for the step that failed, and the engine's answer.
pub async fn start(engine: &Engine, recipe: &Recipe<'_>) -> Result<(), (&'static str, EngineAnswer)> {
    let options = CreateContainerOptions { name: Some(recipe.name.to_owned()), ..CreateContainerOptions::default() };
    let made = engine.api.create_container(Some(options), body(engine, recipe)).await;
    made.map_err(|error| ("CreateContainerError", error))?;
    let started = engine.api.start_container(recipe.name, None::<StartContainerOptions>).await;
    started.map_err(|error| ("RunContainerError", error))
}

fn body(engine: &Engine, recipe: &Recipe<'_>) -> ContainerCreateBody {
    let Recipe { pod, container, .. } = recipe;
    let ports: Vec<String> = ports(container).into_iter().map(|port| format!("{port}/tcp")).collect();
    let binding =
        || vec![PortBinding { host_ip: Some(Ipv4Addr::LOCALHOST.to_string()), host_port: Some(String::new()) }];
    let pod_security = pod.security_context.as_ref();
    let security = container.security_context.as_ref();
    let user = pod_security.and_then(|security| security.run_as_user);
    let group = pod_security.and_then(|security| security.fs_group);
    let drops = security.and_then(|security| security.capabilities.as_ref()?.drop.clone());
    let stays_low = security.and_then(|security| security.allow_privilege_escalation) == Some(false);
    let limit = |name: &str| amount(container, name);
    let memory = engine.memory.zip(limit("memory")).map(|(most, millis)| bytes(millis).min(most));
    let cpus = engine.nano_cpus.zip(limit("cpu")).map(|(most, millis)| nano_cpus(millis).min(most));
    let host = HostConfig {
        mounts: Some(recipe.mounts.clone()),
        port_bindings: Some(ports.iter().map(|port| (port.clone(), Some(binding()))).collect()),
        memory,
        // As much as memory alone: no swap, as in a cluster.
        memory_swap: memory,
        nano_cpus: cpus,
        cap_drop: drops,
        security_opt: stays_low.then(|| vec!["no-new-privileges".to_owned()]),
        group_add: group.map(|group| vec![group.to_string()]),
        // The agent starts it again, with the kubelet's patience.
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), ..RestartPolicy::default() }),
        device_requests: recipe.gpus.map(|count| {
            vec![DeviceRequest {
                count: Some(count),
                capabilities: Some(vec![vec!["gpu".to_owned()]]),
                ..DeviceRequest::default()
            }]
        }),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: container.image.clone(),
        user: user.map(|user| user.to_string()),
        env: Some(recipe.variables.clone()),
        exposed_ports: Some(ports),
        labels: Some(recipe.labels.clone()),
        host_config: Some(host),
        entrypoint: container.command.clone(),
        cmd: container.args.clone(),
        ..ContainerCreateBody::default()
    }
}

/// The ports of a container that anybody asks.
#[must_use]
pub fn ports(container: &Container) -> Vec<u16> {
    let of_probe = |probe: &Option<Probe>| match probe.as_ref()?.http_get.as_ref()?.port {
        IntOrString::Int(port) => Some(port),
        IntOrString::String(_) => None,
    };
    let probes = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
    let named = container.ports.iter().flatten().map(|port| port.container_port);
    let mut ports: Vec<u16> =
        probes.into_iter().filter_map(of_probe).chain(named).filter_map(|port| u16::try_from(port).ok()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The limit of a resource, in thousandths.
fn amount(container: &Container, name: &str) -> Option<i128> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    Quantity::from(limits.get(name)?.0.as_str()).millis().ok().filter(|millis| *millis > 0)
}

fn bytes(millis: i128) -> i64 {
    i64::try_from(millis / 1000).unwrap_or(i64::MAX)
}

fn nano_cpus(millis: i128) -> i64 {
    i64::try_from(millis.saturating_mul(1_000_000)).unwrap_or(i64::MAX)
}

/// Looks at a container; `None` when there is none of this name.
///
/// # Errors
/// When the engine does not answer.
pub async fn look(engine: &Engine, name: &str) -> Result<Option<Found>, EngineAnswer> {
    match engine.api.inspect_container(name, None::<InspectContainerOptions>).await {
        Ok(answer) => Ok(Some(found(&answer))),
        Err(error) if engine::status(&error) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

fn found(answer: &ContainerInspectResponse) -> Found {
    let Some(state) = &answer.state else { return Found::Made };
    let time = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    // Docker's zero is the year 1.
    let started = time(&state.started_at).filter(|time| *time > Timestamp::UNIX_EPOCH);
    let Some(since) = started else { return Found::Made };
    if state.running == Some(true) {
        let ports = answer.network_settings.as_ref().and_then(|network| network.ports.as_ref());
        let ports = ports.into_iter().flatten().filter_map(|(port, bindings)| {
            let inner = port.split('/').next()?.parse().ok()?;
            let binding = bindings.as_ref()?.first()?;
            let outer = binding.host_port.as_ref()?.parse().ok()?;
            Some((inner, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), outer)))
        });
        return Found::Running { since, ports: ports.collect(), image: answer.image.clone().unwrap_or_default() };
    }
    let exit_code = state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1);
    let reason = match exit_code {
        _ if state.oom_killed == Some(true) => "OOMKilled",
        0 => "Completed",
        _ => "Error",
    };
    Found::Ended(End {
        exit_code,
        reason: reason.to_owned(),
        message: String::new(),
        started: since,
        finished: time(&state.finished_at).filter(|end| *end >= since).unwrap_or(since),
    })
}

/// The end of a container's log, as the kubelet keeps it.
pub async fn tail(engine: &Engine, name: &str) -> String {
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(TAIL_LINES).build();
    let mut lines = std::pin::pin!(engine.api.logs(name, Some(options)));
    let mut log = Vec::new();
    while let Some(Ok(line)) = lines.next().await {
        log.extend_from_slice(&line.into_bytes());
    }
    let start = log.len().saturating_sub(TAIL_BYTES);
    String::from_utf8_lossy(log.get(start..).unwrap_or_default()).into_owned()
}

/// Ends a container: SIGTERM, and SIGKILL after `grace`.
pub async fn stop(engine: &Engine, name: &str, grace: Duration) {
    let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
    let options = StopContainerOptionsBuilder::default().t(seconds).build();
    // The engine answers when the container has ended, which may be later than its answers may otherwise be.
    let engine = engine.api.clone().with_timeout(grace + Duration::from_mins(1));
    if let Err(error) = engine.stop_container(name, Some(options)).await
        && !matches!(engine::status(&error), Some(304 | 404))
    {
        tracing::warn!(container = name, "stopping it failed: {}", engine::words(&error));
    }
}

/// Takes a container away, running or not. One that is not there is gone already.
///
/// # Errors
/// When the engine does not do it.
pub async fn remove(engine: &Engine, name: &str) -> Result<(), EngineAnswer> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match engine.api.remove_container(name, Some(options)).await {
        // 409: it is being removed already.
        Err(error) if !matches!(engine::status(&error), Some(404 | 409)) => Err(error),
        _ => Ok(()),
    }
}

/// Keeps an ended container for its log, in the place of the one before, and frees its name.
pub async fn keep_as_previous(engine: &Engine, name: &str) {
    let previous = format!("{name}{PREVIOUS}");
    let _ = remove(engine, &previous).await;
    let renamed = engine.api.rename_container(name, RenameContainerOptions { name: previous }).await;
    if renamed.is_err() {
        let _ = remove(engine, name).await;
    }
}

/// The containers with all of these labels: name, and the label that names their instance.
///
/// # Errors
/// When the engine does not answer.
pub async fn labelled(
    engine: &Engine,
    labels: &[(&str, &str)],
    instance_label: &str,
) -> Result<Vec<(String, String)>, EngineAnswer> {
    let wanted: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let filters = HashMap::from([("label".to_owned(), wanted)]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let all = engine.api.list_containers(Some(options)).await?;
    let named = all.into_iter().filter_map(|container| {
        let name = container.names?.into_iter().next()?.trim_start_matches('/').to_owned();
        let instance = container.labels?.get(instance_label).cloned().unwrap_or_default();
        Some((name, instance))
    });
    Ok(named.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_never_started_has_not_ended() {
        let answer = |state: serde_json::Value| found(&serde_json::from_value(json!({"State": state})).unwrap());
        let made = json!({"Status": "created", "Running": false, "StartedAt": "0001-01-01T00:00:00Z", "ExitCode": 127});
        assert!(matches!(answer(made), Found::Made));
        let killed = json!({
            "Running": false, "OOMKilled": true, "ExitCode": 137,
            "StartedAt": "2026-01-01T00:00:00.5Z", "FinishedAt": "2026-01-01T00:00:02.123456789Z",
        });
        let Found::Ended(end) = answer(killed) else { panic!("it has ended") };
        assert_eq!((end.exit_code, end.reason.as_str()), (137, "OOMKilled"));
        assert!(end.finished > end.started);
    }

    #[test]
    fn limits_are_those_of_the_pod_and_never_more_than_the_machine_has() {
        let container: Container = serde_json::from_value(json!({
            "name": "s", "image": "i", "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}},
            "livenessProbe": {"httpGet": {"port": 8080}}, "readinessProbe": {"httpGet": {"port": 8081}},
            "ports": [{"containerPort": 8080}],
        }))
        .unwrap();
        assert_eq!(ports(&container), [8080, 8081]);
        assert_eq!(nano_cpus(amount(&container, "cpu").unwrap()), 1_500_000_000);
        assert_eq!(bytes(amount(&container, "memory").unwrap()), 1 << 30);
    }
}
