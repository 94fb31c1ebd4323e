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
//! Secret the identity of the pod is used: a web identity (`AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`), or that of the
//! container (`AWS_CONTAINER_CREDENTIALS_FULL_URI` with `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`, or
//! `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`). Without any the access is anonymous, until the store wants to know who we
//! are: then the node is asked for the role of its instance.

use std::path::PathBuf;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential};
use reqwest::Client;
use reqwest::header::HeaderValue;
use url::Url;

use crate::fetch::credentials::{Folder, missing};
use crate::fetch::failure::Failure;
use crate::fetch::identity::{Connection, Identity, Provider, once};
use crate::fetch::settings::{Settings, endpoint, environment, is_true};

const ACCESS_KEY: &[&str] = &["AWS_ACCESS_KEY_ID", "accessKeyId"];
const SECRET_KEY: &[&str] = &["AWS_SECRET_ACCESS_KEY", "secretAccessKey"];
const SESSION_TOKEN: &[&str] = &["AWS_SESSION_TOKEN", "sessionToken"];
const ANONYMOUS: &[&str] = &["AWS_SKIP_SIGNATURE", "anonymous"];
const ENDPOINT: &[&str] = &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "endpoint"];
const REGION: &[&str] = &["AWS_REGION", "AWS_DEFAULT_REGION", "region"];
const ALLOW_HTTP: &[&str] = &["AWS_ALLOW_HTTP", "allowHttp"];
const VIRTUAL_HOSTED: &[&str] = &["AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "virtualHostedStyle"];

/// What EKS, ECS and EC2 put into a container's environment.
const TOKEN_FILE: &[&str] = &["AWS_WEB_IDENTITY_TOKEN_FILE"];
const ROLE: &[&str] = &["AWS_ROLE_ARN"];
const SESSION_NAME: &[&str] = &["AWS_ROLE_SESSION_NAME"];
const STS: &[&str] = &["AWS_ENDPOINT_URL_STS"];
const CONTAINER_URI: &[&str] = &["AWS_CONTAINER_CREDENTIALS_FULL_URI"];
const CONTAINER_TOKEN_FILE: &[&str] = &["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];
const CONTAINER_PATH: &[&str] = &["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"];
const METADATA: &[&str] = &["AWS_METADATA_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT"];
const METADATA_DISABLED: &[&str] = &["AWS_EC2_METADATA_DISABLED"];

/// Where the S3 store is and who we are to it.
pub struct Access {
    /// Who signs.
    pub identity: Identity<AwsCredential>,
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
    pub async fn find(client: Client, folder: Option<&Folder>) -> Result<Self, Failure> {
        let settings = Settings { secret: folder };
        let region = settings.value(REGION).await?.unwrap_or_else(|| "us-east-1".to_owned());
        if !is_region(&region) {
            return Err(missing(format!("the region {region:?} is none")));
        }
        let identity = match folder {
            None => of_pod(client, &region)?,
            Some(folder) if is_true(ANONYMOUS, folder.value(ANONYMOUS).await?.as_deref())? == Some(true) => {
                Identity::Nobody { why: "the Secret asks for anonymous access" }
            }
            Some(folder) => Identity::fixed("the access key", credential(folder).await?),
        };
        let allow_http = settings.flag(ALLOW_HTTP).await?;
        let virtual_hosted = settings.flag(VIRTUAL_HOSTED).await?;
        let endpoint = match settings.value(ENDPOINT).await? {
            Some(text) => Endpoint::Custom {
                url: endpoint("S3", &text, allow_http)?,
                virtual_hosted: virtual_hosted.unwrap_or(false),
            },
            None => Endpoint::Amazon,
        };
        Ok(Self { identity, region, endpoint })
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
                let suffix = suffix(region);
                // A dot in the name fits no certificate of Amazon's.
                if bucket.contains('.') {
                    format!("https://s3.{region}.{suffix}/{bucket}")
                } else {
                    format!("https://{bucket}.s3.{region}.{suffix}")
                }
            }
        }
    }
}

/// `text` without the secrets of `credential`, should a store repeat them.
#[must_use]
pub fn without_secrets(text: &str, credential: Option<&AwsCredential>) -> String {
    let Some(credential) = credential else { return text.to_owned() };
    let secrets = [Some(&credential.secret_key), credential.token.as_ref(), Some(&credential.key_id)];
    secrets.into_iter().flatten().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "…"))
}

/// Whether `text` can be the name of a region.
#[must_use]
pub fn is_region(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// What Amazon's hosts in `region` end with.
fn suffix(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// The identity that the cloud has given to the pod, or nobody and then the node.
fn of_pod(client: Client, region: &str) -> Result<Identity<AwsCredential>, Failure> {
    let builder = AmazonS3Builder::new().with_region(region);
    if let Some(file) = environment(TOKEN_FILE) {
        let role = environment(ROLE).ok_or_else(|| {
            missing("AWS_WEB_IDENTITY_TOKEN_FILE is there without AWS_ROLE_ARN, which names the role")
        })?;
        let session = environment(SESSION_NAME).unwrap_or_else(|| "mooring-fetch".to_owned());
        let sts = environment(STS).unwrap_or_else(|| format!("https://sts.{region}.{}", suffix(region)));
        let builder = builder
            .with_config(AmazonS3ConfigKey::WebIdentityTokenFile, &file)
            .with_config(AmazonS3ConfigKey::RoleArn, role)
            .with_config(AmazonS3ConfigKey::RoleSessionName, session)
            .with_config(AmazonS3ConfigKey::StsEndpoint, sts);
        let provider = build(builder.with_http_connector(Connection::by(client)))?;
        return Ok(Identity::Known { name: "the web identity", provider, token_file: Some(PathBuf::from(file)) });
    }
    let builder = builder.with_http_connector(Connection::to_node()?);
    if let Some(path) = environment(CONTAINER_PATH) {
        let builder = builder.with_config(AmazonS3ConfigKey::ContainerCredentialsRelativeUri, path);
        return Ok(Identity::Known { name: "the container's identity", provider: build(builder)?, token_file: None });
    }
    if let Some(uri) = environment(CONTAINER_URI) {
        let file = environment(CONTAINER_TOKEN_FILE).ok_or_else(|| {
            missing("AWS_CONTAINER_CREDENTIALS_FULL_URI is there without AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        })?;
        let builder = builder
            .with_config(AmazonS3ConfigKey::ContainerCredentialsFullUri, uri)
            .with_config(AmazonS3ConfigKey::ContainerAuthorizationTokenFile, &file);
        return Ok(Identity::Known {
            name: "the pod's identity",
            provider: build(builder)?,
            token_file: Some(PathBuf::from(file)),
        });
    }
    if is_true(METADATA_DISABLED, environment(METADATA_DISABLED).as_deref())? == Some(true) {
        return Ok(Identity::Nobody { why: "no Secret, no identity of the pod, and that of the node is switched off" });
    }
    let metadata = environment(METADATA).map(|url| url.trim_end_matches('/').to_owned());
    let builder = metadata.into_iter().fold(builder, AmazonS3Builder::with_metadata_endpoint);
    Ok(Identity::anonymous(build(builder)?))
}

/// Only its credentials are of interest, and they are the same for every bucket.
fn build(builder: AmazonS3Builder) -> Result<Provider<AwsCredential>, Failure> {
    let store = builder.with_bucket_name("bucket").with_retry(once()).build();
    store.map(|store| store.credentials().clone()).map_err(|_| missing("the identity's settings can't be used"))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket_url(endpoint: Endpoint, bucket: &str, region: &str) -> String {
        Access { identity: Identity::Nobody { why: "" }, region: String::new(), endpoint }.bucket_url(bucket, region)
    }

    fn custom(text: &str, virtual_hosted: bool) -> Endpoint {
        Endpoint::Custom { url: endpoint("S3", text, None).unwrap(), virtual_hosted }
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
    fn a_message_that_repeats_a_secret_is_cleaned() {
        let credential = AwsCredential { key_id: "KEY".into(), secret_key: "S3CR".into(), token: None };
        assert_eq!(without_secrets("KEY and S3CR", Some(&credential)), "… and …");
    }
}
