//! Where the S3 store is and who we are to it.
//!
//! | what | keys of the Secret | without |
//! |---|---|---|
//! | access key | `AWS_ACCESS_KEY_ID`, `accessKeyId` | needed, unless anonymous |
//! | secret key | `AWS_SECRET_ACCESS_KEY`, `secretAccessKey` | needed, unless anonymous |
//! | session token | `AWS_SESSION_TOKEN`, `sessionToken` | none |
//! | no signature at all | `AWS_SKIP_SIGNATURE`, `anonymous`: `true` | `false` |
//! | endpoint | `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, `endpoint` | Amazon's, of the region |
//! | region | `AWS_REGION`, `AWS_DEFAULT_REGION`, `region` | `us-east-1`, corrected by what the store says |
//! | plain HTTP | `AWS_ALLOW_HTTP`, `allowHttp`: `true` \| `false` | only if the endpoint says `http://` |
//! | bucket in the host name | `AWS_VIRTUAL_HOSTED_STYLE_REQUEST`, `virtualHostedStyle`: `true` \| `false` | Amazon's endpoints only |
//!
//! The lower half is also read from environment variables (the `AWS_…` names), which the Secret outranks. Without a
//! Secret the access is anonymous.

use object_store::aws::AwsCredential;
use reqwest::header::HeaderValue;
use url::Url;

use crate::catalogue::Reason;
use crate::fetch::credentials::{Folder, missing};
use crate::fetch::failure::Failure;

const ACCESS_KEY: &[&str] = &["AWS_ACCESS_KEY_ID", "accessKeyId"];
const SECRET_KEY: &[&str] = &["AWS_SECRET_ACCESS_KEY", "secretAccessKey"];
const SESSION_TOKEN: &[&str] = &["AWS_SESSION_TOKEN", "sessionToken"];
const ANONYMOUS: &[&str] = &["AWS_SKIP_SIGNATURE", "anonymous"];
const ENDPOINT: &[&str] = &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "endpoint"];
const REGION: &[&str] = &["AWS_REGION", "AWS_DEFAULT_REGION", "region"];
const ALLOW_HTTP: &[&str] = &["AWS_ALLOW_HTTP", "allowHttp"];
const VIRTUAL_HOSTED: &[&str] = &["AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "virtualHostedStyle"];

/// Where the S3 store is and who we are to it.
pub struct Access {
    /// Who signs; `None` is anonymous.
    pub credential: Option<AwsCredential>,
    /// The region that requests are signed for.
    pub region: String,
    endpoint: Endpoint,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Endpoint {
    Amazon,
    Custom { url: Url, virtual_hosted: bool },
}

impl Access {
    /// Reads the Secret at `folder` and the environment.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactCredentialsMissing`] when the Secret lacks a key that is needed, or a value can't be what its
    /// key says.
    pub async fn find(folder: Option<&Folder>) -> Result<Self, Failure> {
        let setting = async |names: &[&str]| match folder {
            Some(folder) => Ok(folder.value(names).await?.or_else(|| environment(names))),
            None => Ok(environment(names)),
        };
        let credential = match folder {
            Some(folder) if !is_true(ANONYMOUS, folder.value(ANONYMOUS).await?.as_deref())?.unwrap_or(false) => {
                Some(credential(folder).await?)
            }
            _ => None,
        };
        let region = setting(REGION).await?.unwrap_or_else(|| "us-east-1".to_owned());
        if !is_region(&region) {
            return Err(missing(format!("the region {region:?} is none")));
        }
        let allow_http = is_true(ALLOW_HTTP, setting(ALLOW_HTTP).await?.as_deref())?;
        let virtual_hosted = is_true(VIRTUAL_HOSTED, setting(VIRTUAL_HOSTED).await?.as_deref())?;
        let endpoint = match setting(ENDPOINT).await? {
            Some(text) => {
                Endpoint::Custom { url: endpoint(&text, allow_http)?, virtual_hosted: virtual_hosted.unwrap_or(false) }
            }
            None => Endpoint::Amazon,
        };
        Ok(Self { credential, region, endpoint })
    }

    /// The url of `bucket` in `region`, without a slash at its end.
    #[must_use]
    pub fn bucket_url(&self, bucket: &str, region: &str) -> String {
        match &self.endpoint {
            Endpoint::Custom { url, virtual_hosted } => {
                let (scheme, address) = (url.scheme(), url.as_str().trim_end_matches('/'));
                match address.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) {
                    Some(host) if *virtual_hosted => format!("{scheme}://{bucket}.{host}"),
                    _ => format!("{address}/{bucket}"),
                }
            }
            Endpoint::Amazon => {
                let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
                // A dot in the name fits no certificate of Amazon's.
                if bucket.contains('.') {
                    format!("https://s3.{region}.{suffix}/{bucket}")
                } else {
                    format!("https://{bucket}.s3.{region}.{suffix}")
                }
            }
        }
    }

    /// `text` without our secrets, should a store repeat them.
    #[must_use]
    pub fn without_secrets(&self, text: &str) -> String {
        let Some(credential) = &self.credential else { return text.to_owned() };
        let secrets = [Some(&credential.secret_key), credential.token.as_ref(), Some(&credential.key_id)];
        secrets.into_iter().flatten().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "…"))
    }
}

/// Whether `text` can be the name of a region.
#[must_use]
pub fn is_region(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

async fn credential(folder: &Folder) -> Result<AwsCredential, Failure> {
    let credential = AwsCredential {
        key_id: folder.needed(ACCESS_KEY).await?,
        secret_key: folder.needed(SECRET_KEY).await?,
        token: folder.value(SESSION_TOKEN).await?,
    };
    // Both travel in headers.
    for (names, value) in [(ACCESS_KEY, Some(&credential.key_id)), (SESSION_TOKEN, credential.token.as_ref())] {
        if value.is_some_and(|value| HeaderValue::from_str(value).is_err()) {
            return Err(missing(format!("the key {} of the Secret has control characters", names.join(" or "))));
        }
    }
    Ok(credential)
}

fn environment(names: &[&str]) -> Option<String> {
    names.iter().filter_map(|name| std::env::var(name).ok()).find(|value| !value.is_empty())
}

fn is_true(names: &[&str], value: Option<&str>) -> Result<Option<bool>, Failure> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None => Ok(None),
        Some("true" | "1" | "yes") => Ok(Some(true)),
        Some("false" | "0" | "no") => Ok(Some(false)),
        Some(_) => Err(missing(format!("the setting {} is neither true nor false", names.join(" or ")))),
    }
}

fn endpoint(text: &str, allow_http: Option<bool>) -> Result<Url, Failure> {
    let scheme = if allow_http == Some(true) { "http" } else { "https" };
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("{scheme}://{text}") };
    let invalid = |why: &str| Failure::new(Reason::ArtifactUriInvalid, format!("the S3 endpoint {why}"));
    let url = Url::parse(&with_scheme).map_err(|error| invalid("is no url").caused_by(error))?;
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() || url.query().is_some() => {
            Err(invalid("has a user name, a password or a query"))
        }
        "http" if allow_http == Some(false) => Err(invalid("is plain HTTP, which AWS_ALLOW_HTTP forbids")),
        "http" | "https" => Ok(url),
        _ => Err(invalid("is neither http:// nor https://")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket_url(endpoint: Endpoint, bucket: &str, region: &str) -> String {
        Access { credential: None, region: String::new(), endpoint }.bucket_url(bucket, region)
    }

    fn custom(text: &str, virtual_hosted: bool) -> Endpoint {
        Endpoint::Custom { url: endpoint(text, None).unwrap(), virtual_hosted }
    }

    #[test]
    fn a_bucket_has_a_url() {
        assert_eq!(bucket_url(Endpoint::Amazon, "b", "eu-west-1"), "https://b.s3.eu-west-1.amazonaws.com");
        assert_eq!(bucket_url(Endpoint::Amazon, "b.c", "cn-north-1"), "https://s3.cn-north-1.amazonaws.com.cn/b.c");
        assert_eq!(bucket_url(custom("http://minio:9000/", false), "b", ""), "http://minio:9000/b");
        assert_eq!(bucket_url(custom("http://h/s3/", false), "b", ""), "http://h/s3/b");
        assert_eq!(bucket_url(custom("https://h:1", true), "b", ""), "https://b.h:1");
    }

    #[test]
    fn an_endpoint_without_a_scheme_is_https_unless_http_is_allowed() {
        assert_eq!(endpoint("minio:9000", None).unwrap().as_str(), "https://minio:9000/");
        assert_eq!(endpoint("minio:9000", Some(true)).unwrap().as_str(), "http://minio:9000/");
        assert!(endpoint("http://minio", Some(false)).is_err());
        assert!(endpoint("http://me:secret@minio", None).is_err());
    }

    #[test]
    fn a_message_that_repeats_a_secret_is_cleaned() {
        let credential = Some(AwsCredential { key_id: "KEY".into(), secret_key: "S3CR".into(), token: None });
        let access = Access { credential, region: String::new(), endpoint: Endpoint::Amazon };
        assert_eq!(access.without_secrets("KEY and S3CR"), "… and …");
    }
}
