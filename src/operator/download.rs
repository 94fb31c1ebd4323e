//! What instances that download say of it: asked in the pod network, kept in memory, told on in good measure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube_runtime::reflector::ObjectRef;
use tokio::net::TcpStream;
use tokio::time::{Interval, MissedTickBehavior};

use super::cache::{Caches, Guarded, has_label};
use crate::api::artifact::{DownloadProgress, PROGRESS_PATH, PROGRESS_PORT};
use crate::api::deployment::{Download, OnlineDeployment};
use crate::api::label;
use crate::plan::{diagnose, download};

/// Pause between two rounds of questions; with it, a download that is over sooner is hardly ever asked for.
const PAUSE: Duration = Duration::from_secs(3);
/// The longest that one answer may take. A network that lets no question through costs no more than this.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);
/// Questions under way at a time.
const CONCURRENCY: usize = 64;
/// Longest answer that is read, in bytes: some numbers, and the name of a file.
const MAX_ANSWER: usize = 16 * 1024;
/// A status is written for a download at most once in this time.
const TELL_PAUSE: Duration = Duration::from_secs(10);

/// A deployment's namespace and name.
type Key = (String, String);

/// What is told of each deployment's download until the next time.
#[derive(Debug, Default)]
pub(super) struct Downloads(Mutex<HashMap<Key, Told>>);

#[derive(Debug)]
struct Told {
    at: Instant,
    download: Download,
}

impl Downloads {
    /// What is told of a deployment.
    pub(super) fn of(&self, namespace: &str, name: &str) -> Option<Download> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(&(namespace.to_owned(), name.to_owned())).map(|told| told.download.clone())
    }

    /// Takes what is heard now, forgets who downloads no more, and says of whom there is something to tell.
    fn hear(&self, heard: BTreeMap<Key, Option<Download>>, now: Instant) -> Vec<Key> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|key, _| heard.contains_key(key));
        let mut due = Vec::new();
        for (key, download) in heard {
            let Some(download) = download else { continue };
            let before = told.get(&key);
            if before.is_none_or(|before| before.download != download && now >= before.at + TELL_PAUSE) {
                told.insert(key.clone(), Told { at: now, download });
                due.push(key);
            }
        }
        due
    }
}

/// What instances have said last, by the uid of the pod.
pub(super) type Latest = HashMap<String, DownloadProgress>;

/// The beat of the rounds.
pub(super) fn rounds() -> Interval {
    let mut rounds = tokio::time::interval(PAUSE);
    // A round that took long is followed by a pause and not by those that it kept waiting.
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds
}

/// Asks every instance that downloads, and says which deployments have something new to tell.
pub(super) async fn ask_all(caches: &Caches, latest: &mut Latest) -> Vec<ObjectRef<Guarded<OnlineDeployment>>> {
    let pods = downloading(caches);
    let uids: HashSet<String> = pods.iter().filter_map(|(_, pod)| pod.uid()).collect();
    latest.retain(|uid, _| uids.contains(uid));
    let asked: Vec<(String, IpAddr)> = pods.iter().filter_map(|(_, pod)| Some((pod.uid()?, address(pod)?))).collect();
    let answers: Vec<_> = stream::iter(asked).map(ask).buffer_unordered(CONCURRENCY).collect().await;
    latest.extend(answers.into_iter().flatten());
    let mut heard: BTreeMap<Key, Vec<&DownloadProgress>> = BTreeMap::new();
    for (key, pod) in &pods {
        heard.entry(key.clone()).or_default().extend(pod.uid().and_then(|uid| latest.get(&uid)));
    }
    let heard = heard.into_iter().map(|(key, instances)| (key, download::of(instances))).collect();
    let due = caches.downloads.hear(heard, Instant::now());
    due.iter().map(|(namespace, name)| ObjectRef::new(name).within(namespace)).collect()
}

/// The pods of current revisions whose storage initializer runs, with the deployments that they are of.
fn downloading(caches: &Caches) -> Vec<(Key, Arc<Pod>)> {
    let mut hashes: HashMap<Key, Option<String>> = HashMap::new();
    let pods = caches.pods.store().state_filter(diagnose::pod::downloads).into_iter();
    let pods = pods.filter_map(|pod| {
        let key = (pod.namespace()?, pod.labels().get(label::ONLINE_DEPLOYMENT)?.clone());
        let hash = hashes.entry(key.clone()).or_insert_with(|| current_hash(caches, &key)).as_ref()?;
        let is_current = pod.labels().get(label::POD_TEMPLATE_HASH) == Some(hash);
        is_current.then_some((key, pod))
    });
    pods.collect()
}

fn current_hash(caches: &Caches, (namespace, name): &Key) -> Option<String> {
    let deployment = caches.kubernetes_deployments.get(namespace, name)?;
    let sets = caches.replica_sets.select(namespace, |set| has_label(set, label::ONLINE_DEPLOYMENT, name));
    diagnose::current_set(&sets, &deployment)?.labels().get(label::POD_TEMPLATE_HASH).cloned()
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

/// The answer of one instance. Whoever gives none is asked again in the next round.
async fn ask((uid, address): (String, IpAddr)) -> Option<(String, DownloadProgress)> {
    match tokio::time::timeout(ANSWER_TIMEOUT, try_ask(address)).await {
        Ok(Ok(progress)) => Some((uid, progress)),
        Ok(Err(error)) => {
            tracing::debug!(%address, error, "an instance did not say how far its download is");
            None
        }
        Err(_) => {
            tracing::debug!(%address, "an instance did not say in time how far its download is");
            None
        }
    }
}

async fn try_ask(address: IpAddr) -> Result<DownloadProgress, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect((address, PROGRESS_PORT)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let question = Request::get(PROGRESS_PATH).header("host", "storage-initializer").body(Empty::<Bytes>::new())?;
    let answer = async {
        let answer = sender.send_request(question).await?;
        if answer.status() != StatusCode::OK {
            return Err(format!("it answers {}", answer.status()).into());
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await?.to_bytes();
        Ok(serde_json::from_slice(&body)?)
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // What it has brought until then is still to be read.
        _ = connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(done: i64) -> BTreeMap<Key, Option<Download>> {
        let download = Download { bytes_done: done, ..Download::default() };
        BTreeMap::from([(("team".to_owned(), "iris-blue".to_owned()), Some(download))])
    }

    #[test]
    fn a_download_is_told_at_once_and_then_now_and_then() {
        let (downloads, start) = (Downloads::default(), Instant::now());
        let due = |done, seconds| downloads.hear(heard(done), start + Duration::from_secs(seconds)).len();
        assert_eq!(due(1, 0), 1);
        // What is told stays the same until the next time, whatever pass asks for it.
        assert_eq!((due(2, 3), due(3, 9)), (0, 0));
        assert_eq!(downloads.of("team", "iris-blue").unwrap().bytes_done, 1);
        assert_eq!(due(4, 10), 1);
        assert_eq!(downloads.of("team", "iris-blue").unwrap().bytes_done, 4);
        assert_eq!(due(4, 30), 0);
    }

    #[test]
    fn who_does_not_answer_keeps_what_was_told_and_who_is_done_is_forgotten() {
        let (downloads, now) = (Downloads::default(), Instant::now());
        downloads.hear(heard(1), now);
        let silent = heard(1).into_keys().map(|key| (key, None)).collect();
        assert_eq!(downloads.hear(silent, now + TELL_PAUSE), Vec::<Key>::new());
        assert!(downloads.of("team", "iris-blue").is_some());
        downloads.hear(BTreeMap::new(), now + TELL_PAUSE);
        assert_eq!(downloads.of("team", "iris-blue"), None);
    }
}
