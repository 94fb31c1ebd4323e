//! Where Google Cloud Storage is and who we are to it.
//!
//! | what | keys of the Secret |
//! |---|---|
//! | key of a service account (JSON) | `GOOGLE_SERVICE_ACCOUNT_KEY`, `service-account.json`, `key.json`, `gcloud-application-credentials.json`, `serviceAccountKey` |
//! | no credentials at all | `GOOGLE_SKIP_SIGNATURE`, `anonymous`: `true` |
//! | endpoint | `GCS_ENDPOINT_URL`, `STORAGE_EMULATOR_HOST`, `endpoint` |
//!
//! The endpoint is also read from environment variables, which the Secret outranks. Without a Secret the key in the file
//! that `GOOGLE_APPLICATION_CREDENTIALS` names is used. Without that the access is anonymous, until the store wants to
//! know who we are: then the metadata server is asked, which on GKE knows the workload identity of the pod
//! (`GCE_METADATA_HOST` where it is elsewhere).

use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use reqwest::Client;
use serde_json::Value;

use crate::fetch::credentials::{Folder, missing};
use crate::fetch::failure::Failure;
use crate::fetch::identity::{Connection, Identity, Provider, once};
use crate::fetch::settings::{Settings, endpoint, environment, is_true};

const KEY: &[&str] = &[
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "service-account.json",
    "key.json",
    "gcloud-application-credentials.json",
    "serviceAccountKey",
];
const KEY_FILE: &[&str] = &["GOOGLE_APPLICATION_CREDENTIALS"];
const ANONYMOUS: &[&str] = &["GOOGLE_SKIP_SIGNATURE", "anonymous"];
const ENDPOINT: &[&str] = &["GCS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST", "endpoint"];

/// What the key of a service account must have.
const NEEDED: [&str; 3] = ["client_email", "private_key", "private_key_id"];

/// Where Google Cloud Storage is and who we are to it.
pub struct Access {
    /// Who asks.
    pub identity: Identity<GcpCredential>,
    /// The store, without a slash at its end.
    pub service: String,
}

impl Access {
    /// Reads the Secret at `folder` and the environment.
    ///
    /// # Errors
    ///
    /// `ArtifactCredentialsMissing` when a key that is needed is not there, or a value can't be what its key says.
    pub async fn find(client: Client, folder: Option<&Folder>) -> Result<Self, Failure> {
        let service = match (Settings { secret: folder }).value(ENDPOINT).await? {
            Some(text) => endpoint("Google Cloud Storage", &text, None)?.as_str().trim_end_matches('/').to_owned(),
            None => "https://storage.googleapis.com".to_owned(),
        };
        let identity = match (folder, environment(KEY_FILE)) {
            (Some(folder), _) if is_true(ANONYMOUS, folder.value(ANONYMOUS).await?.as_deref())? == Some(true) => {
                Identity::Nobody { why: "the Secret asks for anonymous access" }
            }
            (Some(folder), _) => of_key(client, &folder.needed(KEY).await?, "the Secret")?,
            (None, Some(file)) => {
                let unread = |error| missing(format!("the key file {file} can't be read")).caused_by(error);
                of_key(client, &tokio::fs::read_to_string(&file).await.map_err(unread)?, &file)?
            }
            (None, None) => {
                let builder = GoogleCloudStorageBuilder::new().with_http_connector(Connection::to_node()?);
                Identity::anonymous(build(builder)?)
            }
        };
        Ok(Self { identity, service })
    }
}

/// `text` without the secrets of `credential`, should a store repeat them.
#[must_use]
pub fn without_secrets(text: &str, credential: Option<&GcpCredential>) -> String {
    match credential {
        Some(credential) if !credential.bearer.is_empty() => text.replace(&credential.bearer, "…"),
        _ => text.to_owned(),
    }
}

/// The service account that `key` belongs to, which came from `place`.
fn of_key(client: Client, key: &str, place: &str) -> Result<Identity<GcpCredential>, Failure> {
    // Causes are left out, because they could quote the key.
    let Ok(Value::Object(document)) = serde_json::from_str(key) else {
        return Err(missing(format!("the key of the service account in {place} is no JSON object")));
    };
    match document.get("type").and_then(Value::as_str) {
        None | Some("service_account") => {}
        Some(other) => {
            return Err(missing(format!(
                "the key in {place} is of the type {other:?}; only service_account can be used"
            )));
        }
    }
    let absent: Vec<&str> =
        NEEDED.into_iter().filter(|name| document.get(*name).is_none_or(|it| !it.is_string())).collect();
    if !absent.is_empty() {
        return Err(missing(format!("the key of the service account in {place} has no {}", absent.join(", "))));
    }
    let builder =
        GoogleCloudStorageBuilder::new().with_service_account_key(key).with_http_connector(Connection::by(client));
    let unfit = |_| missing(format!("the private_key of the service account in {place} can't be read"));
    Ok(Identity::Known { name: "the service account", provider: build(builder).map_err(unfit)?, token_file: None })
}

/// Only its credentials are of interest, and they are the same for every bucket.
fn build(builder: GoogleCloudStorageBuilder) -> Result<Provider<GcpCredential>, Failure> {
    let store = builder.with_bucket_name("bucket").with_retry(once()).build();
    store.map(|store| store.credentials().clone()).map_err(|_| missing("the identity's settings can't be used"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_can_not_be_used_is_told_why_without_quoting_it() {
        let client = Client::new();
        for (key, word) in [
            ("S3CR", "no JSON object"),
            (r#"{"type": "external_account", "x": "S3CR"}"#, "external_account"),
            (r#"{"type": "service_account", "client_email": "a@b"}"#, "private_key, private_key_id"),
            (r#"{"client_email": "a@b", "private_key": "S3CR", "private_key_id": "1"}"#, "private_key of"),
        ] {
            let failure = of_key(client.clone(), key, "the Secret").err().unwrap();
            let sentence = failure.sentence();
            assert!(sentence.contains(word) && !sentence.contains("S3CR"), "{sentence}");
        }
    }
}
