//! Archives: fetched whole and verified, unpacked into a folder of their own, moved into place, and gone.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::manifest::{Entry, Manifest};
use super::{Goods, Location, Order, disk};
use crate::fetch::Placed;
use crate::fetch::blocking::blocking;
use crate::fetch::failure::Failure;
use crate::fetch::place::{self, remove};
use crate::fetch::unpack::{Limits, unpack};

/// What was unpacked, for the next run.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
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
    fn save(&self, path: &Path) -> Result<(), Failure> {
        let saved = serde_json::to_vec(self).map_err(io::Error::other).and_then(|text| fs::write(path, text));
        saved.map_err(|error| Failure::local(error, "write", path))
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
    let (to, at) = (directory.to_owned(), mark_at.clone());
    blocking(move || clear(mark, &to, &at)).await?;
    let (data, ways) = (folder.join("data"), folder.join("scratch"));
    let inner = Location { directory: &data, scratch: &ways };
    inner.make().await?;
    goods.put(inner, order.cache).await?;
    let Manifest { asked, boot, .. } = &*goods.manifest;
    let mark = Mark { asked: asked.clone(), boot: boot.clone(), of: of.clone(), ..Mark::default() };
    let (directory, into) = (directory.to_owned(), scratch.join("unpacked"));
    let settle = move || {
        remove(&into)?;
        tracing::info!("unpacking");
        let limits = Limits::of_space(disk::free(&folder)?);
        let placed = work(&data, &into, &limits)?;
        let mark = Mark { files: placed.files, bytes: placed.bytes, names: names(&into)?, ..mark };
        // Of what is half moved all is known, and it is never taken for whole.
        Mark { boot: String::new(), ..mark.clone() }.save(&mark_at)?;
        move_all(&into, &directory)?;
        mark.save(&mark_at)?;
        remove(&into)?;
        remove(&folder)?;
        Ok(placed)
    };
    blocking(settle).await
}

/// Removes what lies in `directory` of `mark`, which is at `mark_at`.
fn clear(mark: Mark, directory: &Path, mark_at: &Path) -> Result<(), Failure> {
    if mark.names.is_empty() {
        return Ok(());
    }
    // What is half removed is never taken for whole, and what is left of it is still known.
    let mark = Mark { boot: String::new(), ..mark };
    mark.save(mark_at)?;
    for name in &mark.names {
        remove(&directory.join(place::safe(name)?))?;
    }
    Ok(())
}

/// What lies in `folder`.
fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let names = fs::read_dir(folder).and_then(|entries| entries.map(name).collect());
    names.map_err(|error| Failure::local(error, "read", folder))
}

/// Moves what lies in `from` into `to`.
fn move_all(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::local(error, "put in place what lies in", from);
    for entry in fs::read_dir(from).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        remove(&to.join(&name))?;
        fs::rename(from.join(&name), to.join(&name)).map_err(failed)?;
    }
    Ok(())
}
