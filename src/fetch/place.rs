//! Where each file goes, and that nothing goes anywhere else.

use std::io;
use std::path::{Component, Path, PathBuf};

use tokio::fs;

use crate::api::artifact::FolderPlacement;
use crate::catalogue::Reason;
use crate::fetch::failure::Failure;
use crate::fetch::source::{Content, Layer, Object};

/// The folder below an artifact's directory that holds files on their way: on the same filesystem, so that a finished
/// one is renamed into place.
pub const SCRATCH: &str = ".mooring-fetch";

/// Longest name of a file on Linux, in bytes.
const LONGEST_NAME: usize = 255;

/// How many files a message names.
const MOST_NAMED: usize = 20;

/// How many entries of a folder are looked at.
const MOST_LOOKED_AT: usize = 10_000;

/// One thing to put in place.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Below the directory of the artifact; plain names only.
    pub path: PathBuf,
    /// The object that becomes the file; `None` makes a folder.
    pub object: Option<Object>,
}

impl Place {
    /// The folder that it needs.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        if self.object.is_some() { self.path.parent() } else { Some(&self.path) }
    }
}

/// Decides where everything in `content` goes, in the order of the paths.
///
/// # Errors
///
/// [`Reason::ArtifactUnpackUnsafe`] when a path would leave the directory, or two things want the same place.
pub fn arrange(content: Content, placement: FolderPlacement) -> Result<Vec<Place>, Failure> {
    let (name, entries) = match content {
        Content::Object { name, object } => {
            return Ok(vec![Place { path: safe_name(&name)?, object: Some(object) }]);
        }
        Content::Folder { name, entries } => (name, entries),
        // Each goes its own way from there.
        Content::Layers { layers, .. } => {
            let place = |(index, layer): (usize, Layer)| Place {
                path: PathBuf::from(format!("{index:06}")),
                object: Some(layer.object),
            };
            return Ok((0..).zip(layers).map(place).collect());
        }
    };
    let root = match placement {
        FolderPlacement::SubFolder => safe_name(&name)?,
        FolderPlacement::Direct => PathBuf::new(),
    };
    let mut places = Vec::with_capacity(entries.len());
    for entry in entries {
        places.push(Place { path: root.join(safe(&entry.path)?), object: entry.object });
    }
    places.sort_by(|left, right| left.path.cmp(&right.path));
    // Paths are compared segment by segment, so what lies below a path follows it at once.
    for (place, next) in places.iter().zip(places.iter().skip(1)) {
        let both_folders = place.object.is_none() && next.object.is_none();
        let clash = if place.object.is_some() { next.path.starts_with(&place.path) } else { next.path == place.path };
        if clash && !both_folders {
            let act = format!("{} and {} can't both be there", place.path.display(), next.path.display());
            return Err(Failure::new(Reason::ArtifactUnpackUnsafe, act));
        }
    }
    Ok(places)
}

/// `path` as one below a directory.
///
/// # Errors
///
/// [`Reason::ArtifactUnpackUnsafe`] when it is absolute, has an empty segment, `.`, `..` or NUL, or a name that no file
/// can have.
pub fn safe(path: &str) -> Result<PathBuf, Failure> {
    let is_name = |segment: &str| {
        !matches!(segment, "" | "." | ".." | SCRATCH) && segment.len() <= LONGEST_NAME && !segment.contains('\0')
    };
    if path.split('/').all(is_name) {
        Ok(PathBuf::from(path))
    } else {
        Err(Failure::new(Reason::ArtifactUnpackUnsafe, format!("the path {path:?} can't be a file in a folder")))
    }
}

/// `name` as that of one file or folder.
///
/// # Errors
///
/// [`Reason::ArtifactUnpackUnsafe`] as [`safe`], and when it has a `/` in it.
pub fn safe_name(name: &str) -> Result<PathBuf, Failure> {
    match safe(name)? {
        path if path.components().count() == 1 => Ok(path),
        path => {
            let act = format!("the name {:?} can't be a file in a folder", path.display().to_string());
            Err(Failure::new(Reason::ArtifactUnpackUnsafe, act))
        }
    }
}

/// Removes the file or the folder `path`, where there is one.
///
/// # Errors
///
/// When the disk does not let us.
pub fn remove(path: &Path) -> Result<(), Failure> {
    let is_folder = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(Failure::local(error, "remove", path))
        }
        _ => Ok(()),
    }
}

/// Makes the folder `path` below `root`, never through a symbolic link.
///
/// # Errors
///
/// When something else is in the way, or the disk does not let us.
pub async fn make_folder(root: &Path, path: &Path) -> Result<(), Failure> {
    let mut folder = root.to_owned();
    for component in path.components().filter(|component| matches!(component, Component::Normal(_))) {
        folder.push(component);
        match fs::create_dir(&folder).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let metadata = fs::symlink_metadata(&folder).await;
                if !metadata.map_err(|error| Failure::local(error, "look at", &folder))?.is_dir() {
                    let act = format!("{} is in the way of a folder", folder.display());
                    return Err(Failure::new(Reason::ArtifactUnpackUnsafe, act));
                }
            }
            Err(error) => return Err(Failure::local(error, "make the folder", &folder)),
        }
    }
    Ok(())
}

/// Looks that `required` is a file below `directory`.
///
/// # Errors
///
/// [`Reason::ScoringScriptMissing`] that lists what is there instead.
pub async fn require(directory: &Path, required: &str) -> Result<(), Failure> {
    if let Ok(path) = safe(required)
        && fs::metadata(directory.join(path)).await.is_ok_and(|metadata| metadata.is_file())
    {
        return Ok(());
    }
    let mut found = files(directory, MOST_LOOKED_AT).await?;
    let more = if found.len() > MOST_NAMED { format!(" and {} more", found.len() - MOST_NAMED) } else { String::new() };
    found.truncate(MOST_NAMED);
    let act = format!("there is no file {required:?}; there are {}{more}", found.join(", "));
    Err(Failure::new(Reason::ScoringScriptMissing, act))
}

/// The first `most` files below `directory` that are found, sorted. The inner names of a mounted `ConfigMap`
/// (`..data`) and folders that can't be read are left out.
///
/// # Errors
///
/// When `directory` itself can't be read.
pub async fn files(directory: &Path, most: usize) -> Result<Vec<String>, Failure> {
    let root = directory.to_owned();
    let walk = move || {
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::new()];
        let mut looked_at = 0;
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(root.join(&folder)) {
                Ok(entries) => entries,
                Err(error) if folder.as_os_str().is_empty() => return Err(error),
                Err(_) => continue,
            };
            for entry in entries.flatten() {
                looked_at += 1;
                if found.len() >= most || looked_at > MOST_LOOKED_AT {
                    found.sort_unstable();
                    return Ok(found);
                }
                let name = entry.file_name();
                let path = folder.join(&name);
                let is_inner = name.as_encoded_bytes().starts_with(b"..") || name == SCRATCH;
                // A ConfigMap's files are symbolic links, so links are followed.
                match std::fs::metadata(entry.path()) {
                    Ok(metadata) if !is_inner && metadata.is_dir() => folders.push(path),
                    Ok(metadata) if !is_inner && metadata.is_file() => found.push(path.display().to_string()),
                    _ => {}
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    };
    let found = tokio::task::spawn_blocking(walk).await.map_err(io::Error::other).flatten();
    found.map_err(|error| Failure::local(error, "read", directory))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fetch::source::Entry;

    fn file(path: &str) -> Entry {
        Entry { path: path.into(), object: Some(Object { key: path.into(), size: Some(1), ..Object::default() }) }
    }

    fn paths(entries: Vec<Entry>, placement: FolderPlacement) -> Result<Vec<String>, Failure> {
        let content = Content::Folder { name: "model".into(), entries };
        Ok(arrange(content, placement)?.into_iter().map(|place| place.path.display().to_string()).collect())
    }

    #[test]
    fn a_folder_becomes_a_sub_folder_or_lies_directly_there() {
        let entries = || vec![file("b/c"), file("a")];
        assert_eq!(paths(entries(), FolderPlacement::SubFolder).unwrap(), ["model/a", "model/b/c"]);
        assert_eq!(paths(entries(), FolderPlacement::Direct).unwrap(), ["a", "b/c"]);
    }

    #[test]
    fn a_single_object_keeps_its_name() {
        let object = Object { key: "x/model.pkl".into(), ..Object::default() };
        let content = Content::Object { name: "model.pkl".into(), object };
        let places = arrange(content, FolderPlacement::SubFolder).unwrap();
        assert_eq!(places.first().unwrap().path, Path::new("model.pkl"));
    }

    #[test]
    fn a_path_that_leaves_the_directory_is_refused() {
        let long = "x".repeat(256);
        for path in
            ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", "a\0", "a/", &long, ".mooring-fetch/0"]
        {
            assert_eq!(safe(path).unwrap_err().reason, Reason::ArtifactUnpackUnsafe, "{path:?}");
        }
        let content = Content::Object { name: "a/b".into(), object: Object::default() };
        assert!(arrange(content, FolderPlacement::Direct).is_err());
    }

    #[test]
    fn a_file_and_a_folder_of_one_name_are_refused() {
        let folder = |path: &str| Entry { path: path.into(), object: None };
        for entries in [
            vec![file("a"), file("a/b")],
            vec![file("a-b"), file("a/b"), file("a")],
            vec![folder("a"), file("a")],
            vec![file("a"), folder("a")],
            vec![file("a"), file("a")],
        ] {
            let failure = paths(entries, FolderPlacement::Direct).unwrap_err();
            assert_eq!(failure.reason, Reason::ArtifactUnpackUnsafe);
        }
        paths(vec![folder("a"), folder("a"), file("a/b"), file("a-b")], FolderPlacement::Direct).unwrap();
    }

    #[tokio::test]
    async fn a_folder_is_never_made_through_a_symbolic_link() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), root.path().join("a")).unwrap();
        let failure = make_folder(root.path(), Path::new("a/b")).await.unwrap_err();
        assert_eq!(failure.reason, Reason::ArtifactUnpackUnsafe);
        assert!(!outside.path().join("b").exists());
    }

    #[tokio::test]
    async fn a_missing_file_is_told_with_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("src")).unwrap();
        std::fs::write(root.path().join("src/score.py"), "").unwrap();
        require(root.path(), "src/score.py").await.unwrap();
        let failure = require(root.path(), "score.py").await.unwrap_err();
        assert_eq!(failure.reason, Reason::ScoringScriptMissing);
        assert_eq!(failure.to_string(), r#"there is no file "score.py"; there are src/score.py"#);
    }

    proptest! {
        #[test]
        fn what_is_safe_stays_below_the_directory(path in "[./a\0]{0,9}") {
            if let Ok(path) = safe(&path) {
                prop_assert!(path.components().all(|component| matches!(component, Component::Normal(_))));
                prop_assert!(path.components().count() > 0);
            }
        }
    }
}
