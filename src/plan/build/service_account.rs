//! The service account of an endpoint with a `SystemAssigned` identity.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::api::endpoint::OnlineEndpoint;
use crate::api::{label, name};

/// The account; its token is never mounted into a model's container.
#[must_use]
pub fn of_endpoint(endpoint: &OnlineEndpoint) -> ServiceAccount {
    let endpoint_name = endpoint.metadata.name.as_deref().unwrap_or_default();
    ServiceAccount {
        metadata: super::owned_by(endpoint, name::service_account(endpoint_name), label::of_endpoint(endpoint_name)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
