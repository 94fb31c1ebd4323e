//! The keys of an endpoint, read with the caller's own rights.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;

use crate::api::endpoint::OnlineEndpoint;
use crate::cli::CliError;
use crate::cli::connect::{Connection, api};

/// Both keys, by name.
pub(super) async fn of(connection: &Connection, endpoint: &str) -> Result<BTreeMap<String, String>, CliError> {
    let missing = || CliError::NoKeys(endpoint.to_owned());
    let object: OnlineEndpoint = connection.get("OnlineEndpoint", "endpoint", endpoint).await?;
    let secret = object.status.and_then(|status| status.keys_secret_name).ok_or_else(missing)?;
    let secret = connection.api::<Secret>().get_opt(&secret).await.map_err(api("reading the keys"))?;
    let keys: BTreeMap<String, String> = secret
        .and_then(|secret| secret.data)
        .into_iter()
        .flatten()
        .filter(|(name, _)| name == "primaryKey" || name == "secondaryKey")
        .map(|(name, key)| (name, String::from_utf8_lossy(&key.0).trim().to_owned()))
        .collect();
    if keys.contains_key("primaryKey") { Ok(keys) } else { Err(missing()) }
}
