//! The status of our objects: written last, and only when it says something new.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::api::label::MANAGER;

/// Writes a status that differs from the one before. `None`: there was nothing to say, or nobody to say it to.
pub(super) async fn status<K, S>(
    client: &Client,
    object: &K,
    before: Option<&S>,
    status: &S,
) -> Result<Option<K>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    S: Serialize + PartialEq,
{
    if before == Some(status) {
        return Ok(None);
    }
    let name = object.name_any();
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        // A new object of the same name answers with a conflict.
        "metadata": {"name": name, "uid": object.uid()},
        "status": status,
    });
    match api.patch_status(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await {
        Ok(written) => Ok(Some(written)),
        Err(kube::Error::Api(answer)) if answer.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
