//! What Events say of our pods and `ReplicaSets`, and nothing of the many others in a cluster.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt;
use kube_runtime::watcher;

use super::cache::Caches;
use crate::api::label;
use crate::plan::seen::note::{Note, Topic};

/// Notes that are kept of one object: its latest.
const MOST: usize = 16;

/// Field selector of the Events that a diagnosis may read: those of pods, without the frequent ones that say nothing
/// that the pod does not say itself.
pub(super) const OF_PODS: &str = "involvedObject.kind=Pod,reason!=Scheduled,reason!=Pulling,reason!=Pulled,\
                                  reason!=Created,reason!=Started,reason!=BackOff,reason!=FailedScheduling";
/// Field selector of the Events of refused pods.
pub(super) const OF_REPLICA_SETS: &str = "involvedObject.kind=ReplicaSet,reason=FailedCreate";

/// The name of an object's Event.
type Name = String;

/// Notes by the uid of the object that they are about.
#[derive(Debug, Default)]
pub(super) struct Evidence(Mutex<HashMap<String, BTreeMap<Name, Note>>>);

impl Evidence {
    /// Keeps an Event when it is one of ours, and says whether it is.
    fn take(&self, event: &Event, caches: &Caches) -> bool {
        let (Some(uid), Some(note)) = (&event.involved_object.uid, note(event)) else { return false };
        if deployment_of(event, caches).is_none() {
            return false;
        }
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_object = notes.entry(uid.clone()).or_default();
        of_object.insert(event.name_any(), note);
        if of_object.len() > MOST {
            let oldest = of_object.iter().min_by(|left, right| left.1.cmp(right.1)).map(|(name, _)| name.clone());
            oldest.and_then(|name| of_object.remove(&name));
        }
        true
    }

    /// Drops an Event that is no more.
    fn drop(&self, uid: Option<&str>, name: &str) {
        let Some(uid) = uid else { return };
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_object) = notes.get_mut(uid) {
            of_object.remove(name);
            if of_object.is_empty() {
                notes.remove(uid);
            }
        }
    }

    /// Drops all that was said of an object that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// What is said of an object.
    pub(super) fn of(&self, uid: &str) -> Vec<Note> {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.get(uid).map(|notes| notes.values().cloned().collect()).unwrap_or_default()
    }
}

/// Follows one watch of Events; after a new list, what it did not hold is dropped.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// Uid and name of what is known from this watch.
    known: HashSet<(Option<String>, Name)>,
    listed: HashSet<(Option<String>, Name)>,
}

impl Follower {
    pub(super) fn follow(&mut self, event: &watcher::Event<Event>, caches: &Caches) {
        let evidence = &caches.evidence;
        let key = |event: &Event| (event.involved_object.uid.clone(), event.name_any());
        match event {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(event) => {
                if evidence.take(event, caches) {
                    self.listed.insert(key(event));
                }
            }
            watcher::Event::InitDone => {
                self.known.difference(&self.listed).for_each(|(uid, name)| evidence.drop(uid.as_deref(), name));
                self.known = std::mem::take(&mut self.listed);
            }
            watcher::Event::Apply(event) => {
                if evidence.take(event, caches) {
                    self.known.insert(key(event));
                }
            }
            watcher::Event::Delete(event) => {
                self.known.remove(&key(event));
                evidence.drop(event.involved_object.uid.as_deref(), &event.name_any());
            }
        }
    }
}

/// The deployment that an Event's object belongs to: by the object's label, or, when the object is not heard of yet, by
/// its name, which has the deployment's in front (cut off where that is very long).
pub(super) fn deployment_of(event: &Event, caches: &Caches) -> Option<String> {
    let (namespace, name) = (event.involved_object.namespace.as_deref()?, event.involved_object.name.as_deref()?);
    let pod = caches.pods.get(namespace, name).map(|pod| pod.labels().get(label::ONLINE_DEPLOYMENT).cloned());
    let set =
        || caches.replica_sets.get(namespace, name).map(|set| set.labels().get(label::ONLINE_DEPLOYMENT).cloned());
    if let Some(deployment) = pod.or_else(set) {
        return deployment;
    }
    // DEPLOYMENT-HASH-POD, and every part before a hyphen may be the whole name of another.
    name.match_indices('-')
        .rev()
        .filter_map(|(at, _)| name.get(..at))
        .find(|prefix| caches.deployments.get(namespace, prefix).is_some())
        .map(str::to_owned)
}

fn note(event: &Event) -> Option<Note> {
    let text = event.message.clone().unwrap_or_default();
    let topic = Topic::of(event.reason.as_deref()?, &text)?;
    let series = event.series.as_ref();
    let last = series
        .and_then(|series| series.last_observed_time.as_ref().map(|time| time.0))
        .or_else(|| event.last_timestamp.as_ref().map(|time| time.0))
        .or_else(|| event.event_time.as_ref().map(|time| time.0))?;
    // spec.containers{inference-server}
    let path = event.involved_object.field_path.as_deref();
    let container = path.and_then(|path| Some(path.split_once('{')?.1.trim_end_matches('}').to_owned()));
    let count = series.and_then(|series| series.count).or(event.count).unwrap_or(1);
    Some(Note { last, topic, container, text, count })
}
