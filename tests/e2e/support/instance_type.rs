//! Instance types of one test: the cluster has them in common, so each has the name of the test's namespace.

use kube::api::{Api, DeleteParams, Patch, PatchParams};
use mooring_operator::api::instance_type::InstanceType;
use serde_json::{Value, json};

use super::place::Place;

/// The name of the instance type of a place.
pub fn name(place: &Place) -> String {
    place.namespace.clone()
}

/// Makes it, or changes it.
pub async fn apply(place: &Place, spec: &Value) {
    let document = json!({
        "apiVersion": "mooring.dev/v1alpha1",
        "kind": "InstanceType",
        "metadata": {"name": name(place)},
        "spec": spec,
    });
    let parameters = PatchParams::apply("test").force();
    types(place).patch(&name(place), &parameters, &Patch::Apply(&document)).await.unwrap();
}

pub async fn remove(place: &Place) {
    types(place).delete(&name(place), &DeleteParams::default()).await.unwrap();
}

/// What an instance may use, with one resource of this amount.
pub fn with(resource: &str, amount: &str) -> Value {
    let mut resources = json!({
        "requests": {"cpu": "20m", "memory": "32Mi"},
        "limits": {"cpu": "1", "memory": "256Mi"},
    });
    for part in ["requests", "limits"] {
        resources[part][resource] = json!(amount);
    }
    json!({"resources": resources})
}

fn types(place: &Place) -> Api<InstanceType> {
    Api::all(place.client.clone())
}
