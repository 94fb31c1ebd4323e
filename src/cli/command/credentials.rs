//! The keys of an endpoint, read with the caller's own rights.

use k8s_openapi::api::core::v1::Secret;
use serde::Serialize;

use crate::api::endpoint::{AuthMode, OnlineEndpoint};
use crate::api::endpoint_route::token_audience;
use crate::cli::CliError;
use crate::cli::connect::Connection;
use crate::cli::target::Target;

/// Both keys of an endpoint.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Keys {
    pub(super) primary_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secondary_key: Option<String>,
}

/// The name of the Secret that the endpoint's status names.
pub(super) async fn secret_of(connection: &Connection, name: &str) -> Result<String, CliError> {
    let missing = |why: String| CliError::NoKeys { endpoint: name.to_owned(), why };
    let endpoint: Option<OnlineEndpoint> = connection.get(name).await?;
    let endpoint = endpoint.ok_or_else(|| connection.not_found("endpoint", name))?;
    if endpoint.spec.auth_mode != AuthMode::Key {
        let audience = token_audience(endpoint.metadata.namespace.as_deref().unwrap_or_default(), name);
        return Err(missing(format!(
            "its authMode is AMLToken; make a token with kubectl create token ACCOUNT --audience {audience}"
        )));
    }
    let secret_name = endpoint.status.and_then(|status| status.keys_secret_name);
    secret_name.ok_or_else(|| missing("the operator has not made them yet".to_owned()))
}

/// The keys in that Secret, or in the file of this machine.
pub(super) async fn of(target: &Target, name: &str) -> Result<Keys, CliError> {
    match target {
        Target::Cluster(connection) => in_cluster(connection, name).await,
        Target::Local(machine) => {
            let keys = machine.store.keys(name)?;
            Ok(Keys { primary_key: keys.primary_key, secondary_key: Some(keys.secondary_key) })
        }
    }
}

async fn in_cluster(connection: &Connection, name: &str) -> Result<Keys, CliError> {
    let missing = |why: String| CliError::NoKeys { endpoint: name.to_owned(), why };
    let secret_name = secret_of(connection, name).await?;
    let secret: Option<Secret> = connection.get(&secret_name).await?;
    let secret = secret.ok_or_else(|| missing(format!("Secret {secret_name:?} does not exist")))?;
    let data = secret.data.unwrap_or_default();
    let key = |name: &str| {
        let key = data.get(name).map(|key| String::from_utf8_lossy(&key.0).trim().to_owned());
        key.filter(|key| !key.is_empty())
    };
    let primary_key = key("primaryKey");
    let primary_key = primary_key.ok_or_else(|| missing(format!("Secret {secret_name:?} has no primaryKey")))?;
    Ok(Keys { primary_key, secondary_key: key("secondaryKey") })
}
