//! Whether a request means one thing, to us and to whoever reads it behind us.
//!
//! hyper refuses what can't be read at all, and the lengths that disagree. This is about what it lets pass: heads that
//! can be read, and that two servers read in two ways.

use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Version};

use super::answer::Refusal;

/// Lets pass what means one thing.
///
/// # Errors
/// When the request has another transfer coding than chunked, not one good host, or a target that leads nowhere.
pub fn understand(parts: &Parts) -> Result<(), Refusal> {
    let understood = encoding(&parts.headers).and_then(|()| target(parts)).and_then(|()| host(parts));
    understood.map_err(Refusal::BadRequest)
}

/// hyper sees to it that a request ends with chunked. No other coding is taken off here: what is still in one would be
/// handed on as if it were not.
///
/// # Errors
/// When there is another coding than chunked, or more than one.
pub fn encoding(headers: &HeaderMap) -> Result<(), &'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err("the only transfer coding is chunked"),
    }
}

/// Leaves one length where the same one stands several times (RFC 9110, 8.6). hyper looks at none of an answer without
/// a body.
///
/// # Errors
/// When lengths differ, or one is no number.
pub fn length(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().map(|length| length.to_str().unwrap_or_default());
    let Some(first) = lengths.next() else { return Ok(()) };
    if lengths.next().is_none() && is_number(first) {
        return Ok(());
    }
    let all = headers.get_all(CONTENT_LENGTH).iter().map(|length| length.to_str().unwrap_or_default());
    let mut all = all.flat_map(|lengths| lengths.split(',')).map(str::trim);
    let one = all.next().filter(|first| is_number(first) && all.all(|other| other == *first));
    let one = one.and_then(|one| HeaderValue::from_str(one).ok()).ok_or("the lengths are not one number")?;
    headers.insert(CONTENT_LENGTH, one);
    Ok(())
}

/// A path, an absolute URI, or the asterisk of OPTIONS (RFC 9112, 3.2). A tunnel to elsewhere is not offered.
fn target(parts: &Parts) -> Result<(), &'static str> {
    if parts.method == Method::CONNECT {
        return Err("CONNECT is not offered");
    }
    let path = parts.uri.path();
    let whole = parts.uri.authority().is_none() || parts.uri.scheme().is_some();
    if whole && (path.starts_with('/') || (path == "*" && parts.method == Method::OPTIONS)) {
        Ok(())
    } else {
        Err("the target is no path")
    }
}

/// One host, which only HTTP/1.0 and HTTP/2 may leave out of the headers (RFC 9112, 3.2). Two that differ, or one that
/// is none, are a way past whoever looks at the other one.
fn host(parts: &Parts) -> Result<(), &'static str> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err("there is more than one Host");
    }
    if first.is_none() && parts.version == Version::HTTP_11 {
        return Err("there is no Host");
    }
    let of_target = parts.uri.authority().map(Authority::as_str);
    let of_header = first.map(|host| host.to_str().map_err(|_| "the host is none")).transpose()?;
    if of_target.into_iter().chain(of_header).all(is_host) { Ok(()) } else { Err("the host is none") }
}

/// Whether this is a name or an address with or without a port; or nothing, which HTTP/1.1 allows.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, ""),
    };
    let letters =
        |text: &str, others: &[u8]| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte));
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    port.bytes().all(|byte| byte.is_ascii_digit())
        && address.map_or_else(|| letters(name, b"-._~%!$&'()*+;="), |address| letters(address, b":.%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for host in
            ["", "iris.default", "iris.default:8080", "iris.default:", "198.18.0.1:80", "[::1]", "[::1]:80", "a_b"]
        {
            assert!(is_host(host), "{host:?}");
        }
        for host in
            ["a b", "a,b", "a/b", "user@a", "a:b", "a:80:80", "::1", "[::1", "[::1]x", "a\\b", "\u{e9}", "a?b", "a#b"]
        {
            assert!(!is_host(host), "{host:?}");
        }
    }
}
