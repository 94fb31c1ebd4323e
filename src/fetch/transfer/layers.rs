//! A folder that layers make up: all are fetched and verified, then laid over one another.

use std::fs;
use std::path::{Path, PathBuf};

use super::archive::put_made;
use super::{Goods, Order};
use crate::api::artifact::FolderPlacement;
use crate::catalogue::Reason;
use crate::fetch::Placed;
use crate::fetch::failure::Failure;
use crate::fetch::place::{self, remove};
use crate::fetch::source::{Content, Form};
use crate::fetch::unpack::overlay::{hide, lay};
use crate::fetch::unpack::{Limits, unpack, unpack_below};

/// What the files of some goods make up.
pub struct Stack {
    /// Name of the folder.
    pub name: String,
    /// The layers from the lowest to the highest, each with its name for people.
    pub layers: Vec<(String, Form)>,
}

impl Stack {
    /// What the layers of `content` make up; `None` when it has none.
    pub fn of(content: &Content) -> Option<Self> {
        let Content::Layers { name, layers } = content else { return None };
        let layers = layers.iter().map(|layer| (layer.object.key.clone(), layer.form.clone())).collect();
        Some(Self { name: name.clone(), layers })
    }
}

/// Puts the folder in place.
pub async fn put(goods: &Goods, order: Order<'_>, stack: Stack) -> Result<Placed, Failure> {
    let root = match order.folder {
        FolderPlacement::SubFolder => place::safe_name(&stack.name)?,
        FolderPlacement::Direct => PathBuf::new(),
    };
    let files: Vec<PathBuf> = goods.manifest.files.iter().map(|file| PathBuf::from(&file.path)).collect();
    let work = move |from: &Path, into: &Path, limits: &Limits| {
        let folder = into.join(root);
        fs::create_dir_all(&folder).map_err(|error| Failure::local(error, "make the folder", &folder))?;
        for ((name, form), file) in stack.layers.iter().zip(files) {
            add(&from.join(file), name, form, &folder, limits)?;
        }
        let placed = count(&folder)?;
        if placed.files == 0 {
            let below = stack.layers.iter().find_map(|(_, form)| match form {
                Form::Filesystem { below } => Some(format!(" below /{below}")),
                _ => None,
            });
            let act = format!("the layers of {} hold no file{}", stack.name, below.unwrap_or_default());
            return Err(Failure::new(Reason::ArtifactEmpty, act));
        }
        Ok(placed)
    };
    put_made(goods, order, work).await
}

/// Lays `layer` over what is in `folder`.
fn add(layer: &Path, name: &str, form: &Form, folder: &Path, limits: &Limits) -> Result<(), Failure> {
    let content = layer.with_extension("content");
    remove(&content)?;
    match form {
        Form::File(path) => {
            let path = place::safe(path)?;
            let made = content.join(&path);
            let parent = made.parent().unwrap_or(&content);
            fs::create_dir_all(parent).map_err(|error| Failure::local(error, "make the folder", parent))?;
            // What was fetched keeps its own name for a run that follows this one when it is killed.
            fs::hard_link(layer, &made).map_err(|error| Failure::local(error, "put in place", &made))?;
        }
        Form::Archive => {
            unpack(layer, name, &content, limits, &mut |_| {})?;
        }
        Form::Filesystem { below } => {
            unpack_below(layer, name, below, &content, limits, &mut |_| {})?;
            hide(&content, folder)?;
        }
    }
    lay(&content, folder)?;
    remove(&content)
}

fn count(folder: &Path) -> Result<Placed, Failure> {
    let mut placed = Placed::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let unreadable = |error| Failure::local(error, "read", &folder);
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let metadata = entry.metadata().map_err(unreadable)?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                placed.files += 1;
                placed.bytes += metadata.len();
            }
        }
    }
    Ok(placed)
}
