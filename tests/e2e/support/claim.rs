//! A claim on a folder of this machine, as an administrator would make it.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::place::{Place, setting};

/// Makes the folder `MOORING_TEST_MODELS` the claim `models` of this namespace.
pub async fn of_models(place: &Place) {
    let name = volume(place);
    let document = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": place.namespace, "name": "models"},
            "hostPath": {"path": setting("MOORING_TEST_MODELS"), "type": "Directory"},
        },
    });
    volumes(place).patch(&name, &PatchParams::apply("e2e"), &Patch::Apply(&document)).await.unwrap();
    place
        .apply(json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "models"},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "",
                "volumeName": name,
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }))
        .await;
    place
        .until("models", "bound", |claim: Option<&PersistentVolumeClaim>| {
            claim.and_then(|claim| claim.status.as_ref()?.phase.as_deref()) == Some("Bound")
        })
        .await;
}

/// Removes what the claim stands on; the claim goes with the namespace.
pub async fn remove(place: &Place) {
    volumes(place).delete(&volume(place), &DeleteParams::default()).await.unwrap();
}

fn volume(place: &Place) -> String {
    format!("{}-models", place.namespace)
}

fn volumes(place: &Place) -> Api<PersistentVolume> {
    Api::all(place.client.clone())
}
