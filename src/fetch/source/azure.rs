//! Azure Storage: a blob or a prefix of a container.
//!
//! The requests are ours, and `object_store` signs them, for the reasons of S3.

pub mod access;
pub mod document;

use std::fmt;

use object_store::azure::{AzureAuthorizer, AzureCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use percent_encoding::utf8_percent_encode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Request, RequestBuilder, Response, StatusCode};
use url::Url;

use crate::catalogue::Reason;
use crate::fetch::Patience;
use crate::fetch::client::{host, read_at_most, retry_after, send, short};
use crate::fetch::download::{Download, Span, Told, has_bytes, strong_etag};
use crate::fetch::failure::{Failure, Retry};
use crate::fetch::identity::is_code;
use crate::fetch::retry::persist;
use crate::fetch::source::bucket::{
    self, Bucket, ENCODED, ENCODED_IN_PATH, Found, LONGEST_ERROR, LONGEST_PAGE, Page, length,
};
use crate::fetch::source::{Content, Object};
use crate::fetch::uri::azure::Address;
use crate::fetch::verify::Checksum;
use access::{Access, without_secrets};
use document::{ErrorDocument, ListPage, is_folder};

/// Blobs of a page, so that it fits the memory of a small container.
const PAGE: &str = "1000";

/// The version of the service that is spoken, as `object_store` says it in the requests that it signs.
const VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-ms-version"), HeaderValue::from_static("2023-11-03"));

const ERROR_CODE: &str = "x-ms-error-code";
const RESOURCE_TYPE: &str = "x-ms-resource-type";
const IS_FOLDER: &str = "x-ms-meta-hdi_isfolder";

/// A blob or a prefix of a container.
pub struct Azure {
    client: Client,
    access: Access,
    address: Address,
    patience: Patience,
}

/// What is asked of the service.
#[derive(Clone, Copy)]
enum Ask<'a> {
    Object(&'a Object, Option<Span>),
    List { prefix: &'a str, marker: Option<&'a str> },
}

impl Azure {
    /// What is at `address`.
    #[must_use]
    pub const fn new(client: Client, access: Access, address: Address, patience: Patience) -> Self {
        Self { client, access, address, patience }
    }

    /// Finds out whether the path is a blob or a prefix.
    ///
    /// # Errors
    ///
    /// As [`bucket::look`].
    pub async fn look(&self) -> Result<Content, Failure> {
        bucket::look(self, &self.address.path).await
    }

    /// Where it is served.
    #[must_use]
    pub fn service(&self) -> String {
        self.access.service.clone()
    }

    /// Asks once for the bytes of `object`, all of them or those of `span`.
    ///
    /// # Errors
    ///
    /// When the service does not give them.
    pub async fn read(&self, object: &Object, span: Option<Span>) -> Result<Download, Failure> {
        let response = self.ask(Method::GET, Ask::Object(object, span)).await?;
        let told = told(&response);
        Download::new(response, object, span, told)
    }

    /// Asks for size, version and digest of `object`.
    ///
    /// # Errors
    ///
    /// When the service does not tell.
    pub async fn describe(&self, object: &Object) -> Result<Told, Failure> {
        let response = self.ask(Method::HEAD, Ask::Object(object, None)).await?;
        Ok(Told { size: length(&response), ..told(&response) })
    }

    /// Sends one request, and once more as the node when the service refuses an anonymous one.
    async fn ask(&self, method: Method, ask: Ask<'_>) -> Result<Response, Failure> {
        loop {
            let credential = self.access.identity.credential().await?;
            let headers = match ask {
                Ask::Object(object, span) => bucket::conditions(object, span)?,
                Ask::List { .. } => HeaderMap::new(),
            };
            let request = self.sign(&method, self.url(ask)?, headers, credential.as_deref())?;
            let response = match send(RequestBuilder::from_parts(self.client.clone(), request)).await {
                Ok(response) => response,
                Err(failure) => return Err(self.unreached(failure).await),
            };
            if has_bytes(&response) {
                return Ok(response);
            }
            let failure = self.refusal(response, ask, credential.as_deref()).await;
            self.access.identity.after(failure, credential.is_none()).await?;
        }
    }

    fn url(&self, ask: Ask<'_>) -> Result<Url, Failure> {
        let container = format!("{}/{}", self.access.service, self.address.container);
        let text = match ask {
            Ask::Object(object, _) => format!("{container}/{}", utf8_percent_encode(&object.key, ENCODED_IN_PATH)),
            Ask::List { prefix, marker } => {
                let prefix = utf8_percent_encode(prefix, ENCODED);
                let marker = marker.map(|marker| format!("&marker={}", utf8_percent_encode(marker, ENCODED)));
                let marker = marker.unwrap_or_default();
                format!(
                    "{container}?restype=container&comp=list&include=metadata&maxresults={PAGE}&prefix={prefix}{marker}"
                )
            }
        };
        bucket::url(&text)
    }

    fn sign(
        &self,
        method: &Method,
        url: Url,
        headers: HeaderMap,
        credential: Option<&AzureCredential>,
    ) -> Result<Request, Failure> {
        let Some(credential) = credential else {
            let mut request = Request::new(method.clone(), url);
            *request.headers_mut() = headers;
            request.headers_mut().extend([VERSION]);
            return Ok(request);
        };
        let unsigned = || Failure::new(Reason::ArtifactUriInvalid, "the request can't be signed");
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        request.method_mut().clone_from(method);
        *request.headers_mut() = headers;
        *request.uri_mut() = url.as_str().parse().map_err(|error| unsigned().caused_by(error))?;
        AzureAuthorizer::new(credential, &self.address.account)
            .try_authorize(&mut request)
            .map_err(|error| unsigned().caused_by(error))?;
        // Its text would quote a signature.
        let url = Url::parse(&request.uri().to_string()).map_err(|_| unsigned())?;
        let mut signed = Request::new(method.clone(), url);
        *signed.headers_mut() = std::mem::take(request.headers_mut());
        Ok(signed)
    }

    /// Adds to `failure` that the account may not be there: each has a name of its own in DNS.
    async fn unreached(&self, failure: Failure) -> Failure {
        if failure.reason != Reason::ArtifactStoreUnreachable {
            return failure;
        }
        let host =
            Url::parse(&self.access.service).ok().and_then(|url| Some((host(&url), url.port_or_known_default()?)));
        let Some((host, port)) = host else { return failure };
        let host = host.split(':').next().unwrap_or_default();
        match tokio::net::lookup_host((host, port)).await {
            Ok(_) => failure,
            Err(_) => failure.and(&format!(
                "because its name is not known; a storage account {:?} may not exist",
                self.address.account
            )),
        }
    }

    /// Why the service did not do what was asked.
    async fn refusal(&self, response: Response, ask: Ask<'_>, credential: Option<&AzureCredential>) -> Failure {
        let (status, pause) = (response.status(), retry_after(&response));
        let host = host(response.url());
        let code = response.headers().get(ERROR_CODE).and_then(|code| code.to_str().ok()).map(str::to_owned);
        let body = read_at_most(response, LONGEST_ERROR).await.map(|(body, _)| body).unwrap_or_default();
        let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&body);
        let document: ErrorDocument = quick_xml::de::from_reader(body).unwrap_or_default();
        let code = code.or(document.code).filter(|code| is_code(code));

        let mut failure = Failure::status(status, pause, String::new());
        if let Some((reason, retry)) = code.as_deref().and_then(|code| meaning(code, credential.is_some())) {
            failure = failure.meaning(reason, retry, pause);
        }
        let mut act = self.act(failure.reason, &host, status, ask, credential.is_some());
        if failure.reason == Reason::ArtifactForbidden && status == StatusCode::NOT_FOUND {
            act.push_str(", or it is not there");
        }
        if code.as_deref() == Some("AuthorizationFailure") {
            act.push_str(", or the account's firewall does not let this network in");
        }
        // The detail quotes what was signed, unless it is about time.
        let detail = document.authentication_error_detail.filter(|detail| !detail.contains("signature"));
        let words = detail.or(document.message).map(|words| short(&without_secrets(&words, credential)));
        match (&code, words.filter(|words| !words.is_empty())) {
            (Some(code), Some(words)) => act = format!("{act} ({code}: {words})"),
            (Some(code), None) => act = format!("{act} ({code})"),
            (None, _) => {}
        }
        failure.with_answer(status, code).with_act(act)
    }

    /// What was refused, for people.
    fn act(&self, reason: Reason, host: &str, status: StatusCode, ask: Ask<'_>, is_known: bool) -> String {
        let (account, container) = (&self.address.account, &self.address.container);
        let (what, letter) = match ask {
            Ask::Object(object, _) => (format!("reading the blob {:?} of the container {container}", object.key), "r"),
            Ask::List { .. } => (format!("listing the container {container}"), "l"),
        };
        match (reason, ask) {
            (Reason::ArtifactNotFound, Ask::Object(object, _)) => {
                format!(
                    "the container {container} at {host} has no blob {:?}, or there is no such container",
                    object.key
                )
            }
            (Reason::ArtifactNotFound, Ask::List { .. }) => format!("{host} has no container {container}"),
            (Reason::ArtifactForbidden, _) if !is_known => format!(
                "{host} does not allow {what} without credentials; with them it needs Storage Blob Data Reader on \
                 {account}/{container}"
            ),
            (Reason::ArtifactForbidden, _) if self.access.is_signature() => {
                format!("{host} does not allow {what}; the shared access signature needs the permission {letter} on it")
            }
            (Reason::ArtifactForbidden, _) => {
                let name = self.access.identity.name();
                format!("{host} does not allow {what}; {name} needs Storage Blob Data Reader on {account}/{container}")
            }
            (Reason::ArtifactUnauthenticated, _) => {
                format!("{host} does not accept {}", self.access.identity.name())
            }
            _ => format!("{host} answered {status} to {what}"),
        }
    }
}

/// What an answer says of the blob. The size is left out: it may be that of a part.
fn told(response: &Response) -> Told {
    let headers = response.headers();
    Told { version: strong_etag(headers), checksums: Checksum::in_headers(headers), ..Told::default() }
}

/// What the service's own code means where the status alone does not tell.
///
/// Source: Azure Storage, "common REST API error codes" and "blob service error codes".
fn meaning(code: &str, is_known: bool) -> Option<(Reason, Retry)> {
    Some(match code {
        // What is private is not there for who is not known.
        "ResourceNotFound" | "NoAuthenticationInformation" if !is_known => (Reason::ArtifactForbidden, Retry::Never),
        "BlobNotFound"
        | "ContainerNotFound"
        | "ResourceNotFound"
        | "ContainerBeingDeleted"
        | "PathNotFound"
        | "FilesystemNotFound" => (Reason::ArtifactNotFound, Retry::Never),
        "AuthorizationFailure"
        | "AuthorizationPermissionMismatch"
        | "AuthorizationProtocolMismatch"
        | "AuthorizationResourceTypeMismatch"
        | "AuthorizationServiceMismatch"
        | "AuthorizationSourceIPMismatch"
        | "InsufficientAccountPermissions"
        | "KeyBasedAuthenticationNotPermitted"
        | "PublicAccessNotPermitted"
        | "AccountIsDisabled"
        | "BlobArchived" => (Reason::ArtifactForbidden, Retry::Never),
        "AuthenticationFailed" | "InvalidAuthenticationInfo" | "NoAuthenticationInformation" => {
            (Reason::ArtifactUnauthenticated, Retry::Never)
        }
        "ServerBusy" => (Reason::ArtifactStoreThrottled, Retry::Soon),
        "ConditionNotMet" => (Reason::ArtifactStoreError, Retry::Soon),
        "InvalidResourceName" | "InvalidUri" | "OutOfRangeInput" => (Reason::ArtifactUriInvalid, Retry::Never),
        _ => return None,
    })
}

impl Bucket for Azure {
    fn name(&self) -> &str {
        &self.address.container
    }

    fn kind(&self) -> &'static str {
        "container"
    }

    fn attempts(&self) -> usize {
        self.patience.attempts
    }

    async fn find(&self, key: &str) -> Result<Found, Failure> {
        let object = Object { key: key.to_owned(), ..Object::default() };
        let ask = Ask::Object(&object, None);
        let response = match self.ask(Method::HEAD, ask).await {
            Ok(response) => response,
            Err(failure) if failure.provider_code.as_deref() == Some("BlobNotFound") => {
                return Ok(Found::Nothing(failure));
            }
            // The answer to HEAD has no body, and so no words that tell why; the one to GET has.
            Err(_) => match persist(self.patience.attempts, || self.ask(Method::GET, ask)).await {
                Ok(response) => response,
                Err(failure) if failure.provider_code.as_deref() == Some("BlobNotFound") => {
                    return Ok(Found::Nothing(failure));
                }
                Err(failure) => return Err(failure),
            },
        };
        let size = length(&response);
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        if size.is_some_and(|size| is_folder(size, header(RESOURCE_TYPE), header(IS_FOLDER))) {
            return Ok(Found::Folder);
        }
        Ok(Found::Object(Told { size, ..told(&response) }))
    }

    async fn page(&self, prefix: &str, token: Option<&str>) -> Result<Page, Failure> {
        let response = self.ask(Method::GET, Ask::List { prefix, marker: token }).await?;
        let unreadable = format!("the listing of {} can't be read", host(response.url()));
        let (body, whole) = read_at_most(response, LONGEST_PAGE).await?;
        if !whole {
            return Err(Failure::new(Reason::ArtifactStoreError, unreadable));
        }
        // The service writes a byte order mark before its documents.
        let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&body);
        let page: ListPage = quick_xml::de::from_reader(body)
            .map_err(|error| Failure::new(Reason::ArtifactStoreError, unreadable).caused_by(error))?;
        Ok(Page { objects: page.objects()?, next: page.next().map(str::to_owned) })
    }
}

impl fmt::Display for Azure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}, with {}", self.access.service, self.address.container, self.access.identity.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_key_is_not_taken_for_a_missing_right() {
        let reason = |code, is_known| meaning(code, is_known).unwrap().0;
        assert_eq!(reason("AuthenticationFailed", true), Reason::ArtifactUnauthenticated);
        assert_eq!(reason("AuthorizationPermissionMismatch", true), Reason::ArtifactForbidden);
        assert_eq!(reason("ResourceNotFound", true), Reason::ArtifactNotFound);
        assert_eq!(reason("ResourceNotFound", false), Reason::ArtifactForbidden);
        assert!(meaning("SomethingNew", true).is_none());
    }
}
