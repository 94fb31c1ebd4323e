//! The request on its way to an instance and the head of the answer back.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;
use hyper::header::{COOKIE, HOST, HeaderMap, HeaderValue, TE, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, Scheme};
use hyper::{Method, Request, Response, Uri, Version};
use tokio::time::{Instant, Sleep};

use super::admit;
use super::answer::Refusal;
use super::identify::{CLIENT_REQUEST_ID, Caller, REQUEST_ID};
use crate::gateway::backend::{Instance, Slot};
use crate::gateway::body::{InstanceBody, RequestBody, Upload};
use crate::gateway::protocol::Protocol;
use crate::gateway::record::Record;
use crate::gateway::table::Deployment;
use crate::gateway::tunnel::{self, Wish};
use crate::gateway::upstream::{Pool, Upstream};

/// The path that callers score at.
const SCORE: &str = "/score";
/// Instances that are tried before the caller hears of it.
const ATTEMPTS: usize = 3;
/// How long a caller may send nothing of its body, to twice that: it holds a place at an instance meanwhile.
const BODY_SILENCE: Duration = Duration::from_secs(10);
/// The longest that an instance counts as busy with a request whose caller has long got its 408.
const LINGER: Duration = Duration::from_mins(10);

/// An answer that has begun, and all that its body needs.
#[derive(Debug)]
pub struct Begun {
    /// The head, with the body as it comes.
    pub response: Response<Incoming>,
    /// The connection that it comes on.
    pub upstream: Upstream,
    /// The place at the instance.
    pub slot: Slot,
    /// Where the connection goes afterwards.
    pub pool: Arc<Pool>,
    /// The longest silence.
    pub patience: Duration,
    /// The timer of the request, to be used again.
    pub timer: Pin<Box<Sleep>>,
    /// Whether the instance speaks HTTP/2.
    pub protocol: Protocol,
}

impl Begun {
    /// The head and the body, of which at most `limit` bytes pass.
    #[must_use]
    pub fn split(self, limit: u64) -> (hyper::http::response::Parts, InstanceBody) {
        let (parts, incoming) = self.response.into_parts();
        (parts, InstanceBody::new(incoming, self.upstream, self.slot, self.pool, limit, self.patience, self.timer))
    }
}

/// The request as an instance gets it, and whether it goes to the scoring path. `path` is the path and query when they
/// are not the request's own.
///
/// # Errors
/// When no request can be made of it.
pub fn request(
    mut parts: Parts,
    body: RequestBody,
    path: Option<&String>,
    deployment: &Deployment,
    caller: &Caller,
    wish: Option<&Wish>,
) -> Result<(Request<RequestBody>, bool), Refusal> {
    let asked =
        path.map(String::as_str).or_else(|| parts.uri.path_and_query().map(hyper::http::uri::PathAndQuery::as_str));
    let asked = asked.unwrap_or("/");
    let (target, scoring) = match scoring_rest(asked) {
        Some(rest) => (join(&deployment.scoring_path, rest), true),
        None => (asked.to_owned(), false),
    };
    // What the target says goes before the header (RFC 9112, 3.2.2). HTTP/1.1 wants one, though it may be empty.
    if let Some(authority) = parts.uri.authority() {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::Internal)?;
        parts.headers.insert(HOST, host);
    } else if !parts.headers.contains_key(HOST) {
        parts.headers.insert(HOST, HeaderValue::from_static(""));
    }
    join_cookies(&mut parts.headers);
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        // Without this word hyper sends no body with GET and HEAD.
        parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    parts.uri = Uri::try_from(target).map_err(|_| Refusal::Internal)?;
    parts.version = Version::HTTP_11;
    if deployment.protocol == Protocol::Http2 {
        parts.headers.remove(TRANSFER_ENCODING);
        parts.version = Version::HTTP_2;
        parts.uri = with_authority(parts.uri, parts.headers.remove(HOST).as_ref())?;
        // The only value that HTTP/2 knows, and all that gRPC asks for.
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    parts.extensions.clear();
    if wish.is_some() && deployment.protocol == Protocol::Http1 {
        tunnel::mark(&mut parts.headers);
    }
    parts.headers.insert(REQUEST_ID, caller.request_id.clone());
    if let Some(id) = &caller.client_request_id {
        parts.headers.insert(CLIENT_REQUEST_ID, id.clone());
    }
    Ok((Request::from_parts(parts, body), scoring))
}

/// HTTP/2 has the host in the target. Whoever sent none, or none that is one, gets a name that says so.
fn with_authority(uri: Uri, host: Option<&HeaderValue>) -> Result<Uri, Refusal> {
    let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = uri.into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(host.unwrap_or_else(|| Authority::from_static("invalid")));
    Uri::from_parts(parts).map_err(|_| Refusal::Internal)
}

/// HTTP/2 may send cookies in crumbs, which nobody else understands (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let crumbs: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(cookies) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            headers.insert(COOKIE, cookies);
        }
    }
}

/// What follows `/score`, when the path is that or below it.
fn scoring_rest(path_and_query: &str) -> Option<&str> {
    path_and_query.strip_prefix(SCORE).filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

fn join(path: &str, rest: &str) -> String {
    let path = if rest.starts_with('/') { path.strip_suffix('/').unwrap_or(path) } else { path };
    if path.starts_with('/') || (path.is_empty() && rest.starts_with('/')) {
        format!("{path}{rest}")
    } else {
        format!("/{path}{rest}")
    }
}

/// Sends the request to the instance of `slot`, or to another one when nothing of it was sent there.
///
/// # Errors
/// When no instance takes it, when the connection breaks on the way, or when it takes too long.
pub async fn forward(
    pool: &Arc<Pool>,
    deployment: &Deployment,
    mut slot: Slot,
    mut request: Request<RequestBody>,
    point: u32,
    record: &mut Record,
) -> Result<Box<Begun>, Refusal> {
    record.forwarding();
    let patience = deployment.request_timeout;
    let mut begin = Instant::now();
    while slot.is_lapsed() {
        drop(slot);
        slot = admit::slot(deployment, &[], point, record).await?;
        begin = Instant::now();
    }
    let deadline = begin + patience;
    let mut timer = Box::pin(tokio::time::sleep_until(deadline.min(begin + BODY_SILENCE)));
    let upload = Arc::clone(&record.upload);
    let mut tried: Vec<Arc<Instance>> = Vec::new();
    loop {
        let address = slot.instance().address.socket(deployment.port);
        let unused = pool.take(address, deployment.protocol);
        let reused = unused.is_some();
        let connecting = async {
            match unused {
                Some(upstream) => Ok(upstream),
                None => Upstream::connect(address, deployment.protocol, patience / 3).await,
            }
        };
        let connected = tokio::select! {
            biased;
            connected = connecting => connected,
            late = late(timer.as_mut(), deadline, &upload) => return Err(late),
        };
        let mut upstream = match connected {
            Ok(upstream) => {
                if !reused {
                    pool.share(&upstream);
                }
                upstream
            }
            Err(error) => {
                slot = another(deployment, slot, &mut tried, point, record, &error).await?;
                continue;
            }
        };
        if Instant::now() >= deadline {
            // The timer need not have heard of it yet, and the other replicas rely on it that nothing is sent later.
            return Err(Refusal::Timeout);
        }
        let again = may_repeat(&request).then(|| Again::of(&request, record));
        let mut sending = Box::pin(async move {
            let answer = upstream.send(request).await;
            (answer, upstream)
        });
        // The timer comes first: where an instance sends without a pause, what comes second never has its turn.
        let (answer, upstream) = tokio::select! {
            biased;
            late = late(timer.as_mut(), deadline, &upload) => {
                // An instance that has all of the request goes on working on it, whoever waits or not.
                if record.upload.is_complete() {
                    tokio::spawn(linger(sending, slot, Arc::clone(pool), deployment.protocol));
                }
                return Err(late);
            }
            sent = sending.as_mut() => sent,
        };
        let mut error = match answer {
            Ok(response) => {
                record.model_answered(response.status().as_u16());
                let protocol = deployment.protocol;
                return Ok(Box::new(Begun {
                    response,
                    upstream,
                    slot,
                    pool: Arc::clone(pool),
                    patience,
                    timer,
                    protocol,
                }));
            }
            Err(error) => error,
        };
        drop(upstream);
        if record.upload.is_exceeded() {
            let limit = record.limit();
            return Err(Refusal::PayloadTooLarge { limit });
        }
        if record.upload.is_broken() {
            return Err(Refusal::BadBody);
        }
        let unsent = error.take_message();
        let error = error.into_error();
        request = unsent.or_else(|| again.map(Again::request)).ok_or_else(|| {
            tracing::debug!(%address, %error, "the connection broke after the request was sent");
            // Whoever breaks its connections has the fewest requests outstanding, and would get them all.
            slot.instance().avoid();
            Refusal::Connection
        })?;
        // On a reused connection the instance has only closed what it did not use; a new one to it may well do.
        if !reused {
            slot = another(deployment, slot, &mut tried, point, record, &error).await?;
        }
    }
}

/// Resolves at `deadline`, or when a caller has sent nothing of its body for some time. `timer` is set no more often than
/// that.
async fn late(mut timer: Pin<&mut Sleep>, deadline: Instant, upload: &Upload) -> Refusal {
    let mut before = None;
    loop {
        timer.as_mut().await;
        let now = Instant::now();
        let received = upload.is_awaited().then(|| upload.received());
        if received.is_some() && (received == before || deadline <= now) {
            return Refusal::BodyTimeout;
        }
        if deadline <= now {
            return Refusal::Timeout;
        }
        before = received;
        timer.as_mut().reset(deadline.min(now + BODY_SILENCE));
    }
}

/// A place at another instance, after the one of `slot` failed with `error`.
async fn another(
    deployment: &Deployment,
    slot: Slot,
    tried: &mut Vec<Arc<Instance>>,
    point: u32,
    record: &mut Record,
    error: &(dyn std::error::Error + Sync),
) -> Result<Slot, Refusal> {
    tracing::debug!(instance = %slot.instance().address.ip, deployment = deployment.name, %error, "an instance failed");
    slot.instance().avoid();
    tried.push(Arc::clone(slot.instance()));
    drop(slot);
    if tried.len() >= ATTEMPTS {
        return Err(admit::none_left(deployment, tried));
    }
    admit::slot(deployment, tried, point, record).await
}

/// Whether a request can be sent twice without harm, even if an instance has seen it.
fn may_repeat(request: &Request<RequestBody>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) && request.body().is_end_stream()
}

/// What a second attempt of a request without a body is made of.
struct Again {
    head: Request<()>,
    body: RequestBody,
}

impl Again {
    fn of(request: &Request<RequestBody>, record: &Record) -> Self {
        let mut head = Request::new(());
        head.method_mut().clone_from(request.method());
        head.uri_mut().clone_from(request.uri());
        head.headers_mut().clone_from(request.headers());
        Self { head, body: RequestBody::empty(Arc::clone(&record.upload)) }
    }

    fn request(self) -> Request<RequestBody> {
        let (parts, ()) = self.head.into_parts();
        Request::from_parts(parts, self.body)
    }
}

type Sent = (Result<Response<Incoming>, TrySendError<Request<RequestBody>>>, Upstream);

/// Holds the slot until the instance is done with a request that nobody waits for.
async fn linger(sending: impl Future<Output = Sent>, slot: Slot, pool: Arc<Pool>, protocol: Protocol) {
    let timer = Box::pin(tokio::time::sleep(LINGER));
    let end = tokio::time::timeout(LINGER, async move {
        if let (Ok(response), upstream) = sending.await {
            let begun = Begun { response, upstream, slot, pool, patience: LINGER, timer, protocol };
            let (_, mut body) = begun.split(u64::MAX);
            while let Some(Ok(_)) = body.frame().await {}
        }
    });
    if end.await.is_err() {
        tracing::warn!(after = ?LINGER, "an instance is still busy with a request that timed out; closing its connection");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_never_matches_half_a_segment() {
        assert_eq!(scoring_rest("/score"), Some(""));
        assert_eq!(scoring_rest("/score?a=b"), Some("?a=b"));
        assert_eq!(scoring_rest("/score/deep/er?a"), Some("/deep/er?a"));
        assert_eq!(scoring_rest("/scores"), None);
        assert_eq!(scoring_rest("/v1/score"), None);
        assert_eq!(scoring_rest("/"), None);
    }

    #[test]
    fn the_rest_follows_the_scoring_path_with_one_slash() {
        assert_eq!(join("/predict", ""), "/predict");
        assert_eq!(join("/predict/", "/a"), "/predict/a");
        assert_eq!(join("/", "?x=1"), "/?x=1");
        assert_eq!(join("/", "/a"), "/a");
        assert_eq!(join("predict", "?x"), "/predict?x");
        assert_eq!(join("", ""), "/");
    }
}
