//! The end of a log: where a traceback names the exception.

use super::traceback;

/// Longest log tail, in bytes.
pub const MAX_TAIL: usize = 1024;

/// What a kubelet keeps of a log at most, in bytes.
const KEPT: usize = 2048;

/// A log as the kubelet keeps it, without a first line that may have been cut: the rest of a secret can't be told from
/// other words.
#[must_use]
pub fn uncut(log: &str) -> &str {
    if log.len() < KEPT {
        return log;
    }
    let rest = log.split_once('\n').filter(|(_, lines)| !lines.trim().is_empty());
    rest.or_else(|| log.split_once(char::is_whitespace)).map_or(log, |(_, rest)| rest)
}

/// The last lines of a log, at most [`MAX_TAIL`] bytes. The exception's line is kept when the server went on writing
/// after it; whole characters, no escape sequences of terminals, no other control characters.
#[must_use]
pub fn tail(log: &str) -> Option<String> {
    let log = plain(log);
    let log = log.trim();
    if log.is_empty() {
        return None;
    }
    let end = last_bytes(log, MAX_TAIL);
    let Some(exception) = traceback::last(log).map(|exception| exception.line).filter(|line| !end.contains(line))
    else {
        return Some(end.to_owned());
    };
    let line = exception.get(..exception.floor_char_boundary(MAX_TAIL / 2)).unwrap_or_default();
    let rest = MAX_TAIL - line.len() - "\n…\n".len();
    Some(format!("{line}\n…\n{}", last_bytes(log, rest)))
}

/// The end of a text, from the beginning of a line where that costs little.
fn last_bytes(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let start = (text.len() - most..text.len()).find(|index| text.is_char_boundary(*index)).unwrap_or(text.len());
    let end = text.get(start..).unwrap_or_default();
    match end.split_once('\n') {
        Some((broken, lines)) if broken.len() < most / 2 => lines,
        _ => end,
    }
}

/// A text without escape sequences and control characters.
#[must_use]
pub fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text)
        .to_string()
        .chars()
        .filter(|character| !character.is_control() || matches!(character, '\n' | '\t'))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_exceptions_line_is_kept_when_much_is_written_after_it() {
        let noise = "gunicorn.error - Worker exiting\n".repeat(60);
        let log =
            format!("Traceback (most recent call last):\n  File \"/s.py\", line 1, in init\nKeyError: 'w'\n{noise}");
        let tail = tail(&log).unwrap();
        assert!(tail.starts_with("KeyError: 'w'\n…\n") && tail.ends_with("Worker exiting") && tail.len() <= MAX_TAIL);
    }

    #[test]
    fn colours_and_other_escapes_go() {
        assert_eq!(tail("\u{1b}[31mred\u{1b}[0m \u{1b}]8;;http://x\u{7}link\u{7}\r\n").unwrap(), "red link");
        assert_eq!(tail(" \n"), None);
    }

    proptest! {
        #[test]
        fn a_tail_is_short_and_the_end_of_the_log(log in "(\\PC|\n|é|\u{1b}\\[3[0-9]m){0,3000}") {
            let plain = plain(&log);
            if let Some(tail) = tail(&log) {
                prop_assert!(tail.len() <= MAX_TAIL);
                let last = plain.trim().chars().next_back();
                prop_assert_eq!(tail.chars().next_back(), last);
            }
        }
    }
}
