//! What every source gives: what there is, and the bytes of one object.

pub mod http;
pub mod s3;

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use reqwest::Response;

use crate::fetch::Patience;
use crate::fetch::client;
use crate::fetch::credentials::Folder;
use crate::fetch::failure::Failure;
use crate::fetch::uri::{self, Location};

/// A place that artifacts come from.
pub enum Source {
    /// One object of a web server.
    Http(http::Http),
    /// A bucket.
    S3(s3::S3),
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
}

/// One thing in a folder.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path below the folder, decoded, with `/` between its segments. As the store says it: not to be trusted.
    pub path: String,
    /// The object to place there; `None` makes a folder.
    pub object: Option<Object>,
}

/// One object of a source.
#[derive(Debug, PartialEq, Eq)]
pub struct Object {
    /// What the source calls it.
    pub key: String,
    /// Bytes, where the source has told already.
    pub size: Option<u64>,
}

/// The bytes of one object, on their way.
#[derive(Debug)]
pub struct Download {
    response: Response,
    host: String,
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
                let access = s3::access::Access::find(folder.as_ref()).await?;
                Ok(Self::S3(s3::S3::new(client, access, bucket, key, patience)))
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
        }
    }

    /// Asks for the bytes of `object`, once.
    ///
    /// # Errors
    ///
    /// When the store does not give it.
    pub async fn read(&self, object: &Object) -> Result<Download, Failure> {
        match self {
            Self::Http(http) => http.read().await,
            Self::S3(s3) => s3.read(&object.key).await,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(http) => http.fmt(formatter),
            Self::S3(s3) => s3.fmt(formatter),
        }
    }
}

impl Download {
    fn new(response: Response) -> Self {
        let host = client::host(response.url());
        Self { response, host }
    }

    /// Bytes in all, when the store says so.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    ///
    /// When the store breaks off before the end or stalls.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        self.response.chunk().await.map_err(|error| Failure::transport(error, &self.host))
    }
}
