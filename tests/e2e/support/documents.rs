//! The documents that tests apply.

use serde_json::{Value, json};

use super::place::setting;

pub fn endpoint(name: &str, traffic: &Value) -> Value {
    json!({
        "apiVersion": "mooring.dev/v1alpha1",
        "kind": "OnlineEndpoint",
        "metadata": {"name": name},
        "spec": {"traffic": traffic},
    })
}

/// A deployment of the scikit-learn sample: Azure's server, our score.py from a `ConfigMap`, the model from `uri`.
pub fn sklearn(endpoint: &str, name: &str, uri: &str) -> Value {
    json!({
        "apiVersion": "mooring.dev/v1alpha1",
        "kind": "OnlineDeployment",
        "metadata": {"name": format!("{endpoint}-{name}")},
        "spec": {
            "endpointName": endpoint,
            "deploymentName": name,
            "model": {"name": "iris", "uri": uri},
            "codeConfiguration": {"code": {"configMapName": "score"}, "scoringScript": "score.py"},
            "environment": {"image": setting("MOORING_TEST_SKLEARN_IMAGE")},
            "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "512Mi"}},
            "requestSettings": {"requestTimeoutMs": 10000, "maxConcurrentRequestsPerInstance": 1, "maxQueueWaitMs": 5000},
            "livenessProbe": {"initialDelaySeconds": 1, "periodSeconds": 5, "timeoutSeconds": 5},
            "readinessProbe": {"initialDelaySeconds": 1, "periodSeconds": 1, "timeoutSeconds": 5},
        },
    })
}

/// A custom container that answers its version and dies at once on SIGTERM.
pub fn abrupt(endpoint: &str, name: &str, image: &str, instances: i32) -> Value {
    let route = |path: &str| json!({"port": 8080, "path": path});
    json!({
        "apiVersion": "mooring.dev/v1alpha1",
        "kind": "OnlineDeployment",
        "metadata": {"name": format!("{endpoint}-{name}")},
        "spec": {
            "endpointName": endpoint,
            "deploymentName": name,
            "environment": {
                "image": image,
                "inferenceConfig": {
                    "livenessRoute": route("/live"),
                    "readinessRoute": route("/ready"),
                    "scoringRoute": route("/predict"),
                },
            },
            "instanceCount": instances,
            "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
            "requestSettings": {"maxConcurrentRequestsPerInstance": 32, "maxQueueWaitMs": 2000},
            "livenessProbe": {"initialDelaySeconds": 1, "periodSeconds": 5, "timeoutSeconds": 5},
            "readinessProbe": {"initialDelaySeconds": 1, "periodSeconds": 1, "timeoutSeconds": 5},
        },
    })
}

/// A score.py in the very form of Azure ML's documentation.
pub fn score_code() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "score"},
        "data": {"score.py": file("tests/e2e/azure/score.py")},
    })
}

/// A file of the repository.
pub fn file(path: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A custom container that fails in the way that `fault` names; see `tests/e2e/images/faulty/server.py`.
pub fn faulty(fault: &str) -> Value {
    let document = abrupt("iris", "blue", &setting("MOORING_TEST_FAULTY_IMAGE"), 1);
    changed(document, json!({"spec": {"environmentVariables": [{"name": "FAULT", "value": fault}]}}))
}

/// A document with some of its fields set: objects are merged, everything else takes the place of what was there.
pub fn changed(mut document: Value, fields: Value) -> Value {
    match (&mut document, fields) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in new {
                let before = old.remove(&name).unwrap_or(Value::Null);
                old.insert(name, changed(before, value));
            }
            document
        }
        (_, new) => new,
    }
}
