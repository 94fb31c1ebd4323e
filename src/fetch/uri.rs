//! What a uri means, and how it is shown.

pub mod azure;
pub mod hf;
pub mod oci;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::catalogue::Reason;
use crate::fetch::failure::Failure;

/// The schemes that can be fetched or mounted, for people.
const SCHEMES: &str = "http://, https://, s3://, azure://, abfss://, gs://, hf://, oci:// or pvc://";

/// Where an artifact is.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// One object of a web server. The url may hold a user name and a password.
    Http(Url),
    /// An object or a prefix of an S3 bucket.
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// The key, decoded. Ends with `/`, or is empty, when only a prefix can be meant.
        key: String,
    },
    /// A repository of a Hugging Face hub, or a part of it.
    Hf(hf::Address),
    /// An artifact of a container registry.
    Oci(oci::Address),
    /// A blob or a prefix of a container of Azure Storage.
    Azure(azure::Address),
    /// An object or a prefix of a Google Cloud Storage bucket.
    Gcs {
        /// Name of the bucket.
        bucket: String,
        /// The key, decoded. Ends with `/`, or is empty, when only a prefix can be meant.
        key: String,
    },
}

/// Reads the `uri` of an artifact to download.
///
/// # Errors
///
/// [`Reason::ArtifactUriInvalid`] when the scheme is not one that can be fetched, or the rest is not what the scheme
/// needs.
pub fn parse(uri: &str) -> Result<Location, Failure> {
    let (scheme, rest) = uri.split_once("://").ok_or_else(|| invalid(uri, &format!("has no scheme; use {SCHEMES}")))?;
    match scheme.to_ascii_lowercase().as_str() {
        "https" if azure::is_host(&host(rest)) => Ok(Location::Azure(azure::https(uri, rest)?)),
        "http" | "https" => http(uri),
        "s3" => bucket(uri, rest).map(|(bucket, key)| Location::S3 { bucket, key }),
        "azure" => Ok(Location::Azure(azure::azure(uri, rest)?)),
        "abfss" => Ok(Location::Azure(azure::abfss(uri, rest)?)),
        "gs" => bucket(uri, rest).map(|(bucket, key)| Location::Gcs { bucket, key }),
        "hf" => hf::parse(uri, rest).map(Location::Hf),
        "oci" => oci::parse(uri, rest).map(Location::Oci),
        "pvc" => Err(invalid(uri, "is a volume, which is mounted and never downloaded")),
        other => Err(invalid(uri, &format!("has the unknown scheme {other}://; use {SCHEMES}"))),
    }
}

fn http(uri: &str) -> Result<Location, Failure> {
    let url = Url::parse(uri).map_err(|error| invalid(uri, "can't be read").caused_by(error))?;
    if url.path().ends_with('/') {
        return Err(invalid(uri, "names no file; a web server gives single objects, never folders"));
    }
    Ok(Location::Http(url))
}

/// The host that `rest`, what follows the scheme, begins with.
fn host(rest: &str) -> String {
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    host.strip_suffix(":443").unwrap_or(&host).to_owned()
}

/// The bucket and the key that `rest`, what follows the scheme, names.
fn bucket(uri: &str, rest: &str) -> Result<(String, String), Failure> {
    if rest.contains(['?', '#']) {
        return Err(invalid(uri, "holds ? or #; write %3F or %23 when the key has them"));
    }
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let is_name = |character: char| character.is_ascii_alphanumeric() || "-._".contains(character);
    if bucket.is_empty() || bucket.len() > 255 || !bucket.chars().all(is_name) || bucket.starts_with('.') {
        return Err(invalid(uri, "has no valid bucket name"));
    }
    Ok((bucket.to_owned(), decode(uri, key)?))
}

/// Decodes the path of an object.
fn decode(uri: &str, path: &str) -> Result<String, Failure> {
    let path = percent_decode_str(path).decode_utf8().map_err(|error| invalid(uri, "is not UTF-8").caused_by(error))?;
    if path.split('/').any(|segment| segment == "." || segment == "..") || path.contains('\0') {
        return Err(invalid(uri, "has a path segment that is . or .., or a NUL"));
    }
    Ok(path.into_owned())
}

fn invalid(uri: &str, why: &str) -> Failure {
    Failure::new(Reason::ArtifactUriInvalid, format!("the uri {} {why}", redact(uri)))
}

/// `uri` as it may be shown: without user name and password, without the values of the query.
#[must_use]
pub fn redact(uri: &str) -> String {
    const HIDDEN: &str = "…";
    if Url::parse(uri).is_err() {
        // Nobody knows which part of it is secret, unless nothing can be.
        let scheme = uri.split_once("://").map_or("", |(scheme, _)| scheme);
        return if uri.contains(['@', '?', '#']) { format!("{scheme}://{HIDDEN}") } else { uri.to_owned() };
    }
    let (without_fragment, _) = uri.split_once('#').unwrap_or((uri, ""));
    let (address, query) = match without_fragment.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (without_fragment, None),
    };
    let mut shown = match address.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.split(['/', '\\']).next().unwrap_or_default();
            // A password may hold what it should not, so with one everything up to the last @ is hidden.
            // What abfss:// has there is the container.
            let is_container = scheme.eq_ignore_ascii_case("abfss") && !authority.contains(':');
            match rest.rsplit_once('@') {
                Some((_, shown)) if authority.contains('@') && !is_container => {
                    format!("{scheme}://{HIDDEN}@{shown}")
                }
                _ => address.to_owned(),
            }
        }
        None => address.to_owned(),
    };
    for (index, pair) in query.iter().flat_map(|query| query.split('&')).enumerate() {
        shown.push(if index == 0 { '?' } else { '&' });
        if let Some((name, _)) = pair.split_once('=') {
            shown.push_str(name);
            shown.push('=');
        }
        shown.push_str(HIDDEN);
    }
    shown
}

/// The last segment of a decoded path, without slashes at its end; `None` when there is none.
#[must_use]
pub fn last_segment(path: &str) -> Option<&str> {
    path.trim_end_matches('/').rsplit('/').next().filter(|segment| !segment.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn s3_parts(uri: &str) -> (String, String) {
        match parse(uri).unwrap() {
            Location::S3 { bucket, key } => (bucket, key),
            _ => unreachable!(),
        }
    }

    #[test]
    fn a_key_is_decoded_once() {
        assert_eq!(s3_parts("s3://b/a%20b%2525"), ("b".into(), "a b%25".into()));
        assert_eq!(s3_parts("s3://b/100%"), ("b".into(), "100%".into()));
        assert_eq!(s3_parts("s3://b"), ("b".into(), String::new()));
        assert_eq!(s3_parts("s3://b/k/"), ("b".into(), "k/".into()));
    }

    #[test]
    fn what_no_source_can_mean_is_refused() {
        for uri in [
            "",
            "models",
            "ftp://h/f",
            "s3://",
            "s3:///k",
            "s3://b c/k",
            "s3://b/../k",
            "s3://b/%2e%2e/k",
            "s3://b/k?x",
            "s3://u:p@b/k",
            "https://",
            "https://h/",
            "https://h/d/",
            "http://h",
            "pvc://claim/x",
            "s3://../k",
            "s3://b/%00",
            "gs://",
            "gs://b/%2e%2e/k",
        ] {
            let failure = parse(uri).err().unwrap_or_else(|| panic!("{uri} is taken"));
            assert_eq!(failure.reason, Reason::ArtifactUriInvalid, "{uri}");
        }
    }

    #[test]
    fn an_unknown_scheme_is_told_the_known_ones() {
        let failure = parse("ftp://host/file").err().unwrap();
        assert!(failure.to_string().contains("use http://, https://, s3://, azure://"), "{failure}");
    }

    #[test]
    fn a_shown_uri_keeps_what_is_no_secret() {
        assert_eq!(redact("https://h:8443/a/b.bin?sig=S3CR&v=1#x"), "https://h:8443/a/b.bin?sig=…&v=…");
        assert_eq!(redact("https://me:S3CR@h/a"), "https://…@h/a");
        assert_eq!(redact("https://h/a?S3CR"), "https://h/a?…");
        assert_eq!(redact("https://me:S3/CR@h/a"), "https://…");
        assert_eq!(redact("s3://models/iris@1/"), "s3://models/iris@1/");
        assert_eq!(redact("models/iris"), "models/iris");
        let abfss = "abfss://models@acct.dfs.core.windows.net/iris/";
        assert_eq!(redact(abfss), abfss);
        assert_eq!(redact("abfss://m@a.dfs.core.windows.net/x?sig=S3CR"), "abfss://m@a.dfs.core.windows.net/x?sig=…");
    }

    proptest! {
        #[test]
        fn a_password_is_never_shown(secret in "[!-~]{1,12}") {
            let secret = format!("S3CR{secret}S3CR");
            let in_user = redact(&format!("https://me:{secret}@host/file"));
            let in_query = redact(&format!("https://host/file?sig={secret}"));
            prop_assert!(!in_user.contains("S3CR"), "{}", in_user);
            prop_assert!(!in_query.contains("S3CR"), "{}", in_query);
        }
    }
}
