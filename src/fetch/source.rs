//! What every source gives: what there is, and the bytes of one object.

pub mod azure;
pub mod bucket;
pub mod gcs;
pub mod hf;
pub mod http;
pub mod oci;
pub mod s3;

use std::fmt;
use std::path::Path;

use crate::catalogue::Reason;
use crate::fetch::Patience;
use crate::fetch::client;
use crate::fetch::credentials::Folder;
use crate::fetch::download::{Download, Span, Told};
use crate::fetch::failure::Failure;
use crate::fetch::uri::{self, Location};
use crate::fetch::verify::Checksum;

/// A place that artifacts come from.
pub enum Source {
    /// One object of a web server.
    Http(http::Http),
    /// A bucket of S3.
    S3(s3::S3),
    /// A repository of a Hugging Face hub.
    Hf(hf::Hf),
    /// An artifact of a container registry.
    Oci(oci::Oci),
    /// A container of Azure Storage.
    Azure(azure::Azure),
    /// A bucket of Google Cloud Storage.
    Gcs(gcs::Gcs),
}

/// What a uri turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// One object.
    Object {
        /// File name.
        name: String,
        /// The object.
        object: Object,
    },
    /// A folder with at least one file in it, at any depth.
    Folder {
        /// Name of the folder: the last segment of the uri.
        name: String,
        /// What is in it, at any depth.
        entries: Vec<Entry>,
    },
    /// A folder that layers make up, each laid over those before it.
    Layers {
        /// Name of the folder.
        name: String,
        /// From the lowest to the highest.
        layers: Vec<Layer>,
    },
}

/// A part of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Where its bytes are.
    pub object: Object,
    /// What they are.
    pub form: Form,
}

/// What a layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A file with this path. As the store says it: not to be trusted.
    File(String),
    /// An archive of files and folders.
    Archive,
    /// A change of a container's filesystem, of which only the content of one folder is wanted.
    Filesystem {
        /// Name of that folder.
        below: &'static str,
    },
}

/// One thing in a folder.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path below the folder, decoded, with `/` between its segments. As the store says it: not to be trusted.
    pub path: String,
    /// The object to place there; `None` makes a folder.
    pub object: Option<Object>,
}

impl Entry {
    /// The listed `object` below `prefix`; `None` when it is the marker of that folder itself. A key that ends with `/` is
    /// the marker of a folder, and so is one that `is_folder` for the store.
    ///
    /// # Errors
    ///
    /// When the store lists something else than it was asked for.
    pub fn below(prefix: &str, object: Object, is_folder: bool) -> Result<Option<Self>, Failure> {
        let Some(path) = object.key.strip_prefix(prefix) else {
            let act = format!("the store listed {:?}, which is not below {prefix:?}", object.key);
            return Err(Failure::new(Reason::ArtifactStoreError, act));
        };
        Ok(match path.strip_suffix('/') {
            _ if path.is_empty() => None,
            Some(folder) => Some(Self { path: folder.to_owned(), object: None }),
            None if is_folder => Some(Self { path: path.to_owned(), object: None }),
            None => Some(Self { path: path.to_owned(), object: Some(object) }),
        })
    }
}

/// One object of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// What the source calls it.
    pub key: String,
    /// Bytes, where the source has told already.
    pub size: Option<u64>,
    /// What tells this version of it from any other, where the source has told already; an entity tag or a generation.
    pub version: Option<String>,
    /// Digests that the source has told already.
    pub checksums: Vec<Checksum>,
}

impl Object {
    /// Its name for people.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.key.is_empty() { "the object" } else { &self.key }
    }
}

/// How many entries of a folder are fetched: all of them are in memory, about 1 KiB each.
pub const MOST_ENTRIES: usize = 50_000;

/// A folder that has more.
#[must_use]
pub fn too_many(folder: &str) -> Failure {
    let act =
        format!("the folder {folder:?} has more than {MOST_ENTRIES} files; pack them into an archive and set unpack");
    Failure::new(Reason::ArtifactUriInvalid, act)
}

impl Source {
    /// Opens the source of `uri` with the Secret that is mounted at `credentials`.
    ///
    /// # Errors
    ///
    /// When the uri can't be understood or the credentials are not complete.
    pub async fn open(uri: &str, credentials: Option<&Path>, patience: Patience) -> Result<Self, Failure> {
        let location = uri::parse(uri)?;
        let folder = match credentials {
            Some(path) => Some(Folder::open(path).await?),
            None => None,
        };
        let client = client::build(patience)?;
        match location {
            Location::Http(url) => Ok(Self::Http(http::Http::open(client, url, folder.as_ref()).await?)),
            Location::S3 { bucket, key } => {
                let access = s3::access::Access::find(client.clone(), folder.as_ref()).await?;
                Ok(Self::S3(s3::S3::new(client, access, bucket, key, patience)))
            }
            Location::Hf(address) => Ok(Self::Hf(hf::Hf::open(client, address, folder.as_ref(), patience).await?)),
            Location::Oci(address) => {
                let access = oci::access::Access::find(folder.as_ref(), &address).await?;
                Ok(Self::Oci(oci::Oci::new(client, access, address, patience)))
            }
            Location::Azure(address) => {
                let access = azure::access::Access::find(client.clone(), folder.as_ref(), &address).await?;
                Ok(Self::Azure(azure::Azure::new(client, access, address, patience)))
            }
            Location::Gcs { bucket, key } => {
                let access = gcs::access::Access::find(client.clone(), folder.as_ref()).await?;
                Ok(Self::Gcs(gcs::Gcs::new(client, access, bucket, key, patience)))
            }
        }
    }

    /// Looks at what there is.
    ///
    /// # Errors
    ///
    /// When there is nothing, or the store does not tell.
    pub async fn look(&self) -> Result<Content, Failure> {
        match self {
            Self::Http(http) => http.look(),
            Self::S3(s3) => s3.look().await,
            Self::Hf(hf) => hf.look().await,
            Self::Oci(oci) => oci.look().await,
            Self::Azure(azure) => azure.look().await,
            Self::Gcs(gcs) => gcs.look().await,
        }
    }

    /// Where it is served, where the uri alone does not tell.
    #[must_use]
    pub fn service(&self) -> String {
        match self {
            Self::Http(_) => String::new(),
            Self::S3(s3) => s3.service(),
            Self::Azure(azure) => azure.service(),
            Self::Gcs(gcs) => gcs.service(),
            Self::Hf(hf) => hf.service(),
            Self::Oci(oci) => oci.service(),
        }
    }

    /// Asks once for the bytes of `object`, all of them or those of `span`, in the version that is known of it.
    ///
    /// # Errors
    ///
    /// When the store does not give them.
    pub async fn read(&self, object: &Object, span: Option<Span>) -> Result<Download, Failure> {
        match self {
            Self::Http(http) => http.read(object, span).await,
            Self::S3(s3) => s3.read(object, span).await,
            Self::Hf(hf) => hf.read(object, span).await,
            Self::Oci(oci) => oci.read(object, span).await,
            Self::Azure(azure) => azure.read(object, span).await,
            Self::Gcs(gcs) => gcs.read(object, span).await,
        }
    }

    /// Asks what there is to know of an `object` that is large, or whose size is not known, beyond its listing: so that
    /// it can be asked for in parts and verified as a whole.
    ///
    /// # Errors
    ///
    /// When the store does not tell.
    pub async fn describe(&self, object: &Object) -> Result<Told, Failure> {
        match self {
            Self::Http(http) => http.describe(object).await,
            Self::S3(s3) => s3.describe(object).await,
            Self::Hf(hf) => hf.describe(object).await,
            // Its manifest has told all.
            Self::Oci(_) => Ok(Told::default()),
            Self::Azure(azure) => azure.describe(object).await,
            Self::Gcs(gcs) => gcs.describe(object).await,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(http) => http.fmt(formatter),
            Self::S3(s3) => s3.fmt(formatter),
            Self::Hf(hf) => hf.fmt(formatter),
            Self::Oci(oci) => oci.fmt(formatter),
            Self::Azure(azure) => azure.fmt(formatter),
            Self::Gcs(gcs) => gcs.fmt(formatter),
        }
    }
}
