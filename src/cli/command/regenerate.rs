//! One of an endpoint's two keys, made anew.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use super::credentials;
use crate::api::endpoint::KEY_BYTES;
use crate::cli::CliError;
use crate::cli::arguments::endpoint::RegenerateKeys;
use crate::cli::connect::Connection;
use crate::cli::talk::say;

pub(super) async fn keys(connection: &Connection, asked: &RegenerateKeys) -> Result<(), CliError> {
    let secret = credentials::secret_of(connection, &asked.name).await?;
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(CliError::Randomness)?;
    let key = STANDARD.encode(URL_SAFE_NO_PAD.encode(bytes));
    let which = asked.key_type.as_str();
    let _: Secret = connection.merge(&secret, &json!({"data": {which: key}})).await?;
    say!(
        "{which} of endpoint {:?} is new, the other key goes on working; see `mooring endpoint get-credentials -n {}`",
        asked.name,
        asked.name
    );
    Ok(())
}
