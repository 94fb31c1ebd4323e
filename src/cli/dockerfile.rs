//! The Dockerfile of an image that Azure would build, beside the conda environment that it is built from.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::parcel::hexadecimal;

/// What the first line of a file of ours begins with.
const MARK: &str = "# Made by mooring from ";
/// What stands before the digest of the rest, by which an edited file is known.
const DIGEST: &str = "; once edited, it is left alone. sha256:";

/// Where the Dockerfile is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Here, as it should be.
    Made(PathBuf),
    /// Here is a file that somebody else has written or edited; it was left as it is.
    Kept(PathBuf),
}

/// Writes `text` beside the conda environment `conda`, as `conda.Dockerfile` for `conda.yml`. A file that somebody has
/// written or edited is never written over.
///
/// # Errors
/// When the folder can't be written to, or the file there can't be read.
pub(super) fn write(conda: &Path, text: &str) -> io::Result<Written> {
    let path = conda.with_extension("Dockerfile");
    let name = conda.file_name().unwrap_or_default().to_string_lossy().replace(['\n', '\r'], " ");
    let whole = format!("{MARK}{name}{DIGEST}{}\n{text}", digest(text));
    let options = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
    match options(&path) {
        Ok(mut file) => file.write_all(whole.as_bytes()).map(|()| Written::Made(path)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let found = fs::read(&path)?;
            if found == whole.as_bytes() {
                return Ok(Written::Made(path));
            }
            if !is_ours(&found) {
                return Ok(Written::Kept(path));
            }
            fs::write(&path, whole).map(|()| Written::Made(path))
        }
        Err(error) => Err(error),
    }
}

/// Whether a file is as we have written it.
fn is_ours(found: &[u8]) -> bool {
    let Ok(found) = std::str::from_utf8(found) else { return false };
    let Some((first, rest)) = found.split_once('\n') else { return false };
    first.starts_with(MARK) && first.rsplit_once(DIGEST).is_some_and(|(_, told)| told == digest(rest))
}

fn digest(text: &str) -> String {
    hexadecimal(&Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_ours_is_brought_up_to_date_and_any_other_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let (conda, path) = (place.path().join("my env.yml"), place.path().join("my env.Dockerfile"));
        let read = || fs::read_to_string(&path).unwrap();
        for text in ["FROM one\n", "FROM one\n", "FROM two\n"] {
            assert_eq!(write(&conda, text).unwrap(), Written::Made(path.clone()));
            assert!(read().starts_with("# Made by mooring from my env.yml;") && read().ends_with(&format!("\n{text}")));
        }
        let edited = read() + "RUN apt-get update\n";
        for other in [edited.as_str(), "FROM mine\n", "", "# Made by mooring from my env.yml\nFROM two\n"] {
            fs::write(&path, other).unwrap();
            assert_eq!(write(&conda, "FROM two\n").unwrap(), Written::Kept(path.clone()));
            assert_eq!(read(), other);
        }
    }

    #[test]
    fn a_link_is_not_followed_to_a_place_that_is_not_there() {
        let place = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(place.path().join("elsewhere"), place.path().join("conda.Dockerfile")).unwrap();
        assert!(write(&place.path().join("conda.yml"), "FROM one\n").is_err());
        assert!(!place.path().join("elsewhere").exists());
    }
}
