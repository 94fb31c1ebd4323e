//! Why the inference server ended.

use super::{start, traceback};
use crate::catalogue::Reason;

/// The cause and the message's facts, from the exit code, the kubelet's word for the end and the end of the log; `None`
/// for an end that is the node's, not the server's.
#[must_use]
pub fn cause(exit_code: i32, reason: &str, log: &str) -> Option<(Reason, String)> {
    match reason {
        "OOMKilled" => {
            let facts = "the inference server used more memory than its limit and was killed (OOMKilled)";
            return Some((Reason::OutOfMemory, facts.to_owned()));
        }
        "ContainerStatusUnknown" | "Unknown" => return None,
        "StartError" | "ContainerCannotRun" => {
            return Some((start::cause(reason, log).unwrap_or(Reason::ContainerCreateFailed), log.trim().to_owned()));
        }
        _ => {}
    }
    if exit_code == 0 {
        return Some((Reason::ContainerExited, "the inference server ended with exit code 0".to_owned()));
    }
    let last_line = log.trim_end().lines().next_back().unwrap_or_default().trim();
    if let Some(reason) = exec_failure(last_line) {
        return Some((reason, last_line.to_owned()));
    }
    let exception = traceback::last(log);
    Some(exception.as_ref().and_then(of_script).unwrap_or_else(|| {
        let name = signal(exit_code).map(|name| format!(" ({name})")).unwrap_or_default();
        let line = exception.as_ref().map_or(last_line, |exception| exception.line);
        let colon = if line.is_empty() { "" } else { ": " };
        (Reason::ContainerCrashed, format!("the inference server ended with exit code {exit_code}{name}{colon}{line}"))
    }))
}

/// `exec /app: exec format error`: what runc and crun write in the place of the program, plain or as JSON.
fn exec_failure(line: &str) -> Option<Reason> {
    let line = line.strip_prefix("{\"msg\":\"").and_then(|rest| rest.split_once('"')).map_or(line, |(words, _)| words);
    let (before, why) = line.rsplit_once(": ")?;
    if !before.starts_with("exec ") && !before.starts_with("standard_init_linux.go:") {
        return None;
    }
    match why.to_ascii_lowercase().as_str() {
        "exec format error" => Some(Reason::ImagePlatformMismatch),
        "no such file or directory" | "permission denied" => Some(Reason::CommandNotFound),
        _ => None,
    }
}

/// An exception of the scoring script; `None` for one of another program.
fn of_script(exception: &traceback::Exception<'_>) -> Option<(Reason, String)> {
    let kind = exception.kind.rsplit('.').next().unwrap_or_default();
    let message = exception.line.split_once(": ").map_or("", |(_, message)| message);
    let init = exception.wrapper.is_some() || exception.frame.is_some_and(|frame| frame.function == "init");
    let reason = match kind {
        "ModuleNotFoundError" | "ImportError" => Reason::UserScriptImportError,
        "SyntaxError" | "IndentationError" | "TabError" => Reason::UserScriptSyntaxError,
        "OutOfMemoryError" => Reason::OutOfMemory,
        "RuntimeError" if message.starts_with("CUDA out of memory. ") => Reason::OutOfMemory,
        "RuntimeError" if message.starts_with("CUDA error: out of memory") => Reason::OutOfMemory,
        // Azure's server: `User script at FILE does not have a run() function defined.`
        "UserScriptError" if message.starts_with("User script at ") && message.ends_with("() function defined.") => {
            Reason::UserScriptFunctionNotFound
        }
        "AttributeError" if is_missing_function(message) => Reason::UserScriptFunctionNotFound,
        _ if exception.wrapper.is_some_and(|wrapper| wrapper.ends_with("ImportException")) => {
            Reason::UserScriptImportError
        }
        _ if init => Reason::UserScriptInitFailed,
        _ => return None,
    };
    let place = exception.frame.map(|frame| {
        let within = if frame.function.is_empty() { String::new() } else { format!(", in {}", frame.function) };
        format!(" ({}, line {}{within})", frame.file, frame.line)
    });
    Some((reason, without_versions(&format!("{}{}", exception.line, place.unwrap_or_default()))))
}

/// A text without the folders in which the kubelet keeps the versions of a `ConfigMap`: `/..2026_11_24_12_32_39.31040/`.
fn without_versions(text: &str) -> String {
    let version = |part: &&str| part.starts_with("..2") && part.contains('_');
    text.split('/').filter(|part| !version(part)).collect::<Vec<_>>().join("/")
}

/// Older servers call what is not there: `module 'score' has no attribute 'run'`.
fn is_missing_function(message: &str) -> bool {
    message.starts_with("module '")
        && ["'init'", "'run'"].iter().any(|name| message.ends_with(&format!("' has no attribute {name}")))
}

/// The signal that an exit code above 128 stands for.
#[must_use]
pub fn signal(exit_code: i32) -> Option<&'static str> {
    Some(match exit_code.checked_sub(128)? {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL, an instruction that this processor does not know",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV, a segmentation fault",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS, a system call that is not allowed",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_of_a_config_map_is_named_as_the_user_knows_it() {
        let log = "Traceback (most recent call last):\n  File \"/lib/python3.11/x.py\", line 90, in load_script\nx.UserScriptError: \
                   User script at /var/azureml-app/bad/..2026_11_24_13_05_45.741287647/score.py does not have a run() function \
                   defined.\n";
        let (reason, facts) = cause(3, "Error", log).unwrap();
        assert_eq!(reason, Reason::UserScriptFunctionNotFound);
        assert!(facts.contains(" /var/azureml-app/bad/score.py does not have"), "{facts}");
    }
}
