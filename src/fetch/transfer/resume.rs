//! What an earlier run left, and what is still to do.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::chunk::{self, CHUNK};
use super::job::Job;
use super::manifest::{Entry, Manifest};
use super::parts::{self, Parts};
use super::{LOCK, Location};
use crate::fetch::failure::Failure;
use crate::fetch::place::{self, remove};
use crate::fetch::source::Object;
use crate::fetch::verify::Checksum;

/// What is still to do.
#[derive(Debug, Default)]
pub struct Todo {
    /// The files that are not in place, in the order of their paths.
    pub jobs: Vec<Job>,
    /// Bytes of all files; of those whose size is known.
    pub bytes: u64,
    /// Bytes that are there already.
    pub there: u64,
    /// Bytes that the disk has given to them, with what is only kept free for the rest of a file.
    pub held: u64,
    /// Files that are in place already.
    pub in_place: usize,
}

/// One file to be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Below the directory.
    pub path: PathBuf,
    /// What becomes of it.
    pub object: Object,
    /// Whether the store gives parts of it.
    pub in_parts: bool,
    /// What it must add up to.
    pub checksums: Vec<Checksum>,
}

/// Compares what is wanted with what an earlier run left, removes what nobody wants any
/// more, and remembers what is wanted now.
///
/// # Errors
///
/// When the disk can't be read or written.
pub fn prepare(place: Location<'_>, next: &Manifest, wanted: Vec<Wanted>) -> Result<Todo, Failure> {
    let Location { directory, scratch } = place;
    let before = Manifest::load(scratch);
    let known = before.asked == next.asked;
    let same_boot = known && !next.boot.is_empty() && before.boot == next.boot;
    let earlier: HashMap<&str, &Entry> = before.files.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    let survives = |entry: &Entry| {
        // Without a version only a complete run tells that nothing was mixed.
        known
            && earlier.get(entry.path.as_str()) == Some(&entry)
            && (entry.version.is_some() || (before.complete && entry.size.is_some()))
    };
    // Of each place there is one in a manifest, and one that survives is the same in both.
    let keep: HashSet<&str> =
        next.files.iter().filter(|entry| survives(entry)).map(|entry| entry.path.as_str()).collect();
    for entry in before.files.iter().filter(|entry| !keep.contains(entry.path.as_str())) {
        forget(directory, scratch, entry)?;
    }
    clear(scratch, &keep)?;
    let save = |manifest: &Manifest| manifest.save(scratch).map_err(|error| Failure::local(error, "write to", scratch));
    // What another start of the machine has left counts only once all of it was added up.
    let boot = if same_boot { next.boot.clone() } else { String::new() };
    save(&Manifest { boot, ..next.clone() })?;
    let mut todo = Todo::default();
    for (entry, wanted) in next.files.iter().zip(wanted) {
        let survives = keep.contains(entry.path.as_str());
        todo.bytes += entry.size.unwrap_or_default();
        let (job, bytes) = look(directory, scratch, wanted, survives, same_boot)?;
        todo.there += bytes;
        let kept = job.as_ref().map_or(Ok(0), |job| allocated(&job.partial));
        let kept = kept.map_err(|error| Failure::local(error, "look at", scratch))?;
        todo.held += bytes.max(kept.min(entry.size.unwrap_or_default()));
        match job {
            Some(job) => todo.jobs.push(job),
            None => todo.in_place += 1,
        }
    }
    if !same_boot {
        save(next)?;
    }
    Ok(todo)
}

/// What is to do for one file, `None` when it is in place, and its bytes that are there.
fn look(
    directory: &Path,
    scratch: &Path,
    wanted: Wanted,
    survives: bool,
    same_boot: bool,
) -> Result<(Option<Job>, u64), Failure> {
    let Wanted { path, object, in_parts, checksums } = wanted;
    let (name, target) = (name(&path.to_string_lossy()), directory.join(&path));
    let (partial, records) = (scratch.join(format!("{name}.partial")), scratch.join(format!("{name}.parts")));
    let local = |error, path: &Path| Failure::local(error, "look at", path);
    let whole = |object: Object| (Some(Job::whole(object, checksums.clone(), partial.clone(), target.clone())), 0);
    let Some(size) = object.size else { return Ok(whole(object)) };
    let placed = survives
        && !is_diverted(directory, &path)
        && length(&target).map_err(|error| local(error, &target))? == Some(size);
    if placed && same_boot {
        return Ok((None, size));
    }
    if size <= CHUNK || !in_parts {
        if placed {
            // It has no sums that tell what it still is, and the next run must not take it for whole.
            remove(&target)?;
        }
        return Ok(whole(object));
    }
    let (parts, mut sums) = Parts::open(&records, chunk::count(size)).map_err(|error| local(error, &records))?;
    let there = if placed { &target } else { &partial };
    if !survives || length(there).map_err(|error| local(error, there))? != Some(size) {
        parts.forget().map_err(|error| local(error, &records))?;
        sums.fill(None);
    } else if !same_boot {
        let file = File::open(there).map_err(|error| local(error, there))?;
        parts::recheck(&file, size, &mut sums).map_err(|error| local(error, there))?;
        parts.keep(&sums).map_err(|error| local(error, &records))?;
    }
    let missing = sums.iter().any(Option::is_none);
    if placed && !missing {
        return Ok((None, size));
    }
    if placed {
        // It loses its name until it is whole again.
        fs::rename(&target, &partial).map_err(|error| Failure::local(error, "take back", &target))?;
    }
    let there = sums.iter().enumerate().filter(|(_, sum)| sum.is_some());
    let bytes = there.map(|(index, _)| chunk::span(index, size)).map(|span| span.end - span.start).sum();
    Ok((Some(Job::in_chunks(object, checksums, (partial, target), size, (parts, &sums))), bytes))
}

/// The name that a file has in the scratch folder, whatever its path is.
fn name(path: &str) -> String {
    let digest = Sha256::digest(path.as_bytes());
    digest.iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Bytes of the regular file at `path`.
fn length(path: &Path) -> io::Result<Option<u64>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the way to `path` leads through a symbolic link. We make none, but a server that writes to its model may.
fn is_diverted(directory: &Path, path: &Path) -> bool {
    let folders = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
    folders
        .map(|folder| fs::symlink_metadata(directory.join(folder)))
        .any(|found| found.is_ok_and(|it| it.is_symlink()))
}

/// Bytes that the disk has given to the file at `path`.
fn allocated(path: &Path) -> io::Result<u64> {
    match fs::symlink_metadata(path) {
        // POSIX counts blocks of 512 bytes, whatever the filesystem has.
        Ok(metadata) => Ok(metadata.blocks().saturating_mul(512)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Removes a file of an earlier run that is not wanted, with the folders that it leaves empty.
fn forget(directory: &Path, scratch: &Path, entry: &Entry) -> Result<(), Failure> {
    // A manifest that somebody has written leads nowhere else.
    let path = place::safe(&entry.path)?;
    for kind in ["partial", "parts"] {
        remove(&scratch.join(format!("{}.{kind}", name(&entry.path))))?;
    }
    if is_diverted(directory, &path) {
        return Ok(());
    }
    remove(&directory.join(&path))?;
    let mut folder = path.parent();
    while let Some(path) = folder.filter(|path| !path.as_os_str().is_empty()) {
        if fs::remove_dir(directory.join(path)).is_err() {
            break;
        }
        folder = path.parent();
    }
    Ok(())
}

/// Removes what lies in the scratch folder and belongs to no file that goes on.
fn clear(scratch: &Path, keep: &HashSet<&str>) -> Result<(), Failure> {
    let local = |error| Failure::local(error, "empty the folder", scratch);
    let names: HashSet<String> = keep.iter().map(|path| name(path)).collect();
    for entry in fs::read_dir(scratch).map_err(local)? {
        let path = entry.map_err(local)?.path();
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if stem != "manifest" && stem != LOCK && !names.contains(&stem) {
            remove(&path)?;
        }
    }
    Ok(())
}
