//! The service account of an endpoint with a `SystemAssigned` identity.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::endpoint::OnlineEndpoint;
use crate::api::{label, name};

/// The account, with the identity that the endpoint's annotations give it at a cloud; its token is never mounted into a
/// model's container.
#[must_use]
pub fn of_endpoint(endpoint: &OnlineEndpoint) -> ServiceAccount {
    let endpoint_name = endpoint.metadata.name.as_deref().unwrap_or_default();
    let metadata = super::owned_by(endpoint, name::service_account(endpoint_name), label::of_endpoint(endpoint_name));
    let identity = label::identity(endpoint.metadata.annotations.as_ref());
    ServiceAccount {
        metadata: ObjectMeta { annotations: (!identity.is_empty()).then_some(identity), ..metadata },
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
