//! Through the cache: fetched into it by whoever comes first, copied from it by all.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::job::Job;
use super::resume::Todo;
use super::{Goods, Location, digest};
use crate::catalogue::Reason;
use crate::fetch::blocking::blocking;
use crate::fetch::cache::{Cache, Entry, Found};
use crate::fetch::failure::Failure;
use crate::fetch::verify::Verifier;

/// Bytes that are read at a time.
const BUFFER: usize = 256 << 10;

/// Puts in place what the cache has or gets; the jobs that it can't help with are left. A cache that can't be used is no
/// reason to fail.
pub async fn take(goods: &Goods, cache: Cache<'_>, place: Location<'_>, todo: Todo) -> Result<Vec<Job>, Failure> {
    let Todo { jobs, bytes: all, in_place, .. } = todo;
    let files = &goods.manifest.files;
    if files.iter().any(|file| file.version.is_none() || file.size.is_none()) {
        tracing::info!("the store tells no version of it, so it does not go through the cache");
        return Ok(jobs);
    }
    let bytes = files.iter().filter_map(|file| file.size).sum();
    let key = key(goods);
    // What the download into the cache has counted is counted again as it gets to its place.
    let missing: u64 = jobs.iter().filter_map(|job| job.object.size).sum();
    let again = || goods.progress.start(goods.wanted.len(), all, in_place, all.saturating_sub(missing));
    let without = |why: &str| tracing::warn!("the cache is not used: {why}");
    let entry = match cache.open(&key, bytes).await {
        Ok(Found::Whole(entry)) => Arc::new(entry),
        Ok(Found::ToFill(entry)) => {
            let entry = Arc::new(entry);
            match fill(goods, &entry).await {
                Ok(()) => entry,
                // The cache's own disk fails; ours may not.
                Err(failure)
                    if matches!(failure.reason, Reason::ArtifactDiskFull | Reason::ArtifactVolumeUnavailable) =>
                {
                    without(&failure.sentence());
                    again();
                    return Ok(jobs);
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(Found::Closed(why)) => {
            without(why);
            return Ok(jobs);
        }
        Err(failure) => {
            without(&failure.sentence());
            return Ok(jobs);
        }
    };
    tracing::info!("copying from the cache");
    again();
    let mut left = Vec::new();
    for job in jobs {
        let Ok(path) = job.target.strip_prefix(place.directory).map(PathBuf::from) else { continue };
        let source = Arc::clone(&entry);
        let work = move || {
            job.forget()?;
            let copied = copy(&source, &path, &job);
            if copied.is_ok() {
                let failed = |error| Failure::local(error, "put in place", &job.target);
                fs::rename(&job.partial, &job.target).map_err(failed)?;
            }
            Ok((job, copied))
        };
        let (job, copied) = blocking(work).await?;
        match copied {
            Ok(bytes) => {
                goods.progress.add(bytes);
                goods.progress.file_done();
            }
            Err(failure) if failure.reason == Reason::ArtifactDiskFull => return Err(failure),
            Err(failure) => {
                without(&failure.sentence());
                // Whatever else fails may be our own disk.
                if failure.reason == Reason::ArtifactChecksumMismatch {
                    let entry = Arc::clone(&entry);
                    let spoil = move || {
                        entry.spoil();
                        Ok(())
                    };
                    blocking(spoil).await?;
                }
                left.push(job);
            }
        }
    }
    Ok(left)
}

/// What tells this content from any other.
fn key(goods: &Goods) -> String {
    let file = |file: &super::Entry| format!("{}\0{}\0{:?}\0{:?}", file.path, file.key, file.size, file.version);
    let files: Vec<String> = goods.manifest.files.iter().map(file).collect();
    digest(&format!("{}\n{}", goods.manifest.asked, files.join("\n")))
}

async fn fill(goods: &Goods, entry: &Arc<Entry>) -> Result<(), Failure> {
    let place = Location { directory: &entry.data, scratch: &entry.scratch };
    place.make().await?;
    // Boxed, since a fetch into the cache is a fetch within a fetch; that one has no cache of its own.
    Box::pin(goods.put(place, None)).await?;
    let entry = Arc::clone(entry);
    let complete = move || {
        entry.complete()?;
        // Only now, since all that waits for the disk may be killed.
        let _ = fs::remove_dir_all(&entry.scratch);
        Ok(())
    };
    blocking(complete).await
}

/// Copies one file and adds it up, where it is known to what.
fn copy(entry: &Entry, path: &Path, job: &Job) -> Result<u64, Failure> {
    let (to, size) = (&job.partial, job.object.size);
    let bytes = entry.copy(path, to)?;
    if size.is_some_and(|size| size != bytes) {
        let act = format!("the cache has {bytes} bytes of {}", path.display());
        return Err(Failure::new(Reason::ArtifactChecksumMismatch, act));
    }
    let mut verifier = Verifier::new(&job.checksums);
    if verifier.is_needed() {
        let failed = |error| Failure::local(error, "read", to);
        let (mut file, mut buffer) = (File::open(to).map_err(failed)?, vec![0; BUFFER]);
        loop {
            let length = file.read(&mut buffer).map_err(failed)?;
            let Some(piece) = buffer.get(..length).filter(|piece| !piece.is_empty()) else { break };
            verifier.see(piece);
        }
        verifier.judge(&path.display().to_string())?;
    }
    Ok(bytes)
}
