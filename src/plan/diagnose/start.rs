//! What the kubelet and the container runtime say of a container that can't be made or started.

use super::segment;
use crate::catalogue::Reason;
use crate::plan::seen::note::is_behind;

/// The cause, by the kubelet's own word for the step that failed; `None` for words that name no failed start.
#[must_use]
pub fn cause(step: &str, message: &str) -> Option<Reason> {
    match step {
        "CreateContainerConfigError" if is_behind(message) => None,
        "CreateContainerConfigError" => Some(Reason::ContainerConfigInvalid),
        "CreateContainerError" | "RunContainerError" | "StartError" | "ContainerCannotRun" | "PostStartHookError" => {
            Some(of_runtime(message))
        }
        _ => None,
    }
}

/// runc's own words out of the log line that CRI-O passes on: `time="…" level=error msg="…"`.
fn unwrapped(message: &str) -> String {
    let logged = message.split_once(" level=error msg=\"").map(|(_, words)| words);
    logged.map_or_else(
        || message.to_owned(),
        |words| words.replace("\\\"", "\u{1}").replace('"', " ").replace('\u{1}', "\""),
    )
}

fn of_runtime(message: &str) -> Reason {
    let parts = segment::of(&unwrapped(message));
    let any = |test: &dyn Fn(&str) -> bool| parts.iter().any(|part| test(part));
    // `exec: "NAME": WHY`, runc's words for the container's own command; mounts fail with the same WHY.
    let exec = parts.iter().position(|part| part == "exec" || part.starts_with("exec "));
    let why = exec.map(|at| parts.iter().skip(at)).into_iter().flatten();
    let mut why_not = why.map(|part| part.to_ascii_lowercase());
    if any(&|part| part.eq_ignore_ascii_case("exec format error")) {
        return Reason::ImagePlatformMismatch;
    }
    let missing = why_not.any(|part| {
        part == "executable file not found in $path"
            || part == "no such file or directory"
            || part == "permission denied"
            || part == "is a directory"
            || part == "not a directory"
    });
    let crun = any(&|part| {
        part.starts_with("executable file _ not found")
            || part.starts_with("open executable")
            || part == "OCI runtime attempted to invoke a command that was not found"
            || part == "no command specified"
            || part == "No command specified"
    });
    if missing || crun { Reason::CommandNotFound } else { Reason::ContainerCreateFailed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_that_has_not_heard_of_a_secret_yet_is_no_failure() {
        let step = "CreateContainerConfigError";
        assert_eq!(cause(step, "failed to sync secret cache: timed out waiting for the condition"), None);
        assert_eq!(cause(step, "secret \"look\" not found"), Some(Reason::ContainerConfigInvalid));
    }
}
