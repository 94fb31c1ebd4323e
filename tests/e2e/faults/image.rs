//! `ERR_1200`: the image does not come.

use mooring_operator::catalogue::Reason;
use serde_json::{Value, json};

use crate::support::documents::{abrupt, changed};
use crate::support::evidence::Shown;
use crate::support::node;
use crate::support::place::setting;
use crate::support::policy;
use crate::support::registry::{self, Fault, PASSWORD, Registry};
use crate::support::trial::Trial;

fn good() -> String {
    setting("MOORING_TEST_ABRUPT_IMAGE_1")
}

/// The cluster's own registry.
fn own() -> String {
    good().split_once('/').unwrap().0.to_owned()
}

fn pulls(image: &str) -> Value {
    abrupt("iris", "blue", image, 1)
}

fn pulls_with(image: &str, secret: &str) -> Value {
    changed(pulls(image), json!({"spec": {"environment": {"imagePullSecretNames": [secret]}}}))
}

/// An image that can't be had; repaired by naming another.
async fn bad_image(name: &'static str, image: &str, reason: Reason, says: &str) {
    let mut trial = Trial::new(name).await;
    trial.apply(pulls(image)).await;
    trial.fails(reason, says, Shown::Pod).await;
    trial.apply(pulls(&good())).await;
    trial.heals().await;
}

/// A registry with a fault; repaired by naming another.
async fn bad_registry(name: &'static str, fault: Fault, reason: Reason, says: &str) {
    let registry = Registry::faulty(&good(), fault).await;
    bad_image(name, &registry.image(), reason, says).await;
}

/// A registry with a fault; it becomes well by itself, and the kubelet tries again.
async fn passing(name: &'static str, mut registry: Registry, reason: Reason, says: &str) {
    let mut trial = Trial::new(name).await;
    trial.apply(pulls(&registry.image())).await;
    trial.fails(reason, says, Shown::Pod).await;
    registry.heal();
    trial.heals().await;
}

#[tokio::test]
async fn the_tag_does_not_exist() {
    bad_image("image-tag", &format!("{}/test/abrupt:nowhere", own()), Reason::ImageNotFound, "abrupt:nowhere").await;
}

#[tokio::test]
async fn the_digest_does_not_exist() {
    let digest = format!("sha256:{}", "0".repeat(64));
    bad_image("image-digest", &format!("{}/test/abrupt@{digest}", own()), Reason::ImageNotFound, &digest).await;
}

#[tokio::test]
async fn the_repository_does_not_exist() {
    bad_image("image-repository", &format!("{}/test/nothing:1", own()), Reason::ImageNotFound, "test/nothing").await;
}

#[tokio::test]
async fn names_that_sound_like_other_faults_are_names() {
    let image = format!("{}/unauthorized/429-toomanyrequests:x509", own());
    bad_image("image-misleading", &image, Reason::ImageNotFound, "not found").await;
}

#[tokio::test]
async fn the_image_appears() {
    let registry = Registry::faulty(&good(), Fault::Empty).await;
    passing("image-appears", registry, Reason::ImageNotFound, "not found").await;
}

#[tokio::test]
async fn the_registry_refuses_connections() {
    let registry = Registry::closed(&good()).await;
    passing("image-refused", registry, Reason::ImageRegistryUnreachable, "connection refused").await;
}

#[tokio::test]
async fn the_registrys_name_does_not_exist() {
    bad_image("image-nameless", &registry::nameless(), Reason::ImageRegistryUnreachable, "no such host").await;
}

#[tokio::test]
async fn no_route_leads_to_the_registry() {
    bad_image("image-unroutable", &registry::unroutable(), Reason::ImageRegistryUnreachable, "no route to host").await;
}

#[tokio::test]
async fn a_private_registry_gets_no_secret() {
    let reason = Reason::ImagePullUnauthorized;
    bad_registry("image-no-secret", Fault::WantsPassword, reason, "401 Unauthorized").await;
}

#[tokio::test]
async fn a_private_registry_gets_a_wrong_secret() {
    let registry = Registry::faulty(&good(), Fault::WantsPassword).await;
    let mut trial = Trial::new("image-wrong-secret").await;
    trial.apply(registry.pull_secret("wrong", "wrong")).await;
    trial.apply(registry.pull_secret("right", PASSWORD)).await;
    trial.apply(pulls_with(&registry.image(), "wrong")).await;
    trial.fails(Reason::ImagePullUnauthorized, "401 Unauthorized", Shown::Pod).await;
    trial.apply(pulls_with(&registry.image(), "right")).await;
    trial.heals().await;
}

#[tokio::test]
async fn the_pull_secret_does_not_exist() {
    let registry = Registry::faulty(&good(), Fault::WantsPassword).await;
    let mut trial = Trial::new("image-absent-secret").await;
    trial.apply(pulls_with(&registry.image(), "absent")).await;
    trial.fails(Reason::ImagePullSecretMissing, "absent", Shown::Pod).await;
    // The last answer of the registry is still its 401, until the kubelet asks again.
    trial.allows(Reason::ImagePullUnauthorized);
    trial.apply(registry.pull_secret("absent", PASSWORD)).await;
    trial.heals().await;
}

#[tokio::test]
async fn the_token_is_not_for_this_image() {
    bad_registry("image-scope", Fault::OutOfScope, Reason::ImagePullUnauthorized, "insufficient_scope").await;
}

#[tokio::test]
async fn the_registry_forbids() {
    bad_registry("image-forbidden", Fault::Forbidden, Reason::ImagePullUnauthorized, "403 Forbidden").await;
}

#[tokio::test]
async fn the_registry_wants_fewer_requests() {
    let registry = Registry::faulty(&good(), Fault::RateLimited).await;
    passing("image-throttled", registry, Reason::ImagePullRateLimited, "429 Too Many Requests").await;
}

#[tokio::test]
async fn the_registry_wants_fewer_pulls() {
    let reason = Reason::ImagePullRateLimited;
    bad_registry("image-pull-limit", Fault::PullsRateLimited, reason, "unauthenticated pull rate limit").await;
}

#[tokio::test]
async fn the_registry_speaks_no_tls() {
    let mut trial = Trial::new("image-plain").await;
    let registry = Registry::plain(node::address(&trial.place).await, &good()).await;
    trial.apply(pulls(&registry.image())).await;
    trial.fails(Reason::ImageRegistryTls, "HTTP response to HTTPS client", Shown::Pod).await;
    trial.apply(pulls(&good())).await;
    trial.heals().await;
}

#[tokio::test]
async fn nobody_has_signed_the_registrys_certificate() {
    let mut trial = Trial::new("image-self-signed").await;
    let registry = Registry::self_signed(node::address(&trial.place).await, &good()).await;
    trial.apply(pulls(&registry.image())).await;
    trial.fails(Reason::ImageRegistryTls, "unknown authority", Shown::Pod).await;
    trial.apply(pulls(&good())).await;
    trial.heals().await;
}

#[tokio::test]
async fn the_image_is_for_other_machines() {
    bad_registry("image-platform", Fault::OtherPlatform, Reason::ImagePlatformMismatch, "no match for platform").await;
}

#[tokio::test]
async fn the_name_is_no_image_name() {
    let image = format!("{}/UPPER/Case:1", own());
    bad_image("image-name", &image, Reason::ImageNameInvalid, "must be lowercase").await;
}

#[tokio::test]
async fn the_registry_is_broken() {
    bad_registry("image-broken", Fault::Broken, Reason::ImagePullFailed, "500 Internal Server Error").await;
}

#[tokio::test]
async fn the_registry_is_overloaded() {
    bad_registry("image-overloaded", Fault::Overloaded, Reason::ImagePullFailed, "503 Service Unavailable").await;
}

/// What is wrong now is told, not what was wrong before.
#[tokio::test]
async fn the_registry_fails_in_another_way() {
    let registry = Registry::faulty(&good(), Fault::RateLimited).await;
    let mut trial = Trial::new("image-another").await;
    trial.apply(pulls(&registry.image())).await;
    trial.fails(Reason::ImagePullRateLimited, "429 Too Many Requests", Shown::Pod).await;
    registry.fail(Fault::Forbidden);
    trial.fails(Reason::ImagePullUnauthorized, "403 Forbidden", Shown::Clock).await;
    trial.apply(pulls(&good())).await;
    trial.heals().await;
}

#[tokio::test]
async fn the_cluster_forbids_to_pull() {
    let mut trial = Trial::new("image-never").await;
    let never = r#"[JSONPatch{op: "replace", path: "/spec/containers/0/imagePullPolicy", value: "Never"}]"#;
    policy::apply(&trial.place, never).await;
    let absent = format!("{}/test/abrupt:nowhere", own());
    trial.apply(pulls(&absent)).await;
    trial.fails(Reason::ImageNeverPull, "abrupt:nowhere", Shown::Pod).await;
    policy::remove(&trial.place).await;
    trial.apply(pulls(&good())).await;
    trial.heals().await;
}
