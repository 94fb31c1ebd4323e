//! One pod: how far it is in each stage and what is wrong with it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod, PodCondition,
};
use kube::ResourceExt;

use super::probe::Readiness;
use super::taint::Taints;
use super::{Fault, end, eviction, image, initializer, probe, redact, schedule, start, tail, volume};
use crate::api::deployment::{OnlineDeploymentSpec, Phase};
use crate::catalogue::{Reason, Stage};
use crate::plan::build::pod::{INITIALIZER, SERVER};
use crate::plan::seen::note::{Note, Topic, latest};

/// Times that a sandbox may fail before it is told: a network plugin that starts beside the pod is no fault.
const SANDBOX_FAILURES: i32 = 2;

/// What one pod shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// A place to run.
    pub system_setup: Phase,
    /// The image of the server.
    pub image: Phase,
    /// Model and code.
    pub download: Phase,
    /// The server up to its first good probe.
    pub start: Phase,
    /// What is wrong.
    pub fault: Option<Fault>,
    /// When to look again though nothing changes.
    pub again: Option<Timestamp>,
    /// Whether its storage initializer runs.
    pub downloads: bool,
}

/// What a pod is looked at with.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// What the user asked for.
    pub spec: &'a OnlineDeploymentSpec,
    /// What Events say of the pod.
    pub notes: &'a [Note],
    /// The Secrets for pulling, with the time at which each was created.
    pub pull_secrets: &'a BTreeMap<String, Option<Timestamp>>,
    /// Whether there is anything to download.
    pub needs_download: bool,
    /// Whether one of its volumes is a claim.
    pub has_claim: bool,
    /// What the taints of nodes mean for it, where nodes can be looked at.
    pub taints: Option<Taints>,
    /// The present.
    pub now: Timestamp,
}

/// A pod as its rules see it.
#[derive(Clone, Copy)]
struct Case<'a> {
    pod: &'a Pod,
    around: &'a Surroundings<'a>,
    initializer: Option<&'a ContainerStatus>,
    server: Option<&'a ContainerStatus>,
}

/// Rules in the order in which they decide; each looks at what is wrong now. A probe goes before the end that it caused.
const RULES: &[fn(&Case<'_>) -> Option<Fault>] = &[
    ended_by_node,
    unschedulable,
    |case| case.initializer.and_then(|status| waits(case, status, INITIALIZER)),
    |case| case.initializer.and_then(initializer_end),
    mount,
    sandbox,
    |case| case.server.and_then(|status| waits(case, status, SERVER)),
    killed_by_probe,
    server_end,
];

/// Looks at one pod.
#[must_use]
pub fn look(pod: &Pod, around: &Surroundings<'_>) -> Look {
    let case = Case { pod, around, initializer: status_of(pod, true), server: status_of(pod, false) };
    let placed = condition_of(pod, "PodScheduled").is_some_and(|condition| condition.status == "True");
    let mut fault = RULES.iter().find_map(|rule| rule(&case));
    let mut again = None;
    if fault.is_none()
        && let Some(server) = case.server
    {
        match probe::unready(pod, server, around.spec, around.notes, around.now) {
            Readiness::Fine => {}
            Readiness::Until(deadline) => again = Some(deadline),
            Readiness::Failed(facts) => fault = Some(of_server(Reason::ReadinessProbeFailed, &facts)),
        }
    }
    let fault = fault.map(|fault| Fault { object: Some(format!("Pod/{}", pod.name_any())), ..fault });
    let download = match (around.needs_download, case.initializer.and_then(|status| status.state.as_ref())) {
        (false, _) => Phase::Succeeded,
        (true, Some(ContainerState { terminated: Some(end), .. })) if end.exit_code == 0 => Phase::Succeeded,
        (true, Some(ContainerState { running: Some(_), .. })) => Phase::InProgress,
        (true, Some(_)) if placed => Phase::InProgress,
        _ => Phase::Waiting,
    };
    let server_state = case.server.and_then(|status| status.state.as_ref());
    let has_run = server_state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        || case.server.is_some_and(|status| status.restart_count > 0 || !status.image_id.is_empty());
    let ready = condition_of(pod, "Ready").is_some_and(|condition| condition.status == "True");
    let after = |done: bool, before: Phase| match (done, before) {
        (true, _) => Phase::Succeeded,
        (false, Phase::Succeeded) => Phase::InProgress,
        (false, _) => Phase::Waiting,
    };
    let image = after(has_run, if placed { download } else { Phase::Waiting });
    let mut look = Look {
        system_setup: if placed { Phase::Succeeded } else { Phase::InProgress },
        image,
        download,
        start: after(ready, image),
        fault,
        again,
        downloads: downloads(pod),
    };
    match look.fault.as_ref().map(|fault| fault.reason.code().stage()) {
        None => {}
        Some(Stage::Quota) => look.system_setup = Phase::Failed,
        Some(Stage::Start) if !placed => look.system_setup = Phase::Failed,
        Some(Stage::Image) => look.image = Phase::Failed,
        Some(Stage::Artifacts) => look.download = Phase::Failed,
        Some(Stage::Start | Stage::Crash | Stage::Internal) => look.start = Phase::Failed,
    }
    look
}

/// Whether the storage initializer of a pod runs.
#[must_use]
pub fn downloads(pod: &Pod) -> bool {
    let state = status_of(pod, true).and_then(|status| status.state.as_ref());
    pod.metadata.deletion_timestamp.is_none() && state.is_some_and(|state| state.running.is_some())
}

fn status_of(pod: &Pod, is_initializer: bool) -> Option<&ContainerStatus> {
    let status = pod.status.as_ref()?;
    let (list, name) = if is_initializer {
        (&status.init_container_statuses, INITIALIZER)
    } else {
        (&status.container_statuses, SERVER)
    };
    list.iter().flatten().find(|container| container.name == name)
}

/// A condition of a pod.
pub(super) fn condition_of<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// Evicted, or refused by the kubelet.
fn ended_by_node(case: &Case<'_>) -> Option<Fault> {
    let status = case.pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Failed"))?;
    let (why, message) = (status.reason.as_deref()?, status.message.as_deref().unwrap_or_default());
    let done = !case.around.needs_download
        || case.server.and_then(|server| server.state.as_ref()).is_some_and(|state| state.waiting.is_none())
        || initializer_done(case);
    let reason = eviction::cause(why, message, done)?;
    let what =
        if reason == Reason::ArtifactDiskFull { "the node ended it while model and code were fetched: " } else { "" };
    Some(Fault::new(reason, &format!("{what}{}", message.trim())))
}

fn initializer_done(case: &Case<'_>) -> bool {
    let end = case.initializer.and_then(|status| status.state.as_ref()?.terminated.as_ref());
    end.is_some_and(|end| end.exit_code == 0)
}

/// Whether the scheduler has looked for a node and found none.
#[must_use]
pub fn is_unschedulable(pod: &Pod) -> bool {
    condition_of(pod, "PodScheduled")
        .is_some_and(|scheduled| scheduled.status == "False" && scheduled.reason.as_deref() == Some("Unschedulable"))
}

fn unschedulable(case: &Case<'_>) -> Option<Fault> {
    // A pod that waits for others to make room has its node already.
    let nominated = case.pod.status.as_ref().is_some_and(|status| status.nominated_node_name.is_some());
    let scheduled = condition_of(case.pod, "PodScheduled").filter(|_| is_unschedulable(case.pod) && !nominated)?;
    let message = scheduled.message.as_deref().unwrap_or_default();
    schedule::cause(message, case.around.taints).map(|reason| Fault::new(reason, message))
}

/// A container that waits because something is wrong; `None` when it only waits.
fn waits(case: &Case<'_>, status: &ContainerStatus, container: &'static str) -> Option<Fault> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let why = reason_of(waiting);
    let mut message = waiting.message.as_deref().unwrap_or_default();
    // Many pulls at once make the kubelet wait; it goes on by itself.
    if message.ends_with("pull QPS exceeded") {
        return None;
    }
    let fault = if image::is_pull_failure(why) {
        let of_this = |note: &&Note| note.topic == Topic::FailedPull && note.container.as_deref() == Some(container);
        let pull = latest(case.around.notes.iter().filter(of_this));
        if image::is_bare_back_off(message) {
            message = pull.map_or(message, |note| note.text.as_str());
        }
        // One that came after the pull was missing for it; the kubelet tries again with it.
        let missed = |created: &Option<Timestamp>| match (created, pull) {
            (Some(created), Some(pull)) => *created > pull.last,
            (created, _) => created.is_none(),
        };
        let secrets = case.around.pull_secrets.iter().filter(|(_, created)| missed(created));
        let missing: Vec<String> = secrets.map(|(name, _)| name.clone()).collect();
        let (reason, text) = image::cause(why, message, &missing);
        Fault::new(reason, &text)
    } else {
        Fault::new(start::cause(why, message)?, message)
    };
    Some(Fault { container: Some(container), ..fault })
}

fn initializer_end(status: &ContainerStatus) -> Option<Fault> {
    present_end(status).and_then(initializer::fault)
}

fn server_end(case: &Case<'_>) -> Option<Fault> {
    let end = case.server.and_then(present_end)?;
    // Before a line of it becomes part of a sentence: at the end of a line a secret is easier to know.
    let log =
        redact::redact(&tail::plain(tail::uncut(end.message.as_deref().unwrap_or_default())), Some(case.around.spec));
    let (reason, facts) = end::cause(end.exit_code, end.reason.as_deref().unwrap_or_default(), &log)?;
    Some(Fault { exit_code: Some(end.exit_code), log_tail: Some(log), ..of_server(reason, &facts) })
}

/// How a container ended that is not running now: the last end explains only a present wait.
fn present_end(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let state = status.state.as_ref()?;
    match &state.waiting {
        Some(waiting) if reason_of(waiting) == "CrashLoopBackOff" => status.last_state.as_ref()?.terminated.as_ref(),
        Some(_) => None,
        None => state.terminated.as_ref(),
    }
}

fn killed_by_probe(case: &Case<'_>) -> Option<Fault> {
    let server = case.server?;
    let (reason, facts) = probe::killed(server, case.around.notes)?;
    let end = present_end(server).or_else(|| server.last_state.as_ref()?.terminated.as_ref());
    Some(Fault {
        exit_code: end.map(|end| end.exit_code),
        log_tail: end.and_then(|end| end.message.as_deref()).map(|log| tail::uncut(log).to_owned()),
        ..of_server(reason, &facts)
    })
}

/// A volume in whose absence no container starts.
fn mount(case: &Case<'_>) -> Option<Fault> {
    let note = before_any_container(case, Topic::FailedMount)?;
    Some(Fault::new(volume::cause(&note.text, case.around.has_claim), &note.text))
}

fn sandbox(case: &Case<'_>) -> Option<Fault> {
    let failures = case.around.notes.iter().filter(|note| note.topic == Topic::FailedSandbox);
    let count = failures.fold(0_i32, |count, note| count.saturating_add(note.count));
    let note = before_any_container(case, Topic::FailedSandbox).filter(|_| count >= SANDBOX_FAILURES)?;
    Some(Fault::new(Reason::SandboxFailed, &note.text))
}

/// The latest note of a topic, while no container has come as far as to refute it.
fn before_any_container<'a>(case: &Case<'a>, topic: Topic) -> Option<&'a Note> {
    let all = [case.initializer, case.server];
    let untouched = all.iter().flatten().all(|status| {
        let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
        let creating =
            waiting.is_some_and(|waiting| matches!(reason_of(waiting), "ContainerCreating" | "PodInitializing"));
        creating && status.last_state.as_ref().is_none_or(|last| last.terminated.is_none())
    });
    let pending = case.pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Pending"));
    latest(case.around.notes.iter().filter(|note| note.topic == topic)).filter(|_| untouched && pending)
}

fn of_server(reason: Reason, facts: &str) -> Fault {
    Fault { container: Some(SERVER), ..Fault::new(reason, facts) }
}

fn reason_of(waiting: &ContainerStateWaiting) -> &str {
    waiting.reason.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(initializer: &Value, server: &Value, ready: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "iris-blue-abc12"},
            "status": {
                "conditions": [
                    {"type": "PodScheduled", "status": "True"},
                    {"type": "Ready", "status": ready},
                ],
                "initContainerStatuses": [container("storage-initializer", initializer)],
                "containerStatuses": [container("inference-server", server)],
            },
        }))
        .unwrap()
    }

    fn container(name: &str, state: &Value) -> Value {
        let mut status = json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0});
        status.as_object_mut().unwrap().extend(state.as_object().unwrap().clone());
        status
    }

    fn done() -> Value {
        json!({"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}})
    }

    fn waiting(reason: &str) -> Value {
        json!({"state": {"waiting": {"reason": reason, "message": "m"}}})
    }

    fn seen(pod: &Pod) -> Look {
        let spec = json!({
            "endpointName": "iris", "environment": {"image": "i"},
            "readinessProbe": {"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 10, "timeoutSeconds": 1},
        });
        let spec = serde_json::from_value(spec).unwrap();
        let around = Surroundings {
            spec: &spec,
            notes: &[],
            pull_secrets: &BTreeMap::new(),
            needs_download: true,
            has_claim: false,
            taints: None,
            now: Timestamp::from_second(1_000).unwrap(),
        };
        look(pod, &around)
    }

    #[test]
    fn stages_pass_one_after_the_other() {
        use Phase::{InProgress, Succeeded, Waiting};
        let phases = |pod: &Pod| {
            let look = seen(pod);
            assert_eq!(look.fault, None);
            (look.system_setup, look.download, look.image, look.start)
        };
        let downloading = pod(&json!({"state": {"running": {}}}), &waiting("PodInitializing"), "False");
        assert_eq!(phases(&downloading), (Succeeded, InProgress, Waiting, Waiting));
        let pulling = pod(&done(), &waiting("PodInitializing"), "False");
        assert_eq!(phases(&pulling), (Succeeded, Succeeded, InProgress, Waiting));
        let starting = pod(&done(), &json!({"state": {"running": {}}}), "False");
        assert_eq!(phases(&starting), (Succeeded, Succeeded, Succeeded, InProgress));
        let ready = pod(&done(), &json!({"state": {"running": {}}}), "True");
        assert_eq!(phases(&ready), (Succeeded, Succeeded, Succeeded, Succeeded));
    }

    #[test]
    fn a_container_that_does_not_become_ready_is_told_when_its_probe_has_had_its_time() {
        let running = |at: i64| {
            let at = Timestamp::from_second(at).unwrap().to_string();
            pod(&done(), &json!({"state": {"running": {"startedAt": at}}}), "False")
        };
        // 1 + 10 × 1 + 1 seconds.
        assert_eq!(seen(&running(989)).again, Some(Timestamp::from_second(1_001).unwrap()));
        assert_eq!(seen(&running(989)).fault, None);
        assert_eq!(seen(&running(988)).fault.unwrap().reason, Reason::ReadinessProbeFailed);
    }

    #[test]
    fn a_report_of_the_initializer_names_the_cause() {
        let report = json!({
            "version": 1, "outcome": "failed", "reason": "ArtifactNotFound", "artifact": "model",
            "uri": "s3://models/iris", "httpStatus": 404, "providerCode": "NoSuchKey", "detail": "no such key",
            "bytes": 0, "seconds": 0.1, "files": 0,
        });
        let end = json!({"exitCode": 13, "reason": "Error", "message": report.to_string()});
        let failed = pod(&json!({"state": {"terminated": end}}), &waiting("PodInitializing"), "False");
        let look = seen(&failed);
        let fault = look.fault.unwrap();
        assert_eq!(fault.reason, Reason::ArtifactNotFound);
        assert_eq!(fault.message, "model at s3://models/iris: no such key");
        assert_eq!(look.download, Phase::Failed);
    }

    #[test]
    fn an_old_crash_says_nothing_about_a_running_container() {
        let server = json!({
            "restartCount": 1,
            "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
        });
        assert_eq!(seen(&pod(&done(), &server, "False")).fault, None);
    }

    #[test]
    fn a_crash_loop_is_explained_by_the_last_end() {
        let server = json!({
            "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 3, "message": "x\nout of luck\n"}},
        });
        let fault = seen(&pod(&done(), &server, "False")).fault.unwrap();
        assert_eq!((fault.reason, fault.exit_code), (Reason::ContainerCrashed, Some(3)));
        assert!(fault.message.ends_with("exit code 3: out of luck"), "{}", fault.message);
    }
}
