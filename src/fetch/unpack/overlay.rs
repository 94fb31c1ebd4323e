//! Layers of a container's filesystem, laid over one another.
//!
//! Source: OCI image specification 1.1, "Image Layer Filesystem Changeset", "Whiteouts".

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::fetch::failure::Failure;
use crate::fetch::place::remove;
use crate::fetch::unpack::name::refused;

/// What the name of a file begins with that says that another is gone.
pub const WHITEOUT: &[u8] = b".wh.";
/// The file that says that nothing of the folder's lower layers counts.
pub const OPAQUE: &[u8] = b".wh..wh..opq";

/// Removes from the folder `below` what the whiteouts in the folder `layer` name, and these themselves.
///
/// # Errors
///
/// When a whiteout has no name, or the disk does not let us.
pub fn hide(layer: &Path, below: &Path) -> Result<(), Failure> {
    for name in names(layer)? {
        let (path, bytes) = (layer.join(&name), name.as_bytes());
        match bytes.strip_prefix(WHITEOUT) {
            None if is_folder(&path) => hide(&path, &below.join(&name))?,
            None => {}
            Some(b"" | b"." | b"..") => return Err(refused(bytes, "is a whiteout of nothing")),
            Some(_) if bytes == OPAQUE => {
                remove(&path)?;
                empty(below)?;
            }
            Some(hidden) => {
                remove(&path)?;
                remove(&below.join(OsStr::from_bytes(hidden)))?;
            }
        }
    }
    Ok(())
}

/// Moves the content of the folder `layer` over that of `below`. Neither has a symbolic link in it.
///
/// # Errors
///
/// When the disk does not let us.
pub fn lay(layer: &Path, below: &Path) -> Result<(), Failure> {
    for name in names(layer)? {
        let (from, to) = (layer.join(&name), below.join(&name));
        if is_folder(&from) && is_folder(&to) {
            lay(&from, &to)?;
        } else {
            remove(&to)?;
            fs::rename(&from, &to).map_err(|error| Failure::local(error, "put in place", &to))?;
        }
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<OsString>, Failure> {
    let names = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    names.map_err(|error| Failure::local(error, "read", folder))
}

/// Removes what is in `folder`, where there is one.
fn empty(folder: &Path) -> Result<(), Failure> {
    if !is_folder(folder) {
        return Ok(());
    }
    names(folder)?.iter().try_for_each(|name| remove(&folder.join(name)))
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Reason;

    fn write(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
    }

    fn files(root: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn a_layer_covers_removes_and_hides() {
        let root = tempfile::tempdir().unwrap();
        let (below, layer) = (root.path().join("below"), root.path().join("layer"));
        write(&below, &["kept", "gone", "folder/gone", "folder/kept", "hidden/a", "file-now/a", "folder-now"]);
        let changes =
            [".wh.gone", "folder/.wh.gone", "hidden/.wh..wh..opq", "hidden/b", "file-now", "folder-now/a", "new/.wh.x"];
        write(&layer, &changes);
        hide(&layer, &below).unwrap();
        lay(&layer, &below).unwrap();
        assert_eq!(files(&below), ["file-now", "folder-now/a", "folder/kept", "hidden/b", "kept"]);
    }

    #[test]
    fn a_whiteout_never_removes_what_is_outside() {
        for name in [".wh.", ".wh..", ".wh..."] {
            let root = tempfile::tempdir().unwrap();
            let (below, layer) = (root.path().join("below"), root.path().join("layer"));
            write(&below, &["kept"]);
            write(&layer, &[name]);
            assert_eq!(hide(&layer, &below).unwrap_err().reason, Reason::ArtifactUnpackUnsafe, "{name}");
            assert_eq!(files(&below), ["kept"]);
        }
    }
}
