//! `ERR_2200`: the container starts and does not stay, or does not answer.

use mooring_operator::catalogue::Reason;
use serde_json::{Value, json};

use crate::support::documents::{changed, faulty, sklearn};
use crate::support::evidence::Shown;
use crate::support::instance_type;
use crate::support::trial::Trial;

/// Azure's server with this score.py and no model.
fn scoring(config_map: &str) -> Value {
    let mut document = sklearn("iris", "blue", "s3://nowhere/at/all");
    document["spec"].as_object_mut().unwrap().remove("model");
    changed(document, json!({"spec": {"codeConfiguration": {"code": {"configMapName": config_map}}}}))
}

fn code(name: &str, script: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"score.py": script}})
}

const GOOD: &str = "def init():\n    pass\n\ndef run(data):\n    return data\n";

/// A score.py that does not work; repaired by another.
async fn bad_script(name: &'static str, script: &str, reason: Reason, says: &str) {
    let mut trial = Trial::new(name).await;
    trial.apply(code("bad", script)).await;
    trial.apply(code("good", GOOD)).await;
    trial.apply(scoring("bad")).await;
    trial.fails(reason, says, Shown::Pod).await;
    trial.apply(scoring("good")).await;
    trial.heals().await;
}

/// A server that fails; repaired by one that does not.
async fn bad_server(name: &'static str, bad: Value, reason: Reason, says: &str, shown: Shown) {
    let mut trial = Trial::new(name).await;
    trial.apply(bad).await;
    trial.fails(reason, says, shown).await;
    trial.apply(faulty("")).await;
    trial.heals().await;
}

async fn ends(name: &'static str, fault: &str, reason: Reason, says: &str) {
    bad_server(name, faulty(fault), reason, says, Shown::Pod).await;
}

/// Three failures in three seconds are too many.
fn hasty() -> Value {
    json!({"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 3, "timeoutSeconds": 1})
}

#[tokio::test]
async fn the_script_is_no_python() {
    let script = "def init(:\n    pass\n";
    bad_script("script-syntax", script, Reason::UserScriptSyntaxError, "line 1").await;
}

#[tokio::test]
async fn the_script_imports_what_is_not_there() {
    let script = format!("import flying_carpets\n{GOOD}");
    bad_script("script-import", &script, Reason::UserScriptImportError, "flying_carpets").await;
}

#[tokio::test]
async fn the_script_fails_when_it_is_imported() {
    let script = format!("WEIGHTS = {{}}['weights']\n{GOOD}");
    bad_script("script-top", &script, Reason::UserScriptImportError, "KeyError: 'weights'").await;
}

#[tokio::test]
async fn the_scripts_init_fails() {
    let script = "def init():\n    raise ValueError('no model here')\n\ndef run(data):\n    return data\n";
    bad_script("script-init", script, Reason::UserScriptInitFailed, "ValueError: no model here").await;
}

#[tokio::test]
async fn the_script_has_no_init() {
    let script = "def run(data):\n    return data\n";
    bad_script("script-no-init", script, Reason::UserScriptFunctionNotFound, "init").await;
}

#[tokio::test]
async fn the_script_has_no_run() {
    let script = "def init():\n    pass\n";
    bad_script("script-no-run", script, Reason::UserScriptFunctionNotFound, "run").await;
}

#[tokio::test]
async fn the_server_ends_well() {
    ends("exit-0", "exit:0", Reason::ContainerExited, "exit code 0").await;
}

#[tokio::test]
async fn the_server_ends_with_an_error() {
    ends("exit-1", "exit:1", Reason::ContainerCrashed, "exit code 1: the model is broken").await;
}

#[tokio::test]
async fn the_server_is_killed_by_a_segmentation_fault() {
    ends("signal-segv", "signal:SEGV", Reason::ContainerCrashed, "SIGSEGV").await;
}

#[tokio::test]
async fn the_server_aborts() {
    ends("signal-abrt", "signal:ABRT", Reason::ContainerCrashed, "SIGABRT").await;
}

#[tokio::test]
async fn the_server_takes_more_memory_than_it_may() {
    ends("memory", "memory", Reason::OutOfMemory, "OOMKilled").await;
}

/// Never ready, so that no instance serves between two ends.
#[tokio::test]
async fn the_liveness_probe_fails() {
    let routes = json!({"readinessRoute": {"path": "/live"}});
    let bad = json!({"spec": {"livenessProbe": hasty(), "environment": {"inferenceConfig": routes}}});
    let bad = changed(faulty("not-live"), bad);
    let reason = Reason::LivenessProbeFailed;
    bad_server("probe-liveness", bad, reason, "statuscode: 500", Shown::Event("Killing")).await;
}

#[tokio::test]
async fn the_readiness_probe_fails() {
    let bad = changed(faulty("not-ready"), json!({"spec": {"readinessProbe": hasty()}}));
    bad_server("probe-readiness", bad, Reason::ReadinessProbeFailed, "statuscode: 500", Shown::Clock).await;
}

#[tokio::test]
async fn the_startup_probe_fails() {
    let bad = changed(faulty("not-live"), json!({"spec": {"startupProbe": hasty()}}));
    let reason = Reason::StartupProbeFailed;
    bad_server("probe-startup", bad, reason, "statuscode: 500", Shown::Event("Killing")).await;
}

/// Not ready before the kubelet looks at its disk, which it does every ten seconds.
#[tokio::test]
async fn the_server_writes_more_than_it_may() {
    let mut trial = Trial::new("evicted").await;
    instance_type::apply(&trial.place, &instance_type::with("ephemeral-storage", "16Mi")).await;
    let disk = json!({"requests": {"ephemeral-storage": "16Mi"}, "limits": {"ephemeral-storage": "16Mi"}});
    let kind = json!({"spec": {"instanceType": instance_type::name(&trial.place), "resources": disk}});
    let late = json!({"spec": {"readinessProbe": {"initialDelaySeconds": 60}}});
    trial.apply(changed(changed(faulty("disk:64"), kind.clone()), late)).await;
    trial.fails(Reason::PodEvicted, "ephemeral", Shown::Pod).await;
    trial.apply(changed(faulty(""), kind)).await;
    trial.healed().await;
    instance_type::remove(&trial.place).await;
    trial.done().await;
}
