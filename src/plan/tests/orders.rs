//! However the news of a cluster arrive (late, doubled, in another order, some never), the end is the same (rule 9).

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::example::deployment;
use super::world::{self, Moment, containers, crash_loop, done, ended, note, pod, running, set, waiting};
use crate::api::deployment::OnlineDeploymentStatus;
use crate::plan::seen::note::{Note, Topic};

/// Orders that each story is told in.
const ORDERS: u32 = 10_000;

/// What each part of the cluster goes through, in its own order.
struct Story {
    name: &'static str,
    end: Option<&'static str>,
    counts: Vec<(i32, i32, i32)>,
    sets: Vec<Value>,
    pods: Vec<Vec<Value>>,
    notes: Vec<Vec<(&'static str, Note)>>,
}

impl Story {
    /// How many parts there are, and how far each goes.
    fn lengths(&self) -> Vec<usize> {
        let parts = [self.counts.len(), self.sets.len()].into_iter();
        parts.chain(self.pods.iter().map(Vec::len)).chain(self.notes.iter().map(Vec::len)).collect()
    }

    /// What is seen when each part is at its place.
    fn at(&self, places: &[usize], at: i64) -> Moment {
        let mut places = places.iter().copied();
        let mut next = || places.next().unwrap();
        let counts = self.counts[next()];
        let set = self.sets[next()].clone();
        // The first version of a pod and of a note is that it does not exist.
        let pods = self.pods.iter().map(|versions| versions[next()].clone()).filter(|pod| !pod.is_null()).collect();
        let notes = self.notes.iter().flat_map(|versions| versions[..next()].to_vec()).collect();
        Moment { at, counts, observed: true, sets: vec![set], pods, notes, nodes: None }
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn stories() -> Vec<Story> {
    let not_found = "rpc error: code = NotFound desc = failed to pull and unpack image \"x\": x: not found";
    let back_off = format!("Back-off pulling image \"x\": ErrImagePull: {not_found}");
    let placed = |name| containers(name, &waiting("PodInitializing", ""), &waiting("PodInitializing", ""));
    let quiet = || vec![set(1, &json!({}))];
    let refused = |message: &str| {
        set(1, &json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "message": message}]}))
    };
    let unplaced = pod(
        "b",
        1,
        &json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}]}),
    );
    let log = "Traceback (most recent call last):\n  File \"/var/azureml-app/score/score.py\", line 1, in <module>\nModuleNotFoundError: No module named 'x'";
    let killed = "Container inference-server failed liveness probe, will be restarted";
    vec![
        Story {
            name: "an image that is missing",
            end: Some("ImageNotFound"),
            counts: vec![(0, 0, 0), (1, 1, 0)],
            sets: quiet(),
            pods: vec![vec![
                Value::Null,
                placed("a"),
                containers("a", &done(), &waiting("PodInitializing", "")),
                containers("a", &done(), &waiting("ErrImagePull", not_found)),
                containers("a", &done(), &waiting("ImagePullBackOff", &back_off)),
            ]],
            notes: vec![vec![("a", note(5, Topic::FailedPull, "Failed to pull image \"x\""))]],
        },
        Story {
            name: "a crash in a loop beside a pod without a place",
            end: Some("InsufficientResources"),
            counts: vec![(0, 0, 0), (1, 1, 0), (2, 2, 0)],
            sets: quiet(),
            pods: vec![
                vec![
                    Value::Null,
                    placed("a"),
                    containers("a", &done(), &running(5, false)),
                    containers("a", &done(), &ended(3, "Error", log)),
                    containers("a", &done(), &running(21, false)),
                    containers("a", &done(), &crash_loop(3, "Error", log)),
                ],
                vec![Value::Null, unplaced],
            ],
            notes: vec![],
        },
        Story {
            name: "a liveness probe that fails again and again",
            end: Some("LivenessProbeFailed"),
            counts: vec![(0, 0, 0), (1, 1, 0)],
            sets: quiet(),
            pods: vec![vec![
                Value::Null,
                placed("a"),
                containers("a", &done(), &running(10, false)),
                containers("a", &done(), &ended(137, "Error", "")),
                containers("a", &done(), &crash_loop(137, "Error", "")),
            ]],
            notes: vec![vec![
                ("a", note(15, Topic::Unhealthy, "Liveness probe failed: HTTP probe failed with statuscode: 500")),
                ("a", note(19, Topic::KilledByProbe, killed)),
            ]],
        },
        Story {
            name: "a quota behind a service account that was late",
            end: Some("OutOfResourceQuota"),
            counts: vec![(0, 0, 0)],
            sets: vec![
                set(1, &json!({})),
                refused(
                    "pods \"x\" is forbidden: error looking up service account team/a: serviceaccount \"a\" not found",
                ),
            ],
            pods: vec![],
            notes: vec![vec![
                (
                    "iris-blue-1",
                    note(
                        1,
                        Topic::FailedCreate,
                        "Error creating: pods \"x\" is forbidden: error looking up service account team/a: serviceaccount \"a\" not found",
                    ),
                ),
                (
                    "iris-blue-1",
                    note(
                        2,
                        Topic::FailedCreate,
                        "Error creating: pods \"y\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0",
                    ),
                ),
            ]],
        },
        Story {
            name: "everything that can go wrong, and well in the end",
            end: None,
            counts: vec![(0, 0, 0), (1, 1, 0), (1, 1, 1)],
            sets: vec![refused("pods \"x\" is forbidden: exceeded quota: q"), set(1, &json!({}))],
            pods: vec![vec![
                Value::Null,
                pod(
                    "a",
                    1,
                    &json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient memory."}]}),
                ),
                containers("a", &waiting("ErrImagePull", not_found), &waiting("PodInitializing", "")),
                containers("a", &done(), &crash_loop(1, "Error", "boom")),
                containers("a", &done(), &running(30, true)),
            ]],
            notes: vec![
                vec![(
                    "iris-blue-1",
                    note(1, Topic::FailedCreate, "Error creating: pods \"x\" is forbidden: exceeded quota: q"),
                )],
                vec![(
                    "a",
                    note(
                        5,
                        Topic::FailedMount,
                        "MountVolume.SetUp failed for volume \"code\" : configmap \"score\" not found",
                    ),
                )],
            ],
        },
    ]
}

/// What must be the same: everything but times, counts and what was seen on the way.
fn essence(mut status: OnlineDeploymentStatus) -> Value {
    status.recent_errors.clear();
    let mut value = serde_json::to_value(status).unwrap();
    strip(&mut value);
    value
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for key in ["firstSeen", "lastSeen", "lastTransitionTime", "provisioningStartedAt", "count"] {
                fields.remove(key);
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Tells a story: at each step one part goes on to a later place, or is told again; looks happen at some of them.
fn told(story: &Story, steps: &[(usize, usize, bool)]) -> OnlineDeploymentStatus {
    let mut object = deployment(&json!({}));
    let lengths = story.lengths();
    let last: Vec<usize> = lengths
        .iter()
        .enumerate()
        .map(|(part, length)| if part < 2 + story.pods.len() { length - 1 } else { *length })
        .collect();
    let mut places = vec![0; lengths.len()];
    for (second, (part, ahead, looks)) in (20..).zip(steps) {
        let part = part % places.len();
        places[part] = (places[part] + ahead).min(last[part]);
        if *looks {
            object.status = Some(world::told(&object, &story.at(&places, second)));
        }
    }
    object.status = Some(world::told(&object, &story.at(&last, 60)));
    // A last look that finds nothing new says nothing new.
    let again = world::told(&object, &story.at(&last, 60));
    assert_eq!(Some(&again), object.status.as_ref(), "{}", story.name);
    again
}

#[test]
fn the_end_is_the_same_in_any_order() {
    for story in stories() {
        let in_order: Vec<(usize, usize, bool)> =
            (0..story.lengths().len()).flat_map(|part| vec![(part, 1, true); 6]).collect();
        let end = told(&story, &in_order);
        assert_eq!(end.error.as_ref().map(|error| error.reason.as_str()), story.end, "{}", story.name);
        let expected = essence(end);
        let steps = proptest::collection::vec((0_usize..8, 0_usize..3, proptest::bool::weighted(0.3)), 0..12);
        let config = Config { cases: ORDERS, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(config).run(&steps, |steps| {
            prop_assert_eq!(essence(told(&story, &steps)), expected.clone());
            Ok(())
        });
        assert!(outcome.is_ok(), "{}: {outcome:?}", story.name);
    }
}
