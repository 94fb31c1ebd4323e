//! Where the blob service of an account is and who we are to it.
//!
//! | what | keys of the Secret |
//! |---|---|
//! | account key | `AZURE_STORAGE_ACCOUNT_KEY`, `AZURE_STORAGE_KEY`, `accountKey` |
//! | shared access signature | `AZURE_STORAGE_SAS_TOKEN`, `sasToken`; or the query of the uri, which outranks all |
//! | connection string with one of both | `AZURE_STORAGE_CONNECTION_STRING`, `connectionString` |
//! | service principal | `AZURE_TENANT_ID`, `tenantId`; `AZURE_CLIENT_ID`, `clientId`; `AZURE_CLIENT_SECRET`, `clientSecret` |
//! | an identity of the pod or the node | `AZURE_CLIENT_ID`, `clientId` alone |
//! | no credentials at all | `AZURE_SKIP_SIGNATURE`, `anonymous`: `true` |
//! | authority that knows the identity | `AZURE_AUTHORITY_HOST`, `authorityHost` |
//! | endpoint | `AZURE_STORAGE_ENDPOINT`, `AZURE_ENDPOINT_URL`, `endpoint` |
//!
//! The last two and the client are also read from environment variables (the `AZURE_…` names), which the Secret outranks.
//! Without a Secret the workload identity of the pod is used (`AZURE_FEDERATED_TOKEN_FILE`). Without that the access is
//! anonymous, until the account wants to know who we are: then the node is asked for its managed identity.

use std::collections::BTreeMap;
use std::path::PathBuf;

use object_store::azure::{AzureAccessKey, AzureConfigKey, AzureCredential, MicrosoftAzureBuilder, split_sas};
use reqwest::Client;
use url::Url;

use crate::fetch::credentials::{Folder, missing};
use crate::fetch::failure::Failure;
use crate::fetch::identity::{Connection, Identity, Provider, once};
use crate::fetch::settings::{Settings, endpoint, environment, is_true};
use crate::fetch::uri::azure::Address;

const ACCOUNT_KEY: &[&str] = &["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY", "accountKey"];
const SAS: &[&str] = &["AZURE_STORAGE_SAS_TOKEN", "sasToken"];
const CONNECTION_STRING: &[&str] = &["AZURE_STORAGE_CONNECTION_STRING", "connectionString"];
const TENANT: &[&str] = &["AZURE_TENANT_ID", "tenantId"];
const CLIENT: &[&str] = &["AZURE_CLIENT_ID", "clientId"];
const CLIENT_SECRET: &[&str] = &["AZURE_CLIENT_SECRET", "clientSecret"];
const ANONYMOUS: &[&str] = &["AZURE_SKIP_SIGNATURE", "anonymous"];
const AUTHORITY: &[&str] = &["AZURE_AUTHORITY_HOST", "authorityHost"];
const ENDPOINT: &[&str] = &["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT_URL", "endpoint"];
const TOKEN_FILE: &[&str] = &["AZURE_FEDERATED_TOKEN_FILE"];

/// Where a managed identity is asked for, other than at the usual address: Azure Arc and Azure's serverless services.
const IDENTITY_ENDPOINT: &[&str] = &["IDENTITY_ENDPOINT"];

/// Who we are with an account key, a signature, or neither.
const KEY: &str = "the account key";
const SIGNATURE: &str = "the shared access signature";

/// Where the blob service of an account is and who we are to it.
pub struct Access {
    /// Who asks.
    pub identity: Identity<AzureCredential>,
    /// The account's blob service, without a slash at its end.
    pub service: String,
}

impl Access {
    /// Reads the Secret at `folder` and the environment, for the account of `address`.
    ///
    /// # Errors
    ///
    /// `ArtifactCredentialsMissing` when a key that is needed is not there, or a value can't be what its key says.
    pub async fn find(client: Client, folder: Option<&Folder>, address: &Address) -> Result<Self, Failure> {
        let settings = Settings { secret: folder };
        let connection = match folder {
            Some(folder) => connection_string(folder.value(CONNECTION_STRING).await?.as_deref())?,
            None => ConnectionString::default(),
        };
        let service = match settings.value(ENDPOINT).await?.or_else(|| connection.endpoint(&address.account)) {
            Some(text) => service(&endpoint("Azure", &text, None)?, &address.account),
            None => format!("https://{}", address.host),
        };
        let lookup = Lookup { client, settings, address };
        Ok(Self { identity: lookup.identity(&connection).await?, service })
    }

    /// Whether we ask with a shared access signature.
    #[must_use]
    pub fn is_signature(&self) -> bool {
        self.identity.name() == SIGNATURE
    }
}

/// `text` without the secrets of `credential`, should a store repeat them.
#[must_use]
pub fn without_secrets(text: &str, credential: Option<&AzureCredential>) -> String {
    match credential {
        Some(AzureCredential::BearerToken(token)) => text.replace(token, "…"),
        Some(AzureCredential::SASToken(pairs)) => {
            let signature = pairs.iter().find(|(name, _)| name == "sig");
            signature.map_or_else(|| text.to_owned(), |(_, signature)| text.replace(signature, "…"))
        }
        // It is never sent, so that nobody can repeat it.
        Some(AzureCredential::AccessKey(_)) | None => text.to_owned(),
    }
}

struct Lookup<'a> {
    client: Client,
    settings: Settings<'a>,
    address: &'a Address,
}

impl Lookup<'_> {
    async fn identity(&self, connection: &ConnectionString) -> Result<Identity<AzureCredential>, Failure> {
        if let Some(sas) = &self.address.sas {
            return signature("the query of the uri", sas);
        }
        let Some(secret) = self.settings.secret else { return self.of_pod().await };
        if is_true(ANONYMOUS, secret.value(ANONYMOUS).await?.as_deref())? == Some(true) {
            return Ok(Identity::Nobody { why: "the Secret asks for anonymous access" });
        }
        if let Some(key) = secret.value(ACCOUNT_KEY).await?.as_deref().or(connection.get("accountkey")) {
            let key = AzureAccessKey::try_new(key)
                .map_err(|_| missing(format!("the account key ({}) is no base64", ACCOUNT_KEY.join(" or "))))?;
            return Ok(Identity::fixed(KEY, AzureCredential::AccessKey(key)));
        }
        if let Some(sas) = secret.value(SAS).await?.as_deref().or(connection.get("sharedaccesssignature")) {
            return signature(&format!("the key {}", SAS.join(" or ")), sas);
        }
        if let Some(client_secret) = secret.value(CLIENT_SECRET).await? {
            return self.service_principal(secret, client_secret).await;
        }
        if secret.value(CLIENT).await?.is_some() {
            return self.of_pod().await;
        }
        let keys = [ACCOUNT_KEY, SAS, CONNECTION_STRING, CLIENT_SECRET, CLIENT, ANONYMOUS];
        Err(missing(format!("the Secret has none of the keys {}", keys.map(|names| names.join(" or ")).join(", "))))
    }

    async fn service_principal(
        &self,
        secret: &Folder,
        client_secret: String,
    ) -> Result<Identity<AzureCredential>, Failure> {
        let (client, tenant) = (secret.needed(CLIENT).await?, secret.needed(TENANT).await?);
        let builder = MicrosoftAzureBuilder::new()
            .with_client_secret_authorization(client, client_secret, tenant)
            .with_config(AzureConfigKey::AuthorityHost, self.authority().await?)
            .with_http_connector(Connection::by(self.client.clone()));
        Ok(Identity::Known { name: "the service principal", provider: build(builder)?, token_file: None })
    }

    /// The identity that the cloud has given to the pod, or nobody and then the node.
    async fn of_pod(&self) -> Result<Identity<AzureCredential>, Failure> {
        let client = self.settings.value(CLIENT).await?;
        let Some(file) = environment(TOKEN_FILE) else {
            let endpoint = environment(IDENTITY_ENDPOINT).map(|url| (AzureConfigKey::MsiEndpoint, url));
            let client = client.map(|client| (AzureConfigKey::ClientId, client));
            let builder = MicrosoftAzureBuilder::new().with_http_connector(Connection::to_node()?);
            let builder = endpoint
                .into_iter()
                .chain(client)
                .fold(builder, |builder, (key, value)| builder.with_config(key, value));
            return Ok(Identity::anonymous(build(builder)?));
        };
        let absent = |what: &str, annotation: &str| {
            missing(format!(
                "AZURE_FEDERATED_TOKEN_FILE is there without {what}; set the annotation \
                 azure.workload.identity/{annotation} of the pod's ServiceAccount"
            ))
        };
        let client = client.ok_or_else(|| absent("AZURE_CLIENT_ID", "client-id"))?;
        let tenant = self.settings.value(TENANT).await?.ok_or_else(|| absent("AZURE_TENANT_ID", "tenant-id"))?;
        let builder = MicrosoftAzureBuilder::new()
            .with_config(AzureConfigKey::FederatedTokenFile, &file)
            .with_config(AzureConfigKey::ClientId, client)
            .with_config(AzureConfigKey::AuthorityId, tenant)
            .with_config(AzureConfigKey::AuthorityHost, self.authority().await?)
            .with_http_connector(Connection::by(self.client.clone()));
        Ok(Identity::Known {
            name: "the workload identity",
            provider: build(builder)?,
            token_file: Some(PathBuf::from(file)),
        })
    }

    /// Where tokens come from: what the settings say, or the authority of the account's cloud.
    ///
    /// Source: Microsoft identity platform, "national clouds".
    async fn authority(&self) -> Result<String, Failure> {
        let host = &self.address.host;
        let usual = || {
            let host = if host.ends_with(".usgovcloudapi.net") {
                "login.microsoftonline.us"
            } else if host.ends_with(".chinacloudapi.cn") {
                "login.partner.microsoftonline.cn"
            } else {
                "login.microsoftonline.com"
            };
            format!("https://{host}")
        };
        Ok(self.settings.value(AUTHORITY).await?.map_or_else(usual, |host| host.trim_end_matches('/').to_owned()))
    }
}

/// Only its credentials are of interest, and they are the same for every account and container.
fn build(builder: MicrosoftAzureBuilder) -> Result<Provider<AzureCredential>, Failure> {
    let store = builder.with_account("account").with_container_name("container").with_retry(once()).build();
    // Its text may quote what it was given.
    store.map(|store| store.credentials().clone()).map_err(|_| missing("the identity's settings can't be used"))
}

fn signature(place: &str, text: &str) -> Result<Identity<AzureCredential>, Failure> {
    let pairs = split_sas(text).ok().filter(|pairs| pairs.iter().any(|(name, _)| name == "sig"));
    let pairs = pairs.ok_or_else(|| missing(format!("{place} is no shared access signature: it has no sig")))?;
    Ok(Identity::fixed(SIGNATURE, AzureCredential::SASToken(pairs)))
}

/// The account's service at a custom `endpoint`, which has the account in its host or its path, or does not yet.
fn service(endpoint: &Url, account: &str) -> String {
    let url = endpoint.as_str().trim_end_matches('/');
    let in_host = endpoint.host_str().is_some_and(|host| host.starts_with(&format!("{account}.")));
    if in_host || endpoint.path() != "/" { url.to_owned() } else { format!("{url}/{account}") }
}

/// The settings in a connection string, their names in lower case.
#[derive(Default)]
struct ConnectionString(BTreeMap<String, String>);

impl ConnectionString {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Where it says that the blob service of `account` is.
    fn endpoint(&self, account: &str) -> Option<String> {
        let by_suffix = || {
            let scheme = self.get("defaultendpointsprotocol").unwrap_or("https");
            Some(format!("{scheme}://{account}.blob.{}", self.get("endpointsuffix")?))
        };
        self.get("blobendpoint").map(str::to_owned).or_else(by_suffix)
    }
}

fn connection_string(text: Option<&str>) -> Result<ConnectionString, Failure> {
    let unfit = || missing(format!("the key {} is no connection string", CONNECTION_STRING.join(" or ")));
    let pairs = text.into_iter().flat_map(|text| text.split(';')).map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())))
        .collect::<Option<_>>()
        .map(ConnectionString)
        .ok_or_else(unfit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_in_the_path_unless_the_endpoint_has_it() {
        let at = |text: &str| service(&endpoint("Azure", text, None).unwrap(), "acct");
        assert_eq!(at("http://127.0.0.1:10000"), "http://127.0.0.1:10000/acct");
        assert_eq!(at("http://127.0.0.1:10000/acct/"), "http://127.0.0.1:10000/acct");
        assert_eq!(at("https://acct.blob.local/"), "https://acct.blob.local");
    }

    #[test]
    fn a_connection_string_says_where_and_who() {
        let text = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=S3CR==;EndpointSuffix=core.windows.net;";
        let connection = connection_string(Some(text)).unwrap();
        assert_eq!(connection.get("accountkey"), Some("S3CR=="));
        assert_eq!(connection.endpoint("a").unwrap(), "https://a.blob.core.windows.net");
        let connection = connection_string(Some("BlobEndpoint=http://h:1/a;SharedAccessSignature=sv=1&sig=x")).unwrap();
        assert_eq!(connection.endpoint("a").unwrap(), "http://h:1/a");
        assert_eq!(connection.get("sharedaccesssignature"), Some("sv=1&sig=x"));
        let failure = connection_string(Some("S3CR")).err().unwrap();
        assert!(!failure.sentence().contains("S3CR"), "{}", failure.sentence());
    }

    #[test]
    fn a_message_that_repeats_a_secret_is_cleaned() {
        let token = AzureCredential::BearerToken("S3CR".into());
        assert_eq!(without_secrets("a S3CR b", Some(&token)), "a … b");
        let sas = AzureCredential::SASToken(vec![("sv".into(), "1".into()), ("sig".into(), "S3CR".into())]);
        assert_eq!(without_secrets("1 S3CR", Some(&sas)), "1 …");
    }
}
