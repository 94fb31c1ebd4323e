//! Cross-origin resource sharing, as <https://fetch.spec.whatwg.org/#http-cors-protocol> has it: which web pages of
//! other origins may read an endpoint's answers. For endpoints that ask for it; at the others nothing changes.

use std::sync::Arc;

use hyper::Method;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderMap, HeaderValue, ORIGIN, VARY,
};
use hyper::http::request::Parts;

use super::table::Endpoint;
use crate::api::endpoint::EndpointCors;

/// Methods that browsers allow themselves.
const METHODS: [&str; 3] = ["GET", "HEAD", "POST"];
/// Request headers that an endpoint itself understands.
const HEADERS: [&str; 6] = [
    "authorization",
    "azureml-model-deployment",
    "content-type",
    "traceparent",
    "tracestate",
    "x-ms-client-request-id",
];
/// Headers of the gateway's own that a page may read.
const EXPOSED: [&str; 6] = [
    "azureml-model-deployment",
    "ms-azureml-model-error-reason",
    "ms-azureml-model-error-statuscode",
    "retry-after",
    "x-ms-client-request-id",
    "x-request-id",
];
const WITH_CREDENTIALS: HeaderValue = HeaderValue::from_static("true");

/// What an endpoint shares with pages of other origins.
#[derive(Debug)]
pub struct Policy {
    origins: Origins,
    credentials: bool,
    methods: HeaderValue,
    headers: HeaderValue,
    exposed: HeaderValue,
    max_age: HeaderValue,
}

#[derive(Debug)]
enum Origins {
    All,
    /// In lower case; a `*` stands for one or more labels of the host.
    Some(Vec<String>),
}

impl Policy {
    /// What `cors` says. None when it has a name that can't stand in a header.
    #[must_use]
    pub fn of(cors: &EndpointCors) -> Option<Self> {
        let list = |ours: &[&str], more: &[String]| {
            let more: Vec<_> = more.iter().map(String::as_str).filter(|name| !ours.contains(name)).collect();
            HeaderValue::from_str(&[ours, &more].concat().join(", ")).ok()
        };
        let origins = &cors.allow_origins;
        Some(Self {
            origins: if origins.iter().any(|origin| origin == "*") {
                Origins::All
            } else {
                Origins::Some(origins.iter().map(|origin| origin.to_ascii_lowercase()).collect())
            },
            credentials: cors.allow_credentials,
            methods: list(&METHODS, &cors.allow_methods)?,
            headers: list(&HEADERS, &cors.allow_headers)?,
            exposed: list(&EXPOSED, &cors.expose_headers)?,
            max_age: HeaderValue::from(cors.max_age),
        })
    }

    /// What a page of `origin` gets to see as the allowed one, if it is.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match &self.origins {
            // The standard has it that all origins can't have credentials.
            Origins::All => (!self.credentials).then_some(HeaderValue::from_static("*")),
            Origins::Some(patterns) => {
                let text = origin.to_str().ok()?.to_ascii_lowercase();
                patterns.iter().any(|pattern| matches(pattern, &text)).then(|| origin.clone())
            }
        }
    }
}

fn matches(pattern: &str, origin: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == origin,
        Some((scheme, domain)) => origin
            .strip_prefix(scheme)
            .and_then(|rest| rest.strip_suffix(domain))
            .is_some_and(|labels| !labels.is_empty() && !labels.contains(['/', ':', '@'])),
    }
}

/// A request to an endpoint that shares something.
#[derive(Debug)]
pub struct Visit {
    endpoint: Arc<Endpoint>,
    origin: Option<HeaderValue>,
    /// Whether a browser asks first.
    preflight: bool,
}

impl Visit {
    /// The visit that is paid by a request with the head `parts`; None where the endpoint shares nothing.
    #[must_use]
    pub fn of(endpoint: &Arc<Endpoint>, parts: &Parts) -> Option<Self> {
        endpoint.cors.as_ref()?;
        let origin = parts.headers.get(ORIGIN).cloned();
        let asks = parts.method == Method::OPTIONS && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        Some(Self { endpoint: Arc::clone(endpoint), preflight: asks && origin.is_some(), origin })
    }

    /// Whether a browser asks what it may do. It has no credential then, so that nobody but the gateway can answer.
    #[must_use]
    pub const fn is_preflight(&self) -> bool {
        self.preflight
    }

    /// Says in the headers of an answer what its page may do, instead of what the model says of that.
    pub fn mark(&self, headers: &mut HeaderMap) {
        let Some(policy) = &self.endpoint.cors else { return };
        let theirs = headers.keys().filter(|name| name.as_str().starts_with("access-control-"));
        for name in theirs.cloned().collect::<Vec<_>>() {
            headers.remove(name);
        }
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Some(allowed) = self.origin.as_ref().and_then(|origin| policy.allowed(origin)) else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if policy.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, WITH_CREDENTIALS);
        }
        if self.preflight {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, policy.methods.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, policy.headers.clone());
            headers.insert(ACCESS_CONTROL_MAX_AGE, policy.max_age.clone());
        } else {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, policy.exposed.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(origins: &[&str], credentials: bool) -> Policy {
        let allow_origins = origins.iter().map(|&origin| origin.to_owned()).collect();
        Policy::of(&EndpointCors { allow_origins, allow_credentials: credentials, ..EndpointCors::default() }).unwrap()
    }

    fn allowed(policy: &Policy, origin: &str) -> Option<String> {
        let allowed = policy.allowed(&HeaderValue::from_str(origin).unwrap());
        allowed.map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_origin_is_its_scheme_host_and_port() {
        let policy = policy(&["https://app.example.com", "http://localhost:3000", "https://*.example.org"], true);
        for good in
            ["https://app.example.com", "http://localhost:3000", "https://a.example.org", "https://a.b.example.org"]
        {
            assert_eq!(allowed(&policy, good).as_deref(), Some(good));
        }
        for bad in [
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://app.example.com.evil.org",
            "https://example.org",
            "https://.example.org",
            "https://evil.org/.example.org",
            "https://evil.org:1.example.org",
            "https://evilexample.org",
            "http://localhost",
            "null",
            "",
        ] {
            assert_eq!(allowed(&policy, bad), None, "{bad}");
        }
    }

    #[test]
    fn all_origins_are_one_answer_and_never_get_credentials() {
        assert_eq!(allowed(&policy(&["*"], false), "https://anyone.example.com").as_deref(), Some("*"));
        assert_eq!(allowed(&policy(&["*"], true), "https://anyone.example.com"), None);
    }

    #[test]
    fn what_is_allowed_anyway_is_not_said_twice() {
        let cors = EndpointCors {
            allow_methods: vec!["PUT".to_owned(), "GET".to_owned()],
            allow_headers: vec!["x-mine".to_owned(), "content-type".to_owned()],
            ..EndpointCors::default()
        };
        let policy = Policy::of(&cors).unwrap();
        assert_eq!(policy.methods, "GET, HEAD, POST, PUT");
        assert!(policy.headers.to_str().unwrap().ends_with("x-ms-client-request-id, x-mine"));
    }
}
