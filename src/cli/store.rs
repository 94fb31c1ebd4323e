//! The store that files of this machine are uploaded to, so that a cluster can fetch them.
//!
//! An object has its content's digest in its name, `STORE/SHA256/FILE`, so that the same content is uploaded once, and
//! the name of the file too, by which it is known where it is fetched. A registry has the digest as the tag.
//!
//! A claim is no such store. Files get onto a volume through a pod that mounts it, and neither the storage initializer's
//! image nor any other of ours has a shell or `tar` for `kubectl cp`; an image from elsewhere would be one that the
//! cluster may not be allowed to pull. So `pvc://` is answered with what to do by hand.

mod objects;
mod registry;

use std::fmt;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::mpsc::Receiver;

use super::error::Cause;
use super::parcel::Parcel;
use crate::fetch::uri::{self, Location};

/// What a name has to have encoded in a URI: everything but RFC 3986's unreserved letters.
const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The forms of an address, for people.
const FORMS: &str = "s3://BUCKET/PREFIX, azure://ACCOUNT/CONTAINER/PREFIX, abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PREFIX, \
     https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX or oci://REGISTRY/REPOSITORY";

/// Pieces of what is uploaded; an error ends it, and then nothing of it stays.
pub(super) type Pieces = Receiver<std::io::Result<Bytes>>;

/// Where files of this machine are uploaded to.
#[derive(Clone, PartialEq, Eq)]
pub struct Store {
    text: String,
    place: Location,
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Display for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Reads the address of a store, which holds no secret.
///
/// # Errors
/// Why it is none, in words.
pub fn parse(text: &str) -> Result<Store, String> {
    if let Some(rest) = text.strip_prefix("pvc://") {
        let claim = rest.split('/').next().unwrap_or_default();
        return Err(format!(
            "no image of Mooring has a shell or tar, so nothing can be uploaded to a claim; copy the files with a pod of your own \
             that mounts claim {claim:?} (kubectl cp FOLDER POD:/PATH), and write pvc://{claim}/PATH into the file"
        ));
    }
    if text.contains(['?', '#']) {
        // What follows may be a signature.
        let text = text.split(['?', '#']).next().unwrap_or_default();
        return Err(format!(
            "{text}: leave out what begins with ? or #; credentials come from the environment, such as AZURE_STORAGE_SAS_TOKEN"
        ));
    }
    let place = uri::parse(text).map_err(|failure| format!("{failure}; write {FORMS}"))?;
    match &place {
        Location::S3 { .. } | Location::Azure(_) => {}
        Location::Oci(_) => {
            let repository =
                text.split("://").nth(1).and_then(|rest| rest.split_once('/')).map_or("", |(_, path)| path);
            if repository.contains([':', '@']) {
                return Err(format!(
                    "{text} has a tag or a digest; name the repository alone, each upload gets a tag of its own"
                ));
            }
        }
        Location::Http(_) | Location::Hf(_) | Location::Gcs { .. } => {
            return Err(format!("nothing can be uploaded to {}; write {FORMS}", uri::redact(text)));
        }
    }
    Ok(Store { text: text.trim_end_matches('/').to_owned(), place })
}

impl Store {
    /// Where a parcel is, once it is uploaded, as the storage initializer is told.
    pub(super) fn uri(&self, parcel: &Parcel) -> String {
        match self.place {
            Location::Oci(_) => format!("{}:{}", self.text, parcel.sha256),
            _ => format!("{}/{}/{}", self.text, parcel.sha256, utf8_percent_encode(&parcel.name, &ENCODED)),
        }
    }

    /// What has to be right for an upload to succeed.
    pub(super) fn advice(&self) -> String {
        match &self.place {
            Location::Azure(address) => format!(
                "check that container {:?} of account {:?} is there, and that you may write to it: AZURE_STORAGE_ACCOUNT_KEY or \
                 AZURE_STORAGE_SAS_TOKEN, AZURE_TENANT_ID with AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or `az login`",
                address.container, address.account
            ),
            Location::Oci(address) => format!(
                "check that you may push to {}: `docker login {}` keeps the credentials",
                address.repository, address.registry
            ),
            _ => "check that the bucket is there, and that AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN, AWS_REGION, \
                  AWS_ENDPOINT_URL) say who may write to it; `aws configure export-credentials --format env` prints those of a profile"
                .to_owned(),
        }
    }

    /// Opens it with the caller's own credentials.
    pub(super) async fn open(&self) -> Result<Door, Cause> {
        match &self.place {
            Location::Oci(address) => Ok(Door::Registry(Box::new(registry::Registry::open(address).await?))),
            place => Ok(Door::Objects(objects::Objects::open(place).await?)),
        }
    }
}

/// An open store.
pub(super) enum Door {
    Objects(objects::Objects),
    Registry(Box<registry::Registry>),
}

impl Door {
    /// Whether a parcel is there already.
    pub(super) async fn has(&self, parcel: &Parcel) -> Result<bool, Cause> {
        match self {
            Self::Objects(objects) => objects.has(parcel).await,
            Self::Registry(registry) => registry.has(parcel).await,
        }
    }

    /// Uploads a parcel, whose bytes are `pieces`. Nobody sees it before it is whole.
    pub(super) async fn put(&self, parcel: &Parcel, pieces: Pieces) -> Result<(), Cause> {
        match self {
            Self::Objects(objects) => objects.put(parcel, pieces).await,
            Self::Registry(registry) => registry.put(parcel, pieces).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::artifact::ArtifactKind;
    use crate::cli::azure::LocalPath;

    fn parcel(name: &str) -> Parcel {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(name);
        std::fs::write(&path, "pickle").unwrap();
        let path = path.display().to_string();
        let local = LocalPath { deployment: String::new(), kind: ArtifactKind::Model, field: String::new(), path };
        Parcel::of(&local, &mut |_| {}).unwrap()
    }

    #[test]
    fn what_is_uploaded_has_a_uri_that_the_storage_initializer_reads_as_the_same_place() {
        let parcel = parcel("a b%20ü.pkl");
        let digest = &parcel.sha256;
        for (store, expected) in [
            ("s3://models/team/", format!("s3://models/team/{digest}/a%20b%2520%C3%BC.pkl")),
            ("s3://models", format!("s3://models/{digest}/a%20b%2520%C3%BC.pkl")),
            ("azure://acct/models/team", format!("azure://acct/models/team/{digest}/a%20b%2520%C3%BC.pkl")),
            ("oci://reg:5000/team/models", format!("oci://reg:5000/team/models:{digest}")),
        ] {
            let uri = parse(store).unwrap().uri(&parcel);
            assert_eq!(uri, expected);
            let key = match uri::parse(&uri).unwrap() {
                Location::S3 { key, .. } => key,
                Location::Azure(address) => address.path,
                Location::Oci(address) => {
                    assert_eq!(address.reference.as_str(), digest);
                    continue;
                }
                _ => unreachable!(),
            };
            assert!(key.ends_with(&format!("{digest}/a b%20ü.pkl")), "{key}");
            assert_eq!(objects::key(&parse(store).unwrap().place, &parcel).unwrap().as_ref(), key);
        }
    }

    #[test]
    fn what_is_no_store_is_told_what_is() {
        for (text, words) in [
            ("models", "has no scheme"),
            ("https://example.com/models/x", "s3://BUCKET/PREFIX"),
            ("gs://models", "nothing can be uploaded to gs://models"),
            ("hf://org/repo", "nothing can be uploaded"),
            ("oci://reg/models:1", "has a tag or a digest"),
            ("s3://", "no valid bucket name"),
            ("pvc://claim/models", "kubectl cp FOLDER POD:/PATH"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(words), "{text}: {refused}");
        }
    }

    #[test]
    fn a_signature_is_no_part_of_an_address_and_is_not_repeated() {
        let refused = parse("https://acct.blob.core.windows.net/models?sv=1&sig=S3CR3T").unwrap_err();
        assert!(refused.contains("AZURE_STORAGE_SAS_TOKEN") && !refused.contains("S3CR3T"), "{refused}");
    }
}
