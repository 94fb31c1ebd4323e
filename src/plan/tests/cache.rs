use std::sync::Arc;

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::example::{config, deployment, kept_deployment, kept_service, now, seen_deployment};
use super::world::{moment, pod, told};
use crate::plan::Config;
use crate::plan::build::cache;
use crate::plan::deployment::{Plan, plan};
use crate::plan::seen::{Found, SeenDeployment};

fn given(claim: Option<&str>) -> Config {
    Config { cache_claim: claim.map(str::to_owned), ..config() }
}

fn decide(config: &Config, changes: &Value) -> Plan {
    plan(now(), config, &seen_deployment(deployment(changes)))
}

fn pod_of(plan: &Plan) -> PodSpec {
    kept_deployment(&plan.changes, 0, 0, 0).unwrap().spec.unwrap().template.spec.unwrap()
}

/// What the storage initializer is told of its cache.
fn place(pod: &PodSpec) -> Option<Value> {
    let initializer = &pod.init_containers.as_ref().unwrap()[0];
    let told = initializer.env.iter().flatten().find(|variable| variable.name == "MOORING_ARTIFACT_PLAN").unwrap();
    let told: Value = serde_json::from_str(told.value.as_deref().unwrap()).unwrap();
    told.get("cache").cloned()
}

#[test]
fn the_storage_initializer_has_the_claim_and_the_server_has_not() {
    let pod = pod_of(&decide(&given(None), &json!({"cache": {"claimName": "models", "maxSize": "2Gi"}})));
    assert_eq!(cache::claim(&pod), Some("models"));
    assert_eq!(place(&pod), Some(json!({"directory": "/mooring/cache", "maxBytes": 2_u64 << 30})));
    let mounts = |container: usize| {
        let all = [pod.init_containers.as_ref().unwrap(), &pod.containers];
        let mounts = all[container][0].volume_mounts.iter().flatten().filter(|mount| mount.name == "cache");
        mounts.map(|mount| (mount.mount_path.clone(), mount.read_only)).collect::<Vec<_>>()
    };
    assert_eq!(mounts(0), [("/mooring/cache".to_owned(), None)]);
    assert_eq!(mounts(1), []);
}

#[test]
fn the_users_own_cache_goes_before_the_one_that_is_given() {
    let own = json!({"cache": {"claimName": "own"}});
    let pod = pod_of(&decide(&given(Some("given")), &own));
    assert_eq!((cache::claim(&pod), place(&pod)), (Some("own"), Some(json!({"directory": "/mooring/cache"}))));
    assert_eq!(cache::claim(&pod_of(&decide(&given(Some("given")), &json!({})))), Some("given"));
    let none = pod_of(&decide(&given(None), &json!({})));
    assert_eq!((cache::claim(&none), place(&none)), (None, None));
}

#[test]
fn a_deployment_can_do_without_the_cache_that_is_given() {
    let none = pod_of(&decide(&given(Some("given")), &json!({"cache": {}})));
    assert_eq!((cache::claim(&none), place(&none)), (None, None));
}

#[test]
fn what_is_mounted_needs_no_cache() {
    let claim = json!({"model": {"uri": "pvc://models/iris"}, "cache": {"claimName": "own"}});
    let pod = pod_of(&decide(&given(Some("given")), &claim));
    assert_eq!((cache::claim(&pod), place(&pod)), (None, None));
}

#[test]
fn another_setting_of_the_operator_restarts_no_model() {
    let object = deployment(&json!({}));
    for before in [None, Some("given")] {
        let made = plan(now(), &given(before), &seen_deployment(object.clone())).changes;
        let seen = SeenDeployment {
            deployment: Found::Ours(Arc::new(kept_deployment(&made, 1, 1, 1).unwrap())),
            service: Found::Ours(Arc::new(kept_service(&made).unwrap())),
            ..seen_deployment(object.clone())
        };
        for after in [None, Some("given"), Some("other")] {
            let changes = plan(now(), &given(after), &seen).changes;
            assert!(changes.is_empty(), "{before:?}, {after:?}: {changes:?}");
        }
    }
}

#[test]
fn a_claim_that_does_not_exist_is_told_as_such() {
    let message = "0/3 nodes are available: persistentvolumeclaim \"models\" not found. preemption: 0/3 nodes are \
                   available: 3 Preemption is not helpful for scheduling.";
    let scheduled = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
    let object = deployment(&json!({"cache": {"claimName": "models"}}));
    let status = told(&object, &moment(9, (1, 1, 0), [pod("a", 1, &json!({"conditions": [scheduled]}))]));
    let error = status.error.unwrap();
    assert_eq!(error.reason, "ArtifactVolumeUnavailable");
    assert!(error.message.contains("\"models\" not found"), "{}", error.message);
}
