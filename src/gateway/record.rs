//! What is known about one request when it is over: one count, two durations and a line in the access log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::header::{HeaderName, HeaderValue, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};

use super::Gateway;
use super::access_log::Line;
use super::body::{BodyError, Upload};
use super::peers::Peers;
use super::phase::mirror;
use super::table::{Auth, Deployment, Endpoint};

/// Where a caller says which trace a request belongs to. It is passed on as it is.
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
/// Characters of the caller's name that are kept.
const USER_AGENT_LENGTH: usize = 70;
/// What a request counts as whose caller left before the answer, as nginx has it.
const CALLER_GONE: u16 = 499;

/// The account of one request; closed by dropping it.
#[derive(Debug)]
pub struct Record {
    gateway: Arc<Gateway>,
    started: Instant,
    /// Whether the request has not been counted against its endpoint's rate yet, and whoever admits it has to.
    pub uncounted: bool,
    /// How much of the request body has come in.
    pub upload: Arc<Upload>,
    endpoint: Option<Arc<Endpoint>>,
    deployment: Option<Arc<Deployment>>,
    code: u16,
    model_code: Option<u16>,
    refusal: Option<&'static str>,
    queued: Option<Duration>,
    upstream_started: Option<Instant>,
    upstream_answered: Option<Instant>,
    sent: u64,
    complete: bool,
    cut: Option<String>,
    /// How it ended, of the copy for a mirror.
    copy: Option<&'static str>,
    /// Only when there is an access log.
    asked: Option<Box<Asked>>,
}

#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    path: String,
    version: Version,
    user_agent: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    client_request_id: Option<HeaderValue>,
    trace_parent: Option<HeaderValue>,
}

impl Record {
    /// Opens the account of the request with the head `parts`.
    #[must_use]
    pub fn open(gateway: &Arc<Gateway>, parts: &Parts) -> Self {
        let asked = gateway.access_log.is_some().then(|| {
            Box::new(Asked {
                method: parts.method.clone(),
                path: parts.uri.path().to_owned(),
                version: parts.version,
                user_agent: parts.headers.get(USER_AGENT).cloned(),
                request_id: None,
                client_request_id: None,
                trace_parent: parts.headers.get(TRACE_PARENT).cloned(),
            })
        });
        Self::new(Arc::clone(gateway), asked)
    }

    /// Opens the account of a copy of this request, for the mirror `deployment`.
    #[must_use]
    pub fn copy(&self, deployment: &Arc<Deployment>) -> Self {
        let mut copy = Self::new(Arc::clone(&self.gateway), self.asked.clone());
        copy.endpoint.clone_from(&self.endpoint);
        copy.deployment = Some(Arc::clone(deployment));
        copy.copy = Some(mirror::ABORTED);
        copy
    }

    fn new(gateway: Arc<Gateway>, asked: Option<Box<Asked>>) -> Self {
        Self {
            gateway,
            started: Instant::now(),
            uncounted: false,
            upload: Arc::default(),
            endpoint: None,
            deployment: None,
            code: 0,
            model_code: None,
            refusal: None,
            queued: None,
            upstream_started: None,
            upstream_answered: None,
            sent: 0,
            complete: false,
            cut: None,
            copy: None,
            asked,
        }
    }

    /// Whether this is about a copy, whose answer nobody waits for.
    #[must_use]
    pub const fn is_copy(&self) -> bool {
        self.copy.is_some()
    }

    /// Notes how the copy ended.
    pub const fn copy_ended(&mut self, result: &'static str) {
        self.copy = Some(result);
    }

    /// Notes our id of the request and the caller's.
    pub fn ids(&mut self, request_id: &HeaderValue, client_request_id: Option<&HeaderValue>) {
        if let Some(asked) = &mut self.asked {
            asked.request_id = Some(request_id.clone());
            asked.client_request_id = client_request_id.cloned();
        }
    }

    /// Notes the endpoint that was asked.
    pub fn endpoint(&mut self, endpoint: &Arc<Endpoint>) {
        self.endpoint = Some(Arc::clone(endpoint));
    }

    /// Notes the deployment that was chosen.
    pub fn deployment(&mut self, deployment: &Arc<Deployment>) {
        self.deployment = Some(Arc::clone(deployment));
    }

    /// Largest request body that the endpoint allows, in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.endpoint.as_ref().map_or(0, |endpoint| endpoint.max_request_bytes)
    }

    /// The endpoint that was asked.
    #[must_use]
    pub const fn endpoint_asked(&self) -> Option<&Arc<Endpoint>> {
        self.endpoint.as_ref()
    }

    /// This replica among the others, where there may be others.
    #[must_use]
    pub fn peers(&self) -> Option<&Arc<Peers>> {
        self.gateway.peers.as_ref()
    }

    /// The deployment that was chosen.
    #[must_use]
    pub const fn chosen(&self) -> Option<&Arc<Deployment>> {
        self.deployment.as_ref()
    }

    /// Notes that the request waited for a free instance since `since`.
    pub fn queued(&mut self, since: Instant) {
        self.queued = Some(since.elapsed());
    }

    /// Notes that the first attempt begins.
    pub fn forwarding(&mut self) {
        self.upstream_started = Some(Instant::now());
    }

    /// Notes that an instance answered with `code`.
    pub fn model_answered(&mut self, code: u16) {
        self.model_code = Some(code);
        self.upstream_answered = Some(Instant::now());
    }

    /// Notes that the gateway itself refused the request.
    pub const fn refused(&mut self, reason: &'static str) {
        self.refusal = Some(reason);
    }

    /// Notes the code of the answer.
    pub const fn answered(&mut self, code: u16) {
        self.code = code;
    }

    /// Notes that `count` bytes of the answer were sent.
    pub fn sent(&mut self, count: usize) {
        self.sent = self.sent.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Notes that the answer was cut off.
    pub fn cut(&mut self, error: &BodyError) {
        self.cut = Some(error.to_string());
        let (namespace, name) =
            self.endpoint.as_ref().map_or(("", ""), |endpoint| (endpoint.namespace.as_str(), endpoint.name.as_str()));
        let deployment = self.deployment.as_ref().map_or("", |deployment| deployment.name.as_str());
        let cause = std::error::Error::source(error).map(tracing::field::display);
        tracing::warn!(namespace, endpoint = name, deployment, %error, cause, "an answer was cut off");
    }

    /// Notes that the answer was sent to its end.
    pub const fn complete(&mut self) {
        self.complete = true;
    }

    fn log(&self, total: Duration) {
        let (Some(asked), Some(access_log)) = (&self.asked, &self.gateway.access_log) else { return };
        let text = |value: &Option<HeaderValue>| {
            value.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let user_agent: String = text(&asked.user_agent).chars().take(USER_AGENT_LENGTH).collect();
        let milliseconds = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        access_log.push(&Line {
            time_generated: jiff::Timestamp::now().to_string(),
            method: asked.method.as_str(),
            path: &asked.path,
            namespace: self.endpoint.as_ref().map_or("", |endpoint| &endpoint.namespace),
            endpoint_name: self.endpoint.as_ref().map_or("", |endpoint| &endpoint.name),
            deployment_name: self.deployment.as_ref().map_or("", |deployment| &deployment.name),
            protocol: match asked.version {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2",
                _ => "HTTP/1.1",
            },
            response_code: self.code,
            response_code_reason: match (&self.cut, self.refusal.or(self.copy), self.complete) {
                (Some(cut), ..) => cut,
                (None, Some(refusal), _) => refusal,
                (None, None, false) => "the caller left",
                (None, None, true) => "",
            },
            mirrored: self.is_copy(),
            model_status_code: self.model_code,
            model_status_reason: self
                .model_code
                .and_then(|code| StatusCode::from_u16(code).ok()?.canonical_reason())
                .unwrap_or_default(),
            request_payload_size: self.upload.received(),
            response_payload_size: self.sent,
            user_agent: &user_agent,
            request_id: &text(&asked.request_id),
            client_request_id: &text(&asked.client_request_id),
            trace_id: asked.trace_parent.as_ref().and_then(trace_id).unwrap_or_default(),
            auth_mode: match self.endpoint.as_ref().map(|endpoint| &endpoint.auth) {
                Some(Auth::Keys(_)) => "Key",
                Some(_) => "AMLToken",
                None => "",
            },
            request_duration_ms: self
                .upload
                .ended()
                .map(|ended| milliseconds(ended.into_std().duration_since(self.started))),
            total_duration_ms: milliseconds(total),
            response_duration_ms: self
                .upstream_answered
                .map(|answered| milliseconds(answered.duration_since(self.started))),
            queue_duration_ms: self.queued.map(milliseconds),
        });
    }
}

/// The trace of a `traceparent` (<https://www.w3.org/TR/trace-context/#traceparent-header>), if it is well-formed.
fn trace_id(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    let (version, rest) = text.split_once('-')?;
    let (id, rest) = rest.split_once('-')?;
    let (parent, flags) = rest.split_once('-')?;
    // Versions to come may have more after the flags.
    let flags = if version == "00" { flags } else { flags.split('-').next()? };
    let is_hex =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_id = |text: &str, length| is_hex(text, length) && text.bytes().any(|byte| byte != b'0');
    let good = is_hex(version, 2) && version != "ff" && is_id(id, 32) && is_id(parent, 16) && is_hex(flags, 2);
    good.then_some(id)
}

impl Drop for Record {
    fn drop(&mut self) {
        let total = self.started.elapsed();
        if let (Some(result), Some(deployment)) = (self.copy, &self.deployment) {
            deployment.metrics.mirrored.count(result, total);
            self.log(total);
            return;
        }
        if self.code == 0 {
            self.code = CALLER_GONE;
        }
        let results = match (&self.deployment, &self.endpoint) {
            (Some(deployment), _) => &deployment.metrics.results,
            (None, Some(endpoint)) => &endpoint.results,
            (None, None) => &self.gateway.unknown,
        };
        results.count(self.code, self.model_code.unwrap_or(0));
        if let Some(refusal) = self.refusal {
            results.refuse(refusal);
        }
        if let Some(deployment) = &self.deployment {
            deployment.metrics.request_seconds.observe(total.as_secs_f64());
            deployment.metrics.request_bytes.fetch_add(self.upload.received(), Ordering::Relaxed);
            deployment.metrics.response_bytes.fetch_add(self.sent, Ordering::Relaxed);
            if let (Some(started), Some(answered)) = (self.upstream_started, self.upstream_answered) {
                deployment.metrics.upstream_seconds.observe(answered.duration_since(started).as_secs_f64());
            }
        }
        self.log(total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_known_by_a_well_formed_traceparent_alone() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let known = |text: &str| trace_id(&HeaderValue::from_str(text).unwrap()).map(str::to_owned);
        for good in [format!("00-{id}-b7ad6b7169203331-01"), format!("cc-{id}-b7ad6b7169203331-01-what-comes")] {
            assert_eq!(known(&good).as_deref(), Some(id), "{good}");
        }
        for bad in [
            format!("ff-{id}-b7ad6b7169203331-01"),
            format!("00-{id}-b7ad6b7169203331-01-more"),
            format!("00-{}-b7ad6b7169203331-01", id.to_uppercase()),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{id}\"-b7ad6b7169203331-01"),
            format!("00-{id}"),
            String::new(),
        ] {
            assert_eq!(known(&bad), None, "{bad}");
        }
    }
}
