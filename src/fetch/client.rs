//! The HTTP client that every source uses.

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use url::Url;

use crate::catalogue::Reason;
use crate::fetch::Patience;
use crate::fetch::address;
use crate::fetch::failure::{Failure, Retry};
use crate::process::build;

/// Longest pause that a store may ask for; a longer one counts as this. Hugging Face counts requests in windows of five
/// minutes (its manual, "Hub Rate limits").
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Longest time for a listing's page, a manifest, an error: some MiB, however slow the way.
const LONGEST_DOCUMENT: Duration = Duration::from_mins(2);

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Longest text of a store that is kept, in characters.
const LONGEST_WORDS: usize = 300;

/// Builds the client. It follows no redirect by itself, because only a source knows which headers are secret.
///
/// # Errors
///
/// [`Reason::ArtifactStoreTls`] when the machine's certificate authorities can't be loaded.
pub fn build(patience: Patience) -> Result<Client, Failure> {
    let mut headers = HeaderMap::new();
    // The bytes are wanted as they are stored.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Client::builder()
        .user_agent(build::FETCH)
        .default_headers(headers)
        .redirect(Policy::none())
        .dns_resolver(address::resolver())
        .connect_timeout(patience.connect)
        .read_timeout(patience.stall)
        // Ranges are only parallel over connections of their own.
        .http1_only()
        .build()
        .map_err(|error| {
            Failure::new(Reason::ArtifactStoreTls, "the certificate authorities of this machine can't be loaded")
                .caused_by(error)
        })
}

/// Sends a request of any source, once.
///
/// # Errors
///
/// When it leads to an address from which nothing is fetched, or gets no answer.
pub async fn send(request: RequestBuilder) -> Result<Response, Failure> {
    let (client, request) = request.build_split();
    let request = request.map_err(|error| {
        Failure::new(Reason::ArtifactUriInvalid, "the request can't be made").caused_by(error.without_url())
    })?;
    address::check(request.url())?;
    let host = host(request.url());
    client.execute(request).await.map_err(|error| Failure::transport(error, &host))
}

/// Host and port of `url`, for people.
#[must_use]
pub fn host(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    }
}

/// How long the store wants to be left alone, from a `Retry-After` in seconds (a date counts as none), or until a quota
/// that is used up is there again (`RateLimit: "api";r=0;t=55`).
///
/// Source: RFC 9110; draft-ietf-httpapi-ratelimit-headers-10, which the Hugging Face hub follows.
#[must_use]
pub fn retry_after(response: &Response) -> Option<Duration> {
    pause(response.headers())
}

/// The pause that these `headers` ask for, as [`retry_after`].
#[must_use]
pub fn pause(headers: &HeaderMap) -> Option<Duration> {
    let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let asked = header(RETRY_AFTER).and_then(|seconds| seconds.trim().parse().ok());
    let seconds = asked.or_else(|| used_up(header(RATE_LIMIT)?))?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// The start of what a store says, on one line.
#[must_use]
pub fn short(words: &str) -> String {
    let line = words.lines().next().unwrap_or_default();
    line.chars().filter(|character| !character.is_control()).take(LONGEST_WORDS).collect()
}

/// The seconds after which the quotas that are used up are there again.
fn used_up(rate_limit: &str) -> Option<u64> {
    let quotas = rate_limit.split(',').filter_map(|quota| {
        let value = |name| quota.split(';').find_map(|parameter| parameter.trim().strip_prefix(name)?.parse().ok());
        value("r=").filter(|left: &u64| *left == 0).and_then(|_| value("t="))
    });
    quotas.max()
}

/// Reads at most `limit` bytes of the body, and whether that was all of it.
///
/// # Errors
///
/// When the store breaks off or stalls.
pub async fn read_at_most(response: Response, limit: usize) -> Result<(Vec<u8>, bool), Failure> {
    let host = host(response.url());
    in_time(&host, read_body(response, limit, &host)).await
}

/// Waits for a document of `host` to be read, but not for ever.
///
/// # Errors
///
/// When it takes too long, or can't be read.
pub async fn in_time<What>(host: &str, read: impl Future<Output = Result<What, Failure>>) -> Result<What, Failure> {
    let slow = |_| {
        let act = format!("{host} took more than {} s for one document", LONGEST_DOCUMENT.as_secs());
        Failure::new(Reason::ArtifactStalled, act).with_retry(Retry::Soon)
    };
    tokio::time::timeout(LONGEST_DOCUMENT, read).await.map_err(slow)?
}

async fn read_body(mut response: Response, limit: usize, host: &str) -> Result<(Vec<u8>, bool), Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::transport(error, host))? {
        let room = limit - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if chunk.len() > room {
            return Ok((body, false));
        }
    }
    Ok((body, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_quota_that_is_used_up_asks_for_a_pause() {
        assert_eq!(used_up("\"api\";r=0;t=55"), Some(55));
        assert_eq!(used_up("\"api\";r=0;t=55, \"pages\"; r=0; t=70, \"resolvers\";r=9;t=200"), Some(70));
        for other in ["\"api\";r=12;t=55", "", "r=0", "t=5", "\"api\";r=0;t=soon"] {
            assert_eq!(used_up(other), None, "{other}");
        }
    }
}
