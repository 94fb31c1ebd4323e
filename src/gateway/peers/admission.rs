//! How a request gets its place when there may be other replicas: here, or from the owner of its endpoint.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::Peers;
use super::link::Need;
use super::message::{Reply, Target, Why};
use super::permit::Permit;
use super::replica::{Caller, Moment, Portion, Right, Standing};
use super::view::Version;
use crate::gateway::backend::{Address, Instance, Slot};
use crate::gateway::phase::admit::{self, Unplaced};
use crate::gateway::phase::answer::Refusal;
use crate::gateway::rate::{BURST, RateLimit};
use crate::gateway::table::{Deployment, Endpoint};

/// How long the owner's answer may take, beside the waiting.
const ANSWER: Duration = Duration::from_millis(250);
/// Pause before somebody is asked again who can't answer.
const PAUSE: Duration = Duration::from_millis(20);

impl From<Refusal> for Why {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::RateLimited { retry_after } => Self::RateLimited { retry_after },
            Refusal::TooManyPending => Self::TooManyPending,
            Refusal::NotReady => Self::NotReady,
            _ => Self::Connection,
        }
    }
}

/// A request that needs a place.
#[derive(Debug)]
pub struct Seeker<'a> {
    /// What it asks.
    pub endpoint: &'a Endpoint,
    /// What was chosen.
    pub deployment: &'a Deployment,
    /// Instances that have failed already.
    pub tried: &'a [Arc<Instance>],
    /// Its draw among equals.
    pub point: u32,
    /// Whether it still has to be counted against the endpoint's rate.
    pub rate: &'a mut bool,
    /// How long it may wait.
    pub patience: Duration,
}

impl Seeker<'_> {
    fn limit(&self, portion: &Portion) -> impl Fn(&Instance) -> usize {
        let limit = self.deployment.max_concurrent_requests_per_instance;
        move |instance: &Instance| portion.of(limit, instance.address.salt())
    }

    fn count(&mut self, portion: &Portion, since: std::time::Instant) -> Result<(), Refusal> {
        count(self.rate, &self.endpoint.rate, portion, since)
    }
}

/// How long a request waits before it is counted again after `refusal`. The burst of an owner that has just begun counts as
/// used, because the one before may have used it. Whoever comes while an endpoint changes hands is not
/// turned away for that: it waits, and stays `patient`, until `deadline`.
fn wait_for_rate(
    refusal: Refusal,
    standing: &Standing,
    now: Moment,
    deadline: Instant,
    patient: &mut bool,
) -> Result<Duration, Refusal> {
    *patient |= now < standing.since + BURST;
    match refusal {
        Refusal::RateLimited { retry_after } if *patient && Instant::now() + retry_after < deadline => Ok(retry_after),
        refusal => Err(refusal),
    }
}

fn count(rate: &mut bool, limit: &RateLimit, portion: &Portion, since: std::time::Instant) -> Result<(), Refusal> {
    if *rate {
        let (share, whole) = portion.parts();
        let taken = limit.take_shared(share, whole, since, std::time::Instant::now());
        taken.map_err(|retry_after| Refusal::RateLimited { retry_after })?;
        *rate = false;
    }
    Ok(())
}

impl Peers {
    /// A place for a request of this replica, if it may give one by itself and one is free; the common case.
    ///
    /// # Errors
    /// When the endpoint's rate is used up.
    pub fn slot_at_once(self: &Arc<Self>, seeker: &mut Seeker<'_>) -> Result<Option<Slot>, Refusal> {
        let (standing, now) = (self.standing.load(), self.now());
        let right = standing.right(seeker.endpoint.key, now, seeker.deployment.request_timeout);
        let Right::Grant(portion) = right else { return Ok(None) };
        if let Err(refusal) = seeker.count(&portion, self.start + standing.since) {
            return if now < standing.since + BURST { Ok(None) } else { Err(refusal) };
        }
        let slot = admit::at_once(seeker.deployment, seeker.limit(&portion), seeker.tried, seeker.point);
        Ok(slot.and_then(|slot| self.noted(seeker, slot, standing.view.version, now)))
    }

    /// A place for a request of this replica, at once or after some waiting.
    ///
    /// # Errors
    /// When there is none, or none in time.
    pub async fn slot(self: &Arc<Self>, mut seeker: Seeker<'_>) -> Result<Slot, Refusal> {
        let deployment = seeker.deployment;
        let deadline = Instant::now() + seeker.patience;
        let mut outline = self.outline.subscribe();
        let mut patient = false;
        loop {
            outline.mark_unchanged();
            let standing = self.standing.load_full();
            match standing.right(seeker.endpoint.key, self.now(), deployment.request_timeout) {
                Right::Grant(portion) => {
                    if let Err(refusal) = seeker.count(&portion, self.start + standing.since) {
                        let pause = wait_for_rate(refusal, &standing, self.now(), deadline, &mut patient)?;
                        tokio::time::sleep(pause).await;
                        continue;
                    }
                    let limit = seeker.limit(&portion);
                    let changed = async {
                        let _ = outline.changed().await;
                    };
                    match admit::queue(deployment, &limit, seeker.tried, seeker.point, deadline, changed).await {
                        Ok(slot) => {
                            let (version, now) = (standing.view.version, self.now());
                            if self.may_still_grant(&portion, seeker.endpoint, deployment, now)
                                && let Some(slot) = self.noted(&seeker, slot, version, now)
                            {
                                return Ok(slot);
                            }
                        }
                        Err(Unplaced::Refused(refusal)) => return Err(refusal),
                        Err(Unplaced::Changed) => {}
                    }
                    continue;
                }
                Right::Ask(rank) => {
                    seeker.endpoint.rate.leave();
                    let owner = standing.view.members().get(rank).map_or("", |member| member.id.as_str());
                    match self.ask(&mut seeker, owner, deadline).await {
                        Ok(slot) => return Ok(slot),
                        Err(Why::RateLimited { retry_after }) => return Err(Refusal::RateLimited { retry_after }),
                        Err(Why::TooManyPending) => return Err(Refusal::TooManyPending),
                        Err(Why::NotReady) => return Err(Refusal::NotReady),
                        Err(Why::Connection) => return Err(Refusal::Connection),
                        Err(Why::Elsewhere) => {}
                    }
                }
                Right::Alone(..) => {
                    if let Some(slot) = self.alone(&mut seeker)? {
                        return Ok(slot);
                    }
                }
                Right::Wait => {}
            }
            if !deployment.backend.has_untried(seeker.tried) {
                return Err(admit::none_left(deployment, seeker.tried));
            }
            if Instant::now() >= deadline {
                return Err(Refusal::TooManyPending);
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + PAUSE)).await;
        }
    }

    /// Whether this replica may give away what it could when a request began to wait: the others may have gone their own
    /// ways meanwhile, and where this process stood still, the places that became free are the first that it learns of.
    fn may_still_grant(&self, portion: &Portion, endpoint: &Endpoint, deployment: &Deployment, now: Moment) -> bool {
        let right = self.standing.load().right(endpoint.key, now, deployment.request_timeout);
        matches!(right, Right::Grant(current) if current == *portion)
    }

    /// The place that was found under `version` and given away at `now`, to be told to whoever owns the endpoint next.
    /// None when the telling was over already: then the request must not go on with it.
    fn noted(self: &Arc<Self>, seeker: &Seeker<'_>, slot: Slot, version: Version, now: Moment) -> Option<Slot> {
        let permit = self.permit(seeker, &slot, now);
        let slot = slot.with(permit);
        (self.standing.load().view.version == version).then_some(slot)
    }

    fn permit(self: &Arc<Self>, seeker: &Seeker<'_>, slot: &Slot, now: Moment) -> Permit {
        let address = slot.instance().address;
        Permit::new(self, self.in_flight.number(), &seeker.deployment.target, seeker.endpoint.key, address, now)
    }

    /// A place within this replica's own share, while the owner is out of reach.
    fn alone(self: &Arc<Self>, seeker: &mut Seeker<'_>) -> Result<Option<Slot>, Refusal> {
        let mut replica = self.replica();
        let (patience, now) = (seeker.deployment.request_timeout, self.now());
        let Some(portion) = replica.go_alone(seeker.endpoint.key, now, patience) else { return Ok(None) };
        // The owner has left this share alone for at least as long as a request takes, and a burst is made up by then.
        seeker.count(&portion, self.start)?;
        let slot = seeker.deployment.backend.try_slot(seeker.limit(&portion), seeker.tried, seeker.point);
        // Under the lock, so that whoever is told next what is in flight here is told of this too.
        let slot = slot.map(|slot| {
            let permit = self.permit(seeker, &slot, now);
            slot.with(permit)
        });
        drop(replica);
        Ok(slot)
    }

    async fn ask(&self, seeker: &mut Seeker<'_>, owner: &str, deadline: Instant) -> Result<Slot, Why> {
        let link = self.links.load().get(owner).cloned().ok_or(Why::Elsewhere)?;
        let need = Need {
            target: &seeker.deployment.target,
            key: seeker.endpoint.key,
            backend: &seeker.deployment.backend,
            rate: *seeker.rate,
            tried: seeker.tried.iter().map(|instance| instance.address).collect(),
            patience: deadline.saturating_duration_since(Instant::now()),
        };
        let mut question = link.ask(self.in_flight.number(), need).ok_or(Why::Elsewhere)?;
        let mut outline = self.outline.subscribe();
        loop {
            tokio::select! {
                biased;
                answer = &mut question.answer => {
                    let answer = answer.unwrap_or(Err(Why::Elsewhere));
                    if Instant::now() > deadline + ANSWER {
                        // This process stood still, for so long perhaps that the owner counts it as gone.
                        return Err(Why::TooManyPending);
                    }
                    // Whatever else the owner says, it has counted the request before.
                    *seeker.rate &= matches!(answer, Err(Why::Elsewhere));
                    return answer;
                }
                () = tokio::time::sleep_until(deadline + ANSWER) => return Err(Why::TooManyPending),
                _ = outline.changed() => {
                    if self.standing.load().owner(seeker.endpoint.key) != Some(owner) {
                        return Err(Why::Elsewhere);
                    }
                }
            }
        }
    }
}

/// A request of another replica that needs a place.
#[derive(Debug)]
pub struct Wanted {
    /// Who asks.
    pub caller: Caller,
    /// Its number of the request.
    pub id: u64,
    /// What the request is for.
    pub target: Target,
    /// Whether it still has to be counted against the endpoint's rate.
    pub rate: bool,
    /// Instances that have failed already.
    pub tried: Vec<Address>,
    /// How long it may wait.
    pub patience: Duration,
}

impl Wanted {
    /// Grants or refuses it.
    pub async fn answer(mut self, peers: Arc<Peers>, sender: UnboundedSender<Reply>) {
        if let Err(why) = self.grant(&peers, &sender).await {
            let _ = sender.send(Reply::Refused { id: self.id, why });
        }
    }

    async fn grant(&mut self, peers: &Arc<Peers>, sender: &UnboundedSender<Reply>) -> Result<(), Why> {
        let deadline = Instant::now() + self.patience;
        let mut outline = peers.outline.subscribe();
        let mut patient = false;
        loop {
            outline.mark_unchanged();
            let (endpoint, deployment) = peers.find(&self.target).ok_or(Why::Elsewhere)?;
            let standing = peers.standing.load_full();
            let changed = async {
                let _ = outline.changed().await;
            };
            match standing.right(endpoint.key, peers.now(), deployment.request_timeout) {
                Right::Grant(portion) => {
                    let since = peers.start + standing.since;
                    if let Err(refusal) = count(&mut self.rate, &endpoint.rate, &portion, since) {
                        let pause = wait_for_rate(refusal, &standing, peers.now(), deadline, &mut patient)?;
                        tokio::time::sleep(pause).await;
                        continue;
                    }
                    let tried = deployment.backend.at(&self.tried);
                    for instance in &tried {
                        instance.avoid();
                    }
                    let limit = deployment.max_concurrent_requests_per_instance;
                    let limit = |instance: &Instance| portion.of(limit, instance.address.salt());
                    // The number is as good as any draw among equals.
                    let point = u32::try_from(self.id & u64::from(u32::MAX)).unwrap_or(0);
                    match admit::queue(&deployment, limit, &tried, point, deadline, changed).await {
                        Ok(slot) => {
                            let address = slot.instance().address;
                            let version = standing.view.version;
                            let mut replica = peers.replica();
                            if !peers.may_still_grant(&portion, &endpoint, &deployment, peers.now()) {
                                continue;
                            }
                            if replica.grant(&self.caller, self.id, slot.for_another(), version) {
                                let _ = sender.send(Reply::Granted { id: self.id, version, address });
                                return Ok(());
                            }
                            if replica.view().version == version {
                                // It is not in this view itself.
                                return Err(Why::Elsewhere);
                            }
                        }
                        Err(Unplaced::Refused(refusal)) => return Err(refusal.into()),
                        Err(Unplaced::Changed) => {}
                    }
                }
                Right::Wait => tokio::time::timeout_at(deadline, changed).await.map_err(|_| Why::Elsewhere)?,
                Right::Ask(_) | Right::Alone(..) => return Err(Why::Elsewhere),
            }
        }
    }
}
