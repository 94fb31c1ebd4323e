//! What is in a folder of this machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use ignore::gitignore::Gitignore;

use crate::api::artifact::ArtifactKind;
use crate::fetch::place::SCRATCH;
use crate::fetch::unpack::Limits;

/// The file in the root of a folder that names what is not uploaded, as `az` has it; written as `.gitignore` is.
const IGNORE: &str = ".amlignore";

/// One file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The path below the folder.
    pub(crate) path: PathBuf,
    /// Where it is on this machine.
    pub(crate) from: PathBuf,
    /// What it is.
    pub(crate) content: Content,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Folder,
    File { bytes: u64, is_executable: bool },
}

impl Entry {
    /// Bytes of the file; none of a folder.
    pub(super) const fn bytes(&self) -> u64 {
        match self.content {
            Content::Folder => 0,
            Content::File { bytes, .. } => bytes,
        }
    }
}

/// Everything in a folder, in the order of the paths, without what its `.amlignore` names. Of code, what editors, version
/// control and Python leave there is left out too. Links to what is in the folder count as what they point at.
///
/// # Errors
/// Why it can't be taken, in words.
pub(crate) fn list(folder: &Path, kind: ArtifactKind) -> Result<Vec<Entry>, String> {
    let shown = folder.display();
    let unreadable = |error: &dyn std::fmt::Display| format!("{shown} can't be read: {error}");
    let root = fs::canonicalize(folder).map_err(|error| unreadable(&error))?;
    if !root.is_dir() {
        return Err(format!("{shown} is no folder"));
    }
    let rules = match folder.join(IGNORE) {
        file if file.exists() => {
            let (rules, error) = Gitignore::new(&file);
            match error {
                None => rules,
                Some(error) => return Err(format!("{} can't be understood: {error}", file.display())),
            }
        }
        _ => Gitignore::empty(),
    };
    let is_code = kind == ArtifactKind::Code;
    let wanted = move |entry: &ignore::DirEntry| {
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        let name = entry.file_name().to_string_lossy();
        let is_root = entry.depth() == 0;
        let is_litter = is_code && (name.starts_with('.') || name == "__pycache__");
        let is_rules = entry.depth() == 1 && name == IGNORE;
        is_root || !(is_litter || is_rules || rules.matched(entry.path(), is_folder).is_ignore())
    };
    let walk = WalkBuilder::new(folder)
        .standard_filters(false)
        .follow_links(true)
        .sort_by_file_name(Ord::cmp)
        .filter_entry(wanted)
        .build();
    let mut entries = Vec::new();
    for entry in walk {
        let entry = entry.map_err(|error| unreadable(&error))?;
        if entry.depth() == 0 {
            continue;
        }
        let from = entry.path();
        if entry.path_is_symlink() {
            let target = fs::canonicalize(from).map_err(|error| format!("{}: {error}", from.display()))?;
            if !target.starts_with(&root) {
                return Err(format!(
                    "{} is a link to {}, outside of {shown}; copy what it points at into the folder, as cp -rL does, or name it in \
                     {IGNORE}",
                    from.display(),
                    target.display()
                ));
            }
        }
        let metadata = fs::metadata(from).map_err(|error| format!("{} can't be read: {error}", from.display()))?;
        let content = if metadata.is_dir() {
            Content::Folder
        } else if metadata.is_file() {
            let is_executable = metadata.permissions().mode() & 0o100 != 0;
            Content::File { bytes: metadata.len(), is_executable }
        } else {
            return Err(format!("{} is neither a file nor a folder; name it in {IGNORE}", from.display()));
        };
        let path = from.strip_prefix(folder).unwrap_or(from).to_owned();
        entries.push(Entry { path, from: from.to_owned(), content });
    }
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(entries)
}

/// Whether the storage initializer will unpack these entries below `top`.
///
/// # Errors
/// Why not, in words.
pub(super) fn check(entries: &[Entry], top: &Path, folder: &Path) -> Result<(), String> {
    let shown = folder.display();
    let limits = Limits::of_space(u64::MAX);
    if !entries.iter().any(|entry| entry.content != Content::Folder) {
        return Err(format!("{shown} has no file that would be uploaded"));
    }
    if u64::try_from(entries.len()).is_ok_and(|count| count > limits.entries) {
        return Err(format!(
            "{shown} has {} files and folders; at most {} are possible",
            entries.len(),
            limits.entries
        ));
    }
    let depth = |entry: &&Entry| top.join(&entry.path).components().count() > limits.depth;
    if let Some(entry) = entries.iter().find(depth) {
        return Err(format!("{} lies more than {} folders deep", entry.from.display(), limits.depth));
    }
    if let Some(entry) = entries.iter().find(|entry| entry.path.iter().any(|name| name == SCRATCH)) {
        return Err(format!("{} has a name that is kept for files on their way", entry.from.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn paths(folder: &Path, kind: ArtifactKind) -> Vec<String> {
        list(folder, kind).unwrap().iter().map(|entry| entry.path.display().to_string()).collect()
    }

    #[test]
    fn what_is_to_be_ignored_is_left_out() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        for (path, text) in [
            (".amlignore", "*.log\n/data\n!keep.log\n# words\n"),
            (".gitignore", "*.py\n"),
            ("score.py", ""),
            ("a.log", ""),
            ("keep.log", ""),
            ("data/x", ""),
            ("sub/data/y.py", ""),
            ("sub/.env", ""),
            ("__pycache__/score.pyc", ""),
        ] {
            fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
            fs::write(folder.join(path), text).unwrap();
        }
        let code = paths(folder, ArtifactKind::Code);
        assert_eq!(code, ["keep.log", "score.py", "sub", "sub/data", "sub/data/y.py"]);
        let model = paths(folder, ArtifactKind::Model);
        assert!(
            model.contains(&"sub/.env".to_owned()) && model.contains(&"__pycache__/score.pyc".to_owned()),
            "{model:?}"
        );
        assert!(!model.contains(&".amlignore".to_owned()) && !model.contains(&"a.log".to_owned()), "{model:?}");
    }

    #[test]
    fn a_link_within_counts_as_what_it_points_at_and_one_that_leaves_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("model");
        fs::create_dir_all(folder.join("blobs")).unwrap();
        fs::write(folder.join("blobs/x"), "weights").unwrap();
        symlink("blobs/x", folder.join("model.bin")).unwrap();
        symlink("blobs", folder.join("again")).unwrap();
        let entries = list(&folder, ArtifactKind::Model).unwrap();
        let found: Vec<_> = entries.iter().map(|entry| (entry.path.to_str().unwrap(), entry.bytes())).collect();
        assert_eq!(found, [("again", 0), ("again/x", 7), ("blobs", 0), ("blobs/x", 7), ("model.bin", 7)]);

        fs::write(place.path().join("secret"), "S3CR3T").unwrap();
        for (target, name) in [("../secret", "out"), ("/etc", "etc"), ("..", "up")] {
            symlink(target, folder.join(name)).unwrap();
            let refused = list(&folder, ArtifactKind::Model).unwrap_err();
            assert!(refused.contains("outside of") || refused.contains("loop"), "{target}: {refused}");
            fs::write(folder.join(IGNORE), name).unwrap();
            assert!(list(&folder, ArtifactKind::Model).is_ok(), "{target}");
            fs::remove_file(folder.join(IGNORE)).unwrap();
            fs::remove_file(folder.join(name)).unwrap();
        }
        symlink("absent", folder.join("dangling")).unwrap();
        assert!(list(&folder, ArtifactKind::Model).unwrap_err().contains("dangling"));
    }

    #[test]
    fn a_folder_that_links_to_itself_is_refused() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("a"), "").unwrap();
        symlink(".", place.path().join("self")).unwrap();
        assert!(list(place.path(), ArtifactKind::Model).unwrap_err().contains("self"));
    }

    #[test]
    fn what_can_not_be_unpacked_is_refused_before_it_is_uploaded() {
        let place = tempfile::tempdir().unwrap();
        let checked = || check(&list(place.path(), ArtifactKind::Model).unwrap(), Path::new("model"), place.path());
        fs::create_dir(place.path().join("empty")).unwrap();
        assert!(checked().unwrap_err().contains("has no file"));
        let deep = place.path().join(vec!["d"; 64].join("/"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("f"), "").unwrap();
        assert!(checked().unwrap_err().contains("folders deep"));
        fs::remove_dir_all(place.path().join("d")).unwrap();
        fs::write(place.path().join(SCRATCH), "").unwrap();
        assert!(checked().unwrap_err().contains("on their way"));
        let pipe = std::process::Command::new("mkfifo").arg(place.path().join("pipe")).status().unwrap();
        assert!(pipe.success());
        assert!(list(place.path(), ArtifactKind::Model).unwrap_err().contains("neither a file nor a folder"));
    }
}
