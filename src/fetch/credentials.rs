//! The folder of a mounted Secret: one file for each key.
//!
//! Each credential has the name that the field uses in environment variables and a plain one; both are taken.

use std::path::{Path, PathBuf};

use crate::catalogue::Reason;
use crate::fetch::failure::Failure;

/// The folder of a mounted Secret.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactCredentialsMissing`] when there is none.
    pub async fn open(path: &Path) -> Result<Self, Failure> {
        match tokio::fs::metadata(path).await {
            Ok(metadata) if metadata.is_dir() => Ok(Self { path: path.to_owned() }),
            Ok(_) => Err(missing(format!("the credentials at {} are no folder", path.display()))),
            Err(error) => Err(missing(format!("there is no credentials folder {}", path.display())).caused_by(error)),
        }
    }

    /// The value of the first of `names` that is there, without line breaks at its end; `None` when all are absent
    /// or empty.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactCredentialsMissing`] when a key is there but can't be read as text.
    pub async fn value(&self, names: &[&str]) -> Result<Option<String>, Failure> {
        for name in names {
            match tokio::fs::read_to_string(self.path.join(name)).await {
                Ok(value) => {
                    let value = value.trim_end_matches(['\r', '\n']);
                    if !value.is_empty() {
                        return Ok(Some(value.to_owned()));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(missing(format!("the key {name} of the Secret can't be read")).caused_by(error));
                }
            }
        }
        Ok(None)
    }

    /// As [`Folder::value`], but the key has to be there.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactCredentialsMissing`] that names the keys.
    pub async fn needed(&self, names: &[&str]) -> Result<String, Failure> {
        let absent = || missing(format!("the Secret has no key {}", names.join(" or ")));
        self.value(names).await?.ok_or_else(absent)
    }
}

/// A failure for credentials that are not there.
pub fn missing(act: impl Into<String>) -> Failure {
    Failure::new(Reason::ArtifactCredentialsMissing, act)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_break_at_the_end_is_no_part_of_a_key() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secretAccessKey"), "a b \r\n\n").unwrap();
        let opened = Folder::open(folder.path()).await.unwrap();
        let value = opened.value(&["AWS_SECRET_ACCESS_KEY", "secretAccessKey"]).await.unwrap();
        assert_eq!(value.as_deref(), Some("a b "));
    }

    #[tokio::test]
    async fn an_absent_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let opened = Folder::open(folder.path()).await.unwrap();
        let failure = opened.needed(&["AWS_SECRET_ACCESS_KEY", "secretAccessKey"]).await.unwrap_err();
        assert_eq!(failure.reason, Reason::ArtifactCredentialsMissing);
        assert!(failure.to_string().contains("AWS_SECRET_ACCESS_KEY or secretAccessKey"));
    }

    #[tokio::test]
    async fn an_absent_folder_is_named() {
        let failure = Folder::open(Path::new("/absent/credentials")).await.unwrap_err();
        assert_eq!(failure.reason, Reason::ArtifactCredentialsMissing);
        assert!(failure.to_string().contains("/absent/credentials"));
    }
}
