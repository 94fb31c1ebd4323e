//! The bytes of one object on their way, and what the answer that brings them says of the object.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED};
use reqwest::{Response, StatusCode};

use crate::catalogue::Reason;
use crate::fetch::client;
use crate::fetch::failure::{Failure, Retry};
use crate::fetch::source::Object;
use crate::fetch::verify::Checksum;

/// Bytes `start..end` of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u64,
    /// The byte after the last.
    pub end: u64,
}

impl Span {
    /// The value of the header `Range`.
    #[must_use]
    pub fn header(self) -> String {
        format!("bytes={}-{}", self.start, self.end.saturating_sub(1))
    }
}

/// The bytes of one object, on their way.
#[derive(Debug)]
pub struct Download {
    /// `None` when there are no bytes.
    response: Option<Response>,
    host: String,
    start: u64,
    /// Bytes that are still to come, where that is known.
    left: Option<u64>,
    told: Told,
}

/// What an answer says of the object that it brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Bytes in all.
    pub size: Option<u64>,
    /// What tells this version of the object from any other, in the source's own words.
    pub version: Option<String>,
    /// Digests of the whole object.
    pub checksums: Vec<Checksum>,
    /// Whether the store has shown that it gives only the whole object.
    pub whole_only: bool,
}

impl Download {
    /// Takes an answer to a request for `span` of `object`, or for the whole. The answer has the status 200, 206 or 416;
    /// a server that does not know ranges gives the whole object. `told` is what only the source can read from it.
    ///
    /// # Errors
    ///
    /// When it is something else than what was asked for, or another version.
    pub fn new(response: Response, object: &Object, span: Option<Span>, told: Told) -> Result<Self, Failure> {
        let host = client::host(response.url());
        let wrong =
            |why: String| Failure::new(Reason::ArtifactStoreError, format!("{host} {why}")).with_retry(Retry::Soon);
        let range = response.headers().get(CONTENT_RANGE).and_then(|value| Range::read(value.to_str().ok()?));
        let mut told = told;
        let (start, left) = match (response.status(), span) {
            (StatusCode::PARTIAL_CONTENT, Some(span)) => {
                let Some(Range { bytes: Some((start, end)), size }) = range else {
                    return Err(wrong("answers a range without saying which".to_owned()));
                };
                // A server may end the range earlier, at the object's end or for reasons of its own.
                let fits = start == span.start && end > start && end <= span.end && size.is_none_or(|size| end <= size);
                let declared = |length| end.checked_sub(start) == Some(length);
                if !fits || !response.content_length().is_none_or(declared) {
                    return Err(wrong(format!("answers bytes {start} to {end} to a request for {}", span.header())));
                }
                told.size = told.size.or(size);
                (start, Some(end - start))
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) if range.is_some_and(|range| range.size == Some(0)) => {
                told.size = Some(0);
                let none = Self { response: None, host, start: 0, left: Some(0), told };
                return none.of(object);
            }
            (StatusCode::OK, _) => {
                let length = response.content_length();
                told.whole_only = span.is_some();
                told.size = told.size.or(length);
                (0, length)
            }
            (status, _) => return Err(wrong(format!("answers {status} to a request for bytes"))),
        };
        Self { response: Some(response), host, start, left, told }.of(object)
    }

    /// Looks that this is the version of `object` that is known.
    fn of(self, object: &Object) -> Result<Self, Failure> {
        let other = |what: &str| {
            let act = format!("{} was changed at {} while it was fetched: {what}", object.name(), self.host);
            Err(Failure::new(Reason::ArtifactStoreError, act).with_retry(Retry::Soon))
        };
        match (&object.version, &self.told.version) {
            (Some(known), Some(told)) if known != told => return other("it has another version now"),
            _ => {}
        }
        match (object.size, self.told.size) {
            (Some(known), Some(told)) if known != told => other(&format!("it had {known} bytes and has {told} now")),
            _ => Ok(self),
        }
    }

    /// What the answer says of the object.
    #[must_use]
    pub const fn told(&self) -> &Told {
        &self.told
    }

    /// Host and port that they come from.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The object's byte that comes first.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The next bytes; `None` after the last that was announced.
    ///
    /// # Errors
    ///
    /// When the store breaks off before the end, stalls, or sends more than it announced.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(response) = &mut self.response else { return Ok(None) };
        let chunk = response.chunk().await.map_err(|error| Failure::transport(error, &self.host))?;
        let Some(left) = &mut self.left else { return Ok(chunk) };
        let length = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if length > *left || (chunk.is_none() && *left > 0) {
            let more = if chunk.is_none() { "fewer" } else { "more" };
            let act = format!("{} sent {more} bytes than it announced", self.host);
            return Err(Failure::new(Reason::ArtifactStoreError, act).with_retry(Retry::Soon));
        }
        *left -= length;
        Ok(chunk)
    }
}

/// Whether `response` is one that [`Download::new`] takes.
#[must_use]
pub fn has_bytes(response: &Response) -> bool {
    response.status().is_success() || response.status() == StatusCode::RANGE_NOT_SATISFIABLE
}

/// The entity tag, where it tells every byte: a weak one does not.
#[must_use]
pub fn strong_etag(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(ETAG)?.to_str().ok()?;
    (!tag.starts_with("W/") && !tag.is_empty()).then(|| tag.to_owned())
}

/// The time of the last change, where it tells every byte: the answer is at least one second younger, so that no other
/// change can have the same time.
///
/// Source: RFC 9110, section 8.8.2.2.
#[must_use]
pub fn strong_time(headers: &HeaderMap) -> Option<String> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    let changed = text(LAST_MODIFIED)?;
    let first_other = httpdate::parse_http_date(changed).ok()?.checked_add(Duration::from_secs(1))?;
    (httpdate::parse_http_date(text(DATE)?).ok()? >= first_other).then(|| changed.to_owned())
}

/// Whether `version` is such a time, and no entity tag.
#[must_use]
pub fn is_time(version: &str) -> bool {
    httpdate::parse_http_date(version).is_ok()
}

/// `Content-Range: bytes 0-9/100`; `*` for what is not said.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    /// The first byte and the one after the last.
    bytes: Option<(u64, u64)>,
    size: Option<u64>,
}

impl Range {
    fn read(text: &str) -> Option<Self> {
        let (bytes, size) = text.strip_prefix("bytes ")?.split_once('/')?;
        let size = if size == "*" { None } else { Some(size.parse().ok()?) };
        if bytes == "*" {
            return Some(Self { bytes: None, size });
        }
        let (first, last) = bytes.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        Some(Self { bytes: Some((first, last.checked_add(1)?)), size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_it_is_meant() {
        let all = Range { bytes: Some((0, 10)), size: Some(100) };
        assert_eq!(Range::read("bytes 0-9/100"), Some(all));
        assert_eq!(Range::read("bytes 5-5/*"), Some(Range { bytes: Some((5, 6)), size: None }));
        assert_eq!(Range::read("bytes */0"), Some(Range { bytes: None, size: Some(0) }));
        for odd in
            ["", "bytes", "bytes 0-9", "bytes a-9/1", "items 0-9/10", "bytes 0-18446744073709551615/*", "bytes -1-2/3"]
        {
            assert_eq!(Range::read(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_time_tells_every_byte_once_its_second_is_over() {
        let time = |changed: &str, date: &str| {
            let headers = [(LAST_MODIFIED, changed), (DATE, date)].map(|(name, value)| (name, value.parse().unwrap()));
            strong_time(&HeaderMap::from_iter(headers))
        };
        let changed = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(time(changed, "Sun, 06 Nov 1994 08:49:38 GMT").as_deref(), Some(changed));
        for (changed, date) in [
            (changed, changed),
            (changed, "Sun, 06 Nov 1994 08:49:36 GMT"),
            (changed, ""),
            ("today", "Sun, 06 Nov 1994 08:49:38 GMT"),
        ] {
            assert_eq!(time(changed, date), None, "{changed}, {date}");
        }
        assert!(is_time(changed) && !is_time("\"1994\"") && !is_time("1994"));
    }

    #[test]
    fn a_span_asks_for_its_last_byte_too() {
        assert_eq!(Span { start: 8, end: 16 }.header(), "bytes=8-15");
    }
}
