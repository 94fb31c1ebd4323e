//! What is no fault, however long it takes: no code at any moment (rule 4).

use serde_json::{Value, json};

use super::example::deployment;
use super::world::{
    Moment, containers, crash_loop, done, end, ended, going, live_through, moment, note, pod, running, set, time,
    waiting, with,
};
use crate::api::deployment::OnlineDeployment;
use crate::plan::seen::note::Topic;

/// Lives through moments one after the other; none may show an error.
fn silent(name: &str, object: &OnlineDeployment, moments: &[Moment]) {
    let mut object = object.clone();
    for moment in moments {
        let status = live_through(&object, moment);
        assert_eq!(status.error, None, "{name}, second {}", moment.at);
        assert!(
            status.conditions.iter().all(|condition| !condition.reason.starts_with("ERR_")),
            "{name}, second {}: {:?}",
            moment.at,
            status.conditions
        );
        assert!(status.conditions.iter().all(|condition| condition.type_ != "Stalled"), "{name}, second {}", moment.at);
        assert!(status.recent_errors.is_empty(), "{name}");
        object.status = Some(status);
    }
}

fn creating() -> Value {
    waiting("ContainerCreating", "")
}

fn initializing() -> Value {
    waiting("PodInitializing", "")
}

fn ready(name: &str) -> Value {
    containers(name, &done(), &running(1, true))
}

const ONE: (i32, i32, i32) = (1, 1, 0);
const UP: (i32, i32, i32) = (1, 1, 1);

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message})
}

/// A pod that the scheduler can't place, for what it says.
fn unplaced(name: &str, message: &str) -> Value {
    pod(name, 1, &json!({"conditions": [condition("PodScheduled", "False", "Unschedulable", message)]}))
}

/// Names and moments of all sequences.
#[expect(clippy::too_many_lines, reason = "a table")]
fn sequences() -> Vec<(&'static str, Vec<Moment>)> {
    let pulling = containers("a", &done(), &initializing());
    let downloading = containers("a", &running(2, false), &initializing());
    let starting = |since| containers("a", &done(), &running(since, false));
    let unhealthy = |at| {
        (
            "a",
            note(at, Topic::Unhealthy, "Readiness probe failed: dial tcp 198.18.0.2:5001: connect: connection refused"),
        )
    };
    let gone = "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }.";
    let unnamed = "0/2 nodes are available: 2 node(s) had untolerated taint(s). no new claims to deallocate, preemption: \
                   0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    let tainted =
        |key: &str| json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": key, "effect": "NoSchedule"}]}});
    let control_plane = tainted("node-role.kubernetes.io/control-plane");
    let lost = tainted("node.kubernetes.io/unreachable");
    let two_sets = [set(1, &json!({})), set(2, &json!({}))];
    let new = |state: &Value| {
        let pod = containers("n", &done(), state);
        with(pod, "metadata", &json!({"labels": {"pod-template-hash": "h2"}}))
    };
    let failed =
        |reason: &str, message: &str| pod("a", 1, &json!({"phase": "Failed", "reason": reason, "message": message}));
    let newer = with(ready("b"), "metadata", &json!({"creationTimestamp": time(60).to_string()}));
    vec![
        ("slow pull", (1..29).map(|minute| moment(minute * 60, ONE, [pulling.clone()])).collect()),
        ("slow pull of the initializer", (1..29).map(|minute| moment(minute * 60, ONE, [containers("a", &creating(), &initializing())])).collect()),
        ("slow download", (1..29).map(|minute| moment(minute * 60, ONE, [downloading.clone()])).collect()),
        (
            "rolling update",
            vec![
                moment(1, (2, 1, 1), [ready("a"), new(&creating())]).with_sets(&two_sets),
                moment(2, (2, 1, 1), [ready("a"), new(&running(2, false))]).with_sets(&two_sets),
                moment(3, (2, 1, 2), [ready("a"), new(&running(2, true))]).with_sets(&two_sets),
                moment(4, (1, 1, 1), [going(containers("a", &done(), &ended(137, "Error", "Killed"))), new(&running(2, true))]).with_sets(&two_sets),
            ],
        ),
        (
            "an old revision that crashes while it is replaced",
            vec![moment(1, (2, 1, 0), [containers("a", &done(), &crash_loop(1, "Error", "boom")), new(&running(1, false))]).with_sets(&two_sets)],
        ),
        (
            "an old revision that is refused while it is replaced",
            vec![moment(1, (2, 1, 1), [ready("a"), new(&running(1, false))]).with_sets(&[
                set(1, &json!({"replicas": 1, "conditions": [condition("ReplicaFailure", "True", "FailedCreate", "pods \"x\" is forbidden: exceeded quota: q")]})),
                set(2, &json!({})),
            ])],
        ),
        (
            "drain",
            vec![
                moment(1, UP, [going(ready("a"))]),
                moment(2, (1, 1, 0), [going(containers("a", &done(), &ended(143, "Error", ""))), unplaced("b", gone)]),
                moment(3, ONE, [containers("b", &creating(), &initializing())]),
            ],
        ),
        (
            "preemption by others and a new place",
            vec![
                moment(1, ONE, [going(with(ready("a"), "status", &json!({"conditions": [condition("DisruptionTarget", "True", "PreemptionByScheduler", "")]})))]),
                moment(2, ONE, [with(unplaced("b", "0/1 nodes are available: 1 Insufficient cpu."), "status", &json!({"nominatedNodeName": "n"}))]),
            ],
        ),
        (
            "scale to zero",
            vec![moment(1, (1, 1, 0), [going(containers("a", &done(), &ended(137, "Error", "")))]), moment(2, (0, 0, 0), [])],
        ),
        (
            "node lost and back",
            vec![
                // The node's controller says so; the kubelet's own word stays.
                moment(900, (1, 1, 0), [with(ready("a"), "status", &json!({"conditions": [
                    condition("PodScheduled", "True", "", ""),
                    {"type": "Ready", "status": "False", "lastTransitionTime": time(890).to_string()},
                ]}))]),
                moment(950, (1, 1, 0), [with(ready("a"), "status", &json!({"conditions": [condition("PodScheduled", "True", "", "")]})), unplaced("b", gone)]),
                moment(1000, UP, [ready("a")]),
            ],
        ),
        (
            "node lost and back, where the scheduler names no taint",
            vec![
                // The pod's watch may be ahead of that of the nodes.
                moment(950, (1, 1, 0), [unplaced("b", unnamed)]).with_nodes(std::slice::from_ref(&control_plane)),
                moment(951, (1, 1, 0), [unplaced("b", unnamed)]).with_nodes(&[control_plane, lost]),
                moment(1000, UP, [ready("b")]),
            ],
        ),
        (
            "node restarted under a running container",
            vec![
                moment(30, ONE, [containers("a", &done(), &ended(255, "Unknown", ""))]),
                moment(31, ONE, [containers("a", &done(), &running(30, false))]),
                moment(32, ONE, [containers("a", &ended(255, "Unknown", ""), &ended(255, "Unknown", ""))]),
                moment(33, ONE, [containers("a", &ended(137, "ContainerStatusUnknown", ""), &ended(137, "ContainerStatusUnknown", ""))]),
            ],
        ),
        ("readiness failures of the first seconds", (2..300).step_by(20).map(|at| moment(at, ONE, [starting(1)]).with_notes(&[unhealthy(at)])).collect()),
        ("a pod deleted by hand", vec![moment(1, ONE, [going(ready("a")), containers("b", &creating(), &initializing())]), moment(2, ONE, [containers("b", &running(2, false), &initializing())])]),
        (
            "a quota that is counted for the first time",
            vec![moment(1, (0, 0, 0), []).with_sets(&[set(1, &json!({"conditions": [condition("ReplicaFailure", "True", "FailedCreate", "pods \"x\" is forbidden: status unknown for quota: small, resources: pods")]}))])],
        ),
        (
            "a kubelet that throttles its own pulls",
            vec![
                moment(1, ONE, [containers("a", &done(), &waiting("ErrImagePull", "pull QPS exceeded"))]),
                moment(2, ONE, [containers("a", &done(), &waiting("ImagePullBackOff", "Back-off pulling image \"x\": ErrImagePull: pull QPS exceeded"))]),
            ],
        ),
        ("one failed sandbox", vec![moment(2, ONE, [containers("a", &creating(), &initializing())]).with_notes(&[("a", note(1, Topic::FailedSandbox, "Failed to create pod sandbox: network plugin is not ready"))])]),
        ("gated", vec![moment(1, ONE, [pod("a", 1, &json!({"conditions": [condition("PodScheduled", "False", "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")]}))])]),
        ("a new place while nodes come back", vec![moment(1, ONE, [unplaced("a", "0/2 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.")])]),
        ("node shutdown", vec![moment(1, ONE, [failed("Terminated", "Pod was terminated in response to imminent node shutdown."), containers("b", &creating(), &initializing())])]),
        ("refused by a kubelet that knew better", vec![moment(1, ONE, [failed("NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed"), containers("b", &creating(), &initializing())])]),
        ("evicted once and long replaced", vec![moment(100, (2, 2, 1), [failed("Evicted", "The node was low on resource: memory."), newer.clone(), containers("c", &creating(), &initializing())])]),
        (
            "out of memory an hour ago, ready since",
            vec![moment(3600, (2, 2, 1), [
                containers("a", &done(), &json!({
                    "ready": true, "restartCount": 1, "imageID": "i", "state": {"running": {"startedAt": time(30).to_string()}},
                    "lastState": {"terminated": end(137, "OOMKilled", "")},
                })),
                containers("b", &creating(), &initializing()),
            ])],
        ),
        (
            "restarted by its liveness probe, ready since",
            vec![moment(60, (2, 2, 1), [containers("a", &done(), &json!({
                "ready": true, "restartCount": 1, "imageID": "i", "state": {"running": {"startedAt": time(21).to_string()}},
                "lastState": {"terminated": end(137, "Error", "")},
            }))]).with_notes(&[("a", note(20, Topic::KilledByProbe, "Container inference-server failed liveness probe, will be restarted"))])],
        ),
        ("liveness failures below their threshold", vec![moment(60, ONE, [starting(50)]).with_notes(&[("a", note(55, Topic::Unhealthy, "Liveness probe failed: HTTP probe failed with statuscode: 500"))])]),
        ("a volume that was late", vec![moment(30, ONE, [starting(20)]).with_notes(&[("a", note(5, Topic::FailedMount, "MountVolume.SetUp failed for volume \"code\" : configmap \"score\" not found"))])]),
        (
            "a container that is made again after a fault",
            vec![moment(30, ONE, [containers("a", &done(), &json!({
                "restartCount": 1, "imageID": "i", "state": {"waiting": {"reason": "ContainerCreating"}},
                "lastState": {"terminated": end(137, "OOMKilled", "")},
            }))])],
        ),
        (
            "a volume that was late, while the model is fetched",
            vec![moment(30, ONE, [containers("a", &running(20, false), &initializing())]).with_notes(&[("a", note(5, Topic::FailedMount, "MountVolume.SetUp failed for volume \"code\" : configmap \"score\" not found"))])],
        ),
        ("evidence from before the last change", vec![Moment { observed: false, ..moment(5, ONE, [containers("a", &done(), &crash_loop(1, "Error", "boom"))]) }]),
    ]
}

#[test]
fn nothing_that_passes_by_itself_has_a_code() {
    let object = deployment(&json!({}));
    let sequences = sequences();
    assert!(sequences.len() >= 20, "{}", sequences.len());
    for (name, moments) in sequences {
        silent(name, &object, &moments);
    }
}

#[test]
fn a_slow_start_within_its_startup_probe_has_no_code() {
    let probe = json!({"initialDelaySeconds": 10, "periodSeconds": 10, "timeoutSeconds": 2, "successThreshold": 1, "failureThreshold": 90});
    let object = deployment(&json!({"startupProbe": probe}));
    let slow = |at: i64| {
        let server = json!({"state": {"running": {"startedAt": time(1).to_string()}}, "ready": false, "started": false, "imageID": "i"});
        let note = note(at, Topic::Unhealthy, "Startup probe failed: HTTP probe failed with statuscode: 503");
        moment(at, ONE, [containers("a", &done(), &server)]).with_notes(&[("a", note)])
    };
    silent("slow start", &object, &(1..90).map(|step| slow(step * 10)).collect::<Vec<_>>());
}
