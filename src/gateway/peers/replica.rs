//! What one replica knows of the others and may do by itself: events in, decisions out, no clock and no sockets.
//!
//! One replica, the owner, admits for an endpoint. It does so only after every member of its view has said that it is
//! in that view too, so that nobody admits under an older one, and what it has in flight of the owner's endpoints.
//! Whoever answers the owner's beats promises with it to leave its own share of the limits alone for some time. While
//! it does not answer, the owner leaves that share to it. So the sum is never over the limit, whoever is cut off.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::view::{Version, View};
use crate::gateway::backend::Slot;

/// Time since some moment that stays the same for a replica.
pub type Moment = Duration;

/// How long after the sending of a beat the owner counts on whoever answered it.
pub const LEASE: Duration = Duration::from_secs(2);
/// How long whoever answered a beat leaves its own share alone. Longer than [`LEASE`] by more than clocks drift in it.
pub const PROMISE: Duration = Duration::from_millis(2_500);
/// How long after it was admitted a request may begin, and with it the longest time that it may take. Less than what
/// [`PROMISE`] is longer than [`LEASE`], by more than clocks drift.
pub const BEGIN: Duration = Duration::from_millis(250);
/// The silence after which a replica that is about to end counts as ended: the word that it did may take much longer.
pub const ENDED: Duration = Duration::from_secs(5);

/// One connection of another replica to this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Name of its pod.
    pub id: String,
    /// A number that each start of the process draws.
    pub incarnation: u64,
    /// The place of the connection in the order in which they came here: those of a process that is gone came before those
    /// of the next one.
    pub connection: u64,
}

/// A replica's knowledge.
#[derive(Debug)]
pub struct Replica {
    id: String,
    view: Arc<View>,
    /// Whether this replica was a member of any view.
    joined: bool,
    peers: BTreeMap<String, Peer>,
    /// The view that all members were in, and since when.
    settled: Option<(Version, Moment)>,
}

/// What is known of another replica.
#[derive(Debug)]
struct Peer {
    /// None before its first word.
    incarnation: Option<u64>,
    /// The view that it said it is in.
    version: Version,
    /// Until when it surely leaves its own share alone.
    leased: Moment,
    /// Until when this replica leaves its own share of the peer's endpoints alone.
    promised: Moment,
    /// Whether this replica used its own share since it last said what it has in flight.
    alone: bool,
    /// When it was heard last.
    heard: Moment,
    /// The latest of its connections that it said something on, and whether that is open.
    connection: u64,
    open: bool,
    /// Whether it said that it will have nothing in flight any more.
    gone: bool,
    /// What it has in flight of this replica's endpoints, by its own numbers.
    holds: HashMap<u64, Slot>,
}

impl Peer {
    fn new(now: Moment) -> Self {
        Self {
            incarnation: None,
            version: Version::default(),
            leased: Moment::ZERO,
            promised: now + PROMISE,
            alone: false,
            heard: now,
            connection: 0,
            open: false,
            gone: false,
            holds: HashMap::new(),
        }
    }
}

impl Replica {
    /// A replica that knows nobody.
    #[must_use]
    pub fn new(id: String) -> Self {
        Self { id, view: Arc::default(), joined: false, peers: BTreeMap::new(), settled: None }
    }

    /// The view that it is in.
    #[must_use]
    pub const fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Goes on to `view`, if that is newer. From then on nothing is granted or taken under the older one.
    ///
    /// A view without members is nothing to go on to: this replica serves, whatever the API server can see of its node. One
    /// that never served goes on: it would wait for ever for members that are gone, and nobody would be ready again.
    pub fn adopt(&mut self, view: &View, now: Moment) -> bool {
        let is_lost = view.members().is_empty() && self.joined;
        if view.version <= self.view.version || is_lost {
            return false;
        }
        self.view = Arc::new(view.clone());
        self.joined |= view.rank(&self.id).is_some();
        for member in view.members().iter().filter(|member| member.id != self.id) {
            self.peers.entry(member.id.clone()).or_insert_with(|| Peer::new(now));
        }
        true
    }

    /// Takes the word of a peer that it is in `version` and has `claims` in flight of the endpoints that this replica
    /// owns there. `place` counts one that is not counted yet.
    ///
    /// A newer view must be adopted before. Claims of an older one are about other endpoints and change nothing.
    pub fn said<Claim>(
        &mut self,
        from: &Caller,
        version: Version,
        claims: Vec<(u64, Claim)>,
        now: Moment,
        mut place: impl FnMut(Claim) -> Option<Slot>,
    ) {
        let peer = self.peers.entry(from.id.clone()).or_insert_with(|| Peer::new(now));
        if from.connection < peer.connection {
            // What is left of a connection that it, or the process before it, has given up.
            return;
        }
        if peer.incarnation != Some(from.incarnation) {
            // The process before is gone, and all that it had in flight with it.
            *peer = Peer { incarnation: Some(from.incarnation), ..Peer::new(now) };
        }
        // Said again on the same connection: what was granted on it meanwhile is not in these words, and goes on.
        let is_repeated = peer.connection == from.connection && peer.version == version;
        peer.heard = now;
        peer.version = version;
        peer.connection = from.connection;
        peer.open = true;
        if version != self.view.version {
            return;
        }
        let mut before = std::mem::take(&mut peer.holds);
        for (id, claim) in claims {
            if let Some(slot) = before.remove(&id).or_else(|| place(claim)) {
                peer.holds.insert(id, slot);
            }
        }
        if is_repeated {
            peer.holds.extend(before);
        }
    }

    /// Notes that a peer answered the beat that was sent at `sent`.
    pub fn answered(&mut self, from: &Caller, sent: Moment, now: Moment) {
        if let Some(peer) = self.of(from) {
            peer.leased = peer.leased.max(sent + LEASE);
            peer.heard = now;
        }
    }

    /// Whether this replica has to say again what it has in flight before it answers a beat of `owner`. It then must
    /// answer, and leaves its own share alone from now on.
    pub fn answering(&mut self, owner: &str, now: Moment) -> bool {
        self.peers.get_mut(owner).is_some_and(|peer| {
            peer.promised = now + PROMISE;
            std::mem::take(&mut peer.alone)
        })
    }

    /// Counts `slot`, chosen under `version`, for a peer's request. False, and the slot is free again, when that must
    /// not be granted any more.
    pub fn grant(&mut self, to: &Caller, id: u64, slot: Slot, version: Version) -> bool {
        let current = self.view.version;
        self.of(to).filter(|peer| version == current && peer.version == current).is_some_and(|peer| {
            peer.holds.insert(id, slot);
            true
        })
    }

    /// Forgets a request of a peer that has ended, and gives its place back.
    pub fn released(&mut self, from: &Caller, id: u64) -> Option<Slot> {
        self.of(from)?.holds.remove(&id)
    }

    /// Notes that a peer has nothing in flight and never will again: nobody has to wait for its word any more, though the
    /// view may name it for some time.
    pub fn said_goodbye(&mut self, from: &Caller) {
        if let Some(peer) = self.of(from) {
            peer.gone = true;
        }
    }

    /// The same of an owner, who need not know this replica.
    pub fn owner_said_goodbye(&mut self, owner: &str) {
        if let Some(peer) = self.peers.get_mut(owner) {
            peer.gone = true;
        }
    }

    /// Notes that a connection of a peer has ended. What it has in flight goes on until it says otherwise.
    pub fn parted(&mut self, from: &Caller) {
        if let Some(peer) = self.of(from) {
            peer.open = false;
        }
    }

    /// Whether what `owner` granted under `version` may be used: not when it does not know all that is in flight here.
    #[must_use]
    pub fn may_use(&self, owner: &str, version: Version) -> bool {
        version == self.view.version && self.peers.get(owner).is_some_and(|peer| !peer.alone)
    }

    /// Whether this replica may use its own share of the endpoints of `owner` now. It then must do so before anything
    /// else happens.
    pub fn go_alone(&mut self, endpoint: u64, now: Moment, patience: Duration) -> Option<Portion> {
        let standing = self.standing(now);
        let Right::Alone(owner, portion) = standing.right(endpoint, now, patience) else { return None };
        self.peers.get_mut(&owner)?.alone = true;
        Some(portion)
    }

    /// What follows from all this, until the next event.
    pub fn standing(&mut self, now: Moment) -> Standing {
        let view = Arc::clone(&self.view);
        let mut others = Vec::new();
        let mut settled = true;
        self.peers.retain(|id, peer| {
            let rank = view.rank(id);
            let silent = now > peer.heard + ENDED;
            let ended = match rank.and_then(|rank| view.members().get(rank)) {
                Some(member) => member.leaving && silent,
                // Whoever is out of the view and still there may have requests in flight.
                None => silent || !peer.open,
            };
            if ended || peer.gone {
                // What it had in flight broke off with it.
                peer.holds.clear();
                // Whoever fell silent may come into the view again, to leave it: the pod of a lost node is evicted after
                // some minutes. Nobody has to wait for it anew then.
                return rank.is_some() || !peer.gone;
            }
            settled &= peer.version >= view.version;
            others.extend(rank.map(|rank| Other { rank, leased: peer.leased, promised: peer.promised }));
            true
        });
        let since = self.settled.filter(|(version, _)| *version == view.version).map_or(now, |(_, since)| since);
        self.settled = settled.then_some((view.version, since));
        Standing { me: view.rank(&self.id), view, settled, since, others }
    }

    fn of(&mut self, caller: &Caller) -> Option<&mut Peer> {
        let peer = self.peers.get_mut(&caller.id)?;
        (peer.incarnation == Some(caller.incarnation) && peer.connection == caller.connection).then_some(peer)
    }
}

/// What a replica may do by itself, until something changes.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The view that it is in.
    pub view: Arc<View>,
    me: Option<usize>,
    settled: bool,
    /// Since when all members are in the view.
    pub since: Moment,
    others: Vec<Other>,
}

#[derive(Clone, Copy, Debug)]
struct Other {
    rank: usize,
    leased: Moment,
    promised: Moment,
}

/// What a replica may do about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// Admit it within a portion of the limits.
    Grant(Portion),
    /// Ask the member of this rank.
    Ask(usize),
    /// Admit it within its own share, by [`Replica::go_alone`]: the owner of this id is out of reach.
    Alone(String, Portion),
    /// Nothing, until something changes.
    Wait,
}

/// What of a standing matters to those who wait: what they may do changes with it, and only with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    version: Version,
    settled: bool,
    silent: Vec<usize>,
}

impl Standing {
    /// What of it matters to those who wait.
    #[must_use]
    pub fn outline(&self, now: Moment) -> Outline {
        let silent = self.others.iter().filter(|other| now >= other.leased).map(|other| other.rank).collect();
        Outline { version: self.view.version, settled: self.settled, silent }
    }

    /// Whether this replica owns the endpoint.
    #[must_use]
    pub fn is_owner(&self, endpoint: u64) -> bool {
        self.me.is_some() && self.view.owner(endpoint) == self.me
    }

    /// The id of the other member that owns the endpoint; None when it is this one's.
    #[must_use]
    pub fn owner(&self, endpoint: u64) -> Option<&str> {
        let rank = self.view.owner(endpoint).filter(|rank| Some(*rank) != self.me)?;
        self.view.members().get(rank).map(|member| member.id.as_str())
    }

    /// The ids of the other members, without those who have ended.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        self.others.iter().filter_map(|other| Some(self.view.members().get(other.rank)?.id.as_str()))
    }

    /// What may be done about a request for `endpoint`, whose requests take no longer than `patience`.
    #[must_use]
    pub fn right(&self, endpoint: u64, now: Moment, patience: Duration) -> Right {
        let Some(owner) = self.view.owner(endpoint) else { return Right::Wait };
        if self.me == Some(owner) {
            let silent = || self.others.iter().filter(|other| now >= other.leased);
            return match (self.settled, silent().next()) {
                (false, _) => Right::Wait,
                (true, None) => Right::Grant(Portion::Whole),
                (true, Some(_)) => {
                    Right::Grant(Portion::Without(Arc::clone(&self.view), silent().map(|other| other.rank).collect()))
                }
            };
        }
        let of_owner = self.others.iter().find(|other| other.rank == owner);
        match (self.me, of_owner, self.view.members().get(owner)) {
            // What the owner admitted while it counted on this replica is over by then, and so is what it was granted under
            // an older view by whoever admitted there.
            (Some(me), Some(other), Some(member))
                if self.settled && now >= other.promised.max(self.since) + patience =>
            {
                Right::Alone(member.id.clone(), Portion::Only(Arc::clone(&self.view), me))
            }
            _ => Right::Ask(owner),
        }
    }
}

/// A part of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Portion {
    /// All of it.
    Whole,
    /// All but the shares of these members.
    Without(Arc<View>, Vec<usize>),
    /// The share of this member.
    Only(Arc<View>, usize),
}

impl Portion {
    /// The portion of `limit`; `salt` is the same for whatever is limited.
    #[must_use]
    pub fn of(&self, limit: usize, salt: u64) -> usize {
        match self {
            Self::Whole => limit,
            Self::Without(view, silent) => {
                let withheld = silent.iter().map(|rank| view.share(*rank, limit, salt)).sum();
                limit.saturating_sub(withheld)
            }
            Self::Only(view, rank) => view.share(*rank, limit, salt),
        }
    }

    /// How many parts of how many it is.
    #[must_use]
    pub fn parts(&self) -> (u64, u64) {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        match self {
            Self::Whole => (1, 1),
            Self::Without(view, silent) => {
                (number(view.members().len().saturating_sub(silent.len())), number(view.members().len()))
            }
            Self::Only(view, _) => (1, number(view.members().len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::peers::view::Member;

    #[test]
    fn the_last_members_stay_when_none_is_ready_any_more() {
        let view = |revision, ids: &[&str]| {
            let member =
                |id: &&str| Member { id: (*id).to_owned(), address: ([198, 18, 0, 1], 8082).into(), leaving: false };
            View::new(revision, ids.iter().map(member).collect())
        };
        let mut replica = Replica::new("a".to_owned());
        let now = Moment::default();
        assert!(replica.adopt(&view(1, &[]), now));
        assert!(replica.adopt(&view(2, &["a", "b"]), now));
        assert!(!replica.adopt(&view(3, &[]), now));
        assert_eq!(replica.view().members().len(), 2);
        assert!(replica.adopt(&view(4, &["b"]), now));
        assert_eq!(replica.view().members().len(), 1);
    }

    #[test]
    fn nobody_waits_for_a_pod_of_a_lost_node_that_is_evicted_at_last() {
        let view = |revision, others: &[Member]| {
            let me = Member { id: "a".to_owned(), address: ([198, 18, 0, 1], 8082).into(), leaving: false };
            View::new(revision, [&[me], others].concat())
        };
        let lost = |leaving| Member { id: "b".to_owned(), address: ([198, 18, 0, 2], 8082).into(), leaving };
        let mut replica = Replica::new("a".to_owned());
        let mut now = Duration::from_mins(10);
        let first = view(1, &[lost(false)]);
        let endpoint = (0..100).find(|endpoint| first.owner(*endpoint) == Some(0)).unwrap();
        let right = |replica: &mut Replica, now| replica.standing(now).right(endpoint, now, Duration::from_secs(1));
        replica.adopt(&first, now);
        assert_eq!(right(&mut replica, now), Right::Wait);
        let caller = Caller { id: "b".to_owned(), incarnation: 1, connection: 1 };
        replica.said::<()>(&caller, first.version, Vec::new(), now, |()| None);
        replica.answered(&caller, now, now);
        assert_eq!(right(&mut replica, now), Right::Grant(Portion::Whole));
        // The node is lost: its pod is not ready any more, and nobody closes its connection.
        now += Duration::from_secs(40);
        replica.adopt(&view(2, &[]), now);
        assert_eq!(right(&mut replica, now), Right::Grant(Portion::Whole));
        now += Duration::from_mins(5);
        replica.adopt(&view(3, &[lost(true)]), now);
        assert_eq!(right(&mut replica, now), Right::Grant(Portion::Whole));
    }

    #[test]
    fn whoever_never_served_does_not_wait_for_members_that_are_gone() {
        let view = |revision, members| View::new(revision, members);
        let old = Member { id: "old".to_owned(), address: ([198, 18, 0, 1], 8082).into(), leaving: true };
        let mut replica = Replica::new("a".to_owned());
        let now = Moment::default();
        assert!(replica.adopt(&view(1, vec![old]), now));
        assert!(replica.adopt(&view(2, Vec::new()), now));
        assert!(replica.view().members().is_empty());
    }
}
