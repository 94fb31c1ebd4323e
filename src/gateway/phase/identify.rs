//! Who asks for what: the endpoint by host or path, the ids, and headers that must not pass.

use std::sync::Arc;

use hyper::Version;
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use uuid::Uuid;

use super::answer::Refusal;
use crate::gateway::Gateway;
use crate::gateway::protocol::Protocol;
use crate::gateway::table::Endpoint;

/// Our id of a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The caller's id of a request.
pub const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
/// Headers that only the gateway itself may speak.
pub const OURS: &str = "ms-azureml-";
/// Where endpoints are found by path: `/api/v1/endpoint/<namespace>/<name>/…`.
const BY_PATH: &str = "/api/v1/endpoint/";
/// Characters that are kept of the caller's id.
const CLIENT_REQUEST_ID_LENGTH: usize = 40;

/// Who sent a request, so far as it matters.
#[derive(Debug)]
pub struct Caller {
    /// Our id of the request, a GUID; never the caller's.
    pub request_id: HeaderValue,
    /// The caller's id of the request, cleaned.
    pub client_request_id: Option<HeaderValue>,
    /// A random number, equally distributed, that the draws of a deployment and of an instance are made with.
    pub point: u32,
    /// What the caller speaks.
    pub protocol: Protocol,
    /// Another one, independent of the first, for the draw of the mirror.
    pub mirror_point: u32,
}

/// Gives the request its id, and takes the caller's own out of its headers.
pub fn caller(parts: &mut Parts) -> Caller {
    let id = Uuid::new_v4();
    let mut text = Uuid::encode_buffer();
    let request_id = HeaderValue::from_str(id.hyphenated().encode_lower(&mut text));
    // The version and the variant, which are not random, stand between the two (RFC 9562, section 5.4).
    let (mirror_point, _, _, node) = id.as_fields();
    let [_, _, _, _, first, second, third, fourth] = *node;
    Caller {
        request_id: request_id.unwrap_or(HeaderValue::from_static("")),
        client_request_id: parts.headers.remove(CLIENT_REQUEST_ID).as_ref().and_then(client_request_id),
        point: u32::from_be_bytes([first, second, third, fourth]),
        protocol: if parts.version == Version::HTTP_2 { Protocol::Http2 } else { Protocol::Http1 },
        mirror_point,
    }
}

fn client_request_id(value: &HeaderValue) -> Option<HeaderValue> {
    let kept =
        value.as_bytes().iter().copied().filter(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let kept: Vec<u8> = kept.take(CLIENT_REQUEST_ID_LENGTH).collect();
    if kept.is_empty() { None } else { HeaderValue::from_bytes(&kept).ok() }
}

/// The endpoint that is asked, and the path and query to ask it, when they are not the request's own.
///
/// # Errors
/// When neither host nor path lead to an endpoint.
pub fn endpoint(parts: &Parts, gateway: &Gateway) -> Result<(Arc<Endpoint>, Option<String>), Refusal> {
    let table = gateway.table.load();
    let authority = parts.uri.authority().map(hyper::http::uri::Authority::as_str);
    let host = authority.or_else(|| parts.headers.get(HOST).and_then(|host| host.to_str().ok()));
    let host = host.map(without_port).unwrap_or_default();
    let found = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        table.by_host(&host.to_ascii_lowercase(), &gateway.cluster_domain)
    } else {
        table.by_host(host, &gateway.cluster_domain)
    };
    if let Some(endpoint) = found {
        return Ok((Arc::clone(endpoint), None));
    }
    let by_path = || {
        let path_and_query = parts.uri.path_and_query()?.as_str();
        let (namespace, rest) = path_and_query.strip_prefix(BY_PATH)?.split_once('/')?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at_checked(end)?;
        let endpoint = table.by_name(namespace, name)?;
        let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        Some((Arc::clone(endpoint), Some(rest)))
    };
    by_path().ok_or(Refusal::EndpointNotFound)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Takes out what speaks of the caller's connection alone, and what only the gateway may say.
pub fn clean(headers: &mut HeaderMap) {
    let doomed: Vec<_> = headers
        .keys()
        .filter(|name| is_of_the_connection(name.as_str()) || is_ours(name.as_str()) || is_in_disguise(name))
        .cloned()
        .collect();
    if doomed.is_empty() {
        return;
    }
    let named: Vec<_> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| !is_end_to_end(name.as_str()))
        .collect();
    for name in doomed.iter().chain(&named) {
        headers.remove(name);
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with(OURS)
}

/// Names with an underscore that CGI and WSGI can't tell from one that means something here.
fn is_in_disguise(name: &HeaderName) -> bool {
    name.as_str().contains('_') && {
        let name = name.as_str().replace('_', "-");
        is_of_the_connection(&name) || is_end_to_end(&name) || is_ours(&name) || name == CLIENT_REQUEST_ID.as_str()
    }
}

/// The hop-by-hop headers, and `Expect`, which is answered here.
fn is_of_the_connection(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "expect"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Headers that nobody can have removed by naming them in `Connection`.
fn is_end_to_end(name: &str) -> bool {
    matches!(
        name,
        "authorization"
            | "cache-control"
            | "content-encoding"
            | "content-length"
            | "content-type"
            | "host"
            | "x-request-id"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_the_host() {
        assert_eq!(without_port("iris.default:8080"), "iris.default");
        assert_eq!(without_port("iris.default"), "iris.default");
        assert_eq!(without_port("[::1]:80"), "[::1]");
    }

    #[test]
    fn the_callers_id_is_kept_clean_and_short() {
        let clean = |text: &str| client_request_id(&HeaderValue::from_str(text).unwrap());
        assert_eq!(clean("a b/c-d_e\"").unwrap(), "abc-d_e");
        assert_eq!(clean(&"x".repeat(99)).unwrap().len(), 40);
        assert_eq!(clean("///"), None);
    }

    #[test]
    fn headers_of_the_connection_and_our_own_do_not_pass() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine, Authorization, host"),
            ("x-mine", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("ms-azureml-model-error-reason", "forged"),
            ("authorization", "Bearer key"),
            ("host", "iris.default"),
            ("x-other", "1"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        clean(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "host", "x-other"]);
    }
}
