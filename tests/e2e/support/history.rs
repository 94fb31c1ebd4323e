//! What a client that watches a namespace has seen, in the order in which it arrived.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::place::Place;
use super::waits::DEADLINE;

/// One version of an object, as it arrived.
#[derive(Debug)]
pub struct Sighting {
    pub at: Instant,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    Deployment(Box<OnlineDeployment>),
    Endpoint(Box<OnlineEndpoint>),
    Pod(Box<Pod>),
    ReplicaSet(Box<ReplicaSet>),
    /// An Event of anybody.
    Event(Box<Event>),
    /// Something was not seen: no test may go on.
    Lost(String),
}

/// Every version of the objects of a namespace since [`History::of`]. The watch ends with it.
pub struct History {
    seen: watch::Receiver<Vec<Sighting>>,
    _watches: JoinSet<()>,
}

impl History {
    /// Watches from now on.
    pub async fn of(place: &Place) -> Self {
        let (sender, seen) = watch::channel(Vec::new());
        let (sender, mut watches) = (Arc::new(sender), JoinSet::new());
        follow(place, &sender, &mut watches, What::Deployment).await;
        follow(place, &sender, &mut watches, What::Endpoint).await;
        follow(place, &sender, &mut watches, What::Pod).await;
        follow(place, &sender, &mut watches, What::ReplicaSet).await;
        follow(place, &sender, &mut watches, What::Event).await;
        Self { seen, _watches: watches }
    }

    /// Waits until `find` finds something in what has been seen.
    pub async fn until<T>(&self, what: &str, mut find: impl FnMut(&[Sighting]) -> Option<T>) -> T {
        let (mut seen, mut found) = (self.seen.clone(), None);
        let wait = seen.wait_for(|seen| {
            if let Some(Sighting { what: What::Lost(why), .. }) = seen.last() {
                panic!("{why}");
            }
            found = find(seen);
            found.is_some()
        });
        let in_time = tokio::time::timeout(DEADLINE, wait).await.is_ok();
        found.unwrap_or_else(|| {
            assert!(!in_time, "the watches have ended");
            let status = self.look(|seen| deployments(seen).last().and_then(|last| last.status.clone()));
            let pods = self.look(|seen| pods(seen).last().map(|pod| pod.status.clone()));
            panic!("never {what}: {status:#?} {pods:#?}")
        })
    }

    /// Looks at all that has been seen.
    pub fn look<T>(&self, look: impl FnOnce(&[Sighting]) -> T) -> T {
        look(&self.seen.borrow())
    }
}

async fn follow<K>(
    place: &Place,
    sender: &Arc<watch::Sender<Vec<Sighting>>>,
    watches: &mut JoinSet<()>,
    wrap: fn(Box<K>) -> What,
) where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api: Api<K> = place.api();
    let mut version = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let sender = Arc::clone(sender);
    watches.spawn(async move {
        let note = |what| sender.send_modify(|seen| seen.push(Sighting { at: Instant::now(), what }));
        loop {
            // The server ends each watch after some minutes.
            let mut events = match api.watch(&WatchParams::default(), &version).await {
                Ok(events) => events.boxed(),
                Err(why) => return note(What::Lost(format!("a watch could not go on: {why}"))),
            };
            while let Some(event) = events.next().await {
                match event {
                    Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                        version = object.resource_version().unwrap_or_default();
                        note(wrap(Box::new(object)));
                    }
                    Ok(WatchEvent::Deleted(object)) => version = object.resource_version().unwrap_or_default(),
                    Ok(WatchEvent::Bookmark(mark)) => version = mark.metadata.resource_version,
                    Ok(WatchEvent::Error(why)) => return note(What::Lost(format!("a watch broke: {why:?}"))),
                    Err(why) => return note(What::Lost(format!("a watch broke: {why}"))),
                }
            }
        }
    });
}

/// The versions of deployments.
pub fn deployments(seen: &[Sighting]) -> impl Iterator<Item = &OnlineDeployment> {
    seen.iter().filter_map(|sighting| match &sighting.what {
        What::Deployment(deployment) => Some(&**deployment),
        _ => None,
    })
}

/// The versions of endpoints.
pub fn endpoints(seen: &[Sighting]) -> impl Iterator<Item = &OnlineEndpoint> {
    seen.iter().filter_map(|sighting| match &sighting.what {
        What::Endpoint(endpoint) => Some(&**endpoint),
        _ => None,
    })
}

/// The versions of pods.
pub fn pods(seen: &[Sighting]) -> impl Iterator<Item = &Pod> {
    seen.iter().filter_map(|sighting| match &sighting.what {
        What::Pod(pod) => Some(&**pod),
        _ => None,
    })
}

/// The Events that the operator has written.
fn told(seen: &[Sighting]) -> impl Iterator<Item = &Event> {
    seen.iter()
        .filter_map(|sighting| match &sighting.what {
            What::Event(event) => Some(&**event),
            _ => None,
        })
        .filter(|event| event.reporting_controller.as_deref() == Some("mooring.dev/operator"))
}

/// Whether an object of this kind has this Event of the operator.
pub fn is_told(seen: &[Sighting], kind: &str, name: &str, type_: &str, reason: &str) -> bool {
    told(seen).any(|event| {
        let about = event.regarding.as_ref();
        event.type_.as_deref() == Some(type_)
            && event.reason.as_deref() == Some(reason)
            && about.and_then(|about| about.kind.as_deref()) == Some(kind)
            && about.and_then(|about| about.name.as_deref()) == Some(name)
    })
}

/// What the operator has warned of, in its words.
pub fn warnings(seen: &[Sighting]) -> Vec<String> {
    let warnings = told(seen).filter(|event| event.type_.as_deref() == Some("Warning"));
    warnings.map(|event| event.note.clone().unwrap_or_default()).collect()
}

pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
}
