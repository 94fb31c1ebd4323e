//! What goes wrong with a registry, in the answers of real ones.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use super::image::Image;
use super::{PASSWORD, USER};
use crate::support::server::{Body, whole};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 401 to all who are not [`USER`] with [`PASSWORD`], as a registry with htpasswd.
    WantsPassword,
    /// 401 to all, who get a token but not for this image, as Docker Hub for a private one.
    OutOfScope,
    /// 403 to everything.
    Forbidden,
    /// 404 to everything.
    Empty,
    /// 429 to everything.
    RateLimited,
    /// 429 to the pull of an image, not to a look at it, as Docker Hub.
    PullsRateLimited,
    /// 500 to everything.
    Broken,
    /// 503 to everything.
    Overloaded,
    /// The image is there for another kind of machine only.
    OtherPlatform,
    /// No answer until there is another fault or none. Then who still waits gets that answer.
    Silent,
}

impl Fault {
    /// What is answered instead of what was asked for, if anything.
    pub fn refusal(self, request: &Request<Incoming>, image: &Image) -> Option<Response<Body>> {
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
        let is_pull = request.method() == Method::GET && request.uri().path().contains("/manifests/");
        match self {
            Self::Silent | Self::OtherPlatform => None,
            Self::WantsPassword => {
                let right = format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")));
                let wanted = header("authorization") != Some(&right);
                wanted.then(|| challenge("Basic realm=\"Registry Realm\"", "authentication required"))
            }
            Self::OutOfScope if request.uri().path() == "/token" => {
                Some(answer(200, None, &json!({"token": "for nothing"})))
            }
            Self::OutOfScope => {
                let host = header("host").unwrap_or_default();
                let scheme = format!(
                    "Bearer realm=\"http://{host}/token\",service=\"{host}\",scope=\"repository:{}:pull\",\
                     error=\"insufficient_scope\"",
                    image.repository
                );
                Some(challenge(&scheme, "authentication required"))
            }
            Self::Forbidden => Some(refuse(403, "DENIED", "requested access to the resource is denied")),
            Self::Empty => Some(refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")),
            Self::PullsRateLimited if !is_pull => None,
            Self::RateLimited | Self::PullsRateLimited => Some(refuse(
                429,
                "TOOMANYREQUESTS",
                "You have reached your unauthenticated pull rate limit. \
                 https://www.docker.com/increase-rate-limit",
            )),
            Self::Broken => Some(refuse(500, "UNKNOWN", "unknown error")),
            Self::Overloaded => Some(refuse(503, "UNAVAILABLE", "service temporarily unavailable")),
        }
    }
}

fn challenge(scheme: &str, message: &str) -> Response<Body> {
    answer(401, Some(scheme), &errors("UNAUTHORIZED", message))
}

fn refuse(status: u16, code: &str, message: &str) -> Response<Body> {
    answer(status, None, &errors(code, message))
}

fn errors(code: &str, message: &str) -> Value {
    json!({"errors": [{"code": code, "message": message}]})
}

fn answer(status: u16, challenge: Option<&str>, document: &Value) -> Response<Body> {
    let mut answer = Response::builder().status(status).header("content-type", "application/json");
    if let Some(challenge) = challenge {
        answer = answer.header("www-authenticate", challenge);
    }
    answer.body(whole(document.to_string())).unwrap()
}
