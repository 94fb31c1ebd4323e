//! `oci://REGISTRY/REPOSITORY[:TAG|@DIGEST]`: an artifact of a container registry.

use url::Url;

use super::invalid;
use crate::fetch::failure::Failure;

/// What is meant when neither a tag nor a digest is named.
const DEFAULT_TAG: &str = "latest";

/// The names of Docker Hub, and the host that serves it.
pub const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// An artifact of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host of the registry, with its port where it is not the usual one.
    pub registry: String,
    /// Name of the repository.
    pub repository: String,
    /// Which manifest of the repository.
    pub reference: Reference,
}

/// Which manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The one that has this tag now.
    Tag(String),
    /// The one whose SHA-256 this is, as `sha256:HEXADECIMAL`.
    Digest(String),
}

impl Reference {
    /// As a registry is asked for it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tag(text) | Self::Digest(text) => text,
        }
    }
}

impl Address {
    /// Name of the folder that it becomes.
    #[must_use]
    pub fn name(&self) -> &str {
        super::last_segment(&self.repository).unwrap_or(&self.repository)
    }
}

/// Reads what follows `oci://`.
///
/// # Errors
///
/// When it names no artifact.
pub fn parse(uri: &str, rest: &str) -> Result<Address, Failure> {
    let form = || invalid(uri, "is not of the form oci://REGISTRY/REPOSITORY[:TAG|@DIGEST]");
    let (registry, rest) = rest.split_once('/').ok_or_else(form)?;
    let is_host = Url::parse(&format!("https://{registry}/"))
        .is_ok_and(|url| url.path() == "/" && url.username().is_empty() && url.password().is_none());
    let (rest, digest) = match rest.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (rest, None),
    };
    // With a digest the tag is only for people.
    let (repository, tag) = rest.split_once(':').unwrap_or((rest, DEFAULT_TAG));
    if !is_host || registry.contains(['@', '?', '#', '\\']) || !is_repository(repository) || !is_tag(tag) {
        return Err(form());
    }
    let reference = match digest {
        Some(digest) if is_digest(digest) => Reference::Digest(digest.to_owned()),
        Some(_) => return Err(invalid(uri, "has a digest that is not sha256: and 64 hexadecimal digits")),
        None => Reference::Tag(tag.to_owned()),
    };
    let (registry, repository) = match registry.to_ascii_lowercase() {
        hub if DOCKER_HUB.contains(&hub.as_str()) => {
            let library = if repository.contains('/') { "" } else { "library/" };
            (DOCKER_HUB[2].to_owned(), format!("{library}{repository}"))
        }
        registry => (registry, repository.to_owned()),
    };
    Ok(Address { registry, repository, reference })
}

/// Whether `text` is a digest that can be verified.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    let is_hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").is_some_and(|digits| digits.len() == 64 && digits.bytes().all(is_hexadecimal))
}

/// Source: OCI distribution specification 1.1, "Pulling manifests".
fn is_repository(text: &str) -> bool {
    let is_end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_part = |part: &str| {
        part.bytes().next().is_some_and(is_end)
            && part.bytes().last().is_some_and(is_end)
            && part.bytes().all(|byte| is_end(byte) || b"._-".contains(&byte))
            && !part.contains("..")
    };
    text.len() <= 255 && text.split('/').all(is_part)
}

fn is_tag(text: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(is_first)
        && text.bytes().all(|byte| is_first(byte) || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::super::{Location, parse};
    use super::*;
    use crate::catalogue::Reason;

    fn read(uri: &str) -> Address {
        let Location::Oci(address) = parse(uri).unwrap() else { panic!("{uri} is no registry") };
        address
    }

    #[test]
    fn an_artifact_has_a_tag_or_a_digest() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let address = |reference| Address { registry: "h:5000".into(), repository: "a/b_c.d-e".into(), reference };
        assert_eq!(read("oci://h:5000/a/b_c.d-e"), address(Reference::Tag("latest".into())));
        assert_eq!(read("oci://H:5000/a/b_c.d-e:v1.0"), address(Reference::Tag("v1.0".into())));
        let pinned = address(Reference::Digest(digest.clone()));
        assert_eq!(read(&format!("oci://h:5000/a/b_c.d-e@{digest}")), pinned);
        assert_eq!(read(&format!("oci://h:5000/a/b_c.d-e:v1@{digest}")), pinned);
        assert_eq!(pinned.name(), "b_c.d-e");
    }

    #[test]
    fn docker_hub_has_one_host_and_a_library() {
        let address = read("oci://docker.io/iris:1");
        assert_eq!((address.registry.as_str(), address.repository.as_str()), ("registry-1.docker.io", "library/iris"));
        assert_eq!(read("oci://index.docker.io/org/iris").repository, "org/iris");
    }

    #[test]
    fn what_is_no_artifact_is_refused() {
        for uri in [
            "oci://",
            "oci://iris",
            "oci://iris:1",
            "oci:///iris",
            "oci://h/",
            "oci://h/A",
            "oci://h/a//b",
            "oci://h/../b",
            "oci://h/a:",
            "oci://h/a:.x",
            "oci://h/a?b",
            "oci://h/a@sha256:0",
            "oci://h/a@sha512:0",
            "oci://me:pw@h/a",
            "oci://h:x/a",
        ] {
            let failure = parse(uri).err().unwrap_or_else(|| panic!("{uri} is taken"));
            assert_eq!(failure.reason, Reason::ArtifactUriInvalid, "{uri}");
        }
    }
}
