//! The folder that an archive becomes: plain files and folders, and nothing else.
//!
//! A link of the archive becomes a second name of the file that it points at, once everything else is there. So neither
//! is a symbolic link ever below the folder, nor can an entry be written through one, and nobody who reads the model
//! later can be led out of it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::catalogue::Reason;
use crate::fetch::Placed;
use crate::fetch::failure::Failure;
use crate::fetch::unpack::name::{self, LONGEST_PATH, refused, shown};
use crate::fetch::unpack::overlay::{OPAQUE, WHITEOUT};
use crate::fetch::unpack::{Limits, damaged};

/// Bytes that are copied at once.
const CHUNK: usize = 256 << 10;

/// Links over links that are followed; source: `MAXSYMLINKS` of Linux.
const MOST_HOPS: usize = 40;

/// Bytes of all links of an archive, which are kept in memory: some ten thousand with long paths.
const MOST_OF_LINKS: usize = 8 << 20;

/// A folder that grows.
pub struct Tree<'a> {
    root: &'a Path,
    /// The folder of the archive that is wanted; all of it when empty.
    below: &'static str,
    limits: Limits,
    /// Bytes of the archive.
    packed: u64,
    seen: &'a mut dyn FnMut(u64),
    /// The folder that was made last; the next file is mostly in it.
    made: PathBuf,
    links: Vec<Link>,
    bytes_of_links: usize,
    entries: u64,
    placed: Placed,
    buffer: Vec<u8>,
}

struct Link {
    /// As the archive has it.
    entry: Vec<u8>,
    path: PathBuf,
    target: PathBuf,
}

impl<'a> Tree<'a> {
    /// Fills the empty folder `root` with what is in the folder `below` of an archive of `packed` bytes.
    pub fn new(root: &'a Path, below: &'static str, limits: Limits, packed: u64, seen: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            root,
            below,
            limits,
            packed,
            seen,
            made: PathBuf::new(),
            links: Vec::new(),
            bytes_of_links: 0,
            entries: 0,
            placed: Placed::default(),
            buffer: vec![0; CHUNK],
        }
    }

    /// Whether only a part of the archive is wanted.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        !self.below.is_empty()
    }

    /// The name that `entry` has in the wanted part of the archive; `None` when it lies outside.
    #[must_use]
    pub fn own(&self, entry: &[u8]) -> Option<Vec<u8>> {
        if self.below.is_empty() {
            return Some(entry.to_owned());
        }
        let mut rest = entry;
        while let Some(shorter) = rest.strip_prefix(b"./").or_else(|| rest.strip_prefix(b"/")) {
            rest = shorter;
        }
        if rest == OPAQUE || rest.strip_prefix(WHITEOUT) == Some(self.below.as_bytes()) {
            return Some(OPAQUE.to_owned());
        }
        let rest = rest.strip_prefix(self.below.as_bytes())?.strip_prefix(b"/")?;
        (!rest.is_empty()).then(|| rest.to_owned())
    }

    /// Passes over an entry that is not wanted.
    ///
    /// # Errors
    ///
    /// When there are too many entries.
    pub fn skip(&mut self) -> Result<(), Failure> {
        self.entries += 1;
        self.count(self.entries)
    }

    /// The place of the next `entry`.
    ///
    /// # Errors
    ///
    /// When there are too many entries, or this one can't be below the folder.
    pub fn place(&mut self, entry: &[u8]) -> Result<PathBuf, Failure> {
        self.entries += 1;
        self.count(self.entries)?;
        name::path(entry, self.limits.depth)
    }

    /// Looks whether so many `entries` are too many.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactUnpackUnsafe`] when they are.
    pub fn count(&self, entries: u64) -> Result<(), Failure> {
        if entries > self.limits.entries {
            let act = format!("it has more than {} entries", self.limits.entries);
            return Err(Failure::new(Reason::ArtifactUnpackUnsafe, act));
        }
        Ok(())
    }

    /// Looks whether `bytes` more still fit.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactDiskFull`] when they don't.
    pub fn reserve(&self, bytes: u64) -> Result<(), Failure> {
        match self.placed.bytes.checked_add(bytes) {
            Some(sum) if sum <= self.limits.bytes => Ok(()),
            _ => {
                let act = format!("its files need more than the {} bytes that the disk has left", self.limits.bytes);
                Err(Failure::new(Reason::ArtifactDiskFull, act))
            }
        }
    }

    /// Makes the folder `path` of `entry`, with those above it.
    ///
    /// # Errors
    ///
    /// When something else is there, or the disk does not let us.
    pub fn folder(&mut self, entry: &[u8], path: &Path) -> Result<(), Failure> {
        if path == self.made {
            return Ok(());
        }
        let mut folder = self.root.to_owned();
        for component in path.components() {
            folder.push(component);
            match DirBuilder::new().mode(0o755).create(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let metadata = fs::symlink_metadata(&folder);
                    if !metadata.map_err(|error| Failure::local(error, "look at", &folder))?.is_dir() {
                        return Err(refused(entry, "needs a folder where the archive has a file"));
                    }
                }
                made => made.map_err(|error| Failure::local(error, "make the folder", &folder))?,
            }
        }
        path.clone_into(&mut self.made);
        Ok(())
    }

    /// Writes the file `path` of `entry` with `size` bytes of `content`. Of its rights only that to be run is kept.
    ///
    /// # Errors
    ///
    /// When something is there already, `content` can't be read or has another size, the limits are passed, or the disk
    /// does not let us.
    pub fn file(
        &mut self,
        entry: &[u8],
        path: &Path,
        is_executable: bool,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), Failure> {
        let (Some(parent), Some(_)) = (path.parent(), path.file_name()) else {
            return Err(refused(entry, "is a file without a name"));
        };
        self.reserve(size)?;
        self.folder(entry, parent)?;
        let target = self.root.join(path);
        let mode = if is_executable { 0o755 } else { 0o644 };
        // A new file is never opened through a link (O_EXCL).
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(mode).open(&target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(refused(entry, "is in the archive twice"));
            }
            opened => opened.map_err(|error| Failure::local(error, "create", &target))?,
        };
        let mut written = 0;
        loop {
            let read = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| damaged(error, &format!("the entry {}", shown(entry))))?,
            };
            written += read as u64;
            self.placed.bytes += read as u64;
            if written > size {
                return Err(other_size(entry, size, "more"));
            }
            self.weigh()?;
            let chunk = self.buffer.get(..read).unwrap_or_default();
            file.write_all(chunk).map_err(|error| Failure::local(error, "write", &target))?;
            (self.seen)(read as u64);
        }
        if written < size {
            return Err(other_size(entry, size, "fewer"));
        }
        self.placed.files += 1;
        Ok(())
    }

    fn weigh(&self) -> Result<(), Failure> {
        let Limits { ratio, ratio_from, .. } = self.limits;
        if self.placed.bytes > ratio_from && self.placed.bytes > self.packed.saturating_mul(ratio) {
            let act = format!("its {} bytes unpack to more than {ratio} times as many", self.packed);
            return Err(Failure::new(Reason::ArtifactUnpackUnsafe, act));
        }
        Ok(())
    }

    /// Notes that the link `entry` at `path` shall be a second name of the file `target`.
    ///
    /// # Errors
    ///
    /// When it has no name, or there are too many of them.
    pub fn link(&mut self, entry: &[u8], path: PathBuf, target: PathBuf) -> Result<(), Failure> {
        if path.file_name().is_none() {
            return Err(refused(entry, "is a link without a name"));
        }
        self.bytes_of_links += entry.len() + path.as_os_str().len() + target.as_os_str().len();
        if self.bytes_of_links > MOST_OF_LINKS {
            return Err(Failure::new(Reason::ArtifactUnpackUnsafe, "it has too many links"));
        }
        self.links.push(Link { entry: entry.to_vec(), path, target });
        Ok(())
    }

    /// Makes the links, and looks that there is a file at all and everything is on disk.
    ///
    /// # Errors
    ///
    /// When a link points at no file of the archive, when there is no file, or the disk does not let us.
    pub fn finish(mut self) -> Result<Placed, Failure> {
        let mut links = std::mem::take(&mut self.links);
        // A link may point at one that comes later.
        for _ in 0..MOST_HOPS {
            let before = links.len();
            let mut waiting = Vec::new();
            for link in links {
                if !self.make(&link)? {
                    waiting.push(link);
                }
            }
            links = waiting;
            if links.is_empty() || links.len() == before {
                break;
            }
        }
        if let Some(link) = links.first() {
            let target = shown(link.target.as_os_str().as_encoded_bytes());
            return Err(refused(&link.entry, &format!("is a link to {target}, which is no file of the archive")));
        }
        if self.placed.files == 0 && !self.is_partial() {
            return Err(Failure::new(Reason::ArtifactEmpty, "the archive holds no file"));
        }
        // One call for the filesystem instead of one for each of maybe many small files.
        let root = File::open(self.root).map_err(|error| Failure::local(error, "read", self.root))?;
        rustix::fs::syncfs(&root).map_err(|error| Failure::local(error.into(), "write", self.root))?;
        Ok(self.placed)
    }

    /// Gives the target of `link` its second name; false when it is not there (yet).
    fn make(&mut self, link: &Link) -> Result<bool, Failure> {
        let (path, target) = (self.root.join(&link.path), self.root.join(&link.target));
        match fs::symlink_metadata(&target) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(refused(&link.entry, "is a link to a folder; only links to files can be unpacked")),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(false);
            }
            Err(error) => return Err(Failure::local(error, "look at", &target)),
        }
        self.folder(&link.entry, link.path.parent().unwrap_or(Path::new("")))?;
        match fs::hard_link(&target, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(refused(&link.entry, "is in the archive twice"))
            }
            made => {
                made.map_err(|error| Failure::local(error, "create", &path))?;
                self.placed.files += 1;
                Ok(true)
            }
        }
    }
}

/// The target of a link of an archive is no longer than a path.
#[must_use]
pub const fn is_target(target: &[u8]) -> bool {
    !target.is_empty() && target.len() <= LONGEST_PATH
}

fn other_size(entry: &[u8], size: u64, how_many: &str) -> Failure {
    let act = format!("the entry {} has {how_many} bytes than the {size} that the archive says", shown(entry));
    Failure::new(Reason::ArtifactChecksumMismatch, act)
}
