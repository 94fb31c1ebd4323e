//! Both controllers, from the first watch to the last pass.

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::mpsc::Receiver;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use hyper::header::{HeaderValue, USER_AGENT};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, Patch, PatchParams};
use kube::client::ClientBuilder;
use kube::core::ObjectMeta;
use kube::core::error_boundary::InvalidObject;
use kube::{Client, Resource};
use kube_runtime::controller::{self, Action, applier};
use kube_runtime::reflector::{ObjectRef, Store};
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backoff::Backoff;
use super::cache::Caches;
use super::claim::{Claim, Guard};
use super::lease::{self, Candidacy, LeaseError};
use super::metrics::Metrics;
use super::observe::Observer;
use super::pass::{PassError, Tools};
use super::place::Place;
use super::watch::Reach;
use super::{admission, deployment, endpoint, peer_secret, quota, watch};
use crate::api::condition::{self, reason};
use crate::api::label::MANAGER;
use crate::plan::Config;
use crate::process::build;
use crate::process::readiness::Readiness;

/// The part of the operator's readiness that this room sets.
pub const CACHES: &str = "caches";

/// Pause before a name that somebody else holds is looked at again: his objects are not watched.
const CONFLICT_PAUSE: Duration = Duration::from_secs(30);
/// One change of ours comes back as a burst of events (Deployment, `ReplicaSet`, pod, scheduler); a pass that waits for
/// its end writes one status instead of four. Far below what a person notices.
const DEBOUNCE: Duration = Duration::from_millis(60);
/// The API server's answer to a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How the operator runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What plans need to know.
    pub plan: Config,
    /// The only namespace to look at; all without it.
    pub namespace: Option<String>,
    /// Passes of each kind at the same time.
    pub concurrency: u16,
    /// The Lease of whoever writes; without it there must be no other replica.
    pub lease: Option<Candidacy>,
    /// The admission webhook; none without it.
    pub webhook: Option<admission::Settings>,
    /// The Secret of the gateway's replicas, to be made when it is missing; not looked at without it.
    pub peer_secret: Option<Place>,
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration for reaching the API server can't be found.
    #[error("finding the Kubernetes API server failed")]
    Infer(#[source] Box<kube::config::InferConfigError>),
    /// The client could not be made.
    #[error("making a client for the Kubernetes API server failed")]
    Client(#[source] kube::Error),
    /// A watch ended before it began.
    #[error("a watch ended before its first answer")]
    Watch(#[from] kube_runtime::reflector::store::WriterDropped),
    /// The webhook's port can't be opened.
    #[error("listening on {address} for the API server failed")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// Another replica leads.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// Renewing the Lease ended without a word.
    #[error("renewing the Lease failed")]
    Renewal(#[from] tokio::task::JoinError),
}

/// Runs until `shutdown`; passes that are under way are finished.
///
/// # Errors
/// [`RunError`], when the start fails.
pub async fn run(
    settings: Settings,
    readiness: &Readiness,
    registry: &mut Registry,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = Result<(), RunError>> + use<>, RunError> {
    let mut config = kube::Config::infer().await.map_err(|error| RunError::Infer(Box::new(error)))?;
    // Retries are ours, at the level of a pass: the client's own may take minutes inside one call.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // So that the API server's audit log tells our requests from others, and those of one replica from another's.
    config.headers.push((USER_AGENT, user_agent(settings.lease.as_ref())));
    let unguarded = Client::try_from(config.clone()).map_err(RunError::Client)?;
    let claim = if settings.lease.is_some() { Claim::none() } else { Claim::alone() };
    let client = ClientBuilder::try_from(config).map_err(RunError::Client)?.with_layer(&Guard(claim.clone())).build();
    let webhook = match settings.webhook.clone() {
        Some(settings) => {
            let address = settings.listen;
            let listener = TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })?;
            Some((listener, settings))
        }
        None => None,
    };
    let (metrics, readiness) = (Metrics::new(registry), readiness.clone());
    Ok(async move {
        let (elected, release) = (CancellationToken::new(), CancellationToken::new());
        // A task of its own: however long a pass computes, the Lease is renewed.
        let keeping = settings.lease.clone().map(|candidacy| {
            tokio::spawn(lease::keep(unguarded.clone(), candidacy, claim.clone(), elected.clone(), release.clone()))
        });
        if keeping.is_none() {
            elected.cancel();
        }
        let kept = async {
            match keeping {
                Some(task) => task.await??,
                None => release.cancelled().await,
            }
            Ok(())
        };
        let last = TaskTracker::new();
        let start = |caches: &Arc<Caches>| {
            readiness.set(CACHES, true);
            if let Some((listener, settings)) = webhook {
                let observer = Observer::new(client.clone(), Arc::clone(caches));
                let clients = admission::Clients { leading: client.clone(), any: unguarded.clone() };
                let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
                last.spawn(admission::run(listener, settings, clients, claim, observer, readiness, shutdown));
            }
        };
        // A question about rights is a POST, which the guard would take for a write.
        let reach = watch::reach(unguarded.clone(), settings.namespace.clone());
        let work = work(client.clone(), reach, settings, metrics, start, elected, shutdown.clone());
        let (mut kept, work) = (pin!(kept), pin!(work));
        tokio::select! {
            ended = kept.as_mut() => return ended,
            done = work => done?,
        }
        // Only now that nothing is under way: whoever has the Lease next begins at once.
        release.cancel();
        kept.await?;
        last.close();
        last.wait().await;
        Ok(())
    })
}

fn user_agent(candidacy: Option<&Candidacy>) -> HeaderValue {
    let named = candidacy.and_then(|it| HeaderValue::try_from(format!("{} ({})", build::OPERATOR, it.me)).ok());
    named.unwrap_or(HeaderValue::from_static(build::OPERATOR))
}

/// Fills the caches, starts what answers from them, and reconciles from the moment that this replica is `elected`.
async fn work(
    client: Client,
    reach: impl Future<Output = Reach>,
    settings: Settings,
    metrics: Metrics,
    start: impl FnOnce(&Arc<Caches>),
    elected: CancellationToken,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let tasks = TaskTracker::new();
    let namespace = settings.namespace.as_deref();
    let reach = tokio::select! {
        reach = reach => reach,
        () = shutdown.cancelled() => return Ok(()),
    };
    let (watches, queued) = watch::start(&client, namespace, reach, &tasks, &shutdown);
    let caches = Arc::clone(&watches.caches);
    let (endpoints, deployments) = (caches.endpoints.store().clone(), caches.deployments.store().clone());
    let quotas = caches.quotas.store().clone();
    tokio::select! {
        filled = watch::filled(&caches) => filled?,
        () = shutdown.cancelled() => return Ok(()),
    }
    tracing::info!("the caches are filled");
    start(&caches);
    tokio::select! {
        () = elected.cancelled() => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    if let Some(place) = settings.peer_secret {
        tasks.spawn(peer_secret::keep(client.clone(), place, shutdown.clone()));
    }
    watch::open(&watches);
    watch::start_events(&watches);
    watch::start_downloads(&watches);
    // The queues end with their last sender.
    drop(watches);
    tracing::info!("reconciling");
    metrics.count_errors_in(Arc::clone(&caches));
    let observer = Observer::new(client.clone(), caches);
    let tools = Arc::new(Tools { client, observer, config: settings.plan, metrics });
    tokio::join!(
        control(endpoint::KIND, endpoints, queued.endpoints, settings.concurrency, &tools, |object, tools| {
            endpoint::reconcile(object, tools).boxed()
        }),
        control(deployment::KIND, deployments, queued.deployments, settings.concurrency, &tools, |object, tools| {
            deployment::reconcile(object, tools).boxed()
        }),
        control(quota::KIND, quotas, queued.quotas, settings.concurrency, &tools, |object, tools| {
            quota::reconcile(object, tools).boxed()
        }),
    );
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// A pass under way.
type OnePass = BoxFuture<'static, Result<Action, PassError>>;

/// One controller: its queue, its backoff, its metrics.
async fn control<K>(
    kind: &'static str,
    store: Store<K>,
    queue: Receiver<ObjectRef<K>>,
    concurrency: u16,
    tools: &Arc<Tools>,
    reconcile: fn(Arc<K>, Arc<Tools>) -> OnePass,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    let backoff = Arc::new(Backoff::new());
    let failures = Arc::clone(&backoff);
    let timed = move |object: Arc<K>, tools: Arc<Tools>| {
        let (begin, key, failures) = (Instant::now(), ObjectRef::from_obj(&*object), Arc::clone(&failures));
        async move {
            let outcome = reconcile(object, Arc::clone(&tools)).await;
            if outcome.is_ok() {
                failures.succeeded(&key);
            }
            tools.metrics.passed(kind, if outcome.is_ok() { "done" } else { "failed" }, begin.elapsed());
            outcome
        }
        .boxed()
    };
    let policy = move |object: Arc<K>, error: &PassError, _: Arc<Tools>| {
        let pause = backoff.failed(ObjectRef::from_obj(&*object), getrandom::u32().unwrap_or(u32::MAX));
        let metadata = object.meta();
        tracing::warn!(
            kind,
            namespace = metadata.namespace,
            name = metadata.name,
            error = error.failure().map_or_else(|| error.to_string(), |failure| failure.message),
            again_in = ?pause,
            "a pass failed"
        );
        Action::requeue(pause)
    };
    let queue = queue.map(Ok::<_, Infallible>);
    let config = controller::Config::default().concurrency(concurrency).debounce(DEBOUNCE);
    // Failures are told by the policy above; an object that is gone meanwhile needs no pass.
    applier(timed, policy, Arc::clone(tools), store, queue, config).for_each(|_| std::future::ready(())).await;
}

/// When to look again without an event: at the time that the plan names, or when a name may have become free.
pub(super) fn next(conditions: &[Condition], again: Option<Timestamp>) -> Action {
    let conflict =
        |condition: &Condition| condition.type_ == condition::READY && condition.reason == reason::NAME_CONFLICT;
    let pause = again.map(|again| Duration::try_from(again.duration_since(Timestamp::now())).unwrap_or_default());
    let conflict = conditions.iter().any(conflict).then_some(CONFLICT_PAUSE);
    pause.into_iter().chain(conflict).min().map_or_else(Action::await_change, Action::requeue)
}

/// One line for each status that was written.
pub(super) fn log(kind: &'static str, metadata: &ObjectMeta, conditions: &[Condition]) {
    let ready = conditions.iter().find(|condition| condition.type_ == condition::READY);
    tracing::info!(
        kind,
        namespace = metadata.namespace,
        name = metadata.name,
        ready = ready.map(|ready| ready.status.as_str()),
        reason = ready.map(|ready| ready.reason.as_str()),
        message = ready.map(|ready| ready.message.as_str()),
        "status"
    );
}

/// An object that can't be decoded: said so on the object itself, and nothing else is touched.
pub(super) async fn unreadable<K>(tools: &Tools, invalid: &InvalidObject) -> Result<Action, PassError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let metadata = &invalid.metadata;
    let name = metadata.name.clone().unwrap_or_default();
    let api: Api<kube::core::DeserializeGuard<K>> =
        Api::namespaced(tools.client.clone(), metadata.namespace.as_deref().unwrap_or_default());
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "uid": metadata.uid},
        "status": {"conditions": [{
            "type": condition::READY,
            "status": "False",
            "reason": reason::INVALID_SPEC,
            "message": format!("this version can't read the object: {}", invalid.error),
            "observedGeneration": metadata.generation,
            // Fixed, so that a second pass writes the same: the object can't be read to find the time before.
            "lastTransitionTime": metadata.creation_timestamp,
        }]},
    });
    // A manager of its own: it must not take the fields of a status that could be read.
    let parameters = PatchParams::apply(&format!("{MANAGER}-unreadable")).force();
    api.patch_status(&name, &parameters, &Patch::Apply(patch)).await.map_err(PassError::Tell)?;
    Ok(Action::await_change())
}
