//! Redirects. No client follows them by itself, because only a source knows which of its headers are secret.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use percent_encoding::percent_decode_str;
use reqwest::header::{LOCATION, RANGE};
use reqwest::{Client, Response};
use url::Url;

use crate::catalogue::Reason;
use crate::fetch::client::{host, retry_after, send};
use crate::fetch::download::{Span, has_bytes};
use crate::fetch::failure::{Failure, Retry};
use crate::fetch::uri;

/// How many urls are remembered: more than there are connections, each some KiB long.
const MOST_KNOWN: usize = 256;

/// How many redirects are followed.
const MOST: usize = 5;

/// The way of one request through its redirects.
#[derive(Debug)]
pub struct Route {
    start: Url,
    url: Url,
    is_home: bool,
    redirects: usize,
}

impl Route {
    /// The way that begins at `url`.
    #[must_use]
    pub fn from(url: Url) -> Self {
        Self { start: url.clone(), url, is_home: true, redirects: 0 }
    }

    /// What is to be asked now.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Whether it has never left the origin that it began at. Credentials go nowhere else, and not back there either.
    #[must_use]
    pub const fn is_home(&self) -> bool {
        self.is_home
    }

    /// Goes on to where `response` leads; `false` when it leads nowhere, because it is the answer.
    ///
    /// # Errors
    ///
    /// When it leads from https to http, to another scheme, to no url, or was led on too often.
    pub fn follow(&mut self, response: &Response) -> Result<bool, Failure> {
        let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
        let Some(location) = location else { return Ok(false) };
        if self.redirects == MOST {
            let act = format!("{} redirects more than {MOST} times", host(&self.start));
            return Err(Failure::new(Reason::ArtifactStoreError, act));
        }
        let next = location.to_str().ok().and_then(|location| self.url.join(location).ok());
        let mut next = next.ok_or_else(|| refused(response, "to something that is no url"))?;
        take_user(&mut next);
        match (self.url.scheme(), next.scheme()) {
            (_, "https") | ("http", "http") => {}
            ("https", "http") => return Err(refused(response, "from https to http")),
            _ => return Err(refused(response, "to another scheme than http and https")),
        }
        tracing::info!("{} redirects to {}", host(&self.url), uri::redact(next.as_str()));
        self.is_home &= next.origin() == self.url.origin();
        self.redirects += 1;
        self.url = next;
        Ok(true)
    }
}

fn refused(response: &Response, why: &str) -> Failure {
    let act = format!("{} redirects {why}, which is refused", host(response.url()));
    Failure::new(Reason::ArtifactStoreError, act).with_answer(response.status(), None)
}

/// Takes user name and password out of `url`.
pub fn take_user(url: &mut Url) -> Option<(String, String)> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let user = (decode(url.username()), decode(url.password().unwrap_or_default()));
    // Both only fail on a url without a host, which has neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    (!user.0.is_empty() || !user.1.is_empty()).then_some(user)
}

/// Why the place that `store` redirected to does not give what it should. A fresh url that is refused is a fault between
/// the two, and no right or credential of ours.
#[must_use]
pub fn refusal(response: &Response, store: &str) -> Failure {
    let status = response.status();
    let act = format!("{} answered {status} to the url that {store} gave", host(response.url()));
    let mut failure = Failure::status(status, retry_after(response), act);
    if !matches!(failure.reason, Reason::ArtifactStoreThrottled | Reason::ArtifactStoreError) {
        (failure.reason, failure.retry) = (Reason::ArtifactStoreError, Retry::Soon);
    }
    failure
}

/// The signed urls that a store has redirected to, by object. A store counts the requests for them, and an object of many
/// chunks would use up in minutes what it allows.
#[derive(Debug, Default)]
pub struct Shortcuts(Mutex<HashMap<String, Url>>);

impl Shortcuts {
    /// Asks once for bytes of `object` where they were found before; `None` when nobody knows, or not any more: a signed
    /// url gets old.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub async fn ask(&self, client: &Client, object: &str, span: Option<Span>) -> Result<Option<Response>, Failure> {
        let Some(url) = self.known().get(object).cloned() else { return Ok(None) };
        let mut request = client.get(url);
        if let Some(span) = span {
            request = request.header(RANGE, span.header());
        }
        let answer = send(request).await;
        if answer.as_ref().is_ok_and(has_bytes) {
            return answer.map(Some);
        }
        self.known().remove(object);
        answer.map(|_| None)
    }

    /// Remembers where `object` was found, when that was elsewhere.
    pub fn learn(&self, object: &str, route: &Route) {
        if !route.is_home() {
            let mut known = self.known();
            // Those of small objects are not asked for again, as a rule.
            if known.len() >= MOST_KNOWN {
                known.clear();
            }
            known.insert(object.to_owned(), route.url().clone());
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Url>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
