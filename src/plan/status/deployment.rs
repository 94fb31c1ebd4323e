//! The status of an `OnlineDeployment`.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::condition::{Draft, Status, settle, whole_seconds};
use super::failure::{self, Failure};
use crate::api::condition::{self, reason};
use crate::api::deployment::{
    DeploymentError, DeploymentState, OnlineDeployment, OnlineDeploymentStatus, Phase, Phases,
};
use crate::api::label;
use crate::catalogue::Stage;
use crate::plan::diagnose::{Diagnosis, Fault};

/// Errors that are kept after recovery.
const MAX_RECENT: usize = 5;

/// What a deployment comes to, before it is put into words.
#[derive(Clone, Debug)]
pub enum Verdict<'a> {
    /// Nothing can be done until somebody changes something that is no failure of a stage.
    Blocked {
        /// A reason of `api::condition::reason`.
        reason: &'static str,
        /// The facts.
        message: String,
        /// Whether waiting may help (an endpoint that is still to come).
        waiting: bool,
    },
    /// The Deployment stands as planned, or is about to.
    Running {
        /// How far the current revision is.
        diagnosis: Diagnosis,
        /// The Deployment as it was seen.
        deployment: Option<&'a Deployment>,
        /// How much of the plan it equals already.
        applied: Applied,
        /// Whether there is anything to download.
        needs_download: bool,
    },
}

/// How much of a plan stands already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The pods are to change.
    No,
    /// The pods stay as they are; their number or the manner of their rollout changes.
    Template,
    /// Everything.
    Whole,
}

/// Instances, as the Deployment counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    replicas: i32,
    ready: i32,
    updated: i32,
}

/// The whole status.
#[must_use]
pub fn of(object: &OnlineDeployment, verdict: &Verdict<'_>, now: Timestamp) -> OnlineDeploymentStatus {
    let previous = object.status.clone().unwrap_or_default();
    let wanted = object.spec.instance_count;
    let (deployment, fault, phases) = match verdict {
        Verdict::Blocked { .. } => (None, None, Phases::default()),
        Verdict::Running { diagnosis, deployment, .. } => (*deployment, diagnosis.fault.as_ref(), diagnosis.phases),
    };
    let download = match verdict {
        Verdict::Blocked { .. } => None,
        Verdict::Running { diagnosis, .. } => diagnosis.download.clone(),
    };
    let counts = counts(deployment);
    let settled = match verdict {
        Verdict::Blocked { .. } => false,
        Verdict::Running { applied, deployment, .. } => *applied == Applied::Whole && is_settled(*deployment, wanted),
    };
    let fault = fault.filter(|_| !settled);
    let phases = if settled && wanted > 0 { finished() } else { phases };
    let (error, recent_errors) = errors(&previous, fault, now);
    let started = started(object, &previous, settled, now);
    let timed_out = started.as_ref().is_some_and(|started| now >= started.0 + timeout(object));
    let timed_out = timed_out.then(|| timeout(object));
    let facts = Facts { verdict, settled, fault, counts, wanted, phases, timed_out };
    let state = state(object, &previous, &facts);
    let generation = object.metadata.generation;
    let drafts = drafts(&facts, state);
    let selector: Vec<String> = label::instance_selector(object.metadata.name.as_deref().unwrap_or_default())
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    OnlineDeploymentStatus {
        observed_generation: generation,
        provisioning_state: Some(state),
        provisioning_started_at: started,
        phases: Some(phases),
        replicas: counts.replicas,
        ready_replicas: counts.ready,
        updated_replicas: counts.updated,
        ready: Some(format!("{}/{wanted}", counts.ready)),
        selector: Some(selector.join(",")),
        download,
        error,
        recent_errors,
        conditions: settle(drafts, &previous.conditions, now, generation),
    }
}

/// When the change began that is under way.
fn started(
    object: &OnlineDeployment,
    previous: &OnlineDeploymentStatus,
    settled: bool,
    now: Timestamp,
) -> Option<Time> {
    if settled {
        return None;
    }
    let same = previous.observed_generation == object.metadata.generation;
    let before = previous.provisioning_started_at.clone().filter(|_| same);
    Some(before.unwrap_or_else(|| Time(whole_seconds(now))))
}

fn timeout(object: &OnlineDeployment) -> SignedDuration {
    SignedDuration::from_secs(object.spec.rollout.provisioning_timeout_seconds.into())
}

/// When a change that is under way has taken too long.
#[must_use]
pub fn deadline(object: &OnlineDeployment, status: &OnlineDeploymentStatus) -> Option<Timestamp> {
    status.provisioning_started_at.as_ref().map(|started| started.0 + timeout(object))
}

fn counts(deployment: Option<&Deployment>) -> Counts {
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    status.map_or_else(Counts::default, |status| Counts {
        replicas: status.replicas.unwrap_or_default(),
        ready: status.ready_replicas.unwrap_or_default(),
        updated: status.updated_replicas.unwrap_or_default(),
    })
}

/// Every wanted instance is of the current revision and ready, and no other is left.
fn is_settled(deployment: Option<&Deployment>, wanted: i32) -> bool {
    let Some(deployment) = deployment else { return false };
    let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
    let counts = counts(Some(deployment));
    observed.is_some()
        && observed == deployment.metadata.generation
        && counts == Counts { replicas: wanted, ready: wanted, updated: wanted }
}

const fn finished() -> Phases {
    let done = Phase::Succeeded;
    Phases { system_setup: done, user_container_image_pull: done, model_download: done, user_container_start: done }
}

fn state(object: &OnlineDeployment, previous: &OnlineDeploymentStatus, facts: &Facts<'_>) -> DeploymentState {
    use DeploymentState as State;
    let Facts { verdict, settled, fault, counts, timed_out, .. } = *facts;
    if object.metadata.deletion_timestamp.is_some() {
        return State::Deleting;
    }
    if settled {
        return State::Succeeded;
    }
    let failed = timed_out.is_some()
        || matches!(verdict, Verdict::Blocked { waiting: false, .. })
        || fault.is_some_and(|fault| fault.reason.is_final());
    if failed {
        return State::Failed;
    }
    let was = previous.provisioning_state.unwrap_or_default();
    if was == State::Creating || (was == State::Failed && counts.ready == 0) {
        return State::Creating;
    }
    let same_template = matches!(verdict, Verdict::Running { applied: Applied::Whole | Applied::Template, .. });
    let same_revision = same_template && counts.updated == counts.replicas;
    match was {
        State::Updating => State::Updating,
        _ if same_revision => State::Scaling,
        _ => State::Updating,
    }
}

/// The error that stands now and those that stood before.
fn errors(
    previous: &OnlineDeploymentStatus,
    fault: Option<&Fault>,
    now: Timestamp,
) -> (Option<DeploymentError>, Vec<DeploymentError>) {
    let mut recent = previous.recent_errors.clone();
    let reason = fault.map(|fault| fault.reason.as_str());
    if let Some(before) = &previous.error
        && reason != Some(before.reason.as_str())
    {
        recent.retain(|older| older.reason != before.reason);
        recent.insert(0, before.clone());
    }
    // One that went away for a moment, as a crash does while the container is started again, is still the same one.
    let again = reason.and_then(|reason| recent.iter().position(|older| older.reason == reason));
    let again = again.map(|index| recent.remove(index));
    recent.truncate(MAX_RECENT);
    let before = previous.error.as_ref().filter(|before| reason == Some(before.reason.as_str()));
    let current = fault.map(|fault| match (before, &again) {
        (Some(before), _) => error(fault, Some(before), false, now),
        (None, again) => error(fault, again.as_ref(), true, now),
    });
    (current, recent)
}

/// The fault in the user's words. Times and count move only when the facts do.
fn error(fault: &Fault, before: Option<&DeploymentError>, is_back: bool, now: Timestamp) -> DeploymentError {
    let now = Time(whole_seconds(now));
    let code = fault.reason.code();
    let fresh = DeploymentError {
        code,
        reason: fault.reason.as_str().to_owned(),
        stage: code.stage(),
        message: fault.message.clone(),
        next_step: fault.reason.next_step().to_owned(),
        object: fault.object.clone(),
        container: fault.container.map(str::to_owned),
        exit_code: fault.exit_code,
        log_tail: fault.log_tail.clone(),
        is_final: fault.reason.is_final(),
        first_seen: before.map_or_else(|| now.clone(), |before| before.first_seen.clone()),
        last_seen: before.map_or_else(|| now.clone(), |before| before.last_seen.clone()),
        count: before.map_or(1, |before| before.count),
    };
    match before {
        Some(before) if is_back || *before != fresh => {
            DeploymentError { last_seen: now, count: before.count.saturating_add(1), ..fresh }
        }
        _ => fresh,
    }
}

/// What the conditions tell.
struct Facts<'a> {
    verdict: &'a Verdict<'a>,
    settled: bool,
    fault: Option<&'a Fault>,
    counts: Counts,
    wanted: i32,
    phases: Phases,
    /// The time that the change was given, when that is over.
    timed_out: Option<SignedDuration>,
}

fn drafts(facts: &Facts<'_>, state: DeploymentState) -> Vec<Draft> {
    let mut drafts = vec![ready(facts), serving(facts.counts, facts.wanted)];
    drafts.extend(stages(facts));
    if state == DeploymentState::Failed {
        drafts.push(kstatus(condition::STALLED, &drafts));
    } else if !facts.settled {
        drafts.push(kstatus(condition::RECONCILING, &drafts));
    }
    drafts
}

/// kstatus' own condition, with the words of `Ready`.
fn kstatus(kind: &'static str, drafts: &[Draft]) -> Draft {
    let (reason, message) =
        drafts.first().map(|ready| (ready.reason.clone(), ready.message.clone())).unwrap_or_default();
    Draft::new(kind, Status::True, reason, message)
}

fn ready(facts: &Facts<'_>) -> Draft {
    let Facts { verdict, settled, fault, counts, wanted, timed_out, .. } = *facts;
    let late = timed_out.map(|time| format!("not as asked after {} s", time.as_secs()));
    let (status, reason, message) = match (verdict, fault) {
        (Verdict::Blocked { reason, message, .. }, _) => (Status::False, (*reason).to_owned(), message.clone()),
        (_, Some(fault)) => {
            let old = if counts.ready > 0 { "; instances that were there before still serve" } else { "" };
            let late = late.map(|late| format!("; {late}")).unwrap_or_default();
            let message =
                format!("{}: {}{old}{late}. {}", fault.reason.as_str(), fault.message, fault.reason.next_step());
            (Status::False, fault.reason.code().as_str().to_owned(), message)
        }
        _ if settled && wanted == 0 => {
            (Status::True, reason::SCALED_TO_ZERO.to_owned(), "instanceCount is 0".to_owned())
        }
        _ if settled => {
            (Status::True, reason::SUCCEEDED.to_owned(), format!("{wanted} of {wanted} instances are ready"))
        }
        _ => {
            let reason = if late.is_some() { reason::PROVISIONING_TIMED_OUT } else { reason::PROVISIONING };
            let late = late.map(|late| format!("{late}: ")).unwrap_or_default();
            let message = format!(
                "{late}{} of {wanted} instances of the current revision exist, {} are ready",
                counts.updated, counts.ready
            );
            (Status::False, reason.to_owned(), message)
        }
    };
    Draft::new(condition::READY, status, reason, message)
}

fn serving(counts: Counts, wanted: i32) -> Draft {
    let (status, reason, message) = match (counts.ready, wanted) {
        (1.., _) => (Status::True, reason::SUCCEEDED, "at least one instance answers"),
        (_, 0) => (Status::False, reason::SCALED_TO_ZERO, "instanceCount is 0"),
        _ => (Status::False, reason::NO_READY_INSTANCES, "no instance answers"),
    };
    Draft::new(condition::SERVING, status, reason, message)
}

/// One condition for each stage: a failed one is False with its code, those after it are Unknown.
fn stages(facts: &Facts<'_>) -> Vec<Draft> {
    let Facts { verdict, settled, fault, phases, .. } = *facts;
    let Verdict::Running { needs_download, .. } = verdict else { return Vec::new() };
    let started = phases.user_container_image_pull == Phase::Succeeded
        && matches!(phases.user_container_start, Phase::InProgress | Phase::Succeeded);
    let row = [
        (condition::QUOTA_AVAILABLE, Stage::Quota, true, reason::PENDING),
        (condition::IMAGE_PULLED, Stage::Image, phases.user_container_image_pull == Phase::Succeeded, reason::PULLING),
        (
            condition::ARTIFACTS_DOWNLOADED,
            Stage::Artifacts,
            phases.model_download == Phase::Succeeded,
            reason::DOWNLOADING,
        ),
        (condition::CONTAINER_STARTED, Stage::Start, started, reason::PENDING),
        (condition::CONTAINER_HEALTHY, Stage::Crash, phases.user_container_start == Phase::Succeeded, reason::STARTING),
    ];
    let failed = fault.map(|fault| (fault.reason.code().stage(), fault));
    row.into_iter()
        .map(|(kind, stage, done, waiting)| match failed {
            Some((at, fault)) if at == stage => {
                let message = format!("{}: {}", fault.reason.as_str(), fault.message);
                Draft::new(kind, Status::False, fault.reason.code().as_str(), message)
            }
            Some((at, _)) if at < stage => {
                Draft::new(kind, Status::Unknown, reason::PENDING, "an earlier stage failed")
            }
            _ if stage == Stage::Artifacts && !needs_download => {
                Draft::new(kind, Status::True, reason::NOT_NEEDED, "there is nothing to download")
            }
            _ if done || settled => Draft::new(kind, Status::True, reason::SUCCEEDED, "done"),
            _ => Draft::new(kind, Status::False, waiting, "not done yet"),
        })
        .collect()
}

/// The status after a pass that could not be carried out: what was known stays.
#[must_use]
pub fn failed(object: &OnlineDeployment, failure: &Failure, now: Timestamp) -> OnlineDeploymentStatus {
    let previous = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation;
    let (error, recent_errors) = match failure.internal {
        Some(reason) => errors(&previous, Some(&Fault::new(reason, &failure.message)), now),
        None => (previous.error.clone(), previous.recent_errors.clone()),
    };
    OnlineDeploymentStatus {
        observed_generation: generation,
        provisioning_state: match failure.internal {
            None => Some(DeploymentState::Failed),
            Some(_) => previous.provisioning_state.or(Some(DeploymentState::Creating)),
        },
        error,
        recent_errors,
        conditions: failure::conditions(failure, &previous.conditions, now, generation),
        ..previous
    }
}
