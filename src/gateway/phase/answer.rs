//! The only place where an outcome becomes HTTP.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Body;
use hyper::ext::ReasonPhrase;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode, Version};
use serde::Serialize;

use super::choose::PIN;
use super::forward::Begun;
use super::identify::{self, CLIENT_REQUEST_ID, Caller, REQUEST_ID};
use super::understand;
use crate::catalogue::answer::{self as catalogue, Answer as Row};
use crate::gateway::Gateway;
use crate::gateway::body::AnswerBody;
use crate::gateway::cors::Visit;
use crate::gateway::protocol::Protocol;
use crate::gateway::record::Record;
use crate::gateway::table::{Auth, Deployment, Endpoint};
use crate::gateway::token::Denial;
use crate::gateway::tunnel::{self, Wish};

const MODEL_STATUS: HeaderName = HeaderName::from_static("ms-azureml-model-error-statuscode");
const MODEL_REASON: HeaderName = HeaderName::from_static("ms-azureml-model-error-reason");
/// Seconds after which a refused caller may try again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Why the gateway itself refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request means two things, or nothing, as told.
    BadRequest(&'static str),
    /// The request body is malformed or breaks off.
    BadBody,
    /// The caller has no right, for the reason given.
    Unauthorized(&'static str),
    /// The caller's token does not open the endpoint.
    Token(Denial),
    /// Neither host nor path lead to an endpoint.
    EndpointNotFound,
    /// The endpoint has no deployment of the pinned name.
    DeploymentNotFound,
    /// No deployment has a positive weight.
    NoTraffic,
    /// The model took too long.
    Timeout,
    /// The caller sent nothing of its body for too long.
    BodyTimeout,
    /// The request body is over the limit.
    PayloadTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// No instance took the request, or the connection broke on the way.
    Connection,
    /// No instance is ready.
    NotReady,
    /// The response body is over the limit.
    ResponseTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// More requests came than the endpoint's rate.
    RateLimited {
        /// The time after which there is room for one again.
        retry_after: Duration,
    },
    /// As many requests wait as may, or one waited too long.
    TooManyPending,
    /// Our own fault.
    Internal,
}

impl Refusal {
    /// Its row in the catalogue.
    #[must_use]
    pub const fn row(self) -> &'static Row {
        match self {
            Self::BadRequest(_) => &catalogue::BAD_REQUEST,
            Self::BadBody => &catalogue::BAD_REQUEST_BODY,
            Self::Unauthorized(_) | Self::Token(Denial::Refused(_)) => &catalogue::UNAUTHORIZED,
            Self::EndpointNotFound => &catalogue::ENDPOINT_NOT_FOUND,
            Self::DeploymentNotFound => &catalogue::DEPLOYMENT_NOT_FOUND,
            Self::NoTraffic => &catalogue::NO_TRAFFIC,
            Self::Timeout => &catalogue::REQUEST_TIMEOUT,
            Self::BodyTimeout => &catalogue::REQUEST_BODY_TIMEOUT,
            Self::PayloadTooLarge { .. } => &catalogue::PAYLOAD_TOO_LARGE,
            Self::Connection => &catalogue::MODEL_CONNECTION_FAILED,
            Self::NotReady => &catalogue::MODEL_NOT_READY,
            Self::ResponseTooLarge { .. } => &catalogue::RESPONSE_TOO_LARGE,
            Self::RateLimited { .. } => &catalogue::RATE_LIMITED,
            Self::TooManyPending => &catalogue::TOO_MANY_PENDING,
            Self::Internal | Self::Token(Denial::NotChecked) => &catalogue::INTERNAL,
        }
    }

    fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn message(self, endpoint: Option<&Endpoint>, deployment: Option<&Deployment>) -> String {
        match self {
            Self::BadRequest(why) => format!("The request can't be understood: {why}."),
            Self::BadBody => "The request body is malformed or breaks off.".to_owned(),
            Self::Unauthorized(why) => format!("Not allowed: {why}."),
            Self::Token(Denial::Refused(refused)) => match endpoint.map(|endpoint| &endpoint.auth) {
                Some(Auth::Tokens(scope)) => format!("Not allowed: {}.", refused.why(scope)),
                _ => "Not allowed.".to_owned(),
            },
            Self::Token(Denial::NotChecked) => {
                "The gateway could not check the token in time; the fault is not the token's.".to_owned()
            }
            Self::EndpointNotFound => "No endpoint is known under this host name or path.".to_owned(),
            Self::DeploymentNotFound => format!("The endpoint has no deployment of the name in the header {PIN}."),
            Self::NoTraffic => "No deployment of the endpoint has a positive share of the traffic.".to_owned(),
            Self::Timeout => match deployment {
                Some(deployment) => {
                    format!(
                        "The model took longer than the deployment's {} ms.",
                        deployment.request_timeout.as_millis()
                    )
                }
                None => "The model took too long.".to_owned(),
            },
            Self::BodyTimeout => "The request body did not come; the model was not to blame.".to_owned(),
            Self::PayloadTooLarge { limit } => {
                format!("The request body is larger than the endpoint's limit of {limit} bytes.")
            }
            Self::Connection => "No instance took the request, or the connection broke before an answer.".to_owned(),
            Self::NotReady => "No instance that could answer is ready.".to_owned(),
            Self::ResponseTooLarge { limit } => {
                format!("The model's answer is larger than the endpoint's limit of {limit} bytes.")
            }
            Self::RateLimited { .. } => "More requests came than the endpoint's limit for each second.".to_owned(),
            Self::TooManyPending => "All instances are busy and too many requests wait already.".to_owned(),
            Self::Internal => "The gateway failed; the fault is not the request's.".to_owned(),
        }
    }
}

/// What an instance said, and what decides how it is passed on.
#[derive(Debug)]
pub struct Answer {
    /// The answer that has begun.
    pub response: Box<Begun>,
    /// The deployment that it comes from.
    pub deployment: Arc<Deployment>,
    /// Whether the scoring path was asked.
    pub scoring: bool,
    /// Largest response body, in bytes.
    pub max_response_bytes: u64,
    /// That the connection become a WebSocket, when the caller asked for that.
    pub wish: Option<Wish>,
}

/// Makes the answer.
#[must_use]
pub fn answer(outcome: Result<Answer, Refusal>, caller: &Caller, mut record: Record) -> Response<Box<AnswerBody>> {
    let outcome = outcome.and_then(framed).and_then(within_limit).and_then(asked_for);
    // Where a next request begins can't be known then.
    let lost = matches!(outcome, Err(Refusal::BadRequest(_) | Refusal::BadBody | Refusal::BodyTimeout));
    let mut response = match outcome {
        Ok(answer) if answer.response.response.status() == StatusCode::SWITCHING_PROTOCOLS => switch(answer, record),
        Ok(answer) => pass_on(answer, caller, record),
        Err(refusal) => {
            record.refused(refusal.row().name);
            refuse(refusal, caller, record)
        }
    };
    if lost && caller.protocol == Protocol::Http1 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Answers a browser that asks what a page may do.
#[must_use]
pub fn preflight(mut record: Record) -> Response<Box<AnswerBody>> {
    record.answered(StatusCode::NO_CONTENT.as_u16());
    let mut response = Response::new(AnswerBody::own(Vec::new(), record));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Puts on what every answer has.
#[must_use]
pub fn sign(
    mut response: Response<Box<AnswerBody>>,
    caller: &Caller,
    visit: Option<&Visit>,
    gateway: &Gateway,
) -> Response<Box<AnswerBody>> {
    let ends = gateway.draining.load(Ordering::Relaxed)
        && caller.protocol == Protocol::Http1
        && response.status() != StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, caller.request_id.clone());
    match &caller.client_request_id {
        Some(id) => drop(headers.insert(CLIENT_REQUEST_ID, id.clone())),
        None => drop(headers.remove(CLIENT_REQUEST_ID)),
    }
    if let Some(visit) = visit {
        visit.mark(headers);
    }
    if ends {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Refuses codings that we do not take off, and lengths that are none. Where a length stands beside chunks, the chunks
/// count (RFC 9112, 6.3).
fn framed(mut answer: Answer) -> Result<Answer, Refusal> {
    let response = &mut answer.response.response;
    let bodiless = response.status() == StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    understand::encoding(headers).map_err(|_| Refusal::Connection)?;
    if bodiless || headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    } else {
        understand::length(headers).map_err(|_| Refusal::Connection)?;
    }
    Ok(answer)
}

fn within_limit(answer: Answer) -> Result<Answer, Refusal> {
    // Not by the header: an answer to HEAD has the length of a body that does not come.
    if answer.response.response.body().size_hint().lower() > answer.max_response_bytes {
        return Err(Refusal::ResponseTooLarge { limit: answer.max_response_bytes });
    }
    Ok(answer)
}

/// Refuses another protocol that nobody asked for, or that is another one than was asked for.
fn asked_for(answer: Answer) -> Result<Answer, Refusal> {
    let response = &answer.response.response;
    let agreed = || answer.wish.is_some() && tunnel::is_websocket(response.headers());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS && !agreed() {
        return Err(Refusal::Connection);
    }
    Ok(answer)
}

/// Makes a tunnel of the two connections.
fn switch(answer: Answer, mut record: Record) -> Response<Box<AnswerBody>> {
    let Answer { response, deployment, wish, .. } = answer;
    let Begun { mut response, upstream, slot, pool, .. } = *response;
    let instance = hyper::upgrade::on(&mut response);
    let (mut parts, _) = response.into_parts();
    identify::clean(&mut parts.headers);
    tunnel::mark(&mut parts.headers);
    parts.headers.insert(PIN, deployment.header.clone());
    record.answered(parts.status.as_u16());
    if let Some(wish) = wish {
        pool.callers.spawn(wish.grant(instance, upstream, slot, record));
    }
    Response::from_parts(parts, AnswerBody::none())
}

/// Whether a model's answer of this status passes as it is. `scoring` tells whether the scoring path was asked.
#[must_use]
pub fn is_good(scoring: bool, status: StatusCode) -> bool {
    if scoring { status == StatusCode::OK } else { status.is_success() || status.is_redirection() }
}

fn pass_on(answer: Answer, caller: &Caller, mut record: Record) -> Response<Box<AnswerBody>> {
    let Answer { response, deployment, scoring, max_response_bytes, .. } = answer;
    let trailers = response.protocol == Protocol::Http2 && caller.protocol == Protocol::Http2;
    let (mut parts, mut body) = response.split(max_response_bytes);
    if trailers {
        body.pass_trailers();
    }
    parts.version = Version::HTTP_11;
    identify::clean(&mut parts.headers);
    let model = parts.status;
    if !is_good(scoring, model) {
        parts.status = StatusCode::FAILED_DEPENDENCY;
        parts.extensions.clear();
        if let Ok(phrase) = ReasonPhrase::try_from(format!("Model Error; original-code={}", model.as_str())) {
            parts.extensions.insert(phrase);
        }
        if let Ok(code) = HeaderValue::from_str(model.as_str()) {
            parts.headers.insert(MODEL_STATUS, code);
        }
        parts.headers.insert(MODEL_REASON, HeaderValue::from_static("model_error"));
    }
    parts.headers.insert(PIN, deployment.header.clone());
    record.answered(parts.status.as_u16());
    Response::from_parts(parts, AnswerBody::instance(body, record))
}

#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<&'a str>,
}

fn refuse(refusal: Refusal, caller: &Caller, mut record: Record) -> Response<Box<AnswerBody>> {
    let status = refusal.status();
    record.answered(status.as_u16());
    let (endpoint, deployment) = (record.endpoint_asked().cloned(), record.chosen().cloned());
    let document = ErrorDocument {
        error: ErrorBody {
            code: refusal.row().name,
            message: &refusal.message(endpoint.as_deref(), deployment.as_deref()),
            request_id: caller.request_id.to_str().unwrap_or_default(),
            deployment: deployment.as_ref().map(|deployment| deployment.name.as_str()),
        },
    };
    let text = serde_json::to_vec(&document).unwrap_or_default();
    let length = text.len();
    let mut response = Response::new(AnswerBody::own(text, record));
    *response.status_mut() = status;
    if let Some(phrase) = refusal.row().phrase {
        response.extensions_mut().insert(ReasonPhrase::from_static(phrase.as_bytes()));
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(deployment) = deployment {
        headers.insert(PIN, deployment.header.clone());
    }
    match refusal {
        Refusal::Unauthorized(_) | Refusal::Token(Denial::Refused(_)) => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Refusal::Token(Denial::NotChecked) => {
            headers.insert(RETRY_AFTER, RETRY_SECONDS);
        }
        Refusal::Connection => {
            headers.insert(MODEL_STATUS, HeaderValue::from_static("0"));
            headers.insert(MODEL_REASON, HeaderValue::from_static("connection"));
        }
        Refusal::NotReady => {
            headers.insert(MODEL_STATUS, HeaderValue::from_static("0"));
            headers.insert(MODEL_REASON, HeaderValue::from_static("model_not_ready"));
            headers.insert(RETRY_AFTER, RETRY_SECONDS);
        }
        Refusal::RateLimited { retry_after } => {
            // In whole seconds, and never before there is room.
            let seconds = retry_after.as_millis().div_ceil(1_000).max(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
        }
        Refusal::TooManyPending => {
            headers.insert(MODEL_REASON, HeaderValue::from_static("too_many_pending_request"));
            headers.insert(RETRY_AFTER, RETRY_SECONDS);
        }
        _ => {}
    }
    response
}
