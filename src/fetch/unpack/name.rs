//! Where an entry of an archive goes, and how its name is shown.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::catalogue::Reason;
use crate::fetch::failure::Failure;
use crate::fetch::place::SCRATCH;

/// Longest name of a file on Linux, in bytes (`NAME_MAX`).
const LONGEST_NAME: usize = 255;

/// Longest path on Linux, in bytes (`PATH_MAX`, with the NUL at its end).
pub const LONGEST_PATH: usize = 4095;

/// How many characters of a name a message has.
const MOST_SHOWN: usize = 200;

/// The path of `entry` below the folder, at most `depth` names long; empty for the folder itself (`./`). Empty parts and
/// `.` count for nothing, as in every tar of `.`.
///
/// # Errors
///
/// [`Reason::ArtifactUnpackUnsafe`] when it is absolute, has `..` or a NUL in it, or a name that no file can have.
pub fn path(entry: &[u8], depth: usize) -> Result<PathBuf, Failure> {
    let path = below(Path::new(""), entry).map_err(|why| refused(entry, why))?;
    let is_up = entry.split(|byte| *byte == b'/').any(|part| part == b"..");
    let why = if entry.is_empty() {
        "has no name"
    } else if is_up {
        "has .. in its path"
    } else if path.components().count() > depth {
        "lies in too many folders"
    } else if path.iter().any(|name| name == SCRATCH) {
        "has a name that is kept for files on their way"
    } else {
        return Ok(path);
    };
    Err(refused(entry, why))
}

/// The path that the link `entry`, placed at `path`, points at: `target`, seen from the folder that the link is in.
///
/// # Errors
///
/// [`Reason::ArtifactUnpackUnsafe`] when that is not in the archive.
pub fn link_target(entry: &[u8], path: &Path, target: &[u8]) -> Result<PathBuf, Failure> {
    below(path.parent().unwrap_or(Path::new("")), target)
        .map_err(|why| refused(entry, &format!("is a link to {}, which {why}", shown(target))))
}

/// `path` as seen from `folder`. There are no symbolic links below, so `..` is the folder that the text says.
fn below(folder: &Path, path: &[u8]) -> Result<PathBuf, &'static str> {
    if path.starts_with(b"/") {
        return Err("is an absolute path");
    }
    if path.contains(&0) {
        return Err("has a NUL in its path");
    }
    let mut found = folder.to_owned();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b".." if !found.pop() => return Err("leads out of the archive"),
            b"" | b"." | b".." => {}
            part if part.len() > LONGEST_NAME => return Err("has a name of more than 255 bytes"),
            part => found.push(OsStr::from_bytes(part)),
        }
    }
    if found.as_os_str().len() > LONGEST_PATH { Err("has a path of more than 4,095 bytes") } else { Ok(found) }
}

/// The failure of `entry`, which `why`.
pub fn refused(entry: &[u8], why: &str) -> Failure {
    Failure::new(Reason::ArtifactUnpackUnsafe, format!("the entry {} {why}", shown(entry)))
}

/// `entry` for people: escaped, and cut when it is long.
pub fn shown(entry: &[u8]) -> String {
    let text = String::from_utf8_lossy(entry);
    let mut shown: String = text.chars().take(MOST_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST_SHOWN).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plain_path_is_taken() {
        for (entry, expected) in
            [("a", "a"), ("./a", "a"), ("a/", "a"), ("a//b/./c", "a/b/c"), ("./", ""), ("..a", "..a"), ("a\\b", "a\\b")]
        {
            assert_eq!(path(entry.as_bytes(), 3).unwrap(), Path::new(expected), "{entry}");
        }
    }

    #[test]
    fn a_link_is_followed_from_its_own_folder() {
        let target = |at: &str, to: &str| link_target(b"l", Path::new(at), to.as_bytes());
        assert_eq!(target("snapshots/1/m", "../../blobs/x").unwrap(), Path::new("blobs/x"));
        assert_eq!(target("l", "x/../y").unwrap(), Path::new("y"));
        for (at, to) in [("l", ".."), ("a/l", "../../x"), ("l", "/x"), ("l", "x/../../l/x"), ("l", "\0")] {
            assert_eq!(target(at, to).unwrap_err().reason, Reason::ArtifactUnpackUnsafe, "{at} → {to}");
        }
    }

    #[test]
    fn a_long_or_odd_name_is_shown_short_and_escaped() {
        assert_eq!(shown(b"a\n\x1b[31m\"\xff"), "\"a\\n\\u{1b}[31m\\\"\u{fffd}\"");
        assert_eq!(shown(&[b'x'; 1000]).chars().count(), MOST_SHOWN + 3);
    }

    proptest! {
        #[test]
        fn what_is_taken_stays_below_the_folder(entry in "[./a\0]{0,12}") {
            if let Ok(path) = path(entry.as_bytes(), 8) {
                prop_assert!(path.components().all(|component| matches!(component, Component::Normal(_))));
            }
        }

        #[test]
        fn a_link_stays_below_the_folder(at in "[a/]{1,6}", to in "[./a]{0,12}") {
            if let Ok(path) = link_target(b"l", &path(at.trim_matches('/').as_bytes(), 8).unwrap_or_default(), to.as_bytes()) {
                prop_assert!(path.components().all(|component| matches!(component, Component::Normal(_))));
            }
        }
    }
}
