//! The operator dies, or loses an answer, at any of its writes; the end is the same as without.

use futures::{StreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::support::documents::{deployment, endpoint};
use crate::support::kubelet::Kubelet;
use crate::support::place::Place;
use crate::support::proxy::{Blow, Plan, Proxy};
use crate::support::state;

/// Runs at the same time.
const PARALLEL: usize = 3;

/// One run: from nothing to blue, then from blue to green; the blow falls on one of the two.
async fn run(scene: Scene, plan: Option<Plan>) -> Outcome {
    let place = Place::new("crash").await;
    let kubelet = Kubelet::start(&place).await;
    let proxy = Proxy::start(place.client.clone()).await;
    if let (Scene::Create, Some(plan)) = (scene, plan) {
        proxy.strike(plan);
    }
    proxy.operate(&place.namespace);
    place.apply(endpoint(&json!({"blue": 100}))).await;
    place.apply(deployment("blue", "good:1")).await;
    if scene == Scene::Traffic {
        place.apply(deployment("green", "good:2")).await;
        place.ready("iris", &["iris-blue", "iris-green"]).await;
        match plan {
            Some(plan) => proxy.strike(plan),
            // Counts the writes of this scene alone.
            None => proxy.strike(Plan { blow: Blow::KillBefore, at: usize::MAX }),
        }
        place.apply(endpoint(&json!({"green": 100}))).await;
    }
    let all: &[&str] = if scene == Scene::Create { &["iris-blue"] } else { &["iris-blue", "iris-green"] };
    if plan.is_some_and(|plan| matches!(plan.blow, Blow::KillBefore | Blow::KillAfter)) {
        let begin = std::time::Instant::now();
        while !proxy.has_struck() {
            assert!(begin.elapsed() < crate::support::waits::DEADLINE, "{plan:?} never struck");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        proxy.operator_ended().await;
        proxy.operate(&place.namespace);
    }
    place.ready("iris", all).await;
    let writes = proxy.writes();
    let outcome = Outcome {
        struck: proxy.has_struck(),
        writes,
        state: state::settled(&place).await,
        secrets: state::uids::<Secret>(&place).await.len(),
        deployments: state::uids::<Deployment>(&place).await.len(),
    };
    proxy.operator_ended().await;
    drop(kubelet);
    place.done().await;
    outcome
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    Create,
    Traffic,
}

#[derive(Debug)]
struct Outcome {
    struck: bool,
    writes: usize,
    state: Vec<(String, Value)>,
    secrets: usize,
    deployments: usize,
}

/// Strikes at every write that an undisturbed run makes.
async fn every_write(scene: Scene) {
    let calm = run(scene, None).await;
    assert!(calm.writes > 1, "nothing to strike at");
    let blows =
        [Blow::KillBefore, Blow::KillAfter, Blow::LoseAnswer, Blow::Answer(409), Blow::Answer(429), Blow::Answer(500)];
    // How many statuses a creation writes varies by one or two with the order of events; a blow must have a target.
    let targets = match scene {
        Scene::Create => calm.writes.saturating_sub(2),
        Scene::Traffic => calm.writes.min(2),
    };
    let plans: Vec<Plan> = (1..=targets).flat_map(|at| blows.map(|blow| Plan { blow, at })).collect();
    let outcomes: Vec<(Plan, Outcome)> = stream::iter(plans)
        .map(|plan| async move { (plan, run(scene, Some(plan)).await) })
        .buffer_unordered(PARALLEL)
        .collect()
        .await;
    for (plan, outcome) in outcomes {
        assert!(outcome.struck, "{plan:?} never struck");
        assert_eq!(outcome.state, calm.state, "{plan:?}");
        assert_eq!((outcome.secrets, outcome.deployments), (calm.secrets, calm.deployments), "{plan:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_ends_the_same_whatever_happens_to_any_of_its_writes() {
    every_write(Scene::Create).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_traffic_ends_the_same_whatever_happens_to_any_of_its_writes() {
    every_write(Scene::Traffic).await;
}
