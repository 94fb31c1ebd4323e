//! The JSON documents of Google Cloud Storage.

use serde::Deserialize;

use crate::fetch::source::Object;
use crate::fetch::verify::{Algorithm, Checksum};

/// What is asked of each object in a listing.
pub const FIELDS: &str = "nextPageToken,items(name,size,generation,md5Hash,crc32c)";

/// One page of a listing.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ListPage {
    /// The objects of the page.
    #[serde(default)]
    pub items: Vec<Resource>,
    /// Asks for the next page.
    pub next_page_token: Option<String>,
}

/// An object resource.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    name: String,
    /// A number as text, since JSON has none so large.
    size: String,
    generation: Option<String>,
    md5_hash: Option<String>,
    crc32c: Option<String>,
}

/// What the store says when it does not do what was asked.
#[derive(Deserialize, Debug)]
pub struct ErrorDocument {
    /// All that it says.
    pub error: ErrorResource,
}

/// What went wrong.
#[derive(Deserialize, Debug, Default)]
pub struct ErrorResource {
    /// The store's words.
    pub message: Option<String>,
    #[serde(default)]
    errors: Vec<ErrorItem>,
}

#[derive(Deserialize, Debug)]
struct ErrorItem {
    reason: Option<String>,
}

impl Resource {
    /// The object; `None` when its size is no number.
    #[must_use]
    pub fn object(self) -> Option<Object> {
        let checksum = |algorithm, digest: Option<String>| Checksum::from_base64(algorithm, &digest?);
        let checksums = [checksum(Algorithm::Crc32c, self.crc32c), checksum(Algorithm::Md5, self.md5_hash)];
        Some(Object {
            key: self.name,
            size: Some(self.size.parse().ok()?),
            version: self.generation,
            checksums: checksums.into_iter().flatten().collect(),
        })
    }
}

impl ErrorResource {
    /// The store's own code, as `notFound`.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.errors.iter().find_map(|item| item.reason.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_with_its_version_and_digests() {
        let text = r#"{"kind": "storage#object", "name": "a/b", "size": "9", "generation": "17",
            "md5Hash": "JfnnlDI7RTiF9RgfG2JNCw==", "crc32c": "4waSgw=="}"#;
        let object = serde_json::from_str::<Resource>(text).unwrap().object().unwrap();
        assert_eq!((object.key.as_str(), object.size, object.version.as_deref()), ("a/b", Some(9), Some("17")));
        assert_eq!(object.checksums.len(), 2);
        assert!(serde_json::from_str::<Resource>(r#"{"name": "a", "size": "-1"}"#).unwrap().object().is_none());
    }

    #[test]
    fn an_error_has_a_reason() {
        // Source: Cloud Storage JSON API, "HTTP status and error codes".
        let text = r#"{"error": {"errors": [{"domain": "global", "reason": "required", "message": "Login Required"}],
            "code": 401, "message": "Login Required"}}"#;
        let document: ErrorDocument = serde_json::from_str(text).unwrap();
        assert_eq!(document.error.reason(), Some("required"));
    }
}
