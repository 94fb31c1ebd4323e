//! Buckets of S3 and containers of Azure Storage, through `object_store`: it has the retries, the parts of large objects
//! and the credentials of a person's machine. What the storage initializer needs beyond that, it does itself.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, resolve_bucket_region};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::io::AsyncWriteExt;

use super::Pieces;
use crate::cli::error::Cause;
use crate::cli::parcel::Parcel;
use crate::fetch::Patience;
use crate::fetch::client;
use crate::fetch::settings::environment;
use crate::fetch::source::azure::access::Access;
use crate::fetch::uri::Location;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// Longest time for one part: 16 MiB at 0.2 Mbit/s.
const PART: Duration = Duration::from_mins(10);
/// How often a request is tried again, and for how long.
const RETRIES: usize = 5;
const RETRYING: Duration = Duration::from_mins(2);
/// Least bytes of a part. All stores take 10,000 parts (Amazon S3, "Multipart upload limits"); Azure takes more.
const LEAST_PART: u64 = 16 << 20;
const MOST_PARTS: u64 = 9_000;
/// Parts that are on their way at the same time.
const PARTS_AT_ONCE: usize = 4;

/// Where S3 is, if not at Amazon; the storage initializer's names.
const S3_ENDPOINT: &[&str] = &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
const S3_REGION: &[&str] = &["AWS_REGION", "AWS_DEFAULT_REGION"];
/// The key's name in the command line of Azure, which `object_store` does not know.
const AZURE_KEY: &[&str] = &["AZURE_STORAGE_KEY"];
/// Any of these says who somebody is to Azure; without them it is whoever has signed in by `az login`.
const AZURE_IDENTITY: &[&str] = &[
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_SKIP_SIGNATURE",
    "IDENTITY_ENDPOINT",
    "AZURE_MSI_ENDPOINT",
];

/// A bucket or a container.
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    place: Location,
}

impl Objects {
    pub(super) async fn open(place: &Location) -> Result<Self, Cause> {
        let store: Arc<dyn ObjectStore> = match place {
            Location::S3 { bucket, .. } => {
                let endpoint = environment(S3_ENDPOINT);
                let options = options(endpoint.as_deref());
                let mut builder = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_retry(retries())
                    .with_client_options(options.clone());
                if let Some(endpoint) = endpoint {
                    builder = builder.with_config(AmazonS3ConfigKey::Endpoint, endpoint);
                } else if environment(S3_REGION).is_none() {
                    // A request to another region is refused.
                    builder = builder.with_region(resolve_bucket_region(bucket, &options).await?);
                }
                Arc::new(builder.build()?)
            }
            Location::Azure(address) => {
                let patience = Patience { attempts: 1, connect: CONNECT, stall: CONNECT };
                let service = Access::find(client::build(patience)?, None, address).await?.service;
                let mut builder = MicrosoftAzureBuilder::from_env()
                    .with_account(&address.account)
                    .with_container_name(&address.container)
                    .with_retry(retries())
                    .with_client_options(options(Some(&service)))
                    .with_endpoint(service);
                if let Some(key) = environment(AZURE_KEY) {
                    builder = builder.with_access_key(key);
                }
                if environment(AZURE_IDENTITY).is_none() {
                    builder = builder.with_use_azure_cli(true);
                }
                Arc::new(builder.build()?)
            }
            _ => return Err("it is neither a bucket nor a container".into()),
        };
        Ok(Self { store, place: place.clone() })
    }

    pub(super) async fn has(&self, parcel: &Parcel) -> Result<bool, Cause> {
        match self.store.head(&key(&self.place, parcel)?).await {
            Ok(found) => Ok(found.size == parcel.bytes),
            // Who may write, may not be allowed to look; and then a store does not say whether there is anything.
            Err(Error::NotFound { .. } | Error::PermissionDenied { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn put(&self, parcel: &Parcel, mut pieces: Pieces) -> Result<(), Cause> {
        let part = usize::try_from((parcel.bytes / MOST_PARTS).max(LEAST_PART)).unwrap_or(usize::MAX);
        let path = key(&self.place, parcel)?;
        let mut writer =
            BufWriter::with_capacity(Arc::clone(&self.store), path, part).with_max_concurrency(PARTS_AT_ONCE);
        while let Some(piece) = pieces.recv().await {
            let put = match piece {
                Ok(bytes) => writer.put(bytes).await.map_err(Cause::from),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = put {
                // The first error is the one to be told.
                let _ = writer.abort().await;
                return Err(error);
            }
        }
        writer.shutdown().await.map_err(Cause::from)
    }
}

/// The key of a parcel.
pub(super) fn key(place: &Location, parcel: &Parcel) -> Result<Path, Cause> {
    let prefix = match place {
        Location::S3 { key, .. } => key,
        Location::Azure(address) => &address.path,
        _ => "",
    };
    let prefix = prefix.trim_matches('/');
    let slash = if prefix.is_empty() { "" } else { "/" };
    Ok(Path::parse(format!("{prefix}{slash}{}/{}", parcel.sha256, parcel.name))?)
}

fn options(endpoint: Option<&str>) -> ClientOptions {
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    ClientOptions::new().with_allow_http(is_plain).with_connect_timeout(CONNECT).with_timeout(PART)
}

fn retries() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES, retry_timeout: RETRYING }
}
