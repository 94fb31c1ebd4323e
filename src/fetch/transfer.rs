//! Streams objects to disk in bounded memory.
//!
//! A file grows in a scratch folder beside its place and is renamed into it once it is whole, verified and on disk; so
//! whatever has its final name is complete, and a second run only replaces it by the same.

use std::io;
use std::path::{Path, PathBuf};

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

use crate::api::artifact::FolderPlacement;
use crate::catalogue::Reason;
use crate::fetch::failure::Failure;
use crate::fetch::place::{self, SCRATCH};
use crate::fetch::progress::Progress;
use crate::fetch::retry::persist;
use crate::fetch::source::{Content, Object, Source};
use crate::fetch::verify::{Algorithm, Checksum, Verifier};
use crate::fetch::{Patience, Placed};

/// How many files are on their way at once.
const FILES_AT_ONCE: usize = 8;

/// Downloads what `source` has into `directory`, which is made when it is not there.
///
/// # Errors
///
/// The first failure that trying again does not help.
pub async fn download(
    source: &Source,
    directory: &Path,
    folder: FolderPlacement,
    sha256: Option<&str>,
    progress: &Progress,
    patience: Patience,
) -> Result<Placed, Failure> {
    let content = source.look().await?;
    if sha256.is_some() && matches!(content, Content::Folder { .. }) {
        let act = "sha256 is of a single object, but the uri is a folder";
        return Err(Failure::new(Reason::ArtifactChecksumMismatch, act));
    }
    let mut files = Vec::new();
    let mut made = PathBuf::new();
    let scratch = open_scratch(directory).await?;
    for place in place::arrange(content, folder)? {
        let parent = if place.object.is_some() { place.path.parent().unwrap_or(Path::new("")) } else { &place.path };
        if parent != made {
            place::make_folder(directory, parent).await?;
            parent.clone_into(&mut made);
        }
        files.extend(place.object.map(|object| (place.path, object)));
    }
    progress.expect(files.len(), files.iter().map(|(_, object)| object.size).sum());
    let transferred = stream::iter(files.iter().enumerate())
        .map(Ok)
        .try_for_each_concurrent(FILES_AT_ONCE, async |(index, (path, object))| {
            let partial = scratch.join(format!("{index}.partial"));
            let target = directory.join(path);
            persist(patience.attempts, || fetch(source, object, sha256, &partial, &target, progress)).await
        })
        .await;
    // What is left of it is in nobody's way, and the next run removes it.
    let _ = fs::remove_dir_all(&scratch).await;
    transferred?;
    Ok(Placed { files: files.len() as u64, bytes: progress.done() })
}

async fn open_scratch(directory: &Path) -> Result<PathBuf, Failure> {
    let scratch = directory.join(SCRATCH);
    match fs::remove_dir_all(&scratch).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Failure::local(error, "empty the folder", &scratch));
        }
        _ => {}
    }
    fs::create_dir_all(&scratch).await.map_err(|error| Failure::local(error, "make the folder", &scratch))?;
    Ok(scratch)
}

/// One attempt at one file.
async fn fetch(
    source: &Source,
    object: &Object,
    sha256: Option<&str>,
    partial: &Path,
    target: &Path,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut arrived = 0;
    let result = stream_to(source, object, sha256, partial, progress, &mut arrived).await;
    let result = match result {
        Ok(()) => fs::rename(partial, target).await.map_err(|error| Failure::local(error, "put in place", target)),
        Err(failure) => Err(failure),
    };
    if result.is_err() {
        progress.retract(arrived);
    }
    result
}

async fn stream_to(
    source: &Source,
    object: &Object,
    sha256: Option<&str>,
    partial: &Path,
    progress: &Progress,
    arrived: &mut u64,
) -> Result<(), Failure> {
    let mut download = source.read(object, None).await?;
    let length = object.size.or(download.told().size);
    if object.size.is_none() {
        progress.expect(1, length);
    }
    let own = sha256.and_then(|digest| Checksum::from_hexadecimal(Algorithm::Sha256, digest));
    let checksums: Vec<Checksum> =
        own.iter().chain(&object.checksums).chain(&download.told().checksums).cloned().collect();
    let mut verifier = Verifier::new(&checksums);
    let mut file = File::create(partial).await.map_err(|error| Failure::local(error, "create", partial))?;
    let so_far = |bytes: u64| match length {
        Some(length) => format!("after {bytes} of {length} bytes"),
        None => format!("after {bytes} bytes"),
    };
    while let Some(bytes) = download.next().await.map_err(|failure| failure.and(&so_far(*arrived)))? {
        verifier.see(&bytes);
        file.write_all(&bytes).await.map_err(|error| Failure::local(error, "write", partial))?;
        *arrived += bytes.len() as u64;
        progress.add(bytes.len() as u64);
    }
    file.flush().await.map_err(|error| Failure::local(error, "write", partial))?;
    file.sync_all().await.map_err(|error| Failure::local(error, "write", partial))?;
    verifier.judge(object.name())
}
