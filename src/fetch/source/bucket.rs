//! A store that knows objects and no folders: whether a key is an object or the beginning of others is found out by asking.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use reqwest::Response;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, IF_MATCH, RANGE};
use url::Url;

use crate::catalogue::Reason;
use crate::fetch::download::{Span, Told};
use crate::fetch::failure::Failure;
use crate::fetch::retry::persist;
use crate::fetch::source::{Content, Entry, MOST_ENTRIES, Object, too_many};
use crate::fetch::uri::last_segment;

/// What is encoded in a query: the signatures leave only the rest as it is.
pub const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What is encoded in the key of an object.
pub const ENCODED_IN_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// Longest page of a listing that is read: it has 1,000 keys of up to 1,024 bytes, each of up to three characters, and in
/// Azure up to 8 KiB of metadata with each.
pub const LONGEST_PAGE: usize = 16 << 20;
/// Longest document with an error that is read.
pub const LONGEST_ERROR: usize = 64 << 10;

/// `text` as a url.
///
/// # Errors
///
/// [`Reason::ArtifactUriInvalid`] when it is none.
pub fn url(text: &str) -> Result<Url, Failure> {
    Url::parse(text)
        .map_err(|error| Failure::new(Reason::ArtifactUriInvalid, format!("{text} is no url")).caused_by(error))
}

/// The headers that ask for `span` of `object` in the version that is known of it.
///
/// # Errors
///
/// When that version is no header.
pub fn conditions(object: &Object, span: Option<Span>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in [(RANGE, span.map(Span::header)), (IF_MATCH, object.version.clone())] {
        let Some(value) = value else { continue };
        let unfit = |error| Failure::new(Reason::ArtifactStoreError, "the store's tag is no header").caused_by(error);
        headers.insert(name, HeaderValue::try_from(value).map_err(unfit)?);
    }
    Ok(headers)
}

/// Bytes of the body that `response` announces, also where it has none.
#[must_use]
pub fn length(response: &Response) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

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
