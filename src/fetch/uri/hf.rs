//! `hf://ORG/REPO[@REVISION][/PATH]` and `hf://datasets/ORG/REPO…`: a repository of a Hugging Face hub, or a part of it.

use super::{decode, invalid};
use crate::fetch::failure::Failure;

/// What is meant when no revision is named.
const DEFAULT_REVISION: &str = "main";

/// A repository, or a file or folder of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// What kind of repository it is.
    pub kind: Kind,
    /// `ORG/REPO`.
    pub repository: String,
    /// A branch, a tag, a commit or another reference, decoded.
    pub revision: String,
    /// The path, decoded, without a slash at its end; empty for the whole repository.
    pub path: String,
}

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A model.
    Model,
    /// A dataset.
    Dataset,
}

impl Address {
    /// Name of the file or folder that it is.
    #[must_use]
    pub fn name(&self) -> &str {
        let whole = if self.path.is_empty() { &self.repository } else { &self.path };
        super::last_segment(whole).unwrap_or(whole)
    }
}

/// Reads what follows `hf://`.
///
/// # Errors
///
/// When it names no repository.
pub fn parse(uri: &str, rest: &str) -> Result<Address, Failure> {
    if rest.contains(['?', '#']) {
        return Err(invalid(uri, "holds ? or #; write %3F or %23 when the path has them"));
    }
    let (kind, rest) = match rest.split_once('/') {
        Some(("datasets", rest)) => (Kind::Dataset, rest),
        _ => (Kind::Model, rest),
    };
    let form = || invalid(uri, "is not of the form hf://ORG/REPO[@REVISION][/PATH]");
    let mut segments = rest.splitn(3, '/');
    let (Some(organization), Some(repository)) = (segments.next(), segments.next()) else { return Err(form()) };
    let (repository, revision) = match repository.split_once('@') {
        Some((repository, revision)) => (repository, decode(uri, revision)?),
        None => (repository, DEFAULT_REVISION.to_owned()),
    };
    if !is_name(organization) || !is_name(repository) || revision.is_empty() || revision.contains(char::is_control) {
        return Err(form());
    }
    let path = decode(uri, segments.next().unwrap_or_default())?.trim_end_matches('/').to_owned();
    if path.split('/').any(str::is_empty) && !path.is_empty() {
        return Err(invalid(uri, "has an empty segment in its path"));
    }
    Ok(Address { kind, repository: format!("{organization}/{repository}"), revision, path })
}

/// Source: `huggingface_hub`, `validate_repo_id`.
fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty()
        && text.len() <= 96
        && text.bytes().all(is_inner)
        && !text.starts_with(['-', '.'])
        && !text.ends_with(['-', '.'])
        && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::super::{Location, parse};
    use super::*;
    use crate::catalogue::Reason;

    fn read(uri: &str) -> Address {
        let Location::Hf(address) = parse(uri).unwrap() else { panic!("{uri} is no hub") };
        address
    }

    #[test]
    fn a_repository_has_a_revision_and_parts() {
        let address = |kind, revision: &str, path: &str| Address {
            kind,
            repository: "org/Llama-3.1".into(),
            revision: revision.into(),
            path: path.into(),
        };
        assert_eq!(read("hf://org/Llama-3.1"), address(Kind::Model, "main", ""));
        assert_eq!(read("HF://org/Llama-3.1@v1.0/"), address(Kind::Model, "v1.0", ""));
        assert_eq!(read("hf://org/Llama-3.1@refs%2Fpr%2F1/a%20b/c/"), address(Kind::Model, "refs/pr/1", "a b/c"));
        assert_eq!(read("hf://datasets/org/Llama-3.1/x@y"), address(Kind::Dataset, "main", "x@y"));
        assert_eq!((read("hf://o/r").name(), read("hf://o/r/a/b/").name()), ("r", "b"));
    }

    #[test]
    fn what_is_no_repository_is_refused() {
        for uri in [
            "hf://",
            "hf://org",
            "hf://org/",
            "hf://datasets/org",
            "hf://org/r@",
            "hf://org/r@a%00",
            "hf://org/r/../x",
            "hf://org/r/a//b",
            "hf://org/r?x",
            "hf://me:pw@org/r",
            "hf://-org/r",
            "hf://org/r..x",
        ] {
            let failure = parse(uri).err().unwrap_or_else(|| panic!("{uri} is taken"));
            assert_eq!(failure.reason, Reason::ArtifactUriInvalid, "{uri}");
        }
    }
}
