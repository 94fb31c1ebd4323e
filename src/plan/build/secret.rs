//! The generated keys of an endpoint.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::api::endpoint::OnlineEndpoint;
use crate::api::{label, name};
use crate::plan::change::sha256_hex;
use crate::plan::seen::{FreshKeys, SeenKeys};

/// The key that callers use.
pub const PRIMARY: &str = "primaryKey";
/// The key that callers use while the primary one is rotated.
pub const SECONDARY: &str = "secondaryKey";

/// The Secret with both keys. Made once and never written again: it belongs to whoever rotates them.
#[must_use]
pub fn of_endpoint(endpoint: &OnlineEndpoint, keys: &FreshKeys) -> Secret {
    let endpoint_name = endpoint.metadata.name.as_deref().unwrap_or_default();
    Secret {
        metadata: super::owned_by(endpoint, name::keys_secret(endpoint_name), label::of_endpoint(endpoint_name)),
        string_data: Some(keys.0.iter().map(|(name, key)| ((*name).to_owned(), key.clone())).collect()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// What a Secret's data lets in: the digests of both keys, or the names of those that are missing or empty.
#[must_use]
pub fn digests(data: &BTreeMap<String, ByteString>) -> SeenKeys {
    let key = |name: &str| data.get(name).map(|key| key.0.trim_ascii()).filter(|key| !key.is_empty());
    let missing: Vec<&'static str> = [PRIMARY, SECONDARY].into_iter().filter(|name| key(name).is_none()).collect();
    if !missing.is_empty() {
        return SeenKeys::Incomplete(missing);
    }
    SeenKeys::Digests([PRIMARY, SECONDARY].into_iter().filter_map(key).map(sha256_hex).collect())
}

/// The digests of keys that are about to be written.
#[must_use]
pub fn fresh_digests(keys: &FreshKeys) -> SeenKeys {
    digests(&keys.0.iter().map(|(name, key)| ((*name).to_owned(), ByteString(key.clone().into_bytes()))).collect())
}
