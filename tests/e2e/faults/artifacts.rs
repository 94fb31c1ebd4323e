//! `ERR_1300`: model or code does not come.

use std::net::SocketAddr;
use std::time::Duration;

use mooring_operator::catalogue::Reason;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::support::documents::{abrupt, changed};
use crate::support::evidence::Shown;
use crate::support::place::setting;
use crate::support::store::{Fault, Store};
use crate::support::trial::Trial;
use crate::support::vast::Vast;
use crate::support::{claim, instance_type, node};

const GOOD: &str = "s3://models/good/model.bin";

/// A container of its own with a model; S3 gets the store's credentials.
fn with_model(uri: &str) -> Value {
    let image = setting("MOORING_TEST_ABRUPT_IMAGE_1");
    let mut model = json!({"name": "iris", "uri": uri});
    if uri.starts_with("s3://") {
        model["credentialsSecretName"] = json!("s3");
    }
    changed(abrupt("iris", "blue", &image, 1), json!({"spec": {"model": model}}))
}

fn with_code(config_map: &str, script: &str) -> Value {
    let image = setting("MOORING_TEST_ABRUPT_IMAGE_1");
    let code = json!({"code": {"configMapName": config_map}, "scoringScript": script});
    changed(abrupt("iris", "blue", &image, 1), json!({"spec": {"codeConfiguration": code}}))
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"score.py": "pass"}})
}

/// A place with a store, and in it one good object.
async fn begin(name: &'static str) -> (Trial, Store) {
    let trial = Trial::new(name).await;
    let store = Store::start(node::address(&trial.place).await).await;
    store.put("models", "good/model.bin", "model");
    trial.apply(store.secret("s3")).await;
    (trial, store)
}

/// A model that can't be had; repaired by naming another.
async fn bad_model(mut trial: Trial, uri: &str, reason: Reason, says: &str) {
    trial.apply(with_model(uri)).await;
    trial.fails(reason, says, Shown::Pod).await;
    trial.apply(with_model(GOOD)).await;
    trial.heals().await;
}

/// A store that answers so; repaired by naming another object.
async fn bad_store(name: &'static str, fault: Fault, reason: Reason, says: &str) {
    let (trial, store) = begin(name).await;
    store.put("models", "bad/model.bin", "model");
    store.fail("/models/bad/", fault);
    bad_model(trial, "s3://models/bad/model.bin", reason, says).await;
}

#[tokio::test]
async fn the_object_does_not_exist() {
    bad_store("store-object", Fault::NotFound, Reason::ArtifactNotFound, "no key \"bad/model.bin\"").await;
}

#[tokio::test]
async fn the_object_appears() {
    let (mut trial, store) = begin("store-appears").await;
    trial.apply(with_model("s3://models/late/model.bin")).await;
    trial.fails(Reason::ArtifactNotFound, "no key \"late/model.bin\"", Shown::Pod).await;
    store.put("models", "late/model.bin", "model");
    trial.heals().await;
}

#[tokio::test]
async fn the_bucket_does_not_exist() {
    let (trial, _store) = begin("store-bucket").await;
    bad_model(trial, "s3://nowhere/model.bin", Reason::ArtifactNotFound, "no bucket nowhere").await;
}

#[tokio::test]
async fn the_url_does_not_exist() {
    let (trial, store) = begin("store-url").await;
    let url = store.url("models", "absent.bin");
    bad_model(trial, &url, Reason::ArtifactNotFound, "404 Not Found").await;
}

#[tokio::test]
async fn the_store_forbids() {
    bad_store("store-forbidden", Fault::Forbidden, Reason::ArtifactForbidden, "s3:GetObject").await;
}

#[tokio::test]
async fn the_store_does_not_know_the_key() {
    bad_store("store-key", Fault::WrongKey, Reason::ArtifactUnauthenticated, "InvalidAccessKeyId").await;
}

#[tokio::test]
async fn the_store_wants_a_password() {
    let reason = Reason::ArtifactUnauthenticated;
    bad_store("store-password", Fault::Unauthenticated, reason, "does not accept the credentials").await;
}

#[tokio::test]
async fn the_store_is_broken() {
    bad_store("store-broken", Fault::Broken, Reason::ArtifactStoreError, "500 Internal Server Error").await;
}

#[tokio::test]
async fn the_store_wants_fewer_requests() {
    bad_store("store-throttled", Fault::Throttled, Reason::ArtifactStoreThrottled, "SlowDown").await;
}

#[tokio::test]
async fn the_store_stops_in_the_middle() {
    bad_store("store-stalled", Fault::Stalled, Reason::ArtifactStalled, "stopped sending after 2 of 5 bytes").await;
}

#[tokio::test]
async fn the_stores_name_does_not_exist() {
    let (trial, _store) = begin("store-nameless").await;
    let url = "http://store.invalid/model.bin";
    bad_model(trial, url, Reason::ArtifactStoreUnreachable, "store.invalid").await;
}

#[tokio::test]
async fn the_store_refuses_connections() {
    let (trial, _store) = begin("store-refused").await;
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind(SocketAddr::new(node::address(&trial.place).await, 0)).unwrap();
    let url = format!("http://{}/model.bin", closed.local_addr().unwrap());
    bad_model(trial, &url, Reason::ArtifactStoreUnreachable, "refused").await;
}

#[tokio::test]
async fn the_store_speaks_no_tls() {
    let (trial, store) = begin("store-tls").await;
    let url = store.url("models", "good/model.bin").replace("http://", "https://");
    bad_model(trial, &url, Reason::ArtifactStoreTls, "can't be trusted").await;
}

#[tokio::test]
async fn the_uri_is_of_a_kind_that_nobody_fetches() {
    let (mut trial, _store) = begin("store-scheme").await;
    trial.apply(with_model("ftp://models/good/model.bin")).await;
    trial.fails(Reason::ArtifactUriInvalid, "ftp", Shown::Spec).await;
    trial.apply(with_model(GOOD)).await;
    trial.heals().await;
}

#[tokio::test]
async fn the_object_is_another() {
    let (mut trial, store) = begin("store-checksum").await;
    let digest = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4";
    let model = changed(with_model(GOOD), json!({"spec": {"model": {"sha256": digest}}}));
    store.fail("/models/good/", Fault::Corrupt);
    trial.apply(model).await;
    trial.fails(Reason::ArtifactChecksumMismatch, digest, Shown::Pod).await;
    store.heal("/models/good/");
    trial.heals().await;
}

#[tokio::test]
async fn a_key_leaves_the_folder() {
    let (trial, store) = begin("store-slip").await;
    store.put("models", "slip/../../etc/passwd", "x");
    bad_model(trial, "s3://models/slip/", Reason::ArtifactUnpackUnsafe, "../../etc/passwd").await;
}

#[tokio::test]
async fn nothing_is_below_the_prefix() {
    let (trial, _store) = begin("store-empty").await;
    bad_model(trial, "s3://models/nothing/", Reason::ArtifactEmpty, "nothing is below").await;
}

#[tokio::test]
async fn the_secret_with_the_credentials_does_not_exist() {
    let (mut trial, _store) = begin("store-no-secret").await;
    let absent = json!({"spec": {"model": {"credentialsSecretName": "absent"}}});
    trial.apply(changed(with_model(GOOD), absent)).await;
    trial.fails(Reason::ArtifactCredentialsMissing, "AWS_ACCESS_KEY_ID", Shown::Pod).await;
    trial.apply(with_model(GOOD)).await;
    trial.heals().await;
}

#[tokio::test]
async fn the_secret_lacks_a_key() {
    let (mut trial, store) = begin("store-half-secret").await;
    let mut half = store.secret("half");
    half["stringData"].as_object_mut().unwrap().remove("AWS_SECRET_ACCESS_KEY");
    trial.apply(half).await;
    trial.apply(changed(with_model(GOOD), json!({"spec": {"model": {"credentialsSecretName": "half"}}}))).await;
    trial.fails(Reason::ArtifactCredentialsMissing, "AWS_SECRET_ACCESS_KEY", Shown::Pod).await;
    trial.apply(with_model(GOOD)).await;
    trial.heals().await;
}

#[tokio::test]
async fn the_claim_does_not_exist() {
    let mut trial = Trial::new("claim-absent").await;
    let folder = std::path::Path::new(&setting("MOORING_TEST_MODELS")).join(&trial.place.namespace);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("model.bin"), "model").unwrap();
    let model = json!({"name": "iris", "uri": format!("pvc://models/{}", trial.place.namespace)});
    let image = setting("MOORING_TEST_ABRUPT_IMAGE_1");
    trial.apply(changed(abrupt("iris", "blue", &image, 1), json!({"spec": {"model": model}}))).await;
    trial.fails(Reason::ArtifactVolumeUnavailable, "persistentvolumeclaim \"models\" not found", Shown::Pod).await;
    claim::of_models(&trial.place).await;
    trial.healed().await;
    claim::remove(&trial.place).await;
    trial.done().await;
}

#[tokio::test]
async fn the_config_map_with_the_code_does_not_exist() {
    let mut trial = Trial::new("code-absent").await;
    trial.apply(with_code("code", "score.py")).await;
    trial.fails(Reason::ArtifactVolumeUnavailable, "configmap \"code\" not found", Shown::Event("FailedMount")).await;
    trial.apply(config_map("code")).await;
    trial.heals().await;
}

#[tokio::test]
async fn the_scoring_script_is_not_in_the_code() {
    let mut trial = Trial::new("code-script").await;
    trial.apply(config_map("code")).await;
    trial.apply(with_code("code", "main.py")).await;
    trial.fails(Reason::ScoringScriptMissing, "score.py", Shown::Pod).await;
    trial.apply(with_code("code", "score.py")).await;
    trial.heals().await;
}

/// The object is long in coming, so that the kubelet, which looks every ten seconds, looks in time.
#[tokio::test]
async fn the_model_is_larger_than_the_disk() {
    let (mut trial, _store) = begin("disk-model").await;
    instance_type::apply(&trial.place, &instance_type::with("ephemeral-storage", "16Mi")).await;
    let slow = Vast::at(node::address(&trial.place).await, 64 << 20, Duration::from_millis(500), |_, _| {});
    let disk = json!({"requests": {"ephemeral-storage": "16Mi"}, "limits": {"ephemeral-storage": "16Mi"}});
    let kind = json!({"spec": {"instanceType": instance_type::name(&trial.place), "resources": disk}});
    trial.apply(changed(with_model(slow.url()), kind.clone())).await;
    trial.fails(Reason::ArtifactDiskFull, "ephemeral", Shown::Pod).await;
    trial.apply(changed(with_model(GOOD), kind)).await;
    trial.healed().await;
    instance_type::remove(&trial.place).await;
    trial.done().await;
}

/// A folder of so many long names that their list alone is larger than the memory.
#[tokio::test]
async fn the_memory_is_too_small_for_the_storage_initializer() {
    let (mut trial, store) = begin("memory-initializer").await;
    for number in 0..12_000 {
        store.put("models", &format!("many/{number}-{}", "x".repeat(1000)), "");
    }
    let small = json!({"spec": {"resources": {"requests": {"memory": "12Mi"}, "limits": {"memory": "12Mi"}}}});
    trial.apply(changed(with_model("s3://models/many/"), small)).await;
    trial.fails(Reason::ArtifactDownloaderKilled, "OOMKilled", Shown::Pod).await;
    trial.apply(with_model(GOOD)).await;
    trial.heals().await;
}
