//! Brings objects to disk in bounded memory, over as many connections as help, and goes on where it was stopped.
//!
//! A file grows in a scratch folder on the filesystem of its place and is renamed into it once it is whole and verified;
//! so whatever has its final name is complete. Nothing waits for the disk: a process that is killed loses nothing that
//! it has written, and after a stop of the machine what is there is added up again.

mod archive;
pub mod chunk;
pub mod disk;
pub mod follow;
pub mod job;
mod layers;
pub mod manifest;
pub mod parts;
pub mod pool;
pub mod resume;
mod shared;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use tokio::fs;

use self::chunk::CHUNK;
use self::layers::Stack;
use self::manifest::{Entry, Manifest, boot};
use self::pool::Pool;
use self::resume::{Todo, Wanted};
use crate::api::artifact::FolderPlacement;
use crate::catalogue::Reason;
use crate::fetch::blocking::blocking;
use crate::fetch::cache::Cache;
use crate::fetch::failure::Failure;
use crate::fetch::place;
use crate::fetch::progress::Progress;
use crate::fetch::retry::persist;
use crate::fetch::source::{Content, Object, Source};
use crate::fetch::verify::{Algorithm, Checksum};
use crate::fetch::{Patience, Placed, uri};

/// The file that whoever fetches has locked.
pub const LOCK: &str = "lock";
/// Time between two looks at a lock that somebody holds.
const PERIOD: Duration = Duration::from_millis(200);

/// Objects that are asked about at once.
const QUESTIONS: usize = 8;

/// What is fetched where.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Where it comes from, as the user wrote it.
    pub uri: &'a str,
    /// Where it goes.
    pub place: Location<'a>,
    /// Where the content of a folder goes.
    pub folder: FolderPlacement,
    /// What a single object must add up to.
    pub sha256: Option<&'a str>,
    /// Whether it is an archive whose content is wanted.
    pub unpack: bool,
    /// Where downloads are shared with others.
    pub cache: Option<Cache<'a>>,
}

/// Two folders of one filesystem; each is made when it is not there.
#[derive(Clone, Copy, Debug)]
pub struct Location<'a> {
    /// Where whole files go.
    pub directory: &'a Path,
    /// Files on their way, and what a later run has to know.
    pub scratch: &'a Path,
}

impl Location<'_> {
    async fn make(&self) -> Result<(), Failure> {
        for folder in [self.directory, self.scratch] {
            fs::create_dir_all(folder).await.map_err(|error| Failure::local(error, "make the folder", folder))?;
        }
        Ok(())
    }
}

impl Location<'_> {
    /// Keeps others out for as long as the file lives: an initializer that is started anew while the last one still ends.
    async fn lock(&self) -> Result<File, Failure> {
        let failed = |error| Failure::local(error, "lock the folder", self.scratch);
        let options = |path| File::options().read(true).write(true).create(true).truncate(false).open(path);
        let lock = options(self.scratch.join(LOCK)).map_err(failed)?;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(PERIOD).await,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }
}

/// What a source has, and who fetches it.
#[derive(Clone)]
struct Goods {
    source: Arc<Source>,
    manifest: Arc<Manifest>,
    wanted: Vec<Wanted>,
    folders: Vec<PathBuf>,
    progress: Arc<Progress>,
    patience: Patience,
}

/// Fetches what `source` has.
///
/// # Errors
///
/// The first failure that trying again does not help. What is on disk by then is of use to the next run.
pub async fn download(
    source: Arc<Source>,
    order: Order<'_>,
    progress: Arc<Progress>,
    patience: Patience,
) -> Result<Placed, Failure> {
    order.place.make().await?;
    let _alone = order.place.lock().await?;
    let content = source.look().await?;
    if let Content::Folder { .. } | Content::Layers { .. } = content {
        let refused = |reason, act: &str| Err(Failure::new(reason, act));
        if order.sha256.is_some() {
            let act = "sha256 is of a single object, but the uri is a folder";
            return refused(Reason::ArtifactChecksumMismatch, act);
        }
        if order.unpack {
            return refused(Reason::ArtifactUriInvalid, "unpack is for a single archive, but the uri is a folder");
        }
    }
    let stack = Stack::of(&content);
    let places = place::arrange(content, order.folder)?;
    let folders: Vec<PathBuf> = places.iter().filter_map(|place| place.folder().map(Path::to_owned)).collect();
    let files = places.into_iter().filter_map(|place| place.object.map(|object| (place.path, object)));
    let wanted = describe(&source, order, files.collect(), patience).await?;
    let files = wanted.iter().map(|wanted| Entry::of(&wanted.path, &wanted.object)).collect();
    let manifest = Manifest { asked: asked(order, &source.service()), boot: boot(), complete: false, files };
    let manifest = Arc::new(manifest);
    let goods = Goods { source, manifest, wanted, folders, progress, patience };
    match stack {
        Some(stack) => layers::put(&goods, order, stack).await,
        None if order.unpack => archive::put(&goods, order).await,
        None => goods.put(order.place, order.cache).await,
    }
}

impl Goods {
    /// Puts everything in its place, through the cache where there is one.
    async fn put(&self, place: Location<'_>, cache: Option<Cache<'_>>) -> Result<Placed, Failure> {
        let todo = self.prepare(place).await?;
        let jobs = match cache {
            Some(cache) if !todo.jobs.is_empty() => shared::take(self, cache, place, todo).await?,
            _ => todo.jobs,
        };
        let pool = Pool::new(Arc::clone(&self.source), self.patience, Arc::clone(&self.progress), jobs);
        Arc::new(pool).run().await?;
        self.complete(place)
    }

    /// Looks what is there, and that the rest has room.
    async fn prepare(&self, place: Location<'_>) -> Result<Todo, Failure> {
        let bytes = self.wanted.iter().filter_map(|wanted| wanted.object.size).fold(0, u64::saturating_add);
        disk::is_large_enough(place.directory, bytes)?;
        let (directory, scratch) = (place.directory.to_owned(), place.scratch.to_owned());
        let (manifest, wanted) = (Arc::clone(&self.manifest), self.wanted.clone());
        let prepare = move || resume::prepare(Location { directory: &directory, scratch: &scratch }, &manifest, wanted);
        let todo = blocking(prepare).await?;
        self.progress.start(self.wanted.len(), todo.bytes, todo.in_place, todo.there);
        disk::has_room(place.directory, todo.bytes.saturating_sub(todo.held))?;
        make_folders(place.directory, &self.folders).await?;
        Ok(todo)
    }

    fn complete(&self, place: Location<'_>) -> Result<Placed, Failure> {
        let manifest = Manifest { complete: true, ..Manifest::clone(&self.manifest) };
        manifest.save(place.scratch).map_err(|error| Failure::local(error, "write to", place.scratch))?;
        Ok(Placed { files: self.wanted.len() as u64, bytes: self.progress.done() })
    }
}

/// Asks about every object that is large or of unknown size.
async fn describe(
    source: &Source,
    order: Order<'_>,
    files: Vec<(PathBuf, Object)>,
    patience: Patience,
) -> Result<Vec<Wanted>, Failure> {
    let parse = |digest| {
        let act = "sha256 is no SHA-256 in hexadecimal";
        Checksum::from_hexadecimal(Algorithm::Sha256, digest)
            .ok_or_else(|| Failure::new(Reason::ArtifactChecksumMismatch, act))
    };
    let own = order.sha256.map(parse).transpose()?;
    let question = async |(path, mut object): (PathBuf, Object)| {
        let is_known = object.size.is_some_and(|size| size <= CHUNK)
            || (object.size.is_some() && object.version.is_some() && !object.checksums.is_empty());
        let mut in_parts = true;
        if !is_known {
            let told = persist(patience.attempts, || source.describe(&object)).await?;
            object.size = object.size.or(told.size);
            object.version = object.version.or(told.version);
            object.checksums.extend(told.checksums);
            in_parts = !told.whole_only;
        }
        let checksums = own.iter().chain(&object.checksums).cloned().collect();
        Ok(Wanted { path, object, in_parts, checksums })
    };
    stream::iter(files).map(question).buffered(QUESTIONS).try_collect().await
}

/// What is asked for, as a digest. A signature that is renewed is no other question.
fn asked(order: Order<'_>, service: &str) -> String {
    let how = format!("{:?} {}", order.folder, order.unpack);
    digest(&[&uri::redact(order.uri), service, &how, order.sha256.unwrap_or_default()].join("\n"))
}

/// SHA-256 in hexadecimal.
fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

async fn make_folders(directory: &Path, folders: &[PathBuf]) -> Result<(), Failure> {
    let mut made: &Path = Path::new("");
    for folder in folders {
        if folder != made {
            place::make_folder(directory, folder).await?;
            made = folder;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_uri_at_another_service_is_another_thing() {
        let place = Location { directory: Path::new("/d"), scratch: Path::new("/s") };
        let folder = FolderPlacement::Direct;
        let order = Order { uri: "s3://b/k", place, folder, sha256: None, unpack: false, cache: None };
        assert_ne!(asked(order, "https://one"), asked(order, "https://two"));
        let signed = |uri| asked(Order { uri, ..order }, "");
        assert_eq!(signed("https://h/m?sig=a"), signed("https://h/m?sig=b"), "a signature that is renewed");
        assert_ne!(asked(order, ""), asked(Order { unpack: true, ..order }, ""));
    }
}
