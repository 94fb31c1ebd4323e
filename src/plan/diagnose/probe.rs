//! Probes that fail for longer than they may.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::pod::condition_of;
use crate::api::deployment::{OnlineDeploymentSpec, Probe};
use crate::catalogue::Reason;
use crate::plan::seen::note::{Note, Topic, latest};

/// Times of Kubernetes are whole seconds.
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// A container that was ended by its liveness or startup probe and has not become ready since.
#[must_use]
pub fn killed(server: &ContainerStatus, notes: &[Note]) -> Option<(Reason, String)> {
    if server.ready {
        return None;
    }
    let of_server: Vec<&Note> = notes.iter().filter(|note| note.container.as_deref() == Some(&server.name)).collect();
    let state = server.state.as_ref()?;
    // Being ended just now, though it runs on until its grace is over.
    if let Some(running) = &state.running {
        let since = running.started_at.as_ref().map(|time| time.0)?;
        if let Some(killed) =
            latest(of_server.iter().copied().filter(|note| note.topic == Topic::KilledByProbe && note.last >= since))
        {
            return Some(words(killed, &of_server));
        }
    }
    let end = state.terminated.as_ref().or_else(|| server.last_state.as_ref()?.terminated.as_ref())?;
    let (begin, finish) = (end.started_at.as_ref()?.0, end.finished_at.as_ref()?.0);
    let within =
        |note: &&Note| note.topic == Topic::KilledByProbe && note.last >= begin && note.last <= finish + SECOND;
    latest(of_server.iter().copied().filter(within)).map(|killed| words(killed, &of_server))
}

/// `Container NAME failed liveness probe, will be restarted`, with what the probe got for an answer.
fn words(killed: &Note, notes: &[&Note]) -> (Reason, String) {
    let (reason, probe) = if killed.text.ends_with(" failed startup probe, will be restarted") {
        (Reason::StartupProbeFailed, "Startup probe ")
    } else {
        (Reason::LivenessProbeFailed, "Liveness probe ")
    };
    let answers = notes.iter().copied().filter(|note| note.topic == Topic::Unhealthy && note.text.starts_with(probe));
    let answer = latest(answers.filter(|note| note.last <= killed.last + SECOND));
    (reason, answer.map_or_else(|| killed.text.clone(), |answer| answer.text.clone()))
}

/// What a container's readiness comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is ready, or not running.
    Fine,
    /// It may become ready until then.
    Until(Timestamp),
    /// It has not become ready in the time that its probe allows.
    Failed(String),
}

/// Looks at the readiness of a running container.
#[must_use]
pub fn unready(
    pod: &Pod,
    server: &ContainerStatus,
    spec: &OnlineDeploymentSpec,
    notes: &[Note],
    now: Timestamp,
) -> Readiness {
    // A node that is lost leaves `ready` as it was.
    let running = server.state.as_ref().and_then(|state| state.running.as_ref());
    let since = running.and_then(|running| running.started_at.as_ref()).map(|time| time.0);
    let (Some(since), false) = (since, server.ready) else { return Readiness::Fine };
    let budget = budget(&spec.readiness_probe);
    let turned = condition_of(pod, "ContainersReady")
        .filter(|condition| condition.status == "False")
        .and_then(|condition| condition.last_transition_time.as_ref())
        .map(|time| time.0)
        .filter(|turned| *turned > since + SECOND);
    let answers = notes.iter().filter(|note| {
        note.topic == Topic::Unhealthy
            && note.container.as_deref() == Some(&server.name)
            && note.text.starts_with("Readiness probe ")
            && note.last + SECOND >= since
    });
    let answer = latest(answers);
    let deadline = match turned {
        // It was ready before: the kubelet says otherwise only after the probe has failed as often as it may.
        Some(turned) if answer.is_some_and(|answer| answer.last + budget >= turned) => turned,
        Some(turned) => turned + budget,
        None => {
            let start = spec.startup_probe.as_ref().map_or(SignedDuration::ZERO, self::budget);
            since + start + budget
        }
    };
    if now < deadline {
        return Readiness::Until(deadline);
    }
    let silent = || "its readiness probe has not passed yet".to_owned();
    Readiness::Failed(answer.map_or_else(silent, |answer| answer.text.clone()))
}

/// The longest that a probe may fail.
fn budget(probe: &Probe) -> SignedDuration {
    let failures = i64::from(probe.period_seconds) * i64::from(probe.failure_threshold);
    SignedDuration::from_secs(i64::from(probe.initial_delay_seconds) + failures + i64::from(probe.timeout_seconds))
}
