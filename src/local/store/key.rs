//! The two keys of an endpoint.

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::local::folder;
use crate::local::variable::Secrets;
use crate::process::key;

/// The keys of an endpoint.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    /// The key that callers use.
    pub primary_key: String,
    /// The key that callers use while the primary one is rotated.
    pub secondary_key: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Keys")
    }
}

/// One of the two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The first.
    Primary,
    /// The second.
    Secondary,
}

impl Store {
    /// The keys of an endpoint.
    ///
    /// # Errors
    /// When it does not exist or they can't be read.
    pub fn keys(&self, endpoint: &str) -> Result<Keys, StoreError> {
        let object = self.existing(endpoint)?;
        let folder = self.folder(endpoint);
        let absent = |name: &str| StoreError::NotFound { kind: "Secret", name: name.to_owned() };
        if let Some(secret) = &object.spec.keys_secret_name {
            let secrets: Secrets = folder::read(&folder.secrets())?.unwrap_or_default();
            let data = secrets.get(secret).ok_or_else(|| absent(secret))?;
            let key = |name: &str| data.get(name).cloned().ok_or_else(|| absent(secret));
            return Ok(Keys { primary_key: key("primaryKey")?, secondary_key: key("secondaryKey")? });
        }
        folder::read(&folder.keys())?.ok_or_else(|| absent("keys"))
    }

    /// Makes one of the keys anew; the other one goes on.
    ///
    /// # Errors
    /// When the endpoint does not exist, its keys are the user's own, or they can't be written.
    pub fn regenerate_key(&self, endpoint: &str, which: Key) -> Result<Keys, StoreError> {
        let object = self.existing(endpoint)?;
        if object.spec.keys_secret_name.is_some() {
            let why = "the keys are your own; change the Secret".to_owned();
            return Err(StoreError::Invalid { field: "spec.keysSecretName", why });
        }
        let mut keys = self.keys(endpoint)?;
        match which {
            Key::Primary => keys.primary_key = fresh_key()?,
            Key::Secondary => keys.secondary_key = fresh_key()?,
        }
        folder::write(&self.folder(endpoint).keys(), &keys)?;
        Ok(keys)
    }
}

/// A new key.
pub(super) fn fresh_key() -> Result<String, StoreError> {
    key::fresh().map_err(StoreError::Randomness)
}
