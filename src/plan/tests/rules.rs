//! The rules of diagnosis, a test each.

use serde_json::{Value, json};

use super::example::deployment;
use super::world::{
    containers, crash_loop, done, end, ended, going, live_through, moment, note, pod, running, set, time, waiting, with,
};
use crate::api::deployment::{DeploymentState, OnlineDeployment, OnlineDeploymentStatus};
use crate::plan::seen::note::Topic;

const NOT_FOUND: &str = "rpc error: code = NotFound desc = failed to pull and unpack image \"x\": x: not found";
const ONE: (i32, i32, i32) = (1, 1, 0);

fn object() -> OnlineDeployment {
    deployment(&json!({}))
}

fn reason(status: &OnlineDeploymentStatus) -> Option<&str> {
    status.error.as_ref().map(|error| error.reason.as_str())
}

fn missing_image(name: &str) -> Value {
    containers(name, &done(), &waiting("ErrImagePull", NOT_FOUND))
}

fn crashed(name: &str) -> Value {
    containers(name, &done(), &crash_loop(1, "Error", "boom"))
}

fn condition<'a>(status: &'a OnlineDeploymentStatus, kind: &str) -> Option<(&'a str, &'a str)> {
    let condition = status.conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((&condition.status, &condition.reason))
}

#[test]
fn only_pods_of_the_current_template_blame_the_current_generation() {
    let sets = [set(1, &json!({})), set(2, &json!({}))];
    let of_two =
        with(containers("n", &done(), &running(1, false)), "metadata", &json!({"labels": {"pod-template-hash": "h2"}}));
    let status = live_through(&object(), &moment(1, (2, 1, 0), [crashed("a"), of_two]).with_sets(&sets));
    assert_eq!(reason(&status), None);
    let status = live_through(&object(), &moment(1, (2, 1, 0), [going(crashed("a"))]));
    assert_eq!(reason(&status), None);
}

#[test]
fn present_state_outranks_last_state() {
    let server = json!({
        "state": {"waiting": {"reason": "ErrImagePull", "message": NOT_FOUND}}, "restartCount": 1,
        "lastState": {"terminated": end(137, "OOMKilled", "")},
    });
    let status = live_through(&object(), &moment(1, ONE, [containers("a", &done(), &server)]));
    assert_eq!(reason(&status), Some("ImageNotFound"));
    let server = json!({
        "state": {"running": {"startedAt": time(21).to_string()}}, "restartCount": 1,
        "lastState": {"terminated": end(137, "OOMKilled", "")},
    });
    let status = live_through(&object(), &moment(22, ONE, [containers("a", &done(), &server)]));
    assert_eq!(reason(&status), None);
    let status =
        live_through(&object(), &moment(22, ONE, [containers("a", &done(), &crash_loop(137, "OOMKilled", ""))]));
    assert_eq!(reason(&status), Some("OutOfMemory"));
}

#[test]
fn the_earliest_stage_decides_whatever_the_order_of_pods() {
    let report = json!({
        "version": 1, "outcome": "failed", "reason": "ArtifactNotFound", "artifact": "model", "uri": "s3://m/x",
        "detail": "no such key", "bytes": 0, "seconds": 0.1, "files": 0,
    });
    let artifact = containers("b", &ended(13, "Error", &report.to_string()), &waiting("PodInitializing", ""));
    let refused = set(
        1,
        &json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1"}]}),
    );
    let unplaced = pod(
        "c",
        1,
        &json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}]}),
    );
    let mut pods = vec![crashed("a"), unplaced, artifact, missing_image("d")];
    let quota = moment(1, (4, 4, 0), pods.clone()).with_sets(&[refused]);
    assert_eq!(reason(&live_through(&object(), &quota)), Some("OutOfResourceQuota"));
    for expected in ["ImageNotFound", "ArtifactNotFound", "InsufficientResources", "ContainerCrashed"] {
        assert_eq!(reason(&live_through(&object(), &moment(1, (4, 4, 0), pods.clone()))), Some(expected));
        pods.reverse();
        assert_eq!(reason(&live_through(&object(), &moment(1, (4, 4, 0), pods.clone()))), Some(expected));
        pods.reverse();
        pods.pop();
    }
}

#[test]
fn an_init_container_goes_before_the_main_one() {
    let both = containers("a", &waiting("ErrImagePull", NOT_FOUND), &crash_loop(1, "Error", "boom"));
    let status = live_through(&object(), &moment(1, ONE, [both]));
    assert_eq!(status.error.unwrap().container.as_deref(), Some("storage-initializer"));
}

#[test]
fn an_initializer_that_is_killed_leaves_no_report() {
    let killed = containers("a", &crash_loop(137, "OOMKilled", ""), &waiting("PodInitializing", ""));
    let error = live_through(&object(), &moment(1, ONE, [killed])).error.unwrap();
    assert_eq!((error.reason.as_str(), error.exit_code), ("ArtifactDownloaderKilled", Some(137)));
    assert!(error.message.contains("OOMKilled"), "{}", error.message);
    // The node's end is not the initializer's.
    let lost = containers("a", &ended(255, "Unknown", ""), &waiting("PodInitializing", ""));
    assert_eq!(reason(&live_through(&object(), &moment(1, ONE, [lost]))), None);
}

#[test]
fn an_error_is_there_on_the_first_look_and_moves_to_the_recent_ones_on_the_first_without_evidence() {
    let mut object = object();
    let failed = live_through(&object, &moment(1, ONE, [missing_image("a")]));
    assert_eq!(reason(&failed), Some("ImageNotFound"));
    object.status = Some(failed);
    let healing = live_through(&object, &moment(2, ONE, [containers("a", &done(), &running(2, false))]));
    assert_eq!(reason(&healing), None);
    assert_eq!(healing.recent_errors[0].reason, "ImageNotFound");
    object.status = Some(healing);
    let healed = live_through(&object, &moment(3, (1, 1, 1), [containers("a", &done(), &running(2, true))]));
    assert_eq!(healed.provisioning_state, Some(DeploymentState::Succeeded));
    assert_eq!(healed.recent_errors.len(), 1);
}

#[test]
fn what_comes_back_is_the_same_error_and_counts() {
    let mut object = object();
    for round in 1..=3 {
        let at = round * 10;
        let failed = live_through(&object, &moment(at, ONE, [crashed("a")]));
        let error = failed.error.clone().unwrap();
        assert_eq!((error.count, error.first_seen.0), (i32::try_from(round).unwrap(), time(10)));
        assert_eq!(failed.recent_errors, []);
        object.status = Some(failed);
        // The same look again is no second occurrence.
        assert_eq!(live_through(&object, &moment(at + 1, ONE, [crashed("a")])), object.status.clone().unwrap());
        object.status =
            Some(live_through(&object, &moment(at + 5, ONE, [containers("a", &done(), &running(at + 5, false))])));
    }
}

#[test]
fn a_final_error_stalls_and_another_goes_on_until_its_time_is_over() {
    let mut object = object();
    let failed = live_through(&object, &moment(1, ONE, [missing_image("a")]));
    assert_eq!(failed.provisioning_state, Some(DeploymentState::Failed));
    assert_eq!(condition(&failed, "Stalled"), Some(("True", "ERR_1200")));
    assert_eq!(condition(&failed, "Reconciling"), None);
    let refused =
        containers("a", &done(), &waiting("ErrImagePull", "dial tcp 127.0.0.1:1: connect: connection refused"));
    let trying = live_through(&object, &moment(1, ONE, [refused.clone()]));
    assert_eq!(condition(&trying, "Reconciling"), Some(("True", "ERR_1200")));
    assert_eq!(trying.provisioning_state, Some(DeploymentState::Creating));
    object.status = Some(trying);
    let late = live_through(&object, &moment(1801, ONE, [refused.clone()]));
    assert_eq!(late.provisioning_state, Some(DeploymentState::Failed));
    assert_eq!(condition(&late, "Stalled"), Some(("True", "ERR_1200")));
    assert_eq!(reason(&late), Some("ImageRegistryUnreachable"));
    object.status = Some(late);
    // It heals with no hand all the same.
    let healed = live_through(&object, &moment(1900, (1, 1, 1), [containers("a", &done(), &running(1850, true))]));
    assert_eq!(healed.provisioning_state, Some(DeploymentState::Succeeded));
    assert_eq!(healed.provisioning_started_at, None);
}

#[test]
fn a_change_that_takes_too_long_without_a_fault_fails_without_a_code() {
    let mut object = object();
    let pulling = || [containers("a", &done(), &waiting("PodInitializing", ""))];
    object.status = Some(live_through(&object, &moment(0, ONE, pulling())));
    let late = live_through(&object, &moment(1800, ONE, pulling()));
    assert_eq!(condition(&late, "Ready"), Some(("False", "ProvisioningTimedOut")));
    assert_eq!((late.provisioning_state, late.error), (Some(DeploymentState::Failed), None));
    // Another change has its own time.
    object.metadata.generation = Some(2);
    object.status.as_mut().unwrap().provisioning_started_at =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time(-9000)));
    let again = live_through(&object, &moment(1800, ONE, pulling()));
    assert_eq!(again.provisioning_state, Some(DeploymentState::Creating));
}

#[test]
fn while_older_instances_serve_it_says_so() {
    let sets = [set(1, &json!({})), set(2, &json!({}))];
    let new = with(missing_image("n"), "metadata", &json!({"labels": {"pod-template-hash": "h2"}}));
    let status = live_through(
        &object(),
        &moment(1, (2, 1, 1), [containers("a", &done(), &running(1, true)), new]).with_sets(&sets),
    );
    assert_eq!(reason(&status), Some("ImageNotFound"));
    assert_eq!(condition(&status, "Serving"), Some(("True", "Succeeded")));
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert!(ready.message.contains("still serve"), "{}", ready.message);
}

#[test]
fn a_failed_stage_is_false_and_those_after_it_are_unknown() {
    let status = live_through(&object(), &moment(1, ONE, [missing_image("a")]));
    assert_eq!(condition(&status, "QuotaAvailable"), Some(("True", "Succeeded")));
    assert_eq!(condition(&status, "ImagePulled"), Some(("False", "ERR_1200")));
    for later in ["ArtifactsDownloaded", "ContainerStarted", "ContainerHealthy"] {
        assert_eq!(condition(&status, later), Some(("Unknown", "Pending")), "{later}");
    }
    let error = status.error.unwrap();
    assert_eq!(error.object.as_deref(), Some("Pod/a"));
    assert!(error.is_final && !error.next_step.is_empty());
    let pulled = status.conditions.iter().find(|condition| condition.type_ == "ImagePulled").unwrap();
    assert!(pulled.message.starts_with("ImageNotFound: "), "{}", pulled.message);
}

#[test]
fn the_present_cause_of_a_refusal_is_in_the_latest_event() {
    let refused = set(
        1,
        &json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "pods \"x\" is forbidden: error looking up service account team/iris-identity: serviceaccount \"iris-identity\" not found"}]}),
    );
    let event = |at, cause: &str| {
        ("iris-blue-1", note(at, Topic::FailedCreate, &format!("Error creating: pods \"x\" is forbidden: {cause}")))
    };
    let told = moment(9, (0, 0, 0), []).with_sets(&[refused]).with_notes(&[
        event(1, "violates PodSecurity \"restricted:latest\": runAsUser=0"),
        event(5, "exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0"),
    ]);
    assert_eq!(reason(&live_through(&object(), &told)), Some("OutOfResourceQuota"));
}

#[test]
fn a_probe_explains_the_end_that_it_caused() {
    let killed = |probe: &str| {
        [
            ("a", note(18, Topic::Unhealthy, "Liveness probe failed: HTTP probe failed with statuscode: 500")),
            ("a", note(18, Topic::Unhealthy, "Startup probe failed: HTTP probe failed with statuscode: 503")),
            (
                "a",
                note(
                    20,
                    Topic::KilledByProbe,
                    &format!("Container inference-server failed {probe} probe, will be restarted"),
                ),
            ),
        ]
    };
    let looping = containers("a", &done(), &crash_loop(137, "Error", ""));
    let status = live_through(&object(), &moment(30, ONE, [looping.clone()]).with_notes(&killed("liveness")));
    let error = status.error.unwrap();
    assert_eq!(error.reason, "LivenessProbeFailed");
    assert!(error.message.contains("statuscode: 500"), "{}", error.message);
    let status = live_through(&object(), &moment(30, ONE, [looping.clone()]).with_notes(&killed("startup")));
    assert_eq!(reason(&status), Some("StartupProbeFailed"));
    // A probe that ended an earlier life explains nothing.
    let earlier =
        ("a", note(5, Topic::KilledByProbe, "Container inference-server failed liveness probe, will be restarted"));
    let status = live_through(&object(), &moment(30, ONE, [looping]).with_notes(&[earlier]));
    assert_eq!(reason(&status), Some("ContainerCrashed"));
}

#[test]
fn a_probe_that_fails_too_long_is_told_with_its_own_words() {
    let unready = containers("a", &done(), &running(0, false));
    let unhealthy =
        ("a", note(300, Topic::Unhealthy, "Readiness probe failed: HTTP probe failed with statuscode: 500"));
    let before =
        live_through(&object(), &moment(311, ONE, [unready.clone()]).with_notes(std::slice::from_ref(&unhealthy)));
    assert_eq!(reason(&before), None);
    let after = live_through(&object(), &moment(312, ONE, [unready]).with_notes(&[unhealthy]));
    let error = after.error.unwrap();
    assert_eq!(error.reason, "ReadinessProbeFailed");
    assert!(error.message.contains("statuscode: 500"), "{}", error.message);
}

#[test]
fn a_volume_or_sandbox_that_fails_is_told_while_nothing_has_started() {
    let creating = containers("a", &waiting("PodInitializing", ""), &waiting("PodInitializing", ""));
    let mount = |volume: &str| {
        (
            "a",
            note(
                5,
                Topic::FailedMount,
                &format!("MountVolume.SetUp failed for volume \"{volume}\" : configmap \"score\" not found"),
            ),
        )
    };
    let told = |notes: &[_]| live_through(&object(), &moment(9, ONE, [creating.clone()]).with_notes(notes));
    assert_eq!(reason(&told(&[mount("code")])), Some("ArtifactVolumeUnavailable"));
    assert_eq!(reason(&told(&[mount("kube-api-access-x")])), Some("VolumeMountFailed"));
    let mut sandbox = note(
        5,
        Topic::FailedSandbox,
        "Failed to create pod sandbox: rpc error: code = Unknown desc = no more addresses",
    );
    sandbox.count = 3;
    assert_eq!(reason(&told(&[("a", sandbox)])), Some("SandboxFailed"));
}

#[test]
fn an_old_kubelets_back_off_is_explained_by_its_event() {
    let waits = containers("a", &done(), &waiting("ImagePullBackOff", "Back-off pulling image \"x\""));
    let event = ("a", note(5, Topic::FailedPull, &format!("Failed to pull image \"x\": {NOT_FOUND}")));
    let status = live_through(&object(), &moment(9, ONE, [waits]).with_notes(&[event]));
    assert_eq!(reason(&status), Some("ImageNotFound"));
}

#[test]
fn a_pull_secret_is_missing_for_the_pull_before_it_came() {
    let object = object();
    let refused = containers("a", &done(), &waiting("ErrImagePull", "unauthorized"));
    let pull = ("a", note(5, Topic::FailedPull, "Failed to pull image \"x\": unauthorized"));
    let told = |created: Option<i64>| {
        let moment = moment(9, ONE, [refused.clone()]).with_notes(std::slice::from_ref(&pull));
        let mut seen = super::world::seen(&object, &moment);
        seen.pull_secrets = [("regcred".to_owned(), created.map(time))].into();
        let plan = crate::plan::deployment::plan(time(9), &super::example::config(), &seen);
        plan.status.error.unwrap().reason
    };
    assert_eq!(told(None), "ImagePullSecretMissing");
    assert_eq!(told(Some(7)), "ImagePullSecretMissing");
    assert_eq!(told(Some(3)), "ImagePullUnauthorized");
}

#[test]
fn an_evicted_instance_is_told_until_another_is_ready() {
    let evicted = pod(
        "a",
        1,
        &json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi."}),
    );
    let done_before = with(
        evicted.clone(),
        "status",
        &json!({"containerStatuses": [], "initContainerStatuses": [{"name": "storage-initializer", "image": "i", "imageID": "i", "ready": true, "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}]}),
    );
    let next = with(
        containers("b", &waiting("PodInitializing", ""), &waiting("PodInitializing", "")),
        "metadata",
        &json!({"creationTimestamp": time(5).to_string()}),
    );
    let status = live_through(&object(), &moment(9, ONE, [done_before, next]));
    let error = status.error.unwrap();
    assert_eq!(error.reason, "PodEvicted");
    assert!(error.message.contains("memory"), "{}", error.message);
    let disk =
        with(evicted, "status", &json!({"message": "Usage of EmptyDir volume \"model\" exceeds the limit \"10Mi\"."}));
    assert_eq!(reason(&live_through(&object(), &moment(9, ONE, [disk]))), Some("ArtifactDiskFull"));
}

#[test]
fn a_quota_names_usage_limit_and_need_and_takes_nothing_away() {
    use crate::api::compute_quota::ComputeQuotaSpec;
    use crate::plan::quota::{Claims, DeploymentClaim, Quota};
    let object = object();
    let mut seen = super::world::seen(&object, &moment(1, (1, 1, 1), [containers("a", &done(), &running(1, true))]));
    seen.quotas = vec![Quota {
        name: "team".to_owned(),
        spec: ComputeQuotaSpec { total_cores: Some(2), ..ComputeQuotaSpec::default() },
    }];
    let claim = DeploymentClaim { wanted: 2, ..DeploymentClaim::of(&object, seen.instance_type.as_ref(), Some(1)) };
    seen.claims = Claims { deployments: vec![claim], endpoints: Vec::new() };
    let plan = crate::plan::deployment::plan(time(1), &super::example::config(), &seen);
    let error = plan.status.error.as_ref().unwrap();
    assert_eq!((error.code.as_str(), error.reason.as_str()), ("ERR_1100", "OutOfQuotaCores"));
    assert!(error.message.contains("2 of 2 cores are used, 2 more are needed"), "{}", error.message);
    assert_eq!(condition(&plan.status, "QuotaAvailable"), Some(("False", "ERR_1100")));
    assert_eq!(condition(&plan.status, "Serving"), Some(("True", "Succeeded")));
    assert!(plan.changes.is_empty());
}
