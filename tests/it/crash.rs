//! The operator dies, or loses an answer, at any of its writes; the end is the same as without.

use futures::{StreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use mooring_operator::api::endpoint::OnlineEndpoint;
use serde_json::{Value, json};

use crate::support::documents::{deployment, endpoint};
use crate::support::kubelet::Kubelet;
use crate::support::outcomes::{deployment_is, gone};
use crate::support::place::Place;
use crate::support::proxy::{Blow, Effect, Plan, Proxy};
use crate::support::state;
use crate::support::waits::DEADLINE;

/// Runs at the same time.
const PARALLEL: usize = 4;

const BLOWS: [Blow; 6] =
    [Blow::KillBefore, Blow::KillAfter, Blow::LoseAnswer, Blow::Answer(409), Blow::Answer(429), Blow::Answer(500)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// From nothing to blue.
    Create,
    /// From blue to green.
    Traffic,
    /// The endpoint goes.
    Delete,
}

#[derive(Debug)]
struct Outcome {
    struck: bool,
    writes: usize,
    state: Vec<(String, Value)>,
    /// The objects that were made, in order of their names: one that was made twice is there twice.
    created: Vec<String>,
}

/// One run of a scene; the blow falls on it alone.
async fn run(scene: Scene, plan: Option<Plan>) -> Outcome {
    let place = Place::new("crash").await;
    let kubelet = Kubelet::start(&place).await;
    let proxy = Proxy::start(place.client.clone()).await;
    // A blow that never falls: counts the writes of this scene alone.
    let plan = plan.unwrap_or(Plan { blow: Blow::KillBefore, at: usize::MAX });
    if scene != Scene::Create {
        proxy.operate(&place.namespace);
        place.apply(endpoint(&json!({"blue": 100}))).await;
        place.apply(deployment("blue", "good:1")).await;
        place.ready("iris", &["iris-blue"]).await;
        if scene == Scene::Traffic {
            place.apply(deployment("green", "good:2")).await;
            place.ready("iris", &["iris-green"]).await;
        }
        settled(&place, &proxy).await;
    }
    proxy.strike(plan);
    match scene {
        Scene::Create => {
            proxy.operate(&place.namespace);
            place.apply(endpoint(&json!({"blue": 100}))).await;
            place.apply(deployment("blue", "good:1")).await;
        }
        Scene::Traffic => place.apply(endpoint(&json!({"green": 100}))).await,
        Scene::Delete => place.delete::<OnlineEndpoint>("iris").await,
    }
    // Or there is no such write this time.
    tokio::select! {
        () = proxy.struck() => {}
        () = async {
            ended(&place, scene).await;
            settled(&place, &proxy).await;
        } => {}
    }
    if proxy.has_struck() && matches!(plan.blow, Blow::KillBefore | Blow::KillAfter) {
        proxy.operator_ended().await;
        proxy.operate(&place.namespace);
    }
    ended(&place, scene).await;
    let state = settled(&place, &proxy).await;
    let done = proxy.done();
    let mut created: Vec<String> = done
        .iter()
        // Events tell of the blow, and only the runs that have one have them.
        .filter(|write| write.effect == Effect::Created && !write.path.contains("/events.k8s.io/"))
        .map(|write| write.path.replace(&place.namespace, "NAMESPACE"))
        .collect();
    created.sort();
    let outcome = Outcome { struck: proxy.has_struck(), writes: proxy.writes(), state, created };
    proxy.operator_ended().await;
    place.done().await;
    kubelet.stop().await;
    outcome
}

/// Waits for the end of a scene.
async fn ended(place: &Place, scene: Scene) {
    match scene {
        Scene::Create => place.ready("iris", &["iris-blue"]).await,
        Scene::Traffic => place.ready("iris", &["iris-blue", "iris-green"]).await,
        Scene::Delete => {
            deployment_is(place, "iris-blue", "EndpointNotFound").await;
            gone::<Deployment>(place, "iris-blue").await;
            gone::<Service>(place, "iris-blue-instances").await;
            gone::<Service>(place, "iris").await;
        }
    }
}

/// The state once it has stayed as it is for a second without a single write.
async fn settled(place: &Place, proxy: &Proxy) -> Vec<(String, Value)> {
    let begin = std::time::Instant::now();
    loop {
        let writes = proxy.writes();
        let state = state::settled(place).await;
        if proxy.writes() == writes {
            return state;
        }
        assert!(begin.elapsed() < DEADLINE, "it never stops writing: {:#?}", proxy.done());
    }
}

/// Strikes at every write that an undisturbed run makes.
async fn every_write(scene: Scene) {
    let calm = run(scene, None).await;
    assert!(calm.writes > 1, "nothing to strike at");
    let plans: Vec<Plan> = (1..=calm.writes).flat_map(|at| BLOWS.map(|blow| Plan { blow, at })).collect();
    let outcomes: Vec<(Plan, Outcome)> = stream::iter(plans)
        .map(|plan| async move { (plan, run(scene, Some(plan)).await) })
        .buffer_unordered(PARALLEL)
        .collect()
        .await;
    for (plan, outcome) in outcomes {
        // How many statuses are written varies by one or two with the order of events.
        assert!(outcome.struck || plan.at + 2 > calm.writes, "{plan:?} never struck");
        assert_eq!(outcome.state, calm.state, "{plan:?}");
        assert_eq!(outcome.created, calm.created, "{plan:?}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_ends_the_same_whatever_happens_to_any_of_its_writes() {
    every_write(Scene::Delete).await;
}
