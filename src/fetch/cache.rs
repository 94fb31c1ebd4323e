//! Downloads that instances of one claim or node share: each content is fetched once, by whoever comes first, and copied
//! from there by all.
//!
//! ```text
//! DIRECTORY/locks/KEY     held by who fetches (exclusive) or copies (shared); the kernel frees those of the dead
//! DIRECTORY/entries/KEY/  data/ the files, scratch/ what a fetch that was killed goes on from, complete when whole
//! ```
//!
//! KEY is the digest of what was asked for and of the version of every object, so that what changes at its source is
//! another entry. Copies, not links: a server that writes to its model must not change that of others, and a volume of
//! its own can't be linked to.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::syncfs;

use crate::api::size::size;
use crate::catalogue::Reason;
use crate::fetch::blocking::blocking;
use crate::fetch::failure::Failure;

/// Time between two looks at a lock that somebody holds.
const PERIOD: Duration = Duration::from_millis(200);

/// Time without a change after which whoever fills an entry is not waited for any longer.
const PATIENCE: Duration = Duration::from_mins(2);

/// The mark of an entry that is whole; its time of change is that of its last use.
const COMPLETE: &str = "complete";

/// A folder of shared downloads.
#[derive(Clone, Copy, Debug)]
pub struct Cache<'a> {
    /// Its directory.
    pub directory: &'a Path,
    /// Bytes that it may hold; as much as the disk has without it.
    pub most: Option<u64>,
}

/// One entry, locked against its removal for as long as this lives.
#[derive(Debug)]
pub struct Entry {
    /// The folder of its files.
    pub data: PathBuf,
    /// The folder for files on their way.
    pub scratch: PathBuf,
    folder: PathBuf,
    lock: File,
}

/// How an entry was found.
#[derive(Debug)]
pub enum Found {
    /// Whole.
    Whole(Entry),
    /// Not whole: whoever gets this has to fill it.
    ToFill(Entry),
    /// It can't be used now, for this reason.
    Closed(&'static str),
}

impl Cache<'_> {
    /// Finds the entry `key` of `bytes`, waits for whoever fills it, and makes room when nobody does.
    ///
    /// # Errors
    ///
    /// When the folder can't be read or written.
    pub async fn open(&self, key: &str, bytes: u64) -> Result<Found, Failure> {
        let (locks, folder) = (self.directory.join("locks"), self.directory.join("entries").join(key));
        let failed = |error| Failure::local(error, "use the cache in", self.directory);
        fs::create_dir_all(&locks).map_err(failed)?;
        fs::create_dir_all(self.directory.join("entries")).map_err(failed)?;
        let lock = open_lock(&locks.join(key)).map_err(failed)?;
        let mut waited: Option<(Instant, (u64, SystemTime))> = None;
        loop {
            // Who copies needs no more than that nobody removes it; who fills is alone.
            if folder.join(COMPLETE).exists() && lock.try_lock_shared().is_ok() {
                if folder.join(COMPLETE).exists() {
                    return Ok(Found::Whole(Entry::new(folder, lock)));
                }
                lock.unlock().map_err(failed)?;
            }
            match lock.try_lock() {
                Ok(()) if folder.join(COMPLETE).exists() => lock.unlock().map_err(failed)?,
                Ok(()) => break,
                Err(fs::TryLockError::WouldBlock) => {
                    let (since, before) = waited.get_or_insert_with(|| {
                        tracing::info!("another instance is fetching the same into the cache; waiting for it");
                        (Instant::now(), look(&folder).unwrap_or((0, SystemTime::UNIX_EPOCH)))
                    });
                    if since.elapsed() > PATIENCE {
                        let now = look(&folder).map_err(failed)?;
                        if now == *before {
                            return Ok(Found::Closed("whoever fetches the same into it does not go on"));
                        }
                        (*since, *before) = (Instant::now(), now);
                    }
                    tokio::time::sleep(PERIOD).await;
                }
                Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        let (directory, most, key) = (self.directory.to_owned(), self.most, key.to_owned());
        if !blocking(move || Cache { directory: &directory, most }.make_room(&key, bytes)).await? {
            return Ok(Found::Closed("it has no room for this, whatever is removed"));
        }
        Ok(Found::ToFill(Entry::new(folder, lock)))
    }

    /// Removes entries that nobody uses, the one that was used last at the end, until `bytes` more have room.
    fn make_room(&self, key: &str, bytes: u64) -> Result<bool, Failure> {
        let failed = |error| Failure::local(error, "make room in the cache", self.directory);
        let mut others = Vec::new();
        let (mut held, mut own) = (0, 0);
        for entry in fs::read_dir(self.directory.join("entries")).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let (bytes, used) = look(&path).map_err(failed)?;
            held += bytes;
            if path.file_name().is_some_and(|name| name == key) {
                own = bytes;
            } else {
                others.push((used, path, bytes));
            }
        }
        others.sort();
        let needed = bytes.saturating_sub(own);
        let mut others = others.into_iter();
        loop {
            let within = self.most.is_none_or(|most| held + needed <= most);
            if within && super::transfer::disk::free(self.directory)? >= needed {
                return Ok(true);
            }
            let Some((_, path, bytes)) = others.next() else { return Ok(false) };
            let name = path.file_name().unwrap_or_default();
            let lock = open_lock(&self.directory.join("locks").join(name)).map_err(failed)?;
            if lock.try_lock().is_err() {
                continue;
            }
            tracing::info!("removing {} that were used least lately from the cache", size(bytes));
            // First the mark, so that what is half removed is never taken for whole.
            let _ = fs::remove_file(path.join(COMPLETE));
            fs::remove_dir_all(&path).map_err(failed)?;
            held = held.saturating_sub(bytes);
        }
    }
}

impl Entry {
    fn new(folder: PathBuf, lock: File) -> Self {
        let entry = Self { data: folder.join("data"), scratch: folder.join("scratch"), folder, lock };
        entry.touch();
        entry
    }

    /// Says that it was used now.
    fn touch(&self) {
        // Only the order of removal hangs on it.
        let file = File::options().write(true).open(self.folder.join(COMPLETE));
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Marks it as whole, once all of it is on the disk: others rely on it after a stop of the machine. From now on it is
    /// only kept from removal.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn complete(&self) -> Result<(), Failure> {
        let failed = |error| Failure::local(error, "complete the cache entry", &self.folder);
        let folder = File::open(&self.data).map_err(failed)?;
        syncfs(&folder).map_err(|error| failed(error.into()))?;
        let mark = File::create(self.folder.join(COMPLETE)).map_err(failed)?;
        mark.sync_all().map_err(failed)?;
        // Shared from exclusive: the kernel may let another in between, which can only copy.
        self.lock.lock_shared().map_err(failed)
    }

    /// Says that what is in it is not what it should be: it is fetched again by the next.
    pub fn spoil(&self) {
        let _ = fs::remove_file(self.folder.join(COMPLETE));
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// Copies one file out of it, sharing blocks where the filesystem can.
    ///
    /// # Errors
    ///
    /// When it is not there, or the disk does not take it.
    pub fn copy(&self, path: &Path, to: &Path) -> Result<u64, Failure> {
        let from = self.data.join(path);
        fs::copy(&from, to).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Failure::new(Reason::ArtifactVolumeUnavailable, format!("the cache has lost {}", from.display()))
            }
            _ => Failure::local(error, "copy from the cache to", to),
        })
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// Bytes of an entry, and when it was used.
fn look(path: &Path) -> io::Result<(u64, SystemTime)> {
    let used = fs::metadata(path.join(COMPLETE)).or_else(|_| fs::metadata(path)).and_then(|mark| mark.modified());
    let (mut bytes, mut folders) = (0, vec![path.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => bytes += metadata.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok((bytes, used.unwrap_or(SystemTime::UNIX_EPOCH)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(entry: &Entry, bytes: usize) {
        fs::create_dir_all(&entry.data).unwrap();
        fs::write(entry.data.join("model.bin"), vec![7; bytes]).unwrap();
        entry.complete().unwrap();
    }

    async fn filled(cache: &Cache<'_>, key: &str, bytes: usize) -> Entry {
        match cache.open(key, bytes as u64).await.unwrap() {
            Found::ToFill(entry) => {
                fill(&entry, bytes);
                entry
            }
            other => panic!("{other:?}"),
        }
    }

    fn is_there(cache: &Cache<'_>, key: &str) -> bool {
        cache.directory.join("entries").join(key).join(COMPLETE).exists()
    }

    #[tokio::test]
    async fn an_entry_is_filled_once_and_copied_by_all() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { directory: folder.path(), most: None };
        let first = filled(&cache, "a", 10).await;
        let Found::Whole(second) = cache.open("a", 10).await.unwrap() else { panic!("it is whole") };
        let to = folder.path().join("copy");
        for entry in [&first, &second] {
            assert_eq!(entry.copy(Path::new("model.bin"), &to).unwrap(), 10);
        }
    }

    #[tokio::test]
    async fn what_is_used_is_never_removed_and_what_was_used_last_goes_last() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { directory: folder.path(), most: Some(30) };
        drop(filled(&cache, "old", 10).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let used = filled(&cache, "used", 10).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(filled(&cache, "new", 10).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(cache.open("old", 10).await.unwrap());
        drop(filled(&cache, "next", 10).await);
        assert_eq!(["old", "used", "new", "next"].map(|key| is_there(&cache, key)), [true, true, false, true]);
        assert!(matches!(cache.open("large", 25).await.unwrap(), Found::Closed(_)), "what is used was removed");
        assert!(is_there(&cache, "used"));
        drop(used);
        assert!(matches!(cache.open("large", 25).await.unwrap(), Found::ToFill(_)));
    }

    #[tokio::test]
    async fn one_that_was_left_half_is_filled_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { directory: folder.path(), most: None };
        let Found::ToFill(entry) = cache.open("a", 10).await.unwrap() else { panic!("it is new") };
        fs::create_dir_all(&entry.scratch).unwrap();
        fs::write(entry.scratch.join("x.partial"), "half").unwrap();
        drop(entry);
        let Found::ToFill(entry) = cache.open("a", 10).await.unwrap() else { panic!("it is not whole") };
        assert!(entry.scratch.join("x.partial").exists());
    }
}
