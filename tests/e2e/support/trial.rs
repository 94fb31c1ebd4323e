//! One fault on the real cluster: it is told with its cause and nothing else, and healing needs no other hand.

use std::io::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use mooring_operator::api::deployment::{DeploymentError, DeploymentState, OnlineDeployment, OnlineDeploymentStatus};
use mooring_operator::catalogue::{Reason, Stage};
use serde_json::{Value, json};

use super::documents::endpoint;
use super::evidence::{self, Shown};
use super::history::{History, Sighting, What, deployments, endpoints, is_told, warnings};
use super::place::Place;
use super::states;
use super::waits::is_true;

/// The deployment of every trial.
pub const DEPLOYMENT: &str = "iris-blue";

/// The conditions of the stages, in their order.
const STAGES: [(Stage, &str); 5] = [
    (Stage::Quota, "QuotaAvailable"),
    (Stage::Image, "ImagePulled"),
    (Stage::Artifacts, "ArtifactsDownloaded"),
    (Stage::Start, "ContainerStarted"),
    (Stage::Crash, "ContainerHealthy"),
];

/// A namespace with the endpoint `iris`, watched from the beginning.
pub struct Trial {
    pub place: Place,
    pub history: History,
    name: &'static str,
    /// What may be told: the fault that was asked for.
    reasons: Vec<Reason>,
}

impl Trial {
    /// Nobody refuses its objects: the status has to tell what the webhook would, since surroundings change later too.
    pub async fn new(name: &'static str) -> Self {
        let place = Place::labelled(name, &[("mooring.dev/admission", "off")]).await;
        let history = History::of(&place).await;
        place.apply(endpoint("iris", &json!({"blue": 100}))).await;
        Self { place, history, name, reasons: Vec::new() }
    }

    pub async fn apply(&self, document: Value) {
        self.place.apply(document).await;
    }

    /// Waits until this cause is told, and checks all that is told with it. `says` is a word of the true cause.
    pub async fn fails(&mut self, reason: Reason, says: &str, shown: Shown) {
        self.reasons.push(reason);
        let may_be = |seen: &[Sighting]| assert_only(&self.reasons, seen);
        let (told, error, late) = self
            .history
            .until(reason.as_str(), |seen| {
                may_be(seen);
                let (index, told, error) = seen.iter().enumerate().find_map(|(index, sighting)| {
                    let What::Deployment(deployment) = &sighting.what else { return None };
                    let error = deployment.status.as_ref()?.error.clone()?;
                    (error.reason == reason.as_str()).then(|| (index, deployment.clone(), error))
                })?;
                let late = evidence::first(seen, shown, error.object.as_deref())
                    .map(|first| seen[index].at.saturating_duration_since(first).as_millis());
                Some((told, error, late))
            })
            .await;
        states::keep(&self.place, "OnlineDeployment", DEPLOYMENT, &format!("{}-1", self.name)).await;
        self.say(reason, late, &error);
        assert_error(&error, reason, says);
        assert_conditions(&told, reason);
        self.history
            .until("a Warning of it", |seen| {
                is_told(seen, "OnlineDeployment", DEPLOYMENT, "Warning", reason.as_str()).then_some(())
            })
            .await;
    }

    /// From now on this may be told as well, because it is true as well.
    pub fn allows(&mut self, reason: Reason) {
        self.reasons.insert(0, reason);
    }

    /// Waits until it is well; the end of the trial.
    pub async fn heals(self) {
        self.healed().await;
        self.done().await;
    }

    /// Waits until it is well, and checks that nothing else was ever told.
    pub async fn healed(&self) {
        let reason = *self.reasons.last().unwrap();
        let healed = self
            .history
            .until("healed", |seen| {
                assert_only(&self.reasons, seen);
                deployments(seen).last().filter(|latest| is_well(latest)).cloned()
            })
            .await;
        let status = healed.status.unwrap();
        assert_eq!(status.error, None);
        assert!(status.recent_errors.iter().any(|error| error.reason == reason.as_str()), "{:?}", status.recent_errors);
        self.history
            .until("an Event of it", |seen| {
                is_told(seen, "OnlineDeployment", DEPLOYMENT, "Normal", "Recovered").then_some(())
            })
            .await;
        self.history
            .until("an endpoint that is Ready", |seen| {
                let latest = endpoints(seen).last()?;
                let conditions = latest.status.as_ref().map(|status| status.conditions.as_slice());
                is_true(conditions.unwrap_or_default(), "Ready", latest.metadata.generation).then_some(())
            })
            .await;
        states::keep(&self.place, "OnlineDeployment", DEPLOYMENT, &format!("{}-2", self.name)).await;
        self.keep_endpoint("iris", 2).await;
    }

    /// Keeps an endpoint as it is now for tests/kstatus.
    pub async fn keep_endpoint(&self, endpoint: &str, number: u32) {
        states::keep(&self.place, "OnlineEndpoint", endpoint, &format!("{}-{endpoint}-{number}", self.name)).await;
    }

    pub async fn done(self) {
        self.place.done().await;
    }

    /// Waits until it is as asked, for its latest spec.
    pub async fn until_well(&self) {
        self.history.until("well", |seen| deployments(seen).last().filter(|latest| is_well(latest)).map(|_| ())).await;
    }

    /// The end of a trial in which nothing was wrong, and nothing was told.
    pub async fn was_calm(self) {
        self.history.look(|seen| {
            assert_only(&[], seen);
            for deployment in deployments(seen) {
                let recent = deployment.status.iter().flat_map(|status| &status.recent_errors);
                assert_eq!(recent.collect::<Vec<_>>(), [] as [&DeploymentError; 0]);
            }
            assert_eq!(warnings(seen), [] as [&str; 0]);
        });
        self.done().await;
    }

    /// A line for a person to read: whether the message helps is nothing that a test can tell. Past the harness, which
    /// shows nothing of a test that passes.
    fn say(&self, reason: Reason, late: Option<u128>, error: &DeploymentError) {
        let late = late.map_or("-".to_owned(), |late| late.to_string());
        let message = error.message.replace('\n', " ⏎ ");
        let (name, code) = (self.name, reason.code().as_str());
        let _ = writeln!(std::io::stderr(), "fault {name}: {code} {} {late} ms: {message}", reason.as_str());
    }
}

/// Whether it is as asked, for its latest spec.
pub fn is_well(deployment: &OnlineDeployment) -> bool {
    let status = deployment.status.as_ref();
    status.is_some_and(|status| {
        status.provisioning_state == Some(DeploymentState::Succeeded)
            && status.observed_generation == deployment.metadata.generation
    })
}

/// No other cause was ever told, not for a moment.
fn assert_only(reasons: &[Reason], seen: &[Sighting]) {
    for deployment in deployments(seen) {
        let Some(error) = deployment.status.as_ref().and_then(|status| status.error.as_ref()) else { continue };
        assert!(
            reasons.iter().any(|reason| reason.as_str() == error.reason),
            "{} is told, not {reasons:?}: {}",
            error.reason,
            error.message
        );
    }
}

fn assert_error(error: &DeploymentError, reason: Reason, says: &str) {
    assert_eq!(error.code, reason.code());
    assert_eq!(error.stage, reason.code().stage());
    assert_eq!(error.next_step, reason.next_step());
    assert_eq!(error.is_final, reason.is_final());
    assert!(!error.next_step.is_empty());
    assert!(error.message.contains(says), "{says:?} is not in {:?}", error.message);
}

fn assert_conditions(told: &OnlineDeployment, reason: Reason) {
    let status = told.status.as_ref().unwrap();
    let conditions = &status.conditions;
    let code = reason.code().as_str();
    let of = |kind: &str| {
        conditions
            .iter()
            .find(|condition| condition.type_ == kind)
            .unwrap_or_else(|| panic!("no {kind}: {conditions:?}"))
    };
    let is = |condition: &Condition| (condition.status.clone(), condition.reason.clone());
    let failed = ("False".to_owned(), code.to_owned());
    assert_eq!(is(of("Ready")), failed);
    let at = STAGES.iter().position(|(stage, _)| *stage == reason.code().stage()).unwrap();
    let own = of(STAGES[at].1);
    assert_eq!(is(own), failed);
    assert!(own.message.starts_with(&format!("{}: ", reason.as_str())), "{}", own.message);
    for (_, later) in &STAGES[at + 1..] {
        assert_eq!(of(later).status, "Unknown", "{later}");
    }
    assert_kstatus(status, told.metadata.generation, reason.is_final());
}

/// Stalled when only a change by somebody helps, else Reconciling; never both.
fn assert_kstatus(status: &OnlineDeploymentStatus, generation: Option<i64>, is_final: bool) {
    let (stalled, reconciling) =
        (is_true(&status.conditions, "Stalled", generation), is_true(&status.conditions, "Reconciling", generation));
    assert_eq!((stalled, reconciling), (is_final, !is_final), "{:?}", status.conditions);
    assert_eq!(status.provisioning_state == Some(DeploymentState::Failed), is_final, "{:?}", status.provisioning_state);
}
