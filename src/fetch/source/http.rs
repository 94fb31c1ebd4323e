//! `http://` and `https://`: one object of a web server.
//!
//! Keys of the Secret: `username` and `password` for basic authentication, or `authorization` for that header's whole
//! value, or `headers` with one `Name: value` a line (or a JSON object). A user name and password in the uri work as
//! well. Without any of them the request is anonymous.

use std::fmt;

use percent_encoding::percent_decode_str;
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED,
    RANGE,
};
use reqwest::{Client, Response, StatusCode};
use url::Url;

use crate::catalogue::Reason;
use crate::fetch::client::{host, retry_after, send};
use crate::fetch::credentials::{Folder, missing};
use crate::fetch::download::{Download, Span, Told, has_bytes, is_time, strong_etag, strong_time};
use crate::fetch::failure::{Failure, Retry};
use crate::fetch::redirect::{Route, take_user};
use crate::fetch::source::{Content, Object};
use crate::fetch::uri;
use crate::fetch::verify::Checksum;

/// One object of a web server.
pub struct Http {
    client: Client,
    url: Url,
    headers: HeaderMap,
    basic: Option<(String, String)>,
}

impl Http {
    /// The object at `url`, with the credentials of `folder`.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactCredentialsMissing`] when the Secret has none of the keys, or one that can't be a header.
    pub async fn open(client: Client, mut url: Url, folder: Option<&Folder>) -> Result<Self, Failure> {
        let mut basic = take_user(&mut url);
        let mut headers = HeaderMap::new();
        if let Some(folder) = folder {
            if let Some(value) = folder.value(&["authorization"]).await? {
                headers.insert(AUTHORIZATION, secret("authorization", &value)?);
            }
            if let Some(lines) = folder.value(&["headers"]).await? {
                headers.extend(parse_headers(&lines)?);
            }
            if let Some(user) = folder.value(&["username"]).await? {
                basic = Some((user, folder.needed(&["password"]).await?));
            }
            if headers.is_empty() && basic.is_none() {
                return Err(missing("the Secret has none of the keys username and password, authorization, headers"));
            }
        }
        Ok(Self { client, url, headers, basic })
    }

    /// The object with the file name that the uri ends with; the server is not asked.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactUriInvalid`] when that name is not UTF-8.
    pub fn look(&self) -> Result<Content, Failure> {
        let segment = uri::last_segment(self.url.path()).unwrap_or_default();
        let name = percent_decode_str(segment).decode_utf8().map_err(|error| {
            Failure::new(Reason::ArtifactUriInvalid, "the file name in the uri is not UTF-8").caused_by(error)
        })?;
        Ok(Content::Object { name: name.into_owned(), object: Object::default() })
    }

    /// Asks for the bytes and follows redirects: at most five, never from https to http, and without credentials once
    /// they led to another origin.
    ///
    /// # Errors
    ///
    /// When the server does not answer with the object.
    pub async fn read(&self, object: &Object, span: Option<Span>) -> Result<Download, Failure> {
        let mut route = Route::from(self.url.clone());
        loop {
            let response = self.ask(&route, object, span).await?;
            if route.follow(&response)? {
                continue;
            }
            let (status, shown) = (response.status(), uri::redact(route.url().as_str()));
            return if has_bytes(&response) {
                as_stored(&response)?;
                let told = told(response.headers(), object.version.as_deref());
                Download::new(response, object, span, told)
            } else if status == StatusCode::PRECONDITION_FAILED {
                let act = format!("{shown} was changed while it was fetched");
                Err(Failure::status(status, None, act).with_retry(Retry::Soon))
            } else {
                Err(Failure::status(status, retry_after(&response), format!("{shown} answered {status}")))
            };
        }
    }

    /// Asks for the first byte and looks what the answer says of the rest. A signed uri may allow no other method.
    ///
    /// # Errors
    ///
    /// When the server does not answer with the object.
    pub async fn describe(&self, object: &Object) -> Result<Told, Failure> {
        let download = self.read(object, Some(Span { start: 0, end: 1 })).await?;
        Ok(download.told().clone())
    }

    async fn ask(&self, route: &Route, object: &Object, span: Option<Span>) -> Result<Response, Failure> {
        let mut request = self.client.get(route.url().clone());
        if let Some(span) = span {
            request = request.header(RANGE, span.header());
        }
        if let Some(version) = &object.version {
            request = request.header(if is_time(version) { IF_UNMODIFIED_SINCE } else { IF_MATCH }, version);
        }
        if route.is_home() {
            request = request.headers(self.headers.clone());
            if let Some((user, password)) = &self.basic {
                request = request.basic_auth(user, Some(password));
            }
        }
        send(request).await
    }
}

impl fmt::Display for Http {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let anonymous = self.headers.is_empty() && self.basic.is_none();
        formatter.write_str(if anonymous { "anonymous" } else { "with credentials" })
    }
}

/// What a web server says of its object, of which a version may be `known`: the tag or else the time of its last change,
/// and the digests that stores put into headers of their own.
fn told(headers: &HeaderMap, known: Option<&str>) -> Told {
    let version = match known {
        // A time that does not tell every byte yet still tells that it is another one.
        Some(known) if is_time(known) => {
            headers.get(LAST_MODIFIED).and_then(|time| Some(time.to_str().ok()?.to_owned()))
        }
        _ => strong_etag(headers).or_else(|| strong_time(headers)),
    };
    Told { version, checksums: Checksum::in_headers(headers), ..Told::default() }
}

/// Refuses bytes that the server has encoded for the way. A store says with the same header what was uploaded encoded and
/// is stored so; a web server does not, and was asked not to encode.
fn as_stored(response: &Response) -> Result<(), Failure> {
    let encoding = response.headers().get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    let Some(encoding) = encoding.filter(|encoding| !encoding.eq_ignore_ascii_case("identity")) else { return Ok(()) };
    let host = host(response.url());
    let act = format!("{host} sends the object in the encoding {encoding}, which was not asked for");
    Err(Failure::new(Reason::ArtifactStoreError, act))
}

fn parse_headers(text: &str) -> Result<HeaderMap, Failure> {
    let pairs: Vec<(String, String)> = if text.trim_start().starts_with('{') {
        let object: std::collections::BTreeMap<String, String> = serde_json::from_str(text)
            .map_err(|_| missing("the key headers of the Secret is no JSON object of texts"))?;
        object.into_iter().collect()
    } else {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let split = |line: &str| line.split_once(':').map(|(name, value)| (name.trim().into(), value.trim().into()));
        lines
            .map(split)
            .collect::<Option<_>>()
            .ok_or_else(|| missing("the key headers of the Secret has a line without a colon"))?
    };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::try_from(&name)
            .map_err(|_| missing("the key headers of the Secret has a name that can't be a header"))?;
        headers.append(name, secret("headers", &value)?);
    }
    Ok(headers)
}

/// A header value that no log shows. The cause of a failure is left out, because it could quote the value.
fn secret(key: &str, value: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| missing(format!("the key {key} of the Secret has characters that can't be in a header")))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_lines_or_json() {
        let lines = parse_headers("X-Key: a:b\n\n Authorization:  Bearer t \n").unwrap();
        assert_eq!(lines["x-key"], "a:b");
        assert_eq!(lines["authorization"], "Bearer t");
        assert_eq!(parse_headers(r#"{"X-Key": "a"}"#).unwrap()["x-key"], "a");
    }

    #[test]
    fn what_is_no_header_is_refused_without_quoting_it() {
        for text in ["S3CR", "S3 CR: x", "{S3CR", "x: S3CR\u{7f}"] {
            let failure = parse_headers(text).unwrap_err();
            assert_eq!(failure.reason, Reason::ArtifactCredentialsMissing);
            assert!(!failure.sentence().contains("S3CR"), "{}", failure.sentence());
        }
    }

    #[test]
    fn a_secret_header_is_not_shown_by_debug() {
        let headers = parse_headers("X-Key: S3CR").unwrap();
        assert!(!format!("{headers:?}").contains("S3CR"));
    }
}
