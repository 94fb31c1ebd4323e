//! Archives: fetched whole and verified, unpacked into a folder of their own, moved into place, and gone.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Goods, Location, Order, disk};
use crate::catalogue::Reason;
use crate::fetch::Placed;
use crate::fetch::failure::Failure;
use crate::fetch::place;
use crate::fetch::unpack::{Limits, unpack};

/// What was unpacked, for the next run.
#[derive(Serialize, Deserialize, Debug, Default, PartialEq, Eq)]
struct Mark {
    asked: String,
    version: Option<String>,
    size: Option<u64>,
    files: u64,
    bytes: u64,
    /// What lies in the directory for it.
    names: Vec<String>,
}

/// Puts the content of the archive in place.
pub async fn put(goods: &Goods, order: Order<'_>) -> Result<Placed, Failure> {
    let Some(file) = goods.manifest.files.first() else { return Ok(Placed::default()) };
    let Location { directory, scratch } = order.place;
    let (folder, mark_at) = (scratch.join("archive"), scratch.join("unpacked.json"));
    let mark: Mark = serde_json::from_slice(&fs::read(&mark_at).unwrap_or_default()).unwrap_or_default();
    let is_same = mark.asked == goods.manifest.asked && mark.version == file.version && mark.size == file.size;
    if is_same && file.version.is_some() {
        goods.progress.start(1, mark.bytes, 1, mark.bytes);
        return Ok(Placed { files: mark.files, bytes: mark.bytes });
    }
    for name in &mark.names {
        remove(&directory.join(place::safe(name)?))?;
    }
    let (data, ways) = (folder.join("data"), folder.join("scratch"));
    let inner = Location { directory: &data, scratch: &ways };
    inner.make().await?;
    goods.put(inner, order.cache).await?;
    let (archive, into) = (data.join(&file.path), scratch.join("unpacked"));
    remove(&into)?;
    tracing::info!("unpacking {}", file.path);
    let (limits, name, from, to) = (Limits::of_space(disk::free(scratch)?), file.path.clone(), archive, into.clone());
    let unpacked = tokio::task::spawn_blocking(move || unpack(&from, &name, &to, &limits, &mut |_| {})).await;
    let ended = |error| Failure::new(Reason::ArtifactVolumeUnavailable, "the unpacking ended").caused_by(error);
    let placed = unpacked.map_err(ended)??;
    let names = move_all(&into, directory)?;
    let (asked, version, size) = (goods.manifest.asked.clone(), file.version.clone(), file.size);
    let mark = Mark { asked, version, size, files: placed.files, bytes: placed.bytes, names };
    let failed = |error| Failure::local(error, "write to", scratch);
    fs::write(&mark_at, serde_json::to_vec(&mark).map_err(io::Error::from).map_err(failed)?).map_err(failed)?;
    remove(&into)?;
    remove(&folder)?;
    Ok(placed)
}

/// Moves what lies in `from` into `to`, and says what that is.
fn move_all(from: &Path, to: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error| Failure::local(error, "put in place what lies in", from);
    let mut names = Vec::new();
    for entry in fs::read_dir(from).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        remove(&to.join(&name))?;
        fs::rename(from.join(&name), to.join(&name)).map_err(failed)?;
        names.push(name.to_string_lossy().into_owned());
    }
    Ok(names)
}

fn remove(path: &Path) -> Result<(), Failure> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::local(error, "remove", path)),
        _ => Ok(()),
    }
}
