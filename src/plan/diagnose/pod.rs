//! One pod: how far it is in each stage and what is wrong with it.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod,
};
use kube::ResourceExt;

use super::{Fault, container_name, image};
use crate::api::artifact::{ArtifactKind, ArtifactReport};
use crate::api::deployment::Phase;
use crate::catalogue::Reason;
use crate::plan::build::pod::{INITIALIZER, SERVER};

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
}

/// Looks at one pod.
#[must_use]
pub fn look(pod: &Pod, needs_download: bool) -> Look {
    let initializer = status_of(pod, true);
    let server = status_of(pod, false);
    let scheduled = condition(pod, "PodScheduled");
    let placed = scheduled.is_some_and(|(status, ..)| status == "True");
    let fault = unschedulable(scheduled)
        .or_else(|| initializer.and_then(initializer_fault))
        .or_else(|| server.and_then(server_fault))
        .map(|fault| Fault { object: Some(format!("Pod/{}", pod.name_any())), ..fault });
    let download = match (needs_download, initializer.and_then(|status| status.state.as_ref())) {
        (false, _) => Phase::Succeeded,
        (true, Some(ContainerState { terminated: Some(end), .. })) if end.exit_code == 0 => Phase::Succeeded,
        (true, Some(ContainerState { running: Some(_), .. })) => Phase::InProgress,
        (true, Some(_)) if placed => Phase::InProgress,
        _ => Phase::Waiting,
    };
    let server_state = server.and_then(|status| status.state.as_ref());
    let has_run = server_state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        || server.is_some_and(|status| status.restart_count > 0 || !status.image_id.is_empty());
    let ready = condition(pod, "Ready").is_some_and(|(status, ..)| status == "True");
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
    };
    if let Some(fault) = &look.fault {
        use crate::catalogue::Stage;
        match fault.reason.code().stage() {
            Stage::Quota => look.system_setup = Phase::Failed,
            Stage::Start if !placed => look.system_setup = Phase::Failed,
            Stage::Image => look.image = Phase::Failed,
            Stage::Artifacts => look.download = Phase::Failed,
            Stage::Start | Stage::Crash | Stage::Internal => look.start = Phase::Failed,
        }
    }
    look
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

/// Status, reason and message of a pod condition.
fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let condition = pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)?;
    Some((
        &condition.status,
        condition.reason.as_deref().unwrap_or_default(),
        condition.message.as_deref().unwrap_or_default(),
    ))
}

fn unschedulable(scheduled: Option<(&str, &str, &str)>) -> Option<Fault> {
    match scheduled {
        Some(("False", "Unschedulable", message)) => Some(Fault::new(Reason::Unschedulable, message.to_owned())),
        _ => None,
    }
}

/// A failed container, by its present state; the last end explains only a present wait.
fn initializer_fault(status: &ContainerStatus) -> Option<Fault> {
    let state = status.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        return match reason_of(waiting) {
            "CrashLoopBackOff" => last_end(status).and_then(initializer_end),
            _ => waiting_fault(waiting, true),
        };
    }
    state.terminated.as_ref().and_then(initializer_end)
}

fn initializer_end(end: &ContainerStateTerminated) -> Option<Fault> {
    if end.exit_code == 0 {
        return None;
    }
    let text = end.message.as_deref().unwrap_or_default();
    let report = serde_json::from_str::<ArtifactReport>(text).ok();
    let mut fault = if let Some(ArtifactReport { reason: Some(reason), artifact, uri, detail, .. }) = report {
        let what = artifact.map_or("artifact", ArtifactKind::as_str);
        let at = uri.map(|uri| format!(" at {uri}")).unwrap_or_default();
        Fault::new(reason, format!("{what}{at}: {detail}"))
    } else {
        let why = end.reason.as_deref().unwrap_or("Error");
        let code = end.exit_code;
        let message = format!("the storage initializer ended with {why} (exit code {code}) and left no report");
        Fault { log_tail: tail(text), ..Fault::new(Reason::ArtifactDownloaderKilled, message) }
    };
    fault.container = Some(container_name(true));
    fault.exit_code = Some(end.exit_code);
    Some(fault)
}

fn server_fault(status: &ContainerStatus) -> Option<Fault> {
    let state = status.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        return match reason_of(waiting) {
            "CrashLoopBackOff" => last_end(status).map(server_end),
            _ => waiting_fault(waiting, false),
        };
    }
    state.terminated.as_ref().map(server_end)
}

fn server_end(end: &ContainerStateTerminated) -> Fault {
    let why = end.reason.as_deref().unwrap_or_default();
    let text = end.message.as_deref().unwrap_or_default();
    let (reason, message) = match (why, end.exit_code) {
        ("OOMKilled", _) => (Reason::OutOfMemory, "the inference server used more memory than its limit".to_owned()),
        ("StartError" | "ContainerCannotRun", _) => (Reason::CommandNotFound, text.to_owned()),
        (_, 0) => (Reason::ContainerExited, "the inference server ended with exit code 0".to_owned()),
        (_, code) => {
            let last_line = text.trim_end().lines().next_back().unwrap_or_default().trim();
            let colon = if last_line.is_empty() { "" } else { ": " };
            (Reason::ContainerCrashed, format!("the inference server ended with exit code {code}{colon}{last_line}"))
        }
    };
    Fault {
        container: Some(container_name(false)),
        exit_code: Some(end.exit_code),
        log_tail: tail(text),
        ..Fault::new(reason, message)
    }
}

/// A container that waits because something is wrong; `None` when it only waits.
fn waiting_fault(waiting: &ContainerStateWaiting, is_initializer: bool) -> Option<Fault> {
    let message = waiting.message.as_deref().unwrap_or_default();
    let (reason, message) = match reason_of(waiting) {
        why if image::is_pull_failure(why) => image::cause(why, message),
        "CreateContainerConfigError" => (Reason::ContainerConfigInvalid, message.to_owned()),
        "RunContainerError" => (Reason::CommandNotFound, message.to_owned()),
        "CreateContainerError" => (Reason::ContainerCreateFailed, message.to_owned()),
        _ => return None,
    };
    Some(Fault { container: Some(container_name(is_initializer)), ..Fault::new(reason, message) })
}

fn reason_of(waiting: &ContainerStateWaiting) -> &str {
    waiting.reason.as_deref().unwrap_or_default()
}

fn last_end(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    status.last_state.as_ref()?.terminated.as_ref()
}

/// Longest log tail, in bytes.
const MAX_TAIL: usize = 1024;

/// The last lines of a log: where a traceback names the exception.
fn tail(text: &str) -> Option<String> {
    let text = text.trim_end();
    let start = text.len().saturating_sub(MAX_TAIL);
    let start = (start..text.len()).find(|index| text.is_char_boundary(*index))?;
    Some(text[start..].to_owned())
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

    #[test]
    fn stages_pass_one_after_the_other() {
        use Phase::{InProgress, Succeeded, Waiting};
        let phases = |pod: &Pod| {
            let look = look(pod, true);
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
    fn a_report_of_the_initializer_names_the_cause() {
        let report = json!({
            "version": 1, "outcome": "failed", "reason": "ArtifactNotFound", "artifact": "model",
            "uri": "s3://models/iris", "httpStatus": 404, "providerCode": "NoSuchKey", "detail": "no such key",
            "bytes": 0, "seconds": 0.1, "files": 0,
        });
        let end = json!({"exitCode": 13, "reason": "Error", "message": report.to_string()});
        let failed = pod(&json!({"state": {"terminated": end}}), &waiting("PodInitializing"), "False");
        let look = look(&failed, true);
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
        assert_eq!(look(&pod(&done(), &server, "False"), true).fault, None);
    }

    #[test]
    fn a_crash_loop_is_explained_by_the_last_end() {
        let server = json!({
            "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 3, "message": "Traceback\nModuleNotFoundError: No module named 'x'\n"}},
        });
        let fault = look(&pod(&done(), &server, "False"), true).fault.unwrap();
        assert_eq!((fault.reason, fault.exit_code), (Reason::ContainerCrashed, Some(3)));
        assert!(fault.message.ends_with("ModuleNotFoundError: No module named 'x'"), "{}", fault.message);
    }

    #[test]
    fn a_tail_keeps_the_end_and_whole_characters() {
        let long = "é".repeat(2000) + "end";
        let tail = tail(&long).unwrap();
        assert!(tail.len() <= MAX_TAIL && tail.ends_with("end"));
    }
}
