//! One of an endpoint's two keys, made anew.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use super::credentials;
use crate::cli::CliError;
use crate::cli::arguments::endpoint::{KeyType, RegenerateKeys};
use crate::cli::connect::Connection;
use crate::cli::talk::say;
use crate::cli::target::Target;
use crate::local::store::Key;
use crate::process::key;

pub(super) async fn keys(target: &Target, asked: &RegenerateKeys) -> Result<(), CliError> {
    match target {
        Target::Cluster(connection) => in_cluster(connection, asked).await?,
        Target::Local(machine) => {
            let which = match asked.key_type {
                KeyType::Primary => Key::Primary,
                KeyType::Secondary => Key::Secondary,
            };
            target.endpoint(&asked.name).await?;
            let _held = machine.store.hold(&asked.name)?;
            machine.store.regenerate_key(&asked.name, which)?;
        }
    }
    let local = if target.is_local() { "--local " } else { "" };
    say!(
        "{} of endpoint {:?} is new, the other key goes on working; see `mooring endpoint get-credentials {local}-n {}`",
        asked.key_type.as_str(),
        asked.name,
        asked.name
    );
    Ok(())
}

async fn in_cluster(connection: &Connection, asked: &RegenerateKeys) -> Result<(), CliError> {
    let secret = credentials::secret_of(connection, &asked.name).await?;
    let key = STANDARD.encode(key::fresh().map_err(CliError::Randomness)?);
    let which = asked.key_type.as_str();
    connection.merge::<Secret>(&secret, &json!({"data": {which: key}})).await.map(drop)
}
