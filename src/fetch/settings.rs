//! What the Secret says and, where it is silent, the environment.

use url::Url;

use crate::catalogue::Reason;
use crate::fetch::credentials::{Folder, missing};
use crate::fetch::failure::Failure;

/// The Secret, which outranks the environment.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// The mounted Secret; `None` when the artifact has none.
    pub secret: Option<&'a Folder>,
}

impl Settings<'_> {
    /// The value of the first of `names` that is there.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactCredentialsMissing`] when a key is there but can't be read as text.
    pub async fn value(self, names: &[&str]) -> Result<Option<String>, Failure> {
        match self.secret {
            Some(secret) => Ok(secret.value(names).await?.or_else(|| environment(names))),
            None => Ok(environment(names)),
        }
    }

    /// As [`Settings::value`], of something that is true or false.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactCredentialsMissing`] when it is neither.
    pub async fn flag(self, names: &[&str]) -> Result<Option<bool>, Failure> {
        is_true(names, self.value(names).await?.as_deref())
    }
}

/// The first of the environment variables `names` that is there and not empty.
#[must_use]
pub fn environment(names: &[&str]) -> Option<String> {
    names.iter().filter_map(|name| std::env::var(name).ok()).find(|value| !value.is_empty())
}

/// Whether `value`, that of `names`, is true.
///
/// # Errors
///
/// [`Reason::ArtifactCredentialsMissing`] when it is neither true nor false.
pub fn is_true(names: &[&str], value: Option<&str>) -> Result<Option<bool>, Failure> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None => Ok(None),
        Some("true" | "1" | "yes") => Ok(Some(true)),
        Some("false" | "0" | "no") => Ok(Some(false)),
        Some(_) => Err(missing(format!("the setting {} is neither true nor false", names.join(" or ")))),
    }
}

/// Reads the endpoint of a store of the kind `kind`. Without a scheme it is https, unless plain HTTP is allowed.
///
/// # Errors
///
/// [`Reason::ArtifactUriInvalid`] when it is no plain url, or plain HTTP where that is forbidden.
pub fn endpoint(kind: &str, text: &str, allow_http: Option<bool>) -> Result<Url, Failure> {
    let scheme = if allow_http == Some(true) { "http" } else { "https" };
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("{scheme}://{text}") };
    let invalid = |why: &str| Failure::new(Reason::ArtifactUriInvalid, format!("the {kind} endpoint {why}"));
    let url = Url::parse(&with_scheme).map_err(|error| invalid("is no url").caused_by(error))?;
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() || url.query().is_some() => {
            Err(invalid("has a user name, a password or a query"))
        }
        "http" if allow_http == Some(false) => Err(invalid("is plain HTTP, which the settings forbid")),
        "http" | "https" => Ok(url),
        _ => Err(invalid("is neither http:// nor https://")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_without_a_scheme_is_https_unless_http_is_allowed() {
        assert_eq!(endpoint("S3", "minio:9000", None).unwrap().as_str(), "https://minio:9000/");
        assert_eq!(endpoint("S3", "minio:9000", Some(true)).unwrap().as_str(), "http://minio:9000/");
        assert!(endpoint("S3", "http://minio", Some(false)).is_err());
        assert!(endpoint("S3", "http://me:secret@minio", None).is_err());
    }

    #[test]
    fn a_flag_is_one_of_a_few_words() {
        assert_eq!(is_true(&["A"], Some("True")).unwrap(), Some(true));
        assert_eq!(is_true(&["A"], Some("0")).unwrap(), Some(false));
        assert!(is_true(&["A"], Some("maybe")).unwrap_err().to_string().contains("the setting A"));
    }
}
