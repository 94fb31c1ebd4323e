//! A store that knows objects and no folders: whether a key is an object or the beginning of others is found out by asking.

use crate::catalogue::Reason;
use crate::fetch::download::Told;
use crate::fetch::failure::Failure;
use crate::fetch::retry::persist;
use crate::fetch::source::{Content, Entry, MOST_ENTRIES, Object, too_many};
use crate::fetch::uri::last_segment;

/// What has exactly a key.
#[derive(Debug)]
pub enum Found {
    /// An object.
    Object(Told),
    /// Nothing but a mark that there is a folder of this name.
    Folder,
    /// Nothing, in the store's own words.
    Nothing(Failure),
}

/// One page of a listing.
#[derive(Debug)]
pub struct Page {
    /// Objects, each with whether it only marks a folder.
    pub objects: Vec<(Object, bool)>,
    /// Asks for the next page; `None` after the last.
    pub next: Option<String>,
}

/// Such a store.
pub trait Bucket {
    /// Its name.
    fn name(&self) -> &str;

    /// What it calls itself, for people: a bucket, a container.
    fn kind(&self) -> &'static str;

    /// How often a request is tried in all.
    fn attempts(&self) -> usize;

    /// Looks what has exactly this key.
    fn find(&self, key: &str) -> impl Future<Output = Result<Found, Failure>> + Send;

    /// Lists what begins with `prefix`, from the page on that `token` stands for.
    fn page(&self, prefix: &str, token: Option<&str>) -> impl Future<Output = Result<Page, Failure>> + Send;
}

/// Finds out whether `key` is an object or a prefix of whole path segments. An object of exactly this key wins, unless it
/// is only the mark of a folder.
///
/// # Errors
///
/// [`Reason::ArtifactNotFound`] when it is neither, [`Reason::ArtifactEmpty`] when no file is below the prefix.
pub async fn look(bucket: &impl Bucket, key: &str) -> Result<Content, Failure> {
    let only_prefix = key.is_empty() || key.ends_with('/');
    let (mut nothing, mut is_there) = (None, false);
    if !only_prefix {
        match bucket.find(key).await? {
            Found::Object(Told { size, version, checksums, .. }) => {
                let name = last_segment(key).unwrap_or_default().to_owned();
                return Ok(Content::Object { name, object: Object { key: key.to_owned(), size, version, checksums } });
            }
            Found::Folder => is_there = true,
            Found::Nothing(failure) => nothing = Some(failure),
        }
    }
    let prefix = if only_prefix { key.to_owned() } else { format!("{key}/") };
    let listed = list(bucket, &prefix).await?;
    is_there |= !listed.is_empty();
    let entries: Vec<Entry> = listed.into_iter().flatten().collect();
    if entries.iter().any(|entry| entry.object.is_some()) {
        let name = last_segment(key).unwrap_or(bucket.name()).to_owned();
        return Ok(Content::Folder { name, entries });
    }
    match nothing {
        Some(failure) if !is_there => Err(failure),
        _ => {
            let act = format!("nothing is below the prefix {prefix:?} of the {} {}", bucket.kind(), bucket.name());
            Err(Failure::new(Reason::ArtifactEmpty, act))
        }
    }
}

/// Everything below `prefix`; `None` stands for the mark of the prefix itself.
async fn list(bucket: &impl Bucket, prefix: &str) -> Result<Vec<Option<Entry>>, Failure> {
    let mut entries = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let page = persist(bucket.attempts(), || bucket.page(prefix, token.as_deref())).await?;
        for (object, is_folder) in page.objects {
            entries.push(Entry::below(prefix, object, is_folder)?);
        }
        if entries.len() > MOST_ENTRIES {
            return Err(too_many(prefix));
        }
        match page.next {
            None => return Ok(entries),
            next if next != token => token = next,
            Some(_) => return Err(Failure::new(Reason::ArtifactStoreError, "the store's listing never ends")),
        }
    }
}
