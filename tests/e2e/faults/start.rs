//! `ERR_2100`: the container can't be started.

use mooring_operator::catalogue::Reason;
use serde_json::{Value, json};

use crate::support::documents::{abrupt, changed};
use crate::support::evidence::Shown;
use crate::support::instance_type;
use crate::support::place::setting;
use crate::support::policy;
use crate::support::trial::Trial;

fn instance() -> Value {
    abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_1"), 1)
}

fn with_image(image: &str) -> Value {
    abrupt("iris", "blue", &setting(image), 1)
}

/// A deployment that can't start; repaired by another spec.
async fn bad_spec(name: &'static str, bad: Value, good: Value, reason: Reason, says: &str, shown: Shown) {
    let mut trial = Trial::new(name).await;
    trial.apply(bad).await;
    trial.fails(reason, says, shown).await;
    trial.apply(good).await;
    trial.heals().await;
}

/// An instance type that no node has room for; repaired by a smaller one.
async fn too_large(name: &'static str, resource: &str, amount: &str) {
    let says = format!("Insufficient {resource}");
    bad_type(name, &instance_type::with(resource, amount), Reason::InsufficientResources, &says).await;
}

async fn bad_type(name: &'static str, spec: &Value, reason: Reason, says: &str) {
    let mut trial = Trial::new(name).await;
    instance_type::apply(&trial.place, spec).await;
    let mut deployment = changed(instance(), json!({"spec": {"instanceType": instance_type::name(&trial.place)}}));
    deployment["spec"].as_object_mut().unwrap().remove("resources");
    trial.apply(deployment).await;
    trial.fails(reason, says, Shown::Pod).await;
    instance_type::apply(&trial.place, &instance_type::with("memory", "64Mi")).await;
    trial.healed().await;
    instance_type::remove(&trial.place).await;
    trial.done().await;
}

/// An environment variable whose source is missing; repaired by `source`.
async fn bad_variable(name: &'static str, from: Value, says: &str, sources: [Option<Value>; 2]) {
    let mut trial = Trial::new(name).await;
    let [before, after] = sources;
    if let Some(before) = before {
        trial.apply(before).await;
    }
    let variables = json!([{"name": "THEME", "valueFrom": from}]);
    trial.apply(changed(instance(), json!({"spec": {"environmentVariables": variables}}))).await;
    trial.fails(Reason::ContainerConfigInvalid, says, Shown::Pod).await;
    match after {
        Some(after) => trial.apply(after).await,
        None => trial.apply(instance()).await,
    }
    trial.heals().await;
}

#[tokio::test]
async fn no_node_has_so_many_cores() {
    too_large("start-cpu", "cpu", "640").await;
}

#[tokio::test]
async fn no_node_has_so_much_memory() {
    too_large("start-memory", "memory", "64Ti").await;
}

#[tokio::test]
async fn no_node_has_a_gpu() {
    too_large("start-gpu", "nvidia.com/gpu", "1").await;
}

#[tokio::test]
async fn no_node_has_the_label() {
    let mut kind = instance_type::with("memory", "64Mi");
    kind["nodeSelector"] = json!({"disk": "of-glass"});
    bad_type("start-selector", &kind, Reason::NodeSelectorMismatch, "node affinity/selector").await;
}

#[tokio::test]
async fn the_instance_type_does_not_exist() {
    let mut trial = Trial::new("start-type").await;
    let name = instance_type::name(&trial.place);
    trial.apply(changed(instance(), json!({"spec": {"instanceType": name}}))).await;
    trial.fails(Reason::InstanceTypeNotFound, &name, Shown::Spec).await;
    instance_type::apply(&trial.place, &instance_type::with("memory", "256Mi")).await;
    trial.healed().await;
    instance_type::remove(&trial.place).await;
    trial.done().await;
}

#[tokio::test]
async fn the_instance_type_is_smaller_than_what_is_asked_for() {
    let bad = changed(instance(), json!({"spec": {"resources": {"limits": {"cpu": "64"}}}}));
    let reason = Reason::ResourcesExceedInstanceType;
    bad_spec("start-exceeds", bad, instance(), reason, "resources.limits.cpu is 64", Shown::Spec).await;
}

#[tokio::test]
async fn a_limit_range_refuses_the_pod() {
    let mut trial = Trial::new("start-limits").await;
    trial
        .apply(json!({
            "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"},
            "spec": {"limits": [{"type": "Container", "max": {"memory": "128Mi"}}]},
        }))
        .await;
    trial.apply(instance()).await;
    trial.fails(Reason::PodRejected, "maximum memory usage per Container is 128Mi", Shown::ReplicaSet).await;
    trial.apply(changed(instance(), json!({"spec": {"resources": {"limits": {"memory": "128Mi"}}}}))).await;
    trial.heals().await;
}

#[tokio::test]
async fn pod_security_refuses_root() {
    let root = changed(instance(), json!({"spec": {"environment": {"runAsUser": 0}}}));
    let says = "violates PodSecurity";
    bad_spec("start-root", root, instance(), Reason::PodRejected, says, Shown::ReplicaSet).await;
}

#[tokio::test]
async fn a_variables_config_map_does_not_exist() {
    let from = json!({"configMapKeyRef": {"name": "look", "key": "theme"}});
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "look"}, "data": {"theme": "dark"},
    });
    bad_variable("start-config-map", from, "configmap \"look\" not found", [None, Some(map)]).await;
}

#[tokio::test]
async fn a_variables_secret_does_not_exist() {
    let from = json!({"secretKeyRef": {"name": "look", "key": "theme"}});
    bad_variable("start-secret", from, "secret \"look\" not found", [None, None]).await;
}

#[tokio::test]
async fn a_variables_secret_lacks_the_key() {
    let from = json!({"secretKeyRef": {"name": "look", "key": "theme"}});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "look"}, "stringData": {"colour": "blue"},
    });
    bad_variable("start-key", from, "couldn't find key theme in Secret", [Some(secret), None]).await;
}

#[tokio::test]
async fn the_images_command_does_not_exist() {
    let bad = with_image("MOORING_TEST_NO_COMMAND_IMAGE");
    bad_spec("start-command", bad, instance(), Reason::CommandNotFound, "/does-not-exist", Shown::Pod).await;
}

#[tokio::test]
async fn the_images_program_is_for_other_machines() {
    let bad = with_image("MOORING_TEST_WRONG_PLATFORM_IMAGE");
    let says = "exec format error";
    bad_spec("start-platform", bad, instance(), Reason::ImagePlatformMismatch, says, Shown::Pod).await;
}

/// The operator always gives a number for the user; a policy that takes it away leaves the image's own.
#[tokio::test]
async fn the_image_runs_as_root_where_none_may() {
    let mut trial = Trial::new("start-root").await;
    policy::apply(&trial.place, r#"[JSONPatch{op: "remove", path: "/spec/securityContext/runAsUser"}]"#).await;
    trial.apply(with_image("MOORING_TEST_AS_ROOT_IMAGE")).await;
    trial.fails(Reason::ContainerConfigInvalid, "runAsNonRoot", Shown::Pod).await;
    policy::remove(&trial.place).await;
    trial.apply(instance()).await;
    trial.heals().await;
}
