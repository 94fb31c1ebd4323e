//! What a file or a folder of this machine is in a store: a file as it is, a folder as an archive.
//!
//! The same content is the same archive, byte for byte: entries in the order of their paths, no times, no users, two
//! modes. So its digest can be its name, and whoever has uploaded it once need not again. The archive is never on disk:
//! it is written once for its digest and once more for the store.

mod tree;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use super::azure::LocalPath;
use crate::api::artifact::ArtifactKind;
use crate::fetch::unpack::Limits;

pub(super) use tree::{Content, Entry, list};

/// How hard zstd tries: its own default, which is faster than most networks.
const LEVEL: i32 = 3;
/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// What is uploaded of a path of this machine.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    /// What it is to the user.
    pub(super) kind: ArtifactKind,
    /// The absolute path.
    pub(super) path: PathBuf,
    /// The file's name in the store; its stem is the name of the artifact.
    pub(super) name: String,
    form: Form,
    /// Bytes of its files.
    pub(super) content: u64,
    /// SHA-256 of what is uploaded, in lower-case hexadecimal.
    pub(super) sha256: String,
    /// Bytes of what is uploaded.
    pub(super) bytes: u64,
}

/// What a parcel is.
#[derive(Clone, Debug)]
enum Form {
    /// The file itself.
    File,
    /// A tar archive with these entries, below the folder `top`; empty for none.
    Archive { top: PathBuf, entries: Vec<Entry>, is_compressed: bool },
}

impl Parcel {
    /// Looks at a path and packs it for the first time, which tells its digest. `seen` is told the bytes that were read
    /// since its last call. A model that is a folder keeps its name within, as in Azure; code does not.
    ///
    /// # Errors
    /// Why it can't be uploaded, in words.
    pub(super) fn of(local: &LocalPath, seen: &mut dyn FnMut(u64)) -> Result<Self, String> {
        let path = PathBuf::from(local.path.trim_end_matches('/'));
        let shown = path.display();
        let metadata = std::fs::metadata(&path).map_err(|error| format!("{shown} can't be read: {error}"))?;
        let base = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if base.is_empty() {
            return Err("the root of this machine is no model; name a file or a folder in it".to_owned());
        }
        let mut parcel = Self {
            kind: local.kind,
            path: path.clone(),
            name: base.clone(),
            form: Form::File,
            content: metadata.len(),
            sha256: String::new(),
            bytes: 0,
        };
        if metadata.is_dir() {
            let entries = list(&path, local.kind)?;
            parcel.content = entries.iter().map(Entry::bytes).sum();
            let top = if local.kind == ArtifactKind::Model { PathBuf::from(&base) } else { PathBuf::new() };
            tree::check(&entries, &top, &path)?;
            parcel.name = format!("{base}.tar.zst");
            parcel.form = Form::Archive { top, entries, is_compressed: true };
        } else if local.kind == ArtifactKind::Code {
            return Err(format!("{shown} is no folder; name the folder with the scoring script"));
        } else if !metadata.is_file() {
            return Err(format!("{shown} is neither a file nor a folder"));
        }
        parcel.measure(seen).map_err(|error| format!("{shown} can't be packed: {error}"))?;
        // The storage initializer takes an archive that grows so much for an attack. Only one repeated byte does it.
        let limits = Limits::of_space(u64::MAX);
        if let Form::Archive { is_compressed, .. } = &mut parcel.form
            && parcel.content > limits.ratio_from
            && parcel.content > parcel.bytes.saturating_mul(limits.ratio)
        {
            *is_compressed = false;
            parcel.name = format!("{base}.tar");
            parcel.measure(seen).map_err(|error| format!("{shown} can't be packed: {error}"))?;
        }
        Ok(parcel)
    }

    /// Whether it is an archive.
    pub(super) const fn is_archive(&self) -> bool {
        matches!(self.form, Form::Archive { .. })
    }

    fn measure(&mut self, seen: &mut dyn FnMut(u64)) -> io::Result<()> {
        let mut meter = Meter::new(io::sink());
        self.write(&mut meter, seen)?;
        (self.sha256, self.bytes) = meter.end();
        Ok(())
    }

    /// Writes what is uploaded, and tells `seen` the bytes of the files that were read since its last call. Blocks.
    ///
    /// # Errors
    /// When a file can't be read or is not as long as it was, or `to` takes no more.
    pub(super) fn write(&self, to: &mut dyn Write, seen: &mut dyn FnMut(u64)) -> io::Result<()> {
        match &self.form {
            Form::File => {
                let mut file = Watched { inner: open(&self.path)?.take(self.content), seen };
                let copied = io::copy(&mut file, to)?;
                if copied == self.content { Ok(()) } else { Err(shorter(&self.path)) }
            }
            Form::Archive { top, entries, is_compressed: false } => archive(to, top, entries, seen).map(drop),
            Form::Archive { top, entries, is_compressed: true } => {
                let mut encoder = zstd::Encoder::new(to, LEVEL)?;
                encoder.include_checksum(true)?;
                archive(encoder, top, entries, seen)?.finish().map(drop)
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::open(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn shorter(path: &Path) -> io::Error {
    io::Error::other(format!("{} became shorter while it was read; try again once nobody writes there", path.display()))
}

/// Writes a tar archive.
fn archive<W: Write>(to: W, top: &Path, entries: &[Entry], seen: &mut dyn FnMut(u64)) -> io::Result<W> {
    let mut archive = tar::Builder::new(to);
    for entry in entries {
        let path = top.join(&entry.path);
        let mut header = Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        match entry.content {
            Content::Folder => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(0o755);
                header.set_size(0);
                archive.append_data(&mut header, path.join(""), io::empty())?;
            }
            Content::File { bytes, is_executable } => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(if is_executable { 0o755 } else { 0o644 });
                header.set_size(bytes);
                let mut file = Watched { inner: open(&entry.from)?.take(bytes), seen };
                archive.append_data(&mut header, path, &mut file)?;
                if file.inner.limit() > 0 {
                    return Err(shorter(&entry.from));
                }
            }
        }
    }
    archive.into_inner()
}

/// A reader that tells how much was read.
struct Watched<'a, R> {
    inner: R,
    seen: &'a mut dyn FnMut(u64),
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(CHUNK);
        let read = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        (self.seen)(u64::try_from(read).unwrap_or_default());
        Ok(read)
    }
}

/// A writer that knows digest and length of what went through it.
pub(super) struct Meter<W> {
    inner: W,
    digest: Sha256,
    bytes: u64,
}

impl<W: Write> Meter<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, digest: Sha256::new(), bytes: 0 }
    }

    /// SHA-256 in lower-case hexadecimal, and bytes.
    pub(super) fn end(self) -> (String, u64) {
        (hexadecimal(&self.digest.finalize()), self.bytes)
    }
}

impl<W: Write> Write for Meter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.digest.update(buffer.get(..written).unwrap_or_default());
        self.bytes += u64::try_from(written).unwrap_or_default();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Bytes in lower-case hexadecimal.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a text can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;
    use crate::fetch::unpack::unpack;

    fn local(path: &Path, kind: ArtifactKind) -> LocalPath {
        LocalPath { deployment: "iris-blue".into(), kind, field: "model.path".into(), path: path.display().to_string() }
    }

    fn parcel(path: &Path, kind: ArtifactKind) -> Result<Parcel, String> {
        Parcel::of(&local(path, kind), &mut |_| {})
    }

    /// Files with their content, folders with none.
    type Tree = BTreeMap<String, Option<Vec<u8>>>;

    fn make(folder: &Path, tree: &Tree, order: impl Iterator<Item = usize>) {
        let all: Vec<_> = tree.iter().collect();
        for index in order {
            let (path, content) = all[index % all.len()];
            let path = folder.join(path);
            match content {
                None => fs::create_dir_all(path).unwrap(),
                Some(content) => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, content).unwrap();
                }
            }
        }
    }

    fn seen(folder: &Path, at: &Path, tree: &mut Tree) {
        for entry in fs::read_dir(folder).unwrap() {
            let (path, at) = (entry.as_ref().unwrap().path(), at.join(entry.unwrap().file_name()));
            if path.is_dir() {
                tree.insert(at.display().to_string(), None);
                seen(&path, &at, tree);
            } else {
                tree.insert(at.display().to_string(), Some(fs::read(path).unwrap()));
            }
        }
    }

    fn unpacked(parcel: &Parcel) -> Tree {
        let place = tempfile::tempdir().unwrap();
        let mut archive = File::create(place.path().join("archive")).unwrap();
        parcel.write(&mut archive, &mut |_| {}).unwrap();
        let into = place.path().join("into");
        unpack(&place.path().join("archive"), "archive", &into, &Limits::of_space(1 << 30), &mut |_| {}).unwrap();
        let mut tree = Tree::new();
        seen(&into, Path::new(""), &mut tree);
        tree
    }

    fn any_tree() -> impl Strategy<Value = Tree> {
        // A letter in front tells files from folders, so that none is in the way of another.
        let folder = prop::collection::vec("d[a-z. ü]{0,6}", 0..4).prop_map(|parts| parts.join("/"));
        let long = "f[a-z]{120,200}";
        let name = prop_oneof![3 => "f[A-Za-z0-9. _%#?\\\\ü-]{0,20}", 1 => long];
        let file = (folder.clone(), name, prop::collection::vec(any::<u8>(), 0..300));
        (prop::collection::vec(file, 1..8), prop::collection::vec(folder, 0..3)).prop_map(|(files, folders)| {
            let mut tree: Tree = files
                .into_iter()
                .map(|(folder, name, content)| {
                    (format!("{folder}/{name}").trim_start_matches('/').to_owned(), Some(content))
                })
                .collect();
            for folder in folders.into_iter().filter(|folder| !folder.is_empty()) {
                tree.entry(folder).or_insert(None);
            }
            for path in tree.keys().cloned().collect::<Vec<_>>() {
                for (at, _) in path.match_indices('/') {
                    tree.insert(path[..at].to_owned(), None);
                }
            }
            tree
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_packed_is_unpacked_as_it_was(tree in any_tree()) {
            let place = tempfile::tempdir().unwrap();
            let folder = place.path().join("folder");
            fs::create_dir(&folder).unwrap();
            make(&folder, &tree, 0..tree.len());
            prop_assert_eq!(&unpacked(&parcel(&folder, ArtifactKind::Code).unwrap()), &tree);
            let below: Tree = tree.into_iter().map(|(path, content)| (format!("folder/{path}"), content)).chain([("folder".into(), None)]).collect();
            prop_assert_eq!(unpacked(&parcel(&folder, ArtifactKind::Model).unwrap()), below);
        }

        #[test]
        fn the_digest_depends_on_the_content_alone(tree in any_tree(), start in any::<usize>()) {
            let place = tempfile::tempdir().unwrap();
            let (one, other) = (place.path().join("1/model"), place.path().join("2/model"));
            fs::create_dir_all(&one).unwrap();
            fs::create_dir_all(&other).unwrap();
            make(&one, &tree, 0..tree.len());
            make(&other, &tree, (0..tree.len()).map(|index| (index + start % tree.len()) % tree.len()).rev());
            let files = tree.iter().filter(|(_, content)| content.is_some());
            for (index, (path, _)) in files.enumerate() {
                let file = File::open(other.join(path)).unwrap();
                file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(index as u64)).unwrap();
                fs::set_permissions(other.join(path), fs::Permissions::from_mode(0o640)).unwrap();
            }
            let (first, second) = (parcel(&one, ArtifactKind::Model).unwrap(), parcel(&other, ArtifactKind::Model).unwrap());
            prop_assert_eq!(&first.sha256, &second.sha256);
            let mut again = Meter::new(io::sink());
            first.write(&mut again, &mut |_| {}).unwrap();
            prop_assert_eq!(again.end(), (first.sha256.clone(), first.bytes));
            fs::write(other.join("g"), "more").unwrap();
            prop_assert_ne!(parcel(&other, ArtifactKind::Model).unwrap().sha256, first.sha256);
        }
    }

    #[test]
    fn a_file_is_taken_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("my model.pkl");
        fs::write(&path, "pickle").unwrap();
        let parcel = parcel(&path, ArtifactKind::Model).unwrap();
        assert!(!parcel.is_archive());
        assert_eq!((parcel.name.as_str(), parcel.bytes), ("my model.pkl", 6));
        assert_eq!(parcel.sha256, hexadecimal(&Sha256::digest("pickle")));
        let refused = super::Parcel::of(&local(&path, ArtifactKind::Code), &mut |_| {}).unwrap_err();
        assert!(refused.contains("is no folder"), "{refused}");
    }

    #[test]
    fn an_executable_file_stays_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("tool");
        fs::write(&path, "#!/bin/sh").unwrap();
        let plain = parcel(place.path(), ArtifactKind::Code).unwrap().sha256;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(parcel(place.path(), ArtifactKind::Code).unwrap().sha256, plain);
    }

    #[test]
    fn what_would_be_taken_for_an_attack_is_not_compressed() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("zeros");
        fs::create_dir(&folder).unwrap();
        // A hole: nothing of it is on disk.
        File::create(folder.join("weights")).unwrap().set_len((256 << 20) + 1).unwrap();
        let parcel = parcel(&folder, ArtifactKind::Model).unwrap();
        assert_eq!(parcel.name, "zeros.tar");
        assert!(parcel.bytes > parcel.content);
    }

    #[test]
    fn a_file_that_becomes_shorter_is_noticed() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("a"), "longer").unwrap();
        let parcel = parcel(place.path(), ArtifactKind::Code).unwrap();
        fs::write(place.path().join("a"), "short").unwrap();
        let error = parcel.write(&mut io::sink(), &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("became shorter"), "{error}");
    }
}
