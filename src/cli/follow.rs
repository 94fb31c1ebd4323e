//! Waiting for an object, from wherever it is now: in a cluster by a watch, on this machine by looking again.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::{FutureExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::connect::Connection;
use super::error::CliError;
use super::face::Face;
use super::machine::Machine;
use super::one_line;
use super::talk::{say, tell};
use super::target::Target;
use crate::api::condition;
use crate::api::deployment::{DeploymentError, DeploymentState, OnlineDeployment};
use crate::api::endpoint::{EndpointState, OnlineEndpoint};
use crate::local::store::StoreError;

/// Seconds that one watch lasts.
const WATCH_SECONDS: u32 = 60;
/// Time between two looks at this machine's files.
const LOOK: Duration = Duration::from_millis(100);
/// How long is waited after a watch that broke.
const PAUSE: Duration = Duration::from_secs(1);
/// How often in a row the API server may be away.
const FAILURES: usize = 30;
/// How long an operator may take beyond a deployment's own limit to say that it has failed.
const GRACE_SECONDS: u64 = 60;
/// Longest wait for an endpoint, of which nothing is downloaded or started, and for the end of anything.
const ENDPOINT_SECONDS: u64 = 300;

/// What is waited for on both places.
trait Followed: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Sized {
    /// As it is on this machine now.
    fn look(&self, machine: &Machine) -> Result<Option<Self>, StoreError>;

    /// The endpoint that it is of.
    fn endpoint_name(&self) -> String;
}

impl Followed for OnlineDeployment {
    fn look(&self, machine: &Machine) -> Result<Option<Self>, StoreError> {
        machine.store.deployment(&self.spec.endpoint_name, self.deployment_name())
    }

    fn endpoint_name(&self) -> String {
        self.spec.endpoint_name.clone()
    }
}

impl Followed for OnlineEndpoint {
    fn look(&self, machine: &Machine) -> Result<Option<Self>, StoreError> {
        machine.store.endpoint(&self.name_any())
    }

    fn endpoint_name(&self) -> String {
        self.name_any()
    }
}

/// Shows every state of an object until one is the last; `None` once it is gone.
async fn until<K, T>(
    target: &Target,
    object: &K,
    mut see: impl FnMut(Option<&K>) -> ControlFlow<Result<T, CliError>>,
) -> Result<T, CliError>
where
    K: Followed + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let machine = match target {
        Target::Cluster(connection) => return watched(connection, &object.name_any(), see).await,
        Target::Local(machine) => machine,
    };
    loop {
        let found = object.look(machine)?;
        if let ControlFlow::Break(end) = see(found.as_ref()) {
            return end;
        }
        // One that was ended meanwhile begins anew, or says why it can't.
        machine.store.ensure_agent(&object.endpoint_name()).await?;
        tokio::time::sleep(LOOK).await;
    }
}

/// The same of an object of a cluster, by a watch.
async fn watched<K, T>(
    connection: &Connection,
    name: &str,
    mut see: impl FnMut(Option<&K>) -> ControlFlow<Result<T, CliError>>,
) -> Result<T, CliError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut failures = 0;
    loop {
        let found: Option<K> = match connection.get(name).await {
            Err(CliError::NoAnswer { .. } | CliError::TimedOut { .. }) if failures < FAILURES => {
                failures += 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            answer => answer?,
        };
        failures = 0;
        if let ControlFlow::Break(end) = see(found.as_ref()) {
            return end;
        }
        let Some(version) = found.and_then(|object| object.resource_version()) else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let parameters = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECONDS);
        let act = format!("watching {} {name:?} in namespace {:?}", K::kind(&()), connection.namespace);
        let api = connection.api::<K>();
        let events = match connection.ask(act, api.watch(&parameters, &version)).await {
            Ok(events) => events,
            Err(error @ CliError::Denied { .. }) => return Err(error),
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let mut events = pin!(events);
        // However a watch ends: the next look tells how it is.
        while let Ok(Some(event)) = events.try_next().await {
            let end = match &event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => see(Some(object)),
                WatchEvent::Deleted(_) => see(None),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(_) => break,
            };
            if let ControlFlow::Break(end) = end {
                return end;
            }
        }
    }
}

/// Waits for the end of `work`, for Ctrl-C or for the time to be over.
async fn patiently<T>(
    patience: Option<Duration>,
    longest: u64,
    what: &str,
    come_back: &str,
    work: LocalBoxFuture<'_, Result<T, CliError>>,
) -> Result<T, CliError> {
    let longest = patience.unwrap_or(Duration::from_secs(longest));
    tokio::select! {
        end = work => end,
        _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted { come_back: come_back.to_owned() }),
        () = tokio::time::sleep(longest) => Err(CliError::Late {
            what: what.to_owned(),
            seconds: longest.as_secs(),
            next_step: format!("see `{come_back}`, and `mooring doctor` when nothing moves"),
        }),
    }
}

/// Shows how a deployment comes to what its spec says, until it serves or has failed.
pub(super) async fn deployment(target: &Target, object: &OnlineDeployment) -> Result<OnlineDeployment, CliError> {
    let generation = object.metadata.generation;
    follow_deployment(target, object, |seen| {
        let status = seen.status.as_ref();
        let current = status.is_some_and(|status| status.observed_generation >= generation);
        status.and_then(|status| status.provisioning_state).filter(|_| current)
    })
    .await
}

/// Shows how a deployment's instances are replaced, until all of them are those of `generation` of its Deployment.
pub(super) async fn restarted(
    target: &Target,
    connection: &Connection,
    object: &OnlineDeployment,
    generation: Option<i64>,
) -> Result<OnlineDeployment, CliError> {
    let name = object.name_any();
    let replaced = watched::<Deployment, ()>(connection, &name, |seen| {
        let Some(seen) = seen else { return ControlFlow::Break(Ok(())) };
        let status = seen.status.clone().unwrap_or_default();
        let wanted = seen.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let all = [status.replicas, status.updated_replicas, status.ready_replicas];
        let whole = all.iter().all(|count| count.unwrap_or_default() == wanted);
        if status.observed_generation >= generation && whole {
            ControlFlow::Break(Ok(()))
        } else {
            ControlFlow::Continue(())
        }
    });
    let failed = follow_deployment(target, object, |seen| {
        let state = seen.status.as_ref().and_then(|status| status.provisioning_state);
        state.filter(|state| *state == DeploymentState::Failed)
    });
    tokio::select! {
        end = failed.boxed_local() => return end,
        end = replaced.boxed_local() => end?,
    }
    // The operator has still to see it.
    deployment(target, object).await
}

async fn follow_deployment(
    target: &Target,
    object: &OnlineDeployment,
    state: impl Fn(&OnlineDeployment) -> Option<DeploymentState>,
) -> Result<OnlineDeployment, CliError> {
    let name = object.deployment_name();
    let endpoint = &object.spec.endpoint_name;
    let come_back = format!("mooring deployment rollout status {} -e {endpoint} -n {name}", target.arguments());
    let longest = u64::try_from(object.spec.rollout.provisioning_timeout_seconds).unwrap_or_default() + GRACE_SECONDS;
    let mut face = Face::new();
    let work = until::<OnlineDeployment, _>(target, object, |seen| {
        let Some(seen) = seen else {
            return ControlFlow::Break(Err(CliError::Gone { kind: "deployment", name: name.to_owned() }));
        };
        face.see(name, seen);
        match state(seen) {
            Some(last @ (DeploymentState::Succeeded | DeploymentState::Failed)) => {
                ControlFlow::Break(Ok((last, seen.clone())))
            }
            _ => ControlFlow::Continue(()),
        }
    });
    let what = format!("deployment {name:?} does not serve as asked");
    let end = patiently(target.patience(), longest, &what, &come_back, work.boxed_local()).await;
    face.end();
    let (last, seen) = end?;
    if last == DeploymentState::Failed {
        return Err(failed(target, &seen));
    }
    let ready = seen.status.as_ref().and_then(|status| status.ready.clone()).unwrap_or_default();
    say!("deployment {name:?} of endpoint {endpoint:?} serves as asked, with {ready} instances");
    Ok(seen)
}

/// Tells the cause of a failure, the end of the log, and what to do now.
fn failed(target: &Target, seen: &OnlineDeployment) -> CliError {
    let (name, endpoint) = (seen.deployment_name(), &seen.spec.endpoint_name);
    let failed = |code: String| CliError::Failed { kind: "deployment", name: name.to_owned(), code };
    let status = seen.status.clone().unwrap_or_default();
    let Some(error) = status.error else {
        let ready = status.conditions.iter().find(|one| one.type_ == condition::READY);
        tell!("{}", ready.map(|one| one_line(&one.message)).unwrap_or_default());
        return failed(String::new());
    };
    tell!("{}", words(&error).trim_end());
    let container = error.container.as_deref().map(|container| format!(" -c {container}")).unwrap_or_default();
    tell!("more: `mooring deployment get-logs {} -e {endpoint} -n {name}{container}`", target.arguments());
    failed(format!(" with {} {}", error.code.as_str(), error.reason))
}

/// What is wrong, where it shows, the end of the log and the next step, a line each.
fn words(error: &DeploymentError) -> String {
    let mut text = format!("{} {}: {}\n", error.code.as_str(), error.reason, one_line(&error.message));
    let place = [
        error.object.clone(),
        error.container.as_ref().map(|container| format!("container {container}")),
        error.exit_code.map(|code| format!("exit code {code}")),
    ];
    let place: Vec<String> = place.into_iter().flatten().collect();
    if !place.is_empty() {
        text = format!("{text}  in {}\n", place.join(", "));
    }
    for line in error.log_tail.iter().flat_map(|tail| tail.lines()) {
        text = format!("{text}  | {line}\n");
    }
    format!("{text}next step: {}\n", error.next_step)
}

/// Shows how an endpoint comes to what its spec says.
pub(super) async fn endpoint(target: &Target, object: &OnlineEndpoint) -> Result<OnlineEndpoint, CliError> {
    let name = object.name_any();
    let generation = object.metadata.generation;
    let come_back = format!("mooring endpoint show {} -n {name}", target.arguments());
    let mut face = Face::new();
    let work = until::<OnlineEndpoint, _>(target, object, |seen| {
        let Some(seen) = seen else {
            return ControlFlow::Break(Err(CliError::Gone { kind: "endpoint", name: name.clone() }));
        };
        let status = seen.status.clone().unwrap_or_default();
        let state = status.provisioning_state.filter(|_| status.observed_generation >= generation);
        let why = status.conditions.iter().find(|one| one.type_ == condition::READY && one.status != "True");
        let why = why.map(|one| format!(", {}", one_line(&one.message))).unwrap_or_default();
        let word = status.provisioning_state.map_or_else(|| "not seen yet".to_owned(), |state| format!("{state:?}"));
        face.say(&format!("endpoint {name:?}: {word}{why}"));
        match state {
            Some(EndpointState::Succeeded) => ControlFlow::Break(Ok(seen.clone())),
            Some(EndpointState::Failed) => {
                ControlFlow::Break(Err(CliError::Failed { kind: "endpoint", name: name.clone(), code: why }))
            }
            _ => ControlFlow::Continue(()),
        }
    });
    let what = format!("endpoint {name:?} is not as asked");
    let end = patiently(target.patience(), ENDPOINT_SECONDS, &what, &come_back, work.boxed_local()).await;
    face.end();
    if let Ok(ready) = &end {
        let uri = ready.status.as_ref().and_then(|status| status.scoring_uri.clone()).unwrap_or_default();
        say!("endpoint {name:?} is ready: {uri}");
    }
    end
}

/// Waits until an object is gone, with everything that belongs to it.
pub(super) async fn gone<K>(connection: &Connection, kind: &'static str, name: &str) -> Result<(), CliError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut face = Face::new();
    let work = watched::<K, ()>(connection, name, |seen| {
        if seen.is_none() {
            return ControlFlow::Break(Ok(()));
        }
        face.say(&format!("{kind} {name:?}: requests in flight end, then its instances"));
        ControlFlow::Continue(())
    });
    let what = format!("{kind} {name:?} is still there");
    let come_back = format!("mooring {kind} list {}", connection.arguments());
    let end = patiently(connection.patience, ENDPOINT_SECONDS, &what, &come_back, work.boxed_local()).await;
    face.end();
    if end.is_ok() {
        say!("{kind} {name:?} is deleted");
    }
    end
}
