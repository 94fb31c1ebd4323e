//! `gs://BUCKET/KEY`: an object or a prefix of a bucket of Google Cloud Storage.
//!
//! The requests are ours, and `object_store` gets the tokens, for the reasons of S3.

pub mod access;
pub mod document;

use std::fmt;

use object_store::gcp::GcpCredential;
use percent_encoding::utf8_percent_encode;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, RANGE};
use reqwest::{Client, Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::catalogue::Reason;
use crate::fetch::Patience;
use crate::fetch::client::{host, read_at_most, retry_after, send, short};
use crate::fetch::download::{Download, Span, Told, has_bytes};
use crate::fetch::failure::{Failure, Retry};
use crate::fetch::identity::is_code;
use crate::fetch::retry::persist;
use crate::fetch::source::bucket::{self, Bucket, ENCODED, Found, LONGEST_ERROR, LONGEST_PAGE, Page};
use crate::fetch::source::{Content, Object};
use crate::fetch::verify::Checksum;
use access::{Access, without_secrets};
use document::{ErrorDocument, FIELDS, ListPage, Resource};

const GENERATION: &str = "x-goog-generation";

/// An object or a prefix of a bucket.
pub struct Gcs {
    client: Client,
    access: Access,
    bucket: String,
    key: String,
    patience: Patience,
}

/// What is asked of the store, and the permission that it takes.
#[derive(Clone, Copy)]
enum Ask<'a> {
    Bytes(&'a Object, Option<Span>),
    Metadata(&'a Object),
    List { prefix: &'a str, token: Option<&'a str> },
}

impl Gcs {
    /// What `key` means in `bucket`.
    #[must_use]
    pub const fn new(client: Client, access: Access, bucket: String, key: String, patience: Patience) -> Self {
        Self { client, access, bucket, key, patience }
    }

    /// Finds out whether the key is an object or a prefix.
    ///
    /// # Errors
    ///
    /// As [`bucket::look`].
    pub async fn look(&self) -> Result<Content, Failure> {
        bucket::look(self, &self.key).await
    }

    /// Where it is served.
    #[must_use]
    pub fn service(&self) -> String {
        self.access.service.clone()
    }

    /// Asks once for the bytes of `object` as they are stored, all of them or those of `span`.
    ///
    /// # Errors
    ///
    /// When the store does not give them.
    pub async fn read(&self, object: &Object, span: Option<Span>) -> Result<Download, Failure> {
        let response = self.ask(Ask::Bytes(object, span)).await?;
        let told = told(response.headers());
        Download::new(response, object, span, told)
    }

    /// Asks for size, generation and digests of `object`.
    ///
    /// # Errors
    ///
    /// When the store does not tell.
    pub async fn describe(&self, object: &Object) -> Result<Told, Failure> {
        let (found, host) = self.document::<Resource>(Ask::Metadata(object)).await?;
        let Object { size, version, checksums, .. } = sized(found, &host)?;
        Ok(Told { size, version, checksums, ..Told::default() })
    }

    /// Asks for a document, and says which host gave it.
    async fn document<Document: DeserializeOwned>(&self, ask: Ask<'_>) -> Result<(Document, String), Failure> {
        let response = self.ask(ask).await?;
        let host = host(response.url());
        let unreadable = || Failure::new(Reason::ArtifactStoreError, format!("the answer of {host} can't be read"));
        let (body, whole) = read_at_most(response, LONGEST_PAGE).await?;
        if !whole {
            return Err(unreadable());
        }
        let document = serde_json::from_slice(&body).map_err(|error| unreadable().caused_by(error))?;
        Ok((document, host))
    }

    /// Sends one request, and once more as the node when the store refuses an anonymous one.
    async fn ask(&self, ask: Ask<'_>) -> Result<Response, Failure> {
        loop {
            let credential = self.access.identity.credential().await?;
            let mut request = self.client.get(self.url(ask));
            if let Ask::Bytes(_, span) = ask {
                // Otherwise what was uploaded compressed is unpacked on the way, and nothing would add up.
                request = request.header(ACCEPT_ENCODING, "gzip");
                if let Some(span) = span {
                    request = request.header(RANGE, span.header());
                }
            }
            if let Some(credential) = &credential {
                request = request.bearer_auth(&credential.bearer);
            }
            let response = send(request).await?;
            if has_bytes(&response) {
                return Ok(response);
            }
            let failure = self.refusal(response, ask, credential.as_deref()).await;
            self.access.identity.after(failure, credential.is_none()).await?;
        }
    }

    fn url(&self, ask: Ask<'_>) -> String {
        let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        let objects = format!("{}/storage/v1/b/{}/o", self.access.service, encode(&self.bucket));
        let version = |object: &Object, sign: char| match &object.version {
            Some(generation) => format!("{sign}ifGenerationMatch={}", encode(generation)),
            None => String::new(),
        };
        match ask {
            Ask::Bytes(object, _) => format!("{objects}/{}?alt=media{}", encode(&object.key), version(object, '&')),
            Ask::Metadata(object) => format!("{objects}/{}{}", encode(&object.key), version(object, '?')),
            Ask::List { prefix, token } => {
                let token = token.map(|token| format!("&pageToken={}", encode(token))).unwrap_or_default();
                format!("{objects}?fields={}&prefix={}{token}", encode(FIELDS), encode(prefix))
            }
        }
    }

    /// Why the store did not do what was asked.
    async fn refusal(&self, response: Response, ask: Ask<'_>, credential: Option<&GcpCredential>) -> Failure {
        let (status, pause) = (response.status(), retry_after(&response));
        let host = host(response.url());
        let body = read_at_most(response, LONGEST_ERROR).await.map(|(body, _)| body).unwrap_or_default();
        let document = serde_json::from_slice(&body).map(|ErrorDocument { error }| error).unwrap_or_default();
        let code = document.reason().filter(|code| is_code(code)).map(str::to_owned);

        let mut failure = Failure::status(status, pause, String::new());
        if let Some((reason, retry)) = code.as_deref().and_then(meaning) {
            failure = failure.meaning(reason, retry, pause);
        }
        if status == StatusCode::PRECONDITION_FAILED {
            failure.retry = Retry::Soon;
        }
        // Who sends no credentials is not known and may not do it, which is one status here.
        if credential.is_none() && failure.reason == Reason::ArtifactUnauthenticated {
            failure.reason = Reason::ArtifactForbidden;
        }
        let bucket = &self.bucket;
        let (permission, resource) = match ask {
            Ask::Bytes(object, _) | Ask::Metadata(object) => {
                ("storage.objects.get", format!("gs://{bucket}/{}", object.key))
            }
            Ask::List { .. } => ("storage.objects.list", format!("gs://{bucket}")),
        };
        let mut act = match (failure.reason, ask) {
            (Reason::ArtifactNotFound, Ask::Bytes(object, _) | Ask::Metadata(object)) => {
                format!("the bucket {bucket} at {host} has no object {:?}", object.key)
            }
            (Reason::ArtifactNotFound, Ask::List { .. }) => format!("{host} has no bucket {bucket}"),
            (Reason::ArtifactForbidden, _) if credential.is_none() => {
                format!("{host} does not allow {permission} on {resource} without credentials")
            }
            (Reason::ArtifactForbidden, _) => {
                let name = self.access.identity.name();
                format!("{host} does not allow {permission} on {resource}, which {name} needs")
            }
            (Reason::ArtifactUnauthenticated, _) => format!("{host} does not accept {}", self.access.identity.name()),
            _ => format!("{host} answered {status} to {permission} on {resource}"),
        };
        let words = document.message.map(|words| short(&without_secrets(&words, credential)));
        match (&code, words) {
            (Some(code), Some(words)) => act = format!("{act} ({code}: {words})"),
            (Some(code), None) => act = format!("{act} ({code})"),
            (None, _) => {}
        }
        failure.with_answer(status, code).with_act(act)
    }
}

/// What the answer with the bytes says of the object. The digests are of the whole in every answer.
fn told(headers: &HeaderMap) -> Told {
    let generation = headers.get(GENERATION).and_then(|generation| generation.to_str().ok()).map(str::to_owned);
    Told { version: generation, checksums: Checksum::in_headers(headers), ..Told::default() }
}

/// What the store's own code means where the status alone does not tell.
///
/// Source: Cloud Storage JSON API, "HTTP status and error codes".
fn meaning(code: &str) -> Option<(Reason, Retry)> {
    Some(match code {
        "rateLimitExceeded" | "userRateLimitExceeded" | "quotaExceeded" => {
            (Reason::ArtifactStoreThrottled, Retry::Soon)
        }
        "authError" | "required" | "invalidAuthentication" => (Reason::ArtifactUnauthenticated, Retry::Never),
        "userProjectMissing" | "userProjectAccountProblem" | "accountDisabled" => {
            (Reason::ArtifactForbidden, Retry::Never)
        }
        _ => return None,
    })
}

impl Bucket for Gcs {
    fn name(&self) -> &str {
        &self.bucket
    }

    fn kind(&self) -> &'static str {
        "bucket"
    }

    fn attempts(&self) -> usize {
        self.patience.attempts
    }

    async fn find(&self, key: &str) -> Result<Found, Failure> {
        let object = Object { key: key.to_owned(), ..Object::default() };
        match persist(self.patience.attempts, || self.describe(&object)).await {
            Ok(told) => Ok(Found::Object(told)),
            Err(failure) if failure.reason == Reason::ArtifactNotFound => Ok(Found::Nothing(failure)),
            Err(failure) => Err(failure),
        }
    }

    async fn page(&self, prefix: &str, token: Option<&str>) -> Result<Page, Failure> {
        let (page, host) = self.document::<ListPage>(Ask::List { prefix, token }).await?;
        let objects = page.items.into_iter().map(|resource| Ok((sized(resource, &host)?, false)));
        let next = page.next_page_token.filter(|next| !next.is_empty());
        Ok(Page { objects: objects.collect::<Result<_, Failure>>()?, next })
    }
}

/// A resource as an object, which has a size.
fn sized(resource: Resource, host: &str) -> Result<Object, Failure> {
    let without = || Failure::new(Reason::ArtifactStoreError, format!("{host} names an object without its size"));
    resource.object().ok_or_else(without)
}

impl fmt::Display for Gcs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}, with {}", self.access.service, self.bucket, self.access.identity.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_not_taken_for_a_missing_right() {
        assert_eq!(meaning("userRateLimitExceeded").unwrap().0, Reason::ArtifactStoreThrottled);
        assert_eq!(meaning("required").unwrap().0, Reason::ArtifactUnauthenticated);
        assert!(meaning("forbidden").is_none());
    }
}
