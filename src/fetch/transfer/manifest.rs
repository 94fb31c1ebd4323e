//! What a second run has to know of the first: which objects, in which version, become which files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::fetch::source::Object;

/// The file in the scratch folder.
const NAME: &str = "manifest.json";

/// Where Linux says which start of the machine this is.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// What is fetched into a directory.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// What was asked for, as a digest: a uri may hold secrets.
    pub asked: String,
    /// The start of the machine. What was written before another one may be lost, though its name is there.
    pub boot: String,
    /// Whether everything is in place.
    pub complete: bool,
    /// The files, in the order of their paths.
    pub files: Vec<Entry>,
}

/// One file.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Where it belongs, below the directory.
    pub path: String,
    /// The object, in the source's words.
    pub key: String,
    /// Its bytes, where the source tells before it sends them.
    pub size: Option<u64>,
    /// Its version, where the source tells.
    pub version: Option<String>,
}

impl Entry {
    /// The file at `path` that `object` becomes.
    #[must_use]
    pub fn of(path: &Path, object: &Object) -> Self {
        Self {
            path: path.to_string_lossy().into_owned(),
            key: object.key.clone(),
            size: object.size,
            version: object.version.clone(),
        }
    }
}

impl Manifest {
    /// What the last run left in `scratch`; nothing when there is none, or none that can be read.
    #[must_use]
    pub fn load(scratch: &Path) -> Self {
        let text = fs::read(scratch.join(NAME)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Puts it into `scratch`, whole or not at all.
    ///
    /// # Errors
    ///
    /// When it can't be written.
    pub fn save(&self, scratch: &Path) -> io::Result<()> {
        let draft = scratch.join("manifest.draft");
        let mut file = File::create(&draft)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(draft, scratch.join(NAME))
    }
}

/// Which start of the machine this is; empty where that is not told, which equals no other.
#[must_use]
pub fn boot() -> String {
    fs::read_to_string(BOOT).map(|boot| boot.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_there_and_what_is_damaged_is_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::load(scratch.path()), Manifest::default());
        let entry = Entry { path: "a/b".into(), key: "k".into(), size: None, version: Some("1".into()) };
        let manifest = Manifest { asked: "x".into(), boot: boot(), complete: true, files: vec![entry] };
        assert!(!manifest.boot.is_empty());
        manifest.save(scratch.path()).unwrap();
        assert_eq!(Manifest::load(scratch.path()), manifest);
        fs::write(scratch.path().join(NAME), b"{\"asked\": \"x\"").unwrap();
        assert_eq!(Manifest::load(scratch.path()), Manifest::default());
    }
}
