//! Objects as they are at a moment, for tests/kstatus: a folder for each of the states that other tools read from them.

use std::path::Path;

use kube::api::Api;
use kube::core::DynamicObject;
use kube::discovery::ApiResource;

use super::place::Place;

/// Keeps an object of ours as the API server has it now, in the folder `MOORING_TEST_STATES` where that is set.
pub async fn keep(place: &Place, kind: &str, object: &str, name: &str) {
    let Ok(folder) = std::env::var("MOORING_TEST_STATES") else { return };
    let kind = ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("mooring.dev", "v1alpha1", kind));
    let api: Api<DynamicObject> = Api::namespaced_with(place.client.clone(), &place.namespace, &kind);
    let object = api.get(object).await.unwrap();
    let state = match object.data["status"]["provisioningState"].as_str() {
        Some("Failed") => "Failed",
        Some("Succeeded") => "Current",
        _ => "InProgress",
    };
    let folder = Path::new(&folder).join(state);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.json")), serde_json::to_string_pretty(&object).unwrap()).unwrap();
}
