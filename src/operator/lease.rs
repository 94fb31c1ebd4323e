//! Which replica of the operator leads: the one whose name is in the Lease.
//!
//! The clocks of two machines never meet here: a Lease has expired when *we* have seen it unchanged for as long as it
//! says (client-go's rule). Every write of it names the version that was read, so of two that want it one gets it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio_util::sync::CancellationToken;

use super::claim::Claim;
use super::place::Place;

/// How long a leader that says nothing is waited for. kube-controller-manager's default.
const DURATION: Duration = Duration::from_secs(15);
/// How long the claim holds after a renewal was sent. Shorter, so that a write which was sent at the last moment arrives
/// before another replica may lead.
const HELD: Duration = Duration::from_secs(10);
/// Pause between two renewals.
const RENEW: Duration = Duration::from_secs(3);
/// Pause before somebody else's Lease is looked at again: what a handing over costs.
const LOOK: Duration = Duration::from_secs(1);
/// The longest that the API server may take for one answer.
const ANSWER: Duration = Duration::from_secs(3);

/// Which Lease, and who wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidacy {
    /// The Lease.
    pub lease: Place,
    /// Our name, which no other process has, not even this one after a restart.
    pub me: String,
}

/// A Lease as it was read last, and since when it reads so.
#[derive(Clone, Debug)]
struct Seen {
    lease: Lease,
    since: Instant,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nobody has it.
    Take,
    /// It is ours.
    Renew,
    /// It is somebody else's.
    Wait,
}

impl Seen {
    fn version(&self) -> Option<&str> {
        self.lease.metadata.resource_version.as_deref()
    }

    /// The same Lease read again at `now`.
    fn again(self, lease: Lease, now: Instant) -> Self {
        let is_same = self.version() == lease.metadata.resource_version.as_deref();
        Self { lease, since: if is_same { self.since } else { now } }
    }
}

fn decide(seen: &Seen, me: &str, now: Instant) -> Step {
    let spec = seen.lease.spec.as_ref();
    match spec.and_then(|spec| spec.holder_identity.as_deref()).filter(|holder| !holder.is_empty()) {
        None => Step::Take,
        Some(holder) if holder == me => Step::Renew,
        Some(_) => {
            let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| seconds.try_into().ok());
            let end = seen.since + seconds.map_or(DURATION, Duration::from_secs);
            if end <= now { Step::Take } else { Step::Wait }
        }
    }
}

/// The Lease as it is after `step`, at the time `now`.
fn written(seen: &Seen, step: Step, me: &str, now: Timestamp) -> Lease {
    let before = seen.lease.spec.clone().unwrap_or_default();
    let taken = step == Step::Take;
    Lease {
        metadata: seen.lease.metadata.clone(),
        spec: Some(LeaseSpec {
            holder_identity: Some(me.to_owned()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            renew_time: Some(MicroTime(now)),
            acquire_time: if taken { Some(MicroTime(now)) } else { before.acquire_time },
            lease_transitions: if taken {
                before.lease_transitions.map_or(Some(0), |it| it.checked_add(1))
            } else {
                before.lease_transitions
            },
            ..before
        }),
    }
}

/// Why leadership ended.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else has it.
    #[error("the Lease {0} is lost: another replica has taken it")]
    Lost(String),
}

/// Waits for the Lease, tells `elected`, keeps it and gives it back at `release`; the `claim` holds meanwhile, and not as
/// long as another replica waits for us.
///
/// # Errors
/// When another replica has the Lease after it was ours: whatever this process believes of the cluster may be that one's work
/// now, so it has to end.
pub(super) async fn keep(
    client: Client,
    candidacy: Candidacy,
    claim: Claim,
    elected: CancellationToken,
    release: CancellationToken,
) -> Result<(), LeaseError> {
    let leases = Api::<Lease>::namespaced(client, &candidacy.lease.namespace);
    let mut seen: Option<Seen> = None;
    let mut leads = false;
    let mut failing = false;
    loop {
        let begin = Instant::now();
        let turn = tokio::time::timeout(ANSWER, turn(&leases, &candidacy, seen.as_ref(), begin));
        let pause = match turn.await.unwrap_or_else(|_| Err(Trouble::Slow)) {
            Ok((now_seen, is_ours)) => {
                failing = false;
                seen = Some(now_seen);
                if is_ours {
                    claim.extend(begin + HELD);
                    if !std::mem::replace(&mut leads, true) {
                        tracing::info!(lease = candidacy.lease.name, me = candidacy.me, "this replica leads");
                        elected.cancel();
                    }
                    RENEW
                } else if leads {
                    claim.drop_now();
                    return Err(LeaseError::Lost(candidacy.lease.to_string()));
                } else {
                    LOOK
                }
            }
            Err(trouble) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(lease = candidacy.lease.name, %trouble, "the Lease can't be read or written");
                }
                // What is on the server is unknown now; the next turn reads it. When the claim has run out meanwhile,
                // nothing is written until the Lease is renewed, or found to be another one's.
                LOOK
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = release.cancelled() => break,
        }
    }
    claim.drop_now();
    if let (true, Some(seen)) = (leads, seen) {
        give_back(&leases, &candidacy, &seen).await;
    }
    Ok(())
}

/// Why a turn failed.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("no answer within {ANSWER:?}")]
    Slow,
    #[error("somebody else has written it")]
    Conflict,
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Reads the Lease, and writes it if that is due; what it is then, and whether it is ours.
async fn turn(
    leases: &Api<Lease>,
    candidacy: &Candidacy,
    seen: Option<&Seen>,
    now: Instant,
) -> Result<(Seen, bool), Trouble> {
    let Some(lease) = leases.get_opt(&candidacy.lease.name).await? else {
        let metadata = ObjectMeta { name: Some(candidacy.lease.name.clone()), ..ObjectMeta::default() };
        let empty = Seen { lease: Lease { metadata, spec: None }, since: now };
        let wanted = written(&empty, Step::Take, &candidacy.me, Timestamp::now());
        let lease = leases.create(&PostParams::default(), &wanted).await?;
        return Ok((Seen { lease, since: now }, true));
    };
    let seen = match seen {
        Some(seen) => seen.clone().again(lease, now),
        None => Seen { lease, since: now },
    };
    let step = decide(&seen, &candidacy.me, now);
    if step == Step::Wait {
        return Ok((seen, false));
    }
    let wanted = written(&seen, step, &candidacy.me, Timestamp::now());
    match leases.replace(&candidacy.lease.name, &PostParams::default(), &wanted).await {
        Ok(lease) => Ok((Seen { lease, since: now }, true)),
        Err(kube::Error::Api(status)) if status.is_conflict() => Err(Trouble::Conflict),
        Err(error) => Err(error.into()),
    }
}

/// Lets another replica have it at once.
async fn give_back(leases: &Api<Lease>, candidacy: &Candidacy, seen: &Seen) {
    let mut lease = seen.lease.clone();
    if let Some(spec) = &mut lease.spec {
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Timestamp::now()));
    }
    let answer =
        tokio::time::timeout(ANSWER, leases.replace(&candidacy.lease.name, &PostParams::default(), &lease)).await;
    match answer {
        Ok(Ok(_)) => tracing::info!(lease = candidacy.lease.name, "gave the Lease back"),
        Ok(Err(error)) => tracing::warn!(lease = candidacy.lease.name, %error, "giving the Lease back failed"),
        Err(_) => tracing::warn!(lease = candidacy.lease.name, "giving the Lease back took too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(holder: Option<&str>, since: Instant) -> Seen {
        let lease = json!({
            "metadata": {"name": "mooring-operator", "resourceVersion": "7"},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 4},
        });
        Seen { lease: serde_json::from_value(lease).unwrap(), since }
    }

    #[test]
    fn a_lease_of_nobody_is_taken_and_ours_is_renewed() {
        let now = Instant::now();
        assert_eq!(decide(&seen(None, now), "me", now), Step::Take);
        assert_eq!(decide(&seen(Some(""), now), "me", now), Step::Take);
        assert_eq!(decide(&seen(Some("me"), now), "me", now + Duration::from_mins(1)), Step::Renew);
    }

    #[test]
    fn a_lease_of_another_is_taken_when_it_was_seen_unchanged_for_its_own_duration() {
        let now = Instant::now();
        let after = |seconds| decide(&seen(Some("other"), now), "me", now + Duration::from_secs(seconds));
        assert_eq!(after(14), Step::Wait);
        assert_eq!(after(15), Step::Take);
    }

    #[test]
    fn whoever_renews_is_waited_for_anew() {
        let begin = Instant::now();
        let late = begin + Duration::from_secs(14);
        let mut lease = seen(Some("other"), begin).lease;
        assert_eq!(seen(Some("other"), begin).again(lease.clone(), late).since, begin);
        lease.metadata.resource_version = Some("8".to_owned());
        assert_eq!(seen(Some("other"), begin).again(lease, late).since, late);
    }

    #[test]
    fn taking_counts_a_transition_and_renewing_does_not() {
        let now = Instant::now();
        let spec = |step| written(&seen(Some("other"), now), step, "me", Timestamp::UNIX_EPOCH).spec.unwrap();
        assert_eq!((spec(Step::Take).lease_transitions, spec(Step::Renew).lease_transitions), (Some(5), Some(4)));
        assert!(spec(Step::Take).acquire_time.is_some() && spec(Step::Renew).acquire_time.is_none());
        assert_eq!(spec(Step::Renew).holder_identity.as_deref(), Some("me"));
        let versioned = written(&seen(None, now), Step::Take, "me", Timestamp::UNIX_EPOCH);
        assert_eq!(versioned.metadata.resource_version.as_deref(), Some("7"), "of two that write one succeeds");
    }

    #[test]
    fn the_claim_ends_long_before_another_may_lead_and_outlives_some_failures() {
        assert!(RENEW + ANSWER + LOOK < HELD);
        assert!(HELD + ANSWER < DURATION);
    }
}
