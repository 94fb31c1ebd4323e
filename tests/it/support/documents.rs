//! The documents that tests apply.

use serde_json::{Value, json};

pub fn endpoint(traffic: &Value) -> Value {
    json!({
        "apiVersion": "mooring.dev/v1alpha1",
        "kind": "OnlineEndpoint",
        "metadata": {"name": "iris"},
        "spec": {"traffic": traffic},
    })
}

/// A deployment with a model and code. What its image begins with says what the kubelet of the tests makes of it.
pub fn deployment(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "mooring.dev/v1alpha1",
        "kind": "OnlineDeployment",
        "metadata": {"name": format!("iris-{name}")},
        "spec": {
            "endpointName": "iris",
            "deploymentName": name,
            "model": {"uri": "s3://models/iris/model/", "credentialsSecretName": "s3"},
            "codeConfiguration": {"code": {"configMapName": "score"}, "scoringScript": "score.py"},
            "environment": {"image": image},
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}},
        },
    })
}

/// `document` with another value at a JSON pointer.
pub fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    document.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(field.to_owned(), value);
    document
}
