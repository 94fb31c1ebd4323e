//! Archives: hostile ones leave nothing, honest ones become their files.

mod chance;
mod honest;
mod hostile;
pub mod make;
mod real;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mooring_operator::fetch::Placed;
use mooring_operator::fetch::failure::Failure;
use mooring_operator::fetch::unpack::{Limits, unpack};
use tempfile::TempDir;

/// Limits that a test comes to quickly.
const SMALL: Limits = Limits { bytes: 8 << 20, entries: 100, depth: 8, ratio: 100, ratio_from: 1 << 20 };

/// A folder with an archive in it, a place to unpack it to and something that must stay as it is.
struct Room(TempDir);

impl Room {
    fn with(archive: &[u8]) -> Self {
        let room = Self::empty();
        fs::write(room.archive(), archive).unwrap();
        room
    }

    fn empty() -> Self {
        let room = Self(tempfile::tempdir().unwrap());
        fs::create_dir(room.0.path().join("inside")).unwrap();
        fs::write(room.0.path().join("sentinel"), "sentinel").unwrap();
        room
    }

    fn archive(&self) -> PathBuf {
        self.0.path().join("archive")
    }

    fn target(&self) -> PathBuf {
        self.0.path().join("inside/new")
    }

    /// Unpacks, and looks that all that was written was told and nothing is anywhere else.
    fn unpack(&self, limits: &Limits) -> Result<Placed, Failure> {
        let before = fs::read(self.archive()).unwrap();
        let mut seen = 0;
        let placed = unpack(&self.archive(), "model.tar", &self.target(), limits, &mut |bytes| seen += bytes);
        if let Ok(placed) = placed {
            assert_eq!(placed.bytes, seen);
        }
        assert_eq!(fs::read(self.archive()).unwrap(), before, "the archive was written to");
        assert_eq!(names(self.0.path()), ["archive", "inside", "sentinel"]);
        assert_eq!(fs::read(self.0.path().join("sentinel")).unwrap(), b"sentinel");
        let inside = names(&self.0.path().join("inside"));
        assert_eq!(inside.is_empty(), placed.is_err(), "{inside:?} is left");
        placed
    }

    /// What was unpacked: the path of each file with its content, of each folder with `None`.
    fn found(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        walk(&self.target(), "", &mut found);
        found
    }

    fn mode(&self, path: &str) -> u32 {
        fs::symlink_metadata(self.target().join(path)).unwrap().permissions().mode() & 0o7777
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().display().to_string()).collect();
    names.sort();
    names
}

/// Everything below `folder`; fails on what is neither a file nor a folder.
fn walk(folder: &Path, prefix: &str, found: &mut BTreeMap<String, Option<Vec<u8>>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        // A name need not be UTF-8.
        let (path, name) = (entry.path(), format!("{prefix}{}", entry.file_name().display()));
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        assert!(kind.is_file() || kind.is_dir(), "{name} is {kind:?}");
        if kind.is_dir() {
            found.insert(name.clone(), None);
            walk(&path, &format!("{name}/"), found);
        } else {
            found.insert(name, Some(fs::read(&path).unwrap()));
        }
    }
}
