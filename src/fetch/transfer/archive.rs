//! Archives: fetched whole and verified, unpacked into a folder of their own, moved into place, and gone.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::manifest::Entry;
use super::{Goods, Location, Order, disk};
use crate::catalogue::Reason;
use crate::fetch::Placed;
use crate::fetch::failure::Failure;
use crate::fetch::place::{self, remove};
use crate::fetch::unpack::{Limits, unpack};

/// What was unpacked, for the next run.
#[derive(Serialize, Deserialize, Debug, Default, PartialEq, Eq)]
struct Mark {
    asked: String,
    /// The start of the machine: what was unpacked before another one may be lost.
    #[serde(default)]
    boot: String,
    of: Vec<Entry>,
    files: u64,
    bytes: u64,
    /// What lies in the directory for it.
    names: Vec<String>,
}

impl Mark {
    fn save(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_vec(self)?)
    }
}

/// Puts the content of the archive in place.
pub async fn put(goods: &Goods, order: Order<'_>) -> Result<Placed, Failure> {
    let Some(file) = goods.manifest.files.first().map(|file| file.path.clone()) else { return Ok(Placed::default()) };
    let work =
        move |from: &Path, into: &Path, limits: &Limits| unpack(&from.join(&file), &file, into, limits, &mut |_| {});
    put_made(goods, order, work).await
}

/// Fetches everything into a folder of its own, lets `work` make a new folder of what is there, and moves the content of
/// that into place.
pub async fn put_made(
    goods: &Goods,
    order: Order<'_>,
    work: impl FnOnce(&Path, &Path, &Limits) -> Result<Placed, Failure> + Send + 'static,
) -> Result<Placed, Failure> {
    let of = &goods.manifest.files;
    let Location { directory, scratch } = order.place;
    let (folder, mark_at) = (scratch.join("archive"), scratch.join("unpacked.json"));
    let mark: Mark = serde_json::from_slice(&fs::read(&mark_at).unwrap_or_default()).unwrap_or_default();
    let same_boot = !mark.boot.is_empty() && mark.boot == goods.manifest.boot;
    if same_boot && mark.asked == goods.manifest.asked && mark.of == *of && of.iter().all(|file| file.version.is_some())
    {
        goods.progress.start(of.len(), mark.bytes, of.len(), mark.bytes);
        return Ok(Placed { files: mark.files, bytes: mark.bytes });
    }
    // What is half removed is never taken for whole, and what is left of it is still known.
    let mark = Mark { boot: String::new(), ..mark };
    if !mark.names.is_empty() {
        mark.save(&mark_at).map_err(|error| Failure::local(error, "write to", scratch))?;
    }
    for name in &mark.names {
        remove(&directory.join(place::safe(name)?))?;
    }
    let (data, ways) = (folder.join("data"), folder.join("scratch"));
    let inner = Location { directory: &data, scratch: &ways };
    inner.make().await?;
    goods.put(inner, order.cache).await?;
    let into = scratch.join("unpacked");
    remove(&into)?;
    tracing::info!("unpacking");
    let (limits, to) = (Limits::of_space(disk::free(scratch)?), into.clone());
    let unpacked = tokio::task::spawn_blocking(move || work(&data, &to, &limits)).await;
    let ended = |error| Failure::new(Reason::ArtifactVolumeUnavailable, "the unpacking ended").caused_by(error);
    let placed = unpacked.map_err(ended)??;
    let names = move_all(&into, directory)?;
    let (asked, of) = (goods.manifest.asked.clone(), of.clone());
    let boot = goods.manifest.boot.clone();
    let mark = Mark { asked, boot, of, files: placed.files, bytes: placed.bytes, names };
    mark.save(&mark_at).map_err(|error| Failure::local(error, "write to", scratch))?;
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
