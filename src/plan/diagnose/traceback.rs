//! The last exception in the log of a Python program.

/// An exception, with the place in the user's own code that raised it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception<'a> {
    /// Its type with its module, as `builtins` writes it: `KeyError`, `torch.OutOfMemoryError`.
    pub kind: &'a str,
    /// Its line: type and first line of the message.
    pub line: &'a str,
    /// The innermost frame in the scoring code, else the innermost that is in no library.
    pub frame: Option<Frame<'a>>,
    /// The exception that Azure's server made of it.
    pub wrapper: Option<&'a str>,
}

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Path of the file.
    pub file: &'a str,
    /// Line number.
    pub line: &'a str,
    /// Name of the function; empty for a line that could not even be parsed.
    pub function: &'a str,
}

/// Where Azure ML puts scoring code.
const CODE_ROOT: &str = "/var/azureml-app/";
/// What Azure's server wraps the user's exception in.
const WRAPPERS: [&str; 2] = ["UserScriptException", "UserScriptImportException"];
/// Lines of others that may stand within a traceback. The two streams of a container are copied into its log side by
/// side, so what a server says on one can come between the lines of a traceback on the other.
const STRANGERS: usize = 8;

struct Block<'a> {
    kind: &'a str,
    line: &'a str,
    frames: Vec<Frame<'a>>,
    /// Whether it was raised from the one before it.
    chained: bool,
}

/// The last exception of a log. A log that was cut may begin within a traceback.
#[must_use]
pub fn last(log: &str) -> Option<Exception<'_>> {
    let mut blocks = blocks(log);
    let outer = blocks.pop()?;
    let is_wrapper = WRAPPERS.iter().any(|name| outer.kind.rsplit('.').next() == Some(name));
    let wrapper = is_wrapper.then_some(outer.kind);
    let root = if is_wrapper && outer.chained { inner(blocks).unwrap_or(outer) } else { outer };
    let own = |frame: &&Frame<'_>| frame.file.starts_with(CODE_ROOT);
    let no_library = |frame: &&Frame<'_>| {
        !frame.file.contains("/lib/python") && !frame.file.contains("-packages/") && !frame.file.starts_with('<')
    };
    let frame = root.frames.iter().rfind(own).or_else(|| root.frames.iter().rfind(no_library)).copied();
    Some(Exception { kind: root.kind, line: root.line, frame, wrapper })
}

/// The exception that the server wrapped: the one that came through the server's own call of the script. What stands
/// between it and the wrapper is its message, which may quote a traceback.
fn inner(mut blocks: Vec<Block<'_>>) -> Option<Block<'_>> {
    let called = |block: &Block<'_>| block.frames.iter().any(|frame| frame.file.ends_with("/server/user_script.py"));
    let at = blocks.iter().rposition(called).unwrap_or(blocks.len().saturating_sub(1));
    (at < blocks.len()).then(|| blocks.swap_remove(at))
}

fn blocks(log: &str) -> Vec<Block<'_>> {
    let (mut blocks, mut frames, mut chained): (Vec<Block<'_>>, Vec<Frame<'_>>, bool) = (Vec::new(), Vec::new(), false);
    let (mut prefix, mut strangers) = ("", 0);
    // The last line that may be an exception whose frames were cut off, until there is a whole one.
    let mut headless: Option<(&str, &str)> = None;
    for line in log.lines() {
        let line = bare(line, prefix);
        if let Some(frame) = frame(line) {
            frames.push(frame);
            continue;
        }
        if line.starts_with("The above exception was the direct cause of ")
            || line.starts_with("During handling of the above exception, ")
        {
            if let (true, Some((kind, line))) = (blocks.is_empty(), headless) {
                blocks.push(Block { kind, line, frames: Vec::new(), chained: false });
            }
            chained = true;
            continue;
        }
        if let Some(before) = line.strip_suffix("Traceback (most recent call last):") {
            prefix = if prefix.is_empty() { before } else { prefix };
            frames.clear();
            strangers = 0;
            continue;
        }
        if line.starts_with(char::is_whitespace) || line.is_empty() {
            continue;
        }
        let kind = exception_type(line);
        if frames.is_empty() {
            let ends_as_one = |kind: &&str| ["Error", "Exception", "Exit"].iter().any(|end| kind.ends_with(end));
            headless = kind.filter(ends_as_one).map(|kind| (kind, line)).or(headless);
            continue;
        }
        let Some(kind) = kind else {
            strangers += 1;
            if strangers > STRANGERS {
                frames.clear();
                (strangers, chained) = (0, false);
            }
            continue;
        };
        blocks.push(Block { kind, line, frames: std::mem::take(&mut frames), chained });
        (strangers, chained) = (0, false);
    }
    blocks
}

/// A line without what a logger put before it (as before the traceback's first line, whatever the digits are), and
/// without the rules that an exception group is drawn with.
fn bare<'a>(line: &'a str, prefix: &str) -> &'a str {
    let same = |(left, right): (char, char)| left == right || (left.is_ascii_digit() && right.is_ascii_digit());
    let logged = !prefix.is_empty() && line.len() >= prefix.len() && line.chars().zip(prefix.chars()).all(same);
    let line = if logged { line.get(prefix.len()..).unwrap_or(line) } else { line };
    let drawn = line.trim_start();
    drawn.strip_prefix("| ").or_else(|| drawn.strip_prefix("+ ")).unwrap_or(line)
}

/// `  File "FILE", line N, in FUNCTION`.
fn frame(line: &str) -> Option<Frame<'_>> {
    let rest = line.trim_start().strip_prefix("File \"").filter(|_| line.starts_with("  "))?;
    let (file, rest) = rest.split_once("\", line ")?;
    let (number, function) = rest.split_once(", in ").unwrap_or((rest, ""));
    Some(Frame { file, line: number, function })
}

/// The type at the beginning of an exception's line.
fn exception_type(line: &str) -> Option<&str> {
    let kind = line.split(": ").next()?.trim_end_matches(':');
    let word = |part: &str| {
        part.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_')
            && part.chars().all(|character| character.is_alphanumeric() || character == '_')
    };
    kind.split('.').all(word).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What azureml-inference-server-http 1.5.1 writes when `init()` fails, cut at its beginning.
    const INIT: &str = r#"site-packages/azureml_inference_server_http/server/user_script.py", line 119, in invoke_init
    self._user_init()
  File "/var/azureml-app/score/score.py", line 4, in init
    helper()
  File "/var/azureml-app/score/score.py", line 2, in helper
    return {}["weights"]
           ~~^^^^^^^^^^^
KeyError: 'weights'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/usr/local/lib/python3.11/dist-packages/azureml_inference_server_http/server/aml_blueprint.py", line 109, in setup
    self.user_script.invoke_init()
azureml_inference_server_http.server.user_script.UserScriptException: Caught an unhandled exception from the user script

2026-11-24 11:51:04,193 I [17348] gunicorn.error - Worker exiting (pid: 17348)
2026-11-24 11:51:04,311 E [17347] gunicorn.error - Reason: Worker failed to boot.
"#;

    #[test]
    fn the_users_exception_stands_behind_the_servers() {
        let found = last(INIT).unwrap();
        assert_eq!((found.kind, found.line), ("KeyError", "KeyError: 'weights'"));
        let frame = Frame { file: "/var/azureml-app/score/score.py", line: "2", function: "helper" };
        assert_eq!(found.frame, Some(frame));
        assert!(found.wrapper.unwrap().ends_with("UserScriptException"));
    }

    /// The streams of a container are mingled in its log: wherever the server's five lines fall, the cause is the same.
    #[test]
    fn lines_of_another_stream_may_stand_within_a_traceback() {
        let (all, stderr) = INIT.split_at(INIT.find("2026-11-24 11:51:04,193").unwrap());
        let expected = last(INIT);
        let lines = all.lines().collect::<Vec<_>>();
        for first in 1..=lines.len() {
            for second in first..=lines.len() {
                let (one, other) = stderr.split_once('\n').unwrap();
                let mingled =
                    [&lines[..first], &[one], &lines[first..second], &[other], &lines[second..]].concat().join("\n");
                assert_eq!(last(&mingled), expected, "{mingled}");
            }
        }
    }

    #[test]
    fn a_stack_that_is_printed_without_an_exception_is_none() {
        let stack = "  File \"/a.py\", line 1, in <module>\n    traceback.print_stack()\n";
        let log = format!("{stack}{}ValueError: x\n", "2026-11-24 I ok\n".repeat(STRANGERS + 1));
        assert_eq!(last(&log), None);
    }

    #[test]
    fn a_message_of_several_lines_is_no_second_exception() {
        let log = "Traceback (most recent call last):\n  File \"/a.py\", line 1, in <module>\n    x()\nRuntimeError: first\n\
                   ModuleNotFoundError: No module named 'x'\n";
        assert_eq!(last(log).unwrap().kind, "RuntimeError");
    }

    #[test]
    fn a_log_without_frames_has_no_exception() {
        assert_eq!(last("ValueError: x\nKeyError: y"), None);
    }
}
