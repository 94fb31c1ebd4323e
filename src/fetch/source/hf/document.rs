//! What a hub says: the commit of a revision, and what is in a folder.

use reqwest::header::{HeaderMap, LINK};
use serde::Deserialize;

use crate::fetch::source::Object;
use crate::fetch::verify::{Algorithm, Checksum};

/// `GET /api/models/REPOSITORY/revision/REVISION`.
#[derive(Deserialize)]
pub struct Revision {
    /// The commit.
    pub sha: String,
}

/// One line of `GET /api/models/REPOSITORY/tree/COMMIT/PATH`.
#[derive(Deserialize, Clone)]
pub struct Item {
    /// `file` or `directory`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The path in the repository.
    pub path: String,
    /// Bytes; of a large file those of its content.
    #[serde(default)]
    pub size: u64,
    /// Git's name of the content; of a large file that of its pointer.
    pub oid: String,
    /// A large file, which Git itself does not hold.
    pub lfs: Option<Large>,
}

/// What Git has of a large file.
#[derive(Deserialize, Clone)]
pub struct Large {
    /// SHA-256 of the content.
    pub oid: String,
    /// Bytes of the content.
    pub size: u64,
}

impl Item {
    /// Whether it is a file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind == "file"
    }
}

impl From<Item> for Object {
    fn from(item: Item) -> Self {
        let Item { path: key, size, oid, lfs, .. } = item;
        let (algorithm, version, size) = match lfs {
            Some(large) => (Algorithm::Sha256, large.oid, large.size),
            None => (Algorithm::GitBlob(size), oid, size),
        };
        let checksums = Checksum::from_hexadecimal(algorithm, &version).into_iter().collect();
        Self { key, size: Some(size), version: Some(version), checksums }
    }
}

/// The query of the page after this one, from `Link: <…?cursor=…>; rel="next"`.
#[must_use]
pub fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok());
    links.flat_map(|link| link.split(',')).find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| matches!(parameter.trim(), "rel=\"next\"" | "rel=next"));
        let (_, query) = target.split_once('?').filter(|_| is_next)?;
        Some(query.split('#').next().unwrap_or(query).to_owned())
    })
}
