//! `s3://BUCKET/KEY`: an object or a prefix of a bucket.
//!
//! The requests are ours, and `object_store` signs them: its own paths can't tell the object `a` from the folder marker
//! `a/`, and its errors hide the store's code.

pub mod access;
pub mod document;

use std::fmt;
use std::sync::OnceLock;

use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use percent_encoding::utf8_percent_encode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response};
use url::Url;

use crate::catalogue::Reason;
use crate::fetch::Patience;
use crate::fetch::client::{host, read_at_most, retry_after, send};
use crate::fetch::download::{Download, Span, Told, has_bytes, strong_etag};
use crate::fetch::failure::{Failure, Retry};
use crate::fetch::retry::persist;
use crate::fetch::source::bucket::{
    self, Bucket, ENCODED, ENCODED_IN_PATH, Found, LONGEST_ERROR, LONGEST_PAGE, Page, length,
};
use crate::fetch::source::{Content, Object};
use crate::fetch::verify::Checksum;
use access::{Access, without_secrets};
use document::{ErrorDocument, ListPage};

/// Asks for the digests that the store keeps of an object.
const CHECKSUM_MODE: HeaderName = HeaderName::from_static("x-amz-checksum-mode");
const ENCRYPTION: &str = "x-amz-server-side-encryption";
const CUSTOMER_KEY: &str = "x-amz-server-side-encryption-customer-algorithm";

/// The header in which S3 says where a bucket really is.
const BUCKET_REGION: &str = "x-amz-bucket-region";

/// An object or a prefix of a bucket.
pub struct S3 {
    client: Client,
    access: Access,
    bucket: String,
    key: String,
    patience: Patience,
    /// The region that the store named when ours was wrong.
    true_region: OnceLock<String>,
}

/// What is asked of the store, and the right that it takes.
#[derive(Clone, Copy)]
enum Ask<'a> {
    Object(&'a Object, Option<Span>),
    List { prefix: &'a str, token: Option<&'a str> },
}

impl S3 {
    /// What `key` means in `bucket`.
    #[must_use]
    pub const fn new(client: Client, access: Access, bucket: String, key: String, patience: Patience) -> Self {
        Self { client, access, bucket, key, patience, true_region: OnceLock::new() }
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
        self.access.bucket_url(&self.bucket, &self.access.region)
    }

    /// Asks once for the bytes of `object`, all of them or those of `span`.
    ///
    /// # Errors
    ///
    /// When the store does not give them.
    pub async fn read(&self, object: &Object, span: Option<Span>) -> Result<Download, Failure> {
        let response = self.ask(Method::GET, Ask::Object(object, span)).await?;
        let told = told(&response);
        Download::new(response, object, span, told)
    }

    /// Asks for size, version and digests of `object`.
    ///
    /// # Errors
    ///
    /// When the store does not tell.
    pub async fn describe(&self, object: &Object) -> Result<Told, Failure> {
        let response = self.ask(Method::HEAD, Ask::Object(object, None)).await?;
        Ok(Told { size: length(&response), ..told(&response) })
    }

    /// Sends one request, once more to the bucket's true region if the store names it, and once more as the node when the
    /// store refuses an anonymous one.
    async fn ask(&self, method: Method, ask: Ask<'_>) -> Result<Response, Failure> {
        loop {
            let region = self.true_region.get().unwrap_or(&self.access.region);
            let url = self.url(ask, region)?;
            let credential = self.access.identity.credential().await?;
            let mut headers = sign(&method, &url, region, credential.as_deref())?;
            // Headers that are not signed may be added freely.
            if let Ask::Object(object, span) = ask {
                headers.extend(bucket::conditions(object, span)?);
                headers.insert(CHECKSUM_MODE, HeaderValue::from_static("ENABLED"));
            }
            let request = self.client.request(method.clone(), url.clone()).headers(headers);
            let response = send(request).await?;
            if has_bytes(&response) {
                return Ok(response);
            }
            let named = response.headers().get(BUCKET_REGION).and_then(|region| region.to_str().ok());
            if let Some(named) = named.filter(|named| named != region && access::is_region(named))
                && self.true_region.set(named.to_owned()).is_ok()
            {
                tracing::info!("the bucket {} is in the region {named}", self.bucket);
                continue;
            }
            let failure = self.refusal(response, ask, credential.as_deref()).await;
            self.access.identity.after(failure, credential.is_none()).await?;
        }
    }

    fn url(&self, ask: Ask<'_>, region: &str) -> Result<Url, Failure> {
        let bucket = self.access.bucket_url(&self.bucket, region);
        let text = match ask {
            Ask::Object(object, _) => format!("{bucket}/{}", utf8_percent_encode(&object.key, ENCODED_IN_PATH)),
            Ask::List { prefix, token } => {
                let prefix = utf8_percent_encode(prefix, ENCODED);
                let token = token.map(|token| format!("&continuation-token={}", utf8_percent_encode(token, ENCODED)));
                let token = token.unwrap_or_default();
                format!("{bucket}/?list-type=2&encoding-type=url&prefix={prefix}{token}")
            }
        };
        bucket::url(&text)
    }

    /// Why the store did not do what was asked.
    async fn refusal(&self, response: Response, ask: Ask<'_>, credential: Option<&AwsCredential>) -> Failure {
        let (status, pause) = (response.status(), retry_after(&response));
        let host = host(response.url());
        let body = read_at_most(response, LONGEST_ERROR).await.map(|(body, _)| body).unwrap_or_default();
        let ErrorDocument { code, message } = document::read(&body).unwrap_or_default();
        let code = code.filter(|code| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()));

        let mut failure = Failure::status(status, pause, String::new());
        if let Some((reason, retry)) = code.as_deref().and_then(meaning) {
            failure = failure.meaning(reason, retry, pause);
        }
        let (right, resource) = match ask {
            Ask::Object(object, _) => ("s3:GetObject", format!("arn:aws:s3:::{}/{}", self.bucket, object.key)),
            Ask::List { .. } => ("s3:ListBucket", format!("arn:aws:s3:::{}", self.bucket)),
        };
        let mut act = match (failure.reason, ask) {
            (Reason::ArtifactNotFound, Ask::Object(object, _)) if code.as_deref() != Some("NoSuchBucket") => {
                format!("the bucket {} at {host} has no key {:?}", self.bucket, object.key)
            }
            (Reason::ArtifactNotFound, _) => format!("{host} has no bucket {}", self.bucket),
            (Reason::ArtifactForbidden, _) if credential.is_none() => {
                format!("{host} does not allow {right} on {resource} without credentials")
            }
            (Reason::ArtifactForbidden, _) => format!("{host} does not allow {right} on {resource}"),
            (Reason::ArtifactUnauthenticated, _) => {
                format!("{host} does not accept the credentials ({})", self.access.identity.name())
            }
            _ => format!("{host} answered {status} to {right} on {resource}"),
        };
        match (&code, message) {
            (Some(code), Some(message)) => {
                act = format!("{act} ({code}: {})", without_secrets(&message, credential));
            }
            (Some(code), None) => act = format!("{act} ({code})"),
            (None, _) => {}
        }
        failure.with_answer(status, code).with_act(act)
    }
}

fn sign(method: &Method, url: &Url, region: &str, credential: Option<&AwsCredential>) -> Result<HeaderMap, Failure> {
    let Some(credential) = credential else { return Ok(HeaderMap::new()) };
    let unsigned = || Failure::new(Reason::ArtifactUriInvalid, "the request can't be signed");
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    request.method_mut().clone_from(method);
    *request.uri_mut() = url.as_str().parse().map_err(|error| unsigned().caused_by(error))?;
    AwsAuthorizer::new(credential, "s3", region)
        .try_authorize(&mut request, None)
        .map_err(|error| unsigned().caused_by(error))?;
    Ok(std::mem::take(request.headers_mut()))
}

impl Bucket for S3 {
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
        if let Ok(told) = self.describe(&object).await {
            return Ok(Found::Object(told));
        }
        // The answer to HEAD has no body, and so no code that tells why; the one to GET has.
        match persist(self.patience.attempts, || self.ask(Method::GET, Ask::Object(&object, None))).await {
            Ok(response) => Ok(Found::Object(Told { size: length(&response), ..told(&response) })),
            Err(failure) if failure.provider_code.as_deref() == Some("NoSuchKey") => Ok(Found::Nothing(failure)),
            Err(failure) => Err(failure),
        }
    }

    async fn page(&self, prefix: &str, token: Option<&str>) -> Result<Page, Failure> {
        let response = self.ask(Method::GET, Ask::List { prefix, token }).await?;
        let unreadable = format!("the listing of {} can't be read", host(response.url()));
        let (body, whole) = read_at_most(response, LONGEST_PAGE).await?;
        if !whole {
            return Err(Failure::new(Reason::ArtifactStoreError, unreadable));
        }
        let page: ListPage = document::read(&body)
            .map_err(|error| Failure::new(Reason::ArtifactStoreError, unreadable).caused_by(error))?;
        let objects = page.objects()?.into_iter().map(|object| (object, false)).collect();
        match page.next_continuation_token {
            None if page.is_truncated => {
                Err(Failure::new(Reason::ArtifactStoreError, "the store breaks its listing off without a next page"))
            }
            next => Ok(Page { objects, next: next.filter(|_| page.is_truncated) }),
        }
    }
}

/// What an answer says of the object. The size is left out: it may be that of a part.
fn told(response: &Response) -> Told {
    let headers = response.headers();
    let version = strong_etag(headers);
    let mut checksums = Checksum::in_headers(headers);
    // The tag of an object that was put in one piece is its MD5, unless the store encrypts with keys of a customer.
    let is_plain =
        headers.get(ENCRYPTION).is_none_or(|encryption| encryption == "AES256") && headers.get(CUSTOMER_KEY).is_none();
    checksums.extend(version.as_deref().filter(|_| is_plain).and_then(Checksum::md5_in_etag));
    Told { version, checksums, ..Told::default() }
}

/// What the store's own code means where the status alone does not tell.
fn meaning(code: &str) -> Option<(Reason, Retry)> {
    Some(match code {
        "NoSuchBucket" | "NoSuchKey" | "NoSuchVersion" => (Reason::ArtifactNotFound, Retry::Never),
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "InvalidObjectState" => {
            (Reason::ArtifactForbidden, Retry::Never)
        }
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "RequestTimeTooSkewed"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "AuthorizationHeaderMalformed" => (Reason::ArtifactUnauthenticated, Retry::Never),
        "SlowDown"
        | "SlowDownRead"
        | "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests" => (Reason::ArtifactStoreThrottled, Retry::Soon),
        "PreconditionFailed" => (Reason::ArtifactStoreError, Retry::Soon),
        "InvalidBucketName" => (Reason::ArtifactUriInvalid, Retry::Never),
        _ => return None,
    })
}

impl fmt::Display for S3 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.access.bucket_url(&self.bucket, &self.access.region);
        write!(formatter, "{place}, region {}, with {}", self.access.region, self.access.identity.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_key_is_not_taken_for_a_missing_right() {
        for code in ["InvalidAccessKeyId", "SignatureDoesNotMatch"] {
            assert_eq!(meaning(code).unwrap().0, Reason::ArtifactUnauthenticated);
        }
        assert_eq!(meaning("AccessDenied").unwrap().0, Reason::ArtifactForbidden);
        assert!(meaning("SomethingNew").is_none());
    }
}
