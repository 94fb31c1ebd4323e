//! The HTTP client that every source uses.

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use url::Url;

use crate::catalogue::Reason;
use crate::fetch::Patience;
use crate::fetch::address;
use crate::fetch::failure::Failure;
use crate::process::build;

/// Longest pause that a store may ask for; a longer one counts as this.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

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

/// How long the store wants to be left alone, from a `Retry-After` in seconds; a date counts as none.
#[must_use]
pub fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// Reads at most `limit` bytes of the body, and whether that was all of it.
///
/// # Errors
///
/// When the store breaks off or stalls.
pub async fn read_at_most(mut response: Response, limit: usize) -> Result<(Vec<u8>, bool), Failure> {
    let host = host(response.url());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::transport(error, &host))? {
        let room = limit - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if chunk.len() > room {
            return Ok((body, false));
        }
    }
    Ok((body, true))
}
