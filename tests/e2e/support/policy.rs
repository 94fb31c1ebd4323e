//! A policy of the cluster's administrator that changes the instances of one namespace as they are made.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::discovery::ApiResource;
use serde_json::{Value, json};

use super::place::{Place, setting};

/// Makes a policy with this JSON patch, a CEL expression, and waits until it is in force.
pub async fn apply(place: &Place, patch: &str) {
    let name = &place.namespace;
    write(
        place,
        "MutatingAdmissionPolicy",
        json!({
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
            },
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [
                {"patchType": "JSONPatch", "jsonPatch": {"expression": patch}},
                {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{metadata: Object.metadata{labels: {\"policy\": \"applied\"}}}"}},
            ],
        }),
    )
    .await;
    write(place, "MutatingAdmissionPolicyBinding", json!({"policyName": name})).await;
    in_force(place).await;
}

/// Removes it.
pub async fn remove(place: &Place) {
    for kind in ["MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"] {
        api(place, kind).delete(&place.namespace, &DeleteParams::default()).await.unwrap();
    }
}

async fn write(place: &Place, kind: &str, spec: Value) {
    let document = json!({
        "apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": kind,
        "metadata": {"name": place.namespace}, "spec": spec,
    });
    api(place, kind).patch(&place.namespace, &PatchParams::apply("e2e"), &Patch::Apply(&document)).await.unwrap();
}

/// The API server tells nobody when it has taken up a policy; a dry run shows it.
async fn in_force(place: &Place) {
    let probe: Pod = serde_json::from_value(json!({
        "metadata": {"name": "probe"},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "inference-server", "image": setting("MOORING_TEST_ABRUPT_IMAGE_1"),
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    }))
    .unwrap();
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    loop {
        let made = place.api::<Pod>().create(&parameters, &probe).await.unwrap();
        if made.metadata.labels.is_some_and(|labels| labels.contains_key("policy")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn api(place: &Place, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1beta1", kind);
    let mut resource = ApiResource::from_gvk(&kind);
    // Its plural is not that of the rule.
    resource.plural = if kind.kind.ends_with('y') {
        "mutatingadmissionpolicies".into()
    } else {
        "mutatingadmissionpolicybindings".into()
    };
    Api::all_with(place.client.clone(), &resource)
}
