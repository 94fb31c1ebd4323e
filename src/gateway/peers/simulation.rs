//! Replicas in a world where anything goes wrong: they come, leave, crash and stop for a while; views come late and not
//! all; connections break, stand still and deliver when they like. Whatever happens, no instance has more requests in
//! flight than it may, and when the world is whole again whoever waits is served.
//!
//! The replicas are the real ones with the real counts; chance comes from a seed, and time from the loop.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use super::message::{Call, InFlight, Reply, Target, Why};
use super::replica::{Caller, Moment, Portion, Replica, Right};
use super::view::{Member, Version, View, hash};
use crate::gateway::backend::{Address, Backend, Slot};
use crate::gateway::rate::RateLimit;

/// The longest that a request takes.
const PATIENCE: Duration = Duration::from_secs(1);
const BEAT: Duration = Duration::from_millis(500);
/// The silence after which a caller gives a connection up.
const SILENCE: Duration = Duration::from_millis(2_500);
const ENDPOINTS: usize = 2;
const PLACES: usize = 4;
const RATE: u64 = 20;

/// `SplitMix64`: small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(count).unwrap()).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

struct InFlightHere {
    endpoint: usize,
    address: Address,
    ends: Moment,
    /// Freed with it.
    _slot: Slot,
}

struct Waiting {
    endpoint: usize,
    /// Whether it still has to be counted against the rate.
    rate: bool,
    /// The owner asked, and the number.
    asked: Option<(String, u64)>,
    gives_up: Moment,
}

/// A process.
struct Node {
    id: String,
    incarnation: u64,
    replica: Replica,
    backends: Vec<Arc<Backend>>,
    rates: Vec<RateLimit>,
    in_flight: HashMap<u64, InFlightHere>,
    waiting: Vec<Waiting>,
    /// Asked by others and not answered.
    asks: Vec<(Caller, u64, usize, bool)>,
    next: u64,
    leaving: bool,
    stopped_until: Moment,
}

/// A connection from one to another.
struct Connection {
    number: u64,
    caller: String,
    caller_run: u64,
    owner: String,
    calls: VecDeque<Call>,
    /// Whether the caller has said its state.
    said: bool,
    replies: VecDeque<Reply>,
    caller_open: bool,
    owner_open: bool,
    heard_by_caller: Moment,
    heard_by_owner: Moment,
    told: Version,
    beat: Moment,
}

struct World {
    seed: u64,
    chance: Chance,
    now: Moment,
    start: Instant,
    limit: usize,
    instances: Vec<Vec<Address>>,
    nodes: BTreeMap<String, Node>,
    connections: Vec<Connection>,
    /// Pairs that reach each other no more.
    cut: BTreeSet<(String, String)>,
    /// All states of the Service.
    views: Vec<View>,
    members: BTreeMap<String, bool>,
    revision: u64,
    numbers: u64,
    served: usize,
    most: usize,
    tokens: Vec<Vec<Moment>>,
}

fn pair(one: &str, other: &str) -> (String, String) {
    if one < other { (one.to_owned(), other.to_owned()) } else { (other.to_owned(), one.to_owned()) }
}

fn name(endpoint: usize) -> String {
    format!("endpoint-{endpoint}")
}

fn key(endpoint: usize) -> u64 {
    static KEYS: LazyLock<[u64; ENDPOINTS]> = LazyLock::new(|| std::array::from_fn(|endpoint| hash(&name(endpoint))));
    KEYS[endpoint]
}

fn target(endpoint: usize) -> Target {
    Target { namespace: "n".to_owned(), endpoint: name(endpoint), deployment: "blue".to_owned() }
}

fn endpoint_of(target: &Target) -> usize {
    (0..ENDPOINTS).find(|endpoint| name(*endpoint) == target.endpoint).unwrap()
}

impl Node {
    /// What it has in flight of the endpoints of the member `owner`.
    fn claims(&self, owner: &str) -> Vec<(u64, InFlight)> {
        let view = self.replica.view();
        let its = |endpoint: usize| view.owner(key(endpoint)) == view.rank(owner);
        let held = self.in_flight.iter().filter(|(_, held)| its(held.endpoint));
        held.map(|(id, held)| (*id, InFlight { target: target(held.endpoint), address: held.address })).collect()
    }

    fn state(&self, owner: &str) -> Call {
        Call::State { view: View::clone(self.replica.view()), in_flight: self.claims(owner) }
    }

    fn take(&mut self, endpoint: usize, portion: &Portion, limit: usize, point: u32) -> Option<Slot> {
        self.backends[endpoint].try_slot(|instance| portion.of(limit, instance.address.salt()), &[], point)
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let limit = 1 + chance.below(4);
        let instance = |number: usize| Address { ip: [198, 18, 0, u8::try_from(number).unwrap()].into(), port: None };
        let instances = (0..ENDPOINTS)
            .map(|endpoint| (0..=chance.below(3)).map(|number| instance(endpoint * 10 + number)).collect())
            .collect();
        Self {
            seed,
            chance,
            now: Duration::from_secs(100),
            start: Instant::now(),
            limit,
            instances,
            nodes: BTreeMap::new(),
            connections: Vec::new(),
            cut: BTreeSet::new(),
            views: Vec::new(),
            members: BTreeMap::new(),
            revision: 0,
            numbers: 0,
            served: 0,
            most: 0,
            tokens: vec![Vec::new(); ENDPOINTS],
        }
    }

    fn change(&mut self) {
        self.revision += 1;
        let member = |(id, leaving): (&String, &bool)| Member {
            id: id.clone(),
            address: ([198, 18, 1, 1], 8082).into(),
            leaving: *leaving,
        };
        self.views.push(View::new(self.revision, self.members.iter().map(member).collect()));
    }

    fn begin(&mut self, id: &str) {
        let backends = self.instances.iter().map(|instances| {
            let backend = Arc::new(Backend::default());
            backend.replace(instances, false);
            backend
        });
        self.numbers += 1;
        let node = Node {
            id: id.to_owned(),
            incarnation: self.numbers,
            replica: Replica::new(id.to_owned()),
            backends: backends.collect(),
            rates: (0..ENDPOINTS).map(|_| RateLimit::new(RATE)).collect(),
            in_flight: HashMap::new(),
            waiting: Vec::new(),
            asks: Vec::new(),
            next: 0,
            leaving: false,
            stopped_until: Moment::ZERO,
        };
        self.nodes.insert(id.to_owned(), node);
    }

    /// The process is gone; its connections break.
    fn end(&mut self, id: &str) {
        self.nodes.remove(id);
        for connection in &mut self.connections {
            connection.caller_open &= connection.caller != id;
            connection.owner_open &= connection.owner != id;
        }
    }

    fn is_cut(&self, one: &str, other: &str) -> bool {
        self.cut.contains(&pair(one, other))
    }

    fn runs(&self, id: &str) -> bool {
        self.nodes.get(id).is_some_and(|node| node.stopped_until <= self.now)
    }

    fn adopt(&mut self, id: &str, view: &View) {
        let now = self.now;
        let node = self.nodes.get_mut(id).unwrap();
        if !node.replica.adopt(view, now) {
            return;
        }
        for endpoint in 0..ENDPOINTS {
            if view.owner(key(endpoint)) != view.rank(id) {
                node.rates[endpoint].leave();
            }
        }
        for connection in &mut self.connections {
            if connection.caller == id && connection.caller_open && connection.said {
                connection.calls.push_back(node.state(&connection.owner));
            }
        }
    }

    /// What happens now and then, by chance.
    fn trouble(&mut self) {
        let id = format!("{}", self.chance.below(PLACES));
        let other = format!("{}", self.chance.below(PLACES));
        match self.chance.below(14) {
            0..=3 if !self.nodes.contains_key(&id) => {
                self.begin(&id);
                // Whoever crashed comes back where it was, perhaps before anybody noticed.
                if !self.members.contains_key(&id) || self.chance.one_in(2) {
                    self.members.insert(id, false);
                    self.change();
                }
            }
            4 if self.nodes.contains_key(&id) => {
                self.nodes.get_mut(&id).unwrap().leaving = true;
                self.members.insert(id, true);
                self.change();
            }
            5 if self.nodes.contains_key(&id) => {
                self.end(&id);
            }
            6 if !self.nodes.contains_key(&id) && self.members.contains_key(&id) => {
                self.members.remove(&id);
                self.change();
            }
            7 | 8 if id != other => {
                self.cut.insert(pair(&id, &other));
            }
            9 => self.cut.clear(),
            10 => {
                let count = self.connections.len().max(1);
                let chosen = self.chance.below(count);
                let caller_first = self.chance.one_in(2);
                if let Some(connection) = self.connections.get_mut(chosen) {
                    connection.caller_open &= !caller_first;
                    connection.owner_open &= caller_first;
                }
            }
            11 => {
                let pause = Duration::from_millis(u64::try_from(self.chance.below(6_000)).unwrap());
                let until = self.now + pause;
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.stopped_until = until;
                }
            }
            _ => {}
        }
    }

    /// A replica that was told to leave ends when it has nothing to do.
    fn leave(&mut self) {
        let done = |node: &&Node| node.leaving && node.in_flight.is_empty() && node.waiting.is_empty();
        let ended: Vec<_> = self.nodes.values().filter(done).map(|node| node.id.clone()).collect();
        for id in ended {
            for connection in &mut self.connections {
                if connection.caller == id && connection.caller_open && connection.said {
                    connection.calls.push_back(Call::Goodbye);
                }
                if connection.owner == id && connection.owner_open {
                    connection.replies.push_back(Reply::Goodbye);
                }
            }
            self.end(&id);
        }
    }

    fn deliver_view(&mut self, id: &str) {
        let newest = self.views.len();
        if newest == 0 {
            return;
        }
        // Any one of the last few: watches lag, and lists skip. The first that a process sees is the newest.
        let is_first = self.nodes[id].replica.view().version == Version::default();
        let back = if self.chance.one_in(3) && !is_first { self.chance.below(newest.min(3)) } else { 0 };
        let view = self.views[newest - 1 - back].clone();
        self.adopt(id, &view);
    }

    fn connect(&mut self, id: &str) {
        let node = &self.nodes[id];
        let view = Arc::clone(node.replica.view());
        for member in view.members().iter().filter(|member| member.id != id) {
            let open = |connection: &Connection| {
                connection.caller == id && connection.owner == member.id && connection.caller_open
            };
            let Some(other) = self.nodes.get(&member.id) else { continue };
            if self.connections.iter().any(open) || self.is_cut(id, &member.id) || other.stopped_until > self.now {
                continue;
            }
            self.numbers += 1;
            self.connections.push(Connection {
                number: self.numbers,
                caller: id.to_owned(),
                caller_run: node.incarnation,
                owner: member.id.clone(),
                calls: VecDeque::new(),
                said: false,
                replies: VecDeque::new(),
                caller_open: true,
                owner_open: true,
                heard_by_caller: self.now,
                heard_by_owner: self.now,
                told: Version::default(),
                beat: Moment::ZERO,
            });
        }
    }

    /// Delivers one word somewhere, or the end of a connection.
    fn deliver(&mut self) {
        if self.connections.is_empty() {
            return;
        }
        let index = self.chance.below(self.connections.len());
        let mut connection = self.connections.swap_remove(index);
        let reachable = !self.is_cut(&connection.caller, &connection.owner);
        if self.chance.one_in(2) {
            if connection.owner_open && self.runs(&connection.owner) {
                match connection.calls.front() {
                    Some(_) if reachable => {
                        let call = connection.calls.pop_front().unwrap();
                        connection.heard_by_owner = self.now;
                        self.hear_call(&mut connection, call);
                    }
                    None if reachable && !connection.caller_open => self.close_at_owner(&mut connection),
                    _ if self.now > connection.heard_by_owner + 4 * SILENCE => self.close_at_owner(&mut connection),
                    _ => {}
                }
            }
        } else if connection.caller_open && self.runs(&connection.caller) {
            match connection.replies.front() {
                Some(_) if reachable => {
                    let reply = connection.replies.pop_front().unwrap();
                    connection.heard_by_caller = self.now;
                    self.hear_reply(&mut connection, reply);
                }
                None if reachable && !connection.owner_open => self.close_at_caller(&mut connection),
                _ if self.now > connection.heard_by_caller + SILENCE => self.close_at_caller(&mut connection),
                _ => {}
            }
        }
        // What is sent to a side that has closed is lost.
        if connection.caller_open || connection.owner_open {
            self.connections.push(connection);
        }
    }

    fn close_at_owner(&mut self, connection: &mut Connection) {
        connection.owner_open = false;
        let caller = Self::caller(connection);
        let node = self.nodes.get_mut(&connection.owner).unwrap();
        node.asks.retain(|(asker, ..)| asker.connection != connection.number);
        node.replica.parted(&caller);
    }

    fn close_at_caller(&mut self, connection: &mut Connection) {
        connection.caller_open = false;
        let node = self.nodes.get_mut(&connection.caller).unwrap();
        for waiting in &mut node.waiting {
            waiting.asked.take_if(|(owner, _)| *owner == connection.owner);
        }
    }

    fn caller(connection: &Connection) -> Caller {
        Caller { id: connection.caller.clone(), incarnation: connection.caller_run, connection: connection.number }
    }

    fn hear_call(&mut self, connection: &mut Connection, call: Call) {
        let caller = Self::caller(connection);
        let owner = connection.owner.clone();
        let now = self.now;
        match call {
            Call::State { view, in_flight } => {
                let view = view.hashed();
                connection.told = view.version;
                self.adopt(&owner, &view);
                let node = self.nodes.get_mut(&owner).unwrap();
                let backends = &node.backends;
                node.replica.said(&caller, view.version, in_flight, now, |claim| {
                    Some(backends[endpoint_of(&claim.target)].hold(claim.address).for_another())
                });
            }
            Call::Ask { id, target, rate, .. } => {
                let node = self.nodes.get_mut(&owner).unwrap();
                node.asks.push((caller, id, endpoint_of(&target), rate));
            }
            Call::Release { id } => {
                let node = self.nodes.get_mut(&owner).unwrap();
                node.asks.retain(|(asker, asked, ..)| *asker != caller || *asked != id);
                drop(node.replica.released(&caller, id));
            }
            Call::Echo { sent } => self.nodes.get_mut(&owner).unwrap().replica.answered(&caller, sent, now),
            Call::Goodbye => {
                self.nodes.get_mut(&owner).unwrap().replica.said_goodbye(&caller);
                self.close_at_owner(connection);
            }
            Call::Hello { .. } => {}
        }
    }

    fn hear_reply(&mut self, connection: &mut Connection, reply: Reply) {
        let (id, owner, now) = (connection.caller.clone(), connection.owner.clone(), self.now);
        match reply {
            Reply::Beat { sent } => {
                let node = self.nodes.get_mut(&id).unwrap();
                if node.replica.answering(&owner, now) || !connection.said {
                    connection.said = true;
                    connection.calls.push_back(node.state(&owner));
                }
                connection.calls.push_back(Call::Echo { sent });
            }
            Reply::View(view) => {
                // It is said on this connection too.
                let before = self.nodes[&id].replica.view().version;
                self.adopt(&id, &view.hashed());
                let node = &self.nodes[&id];
                if node.replica.view().version != before && connection.said {
                    connection.calls.push_back(node.state(&owner));
                }
            }
            Reply::Goodbye => {
                self.nodes.get_mut(&id).unwrap().replica.owner_said_goodbye(&owner);
                self.close_at_caller(connection);
            }
            Reply::Granted { id: number, version, address } => {
                let ends = now + Duration::from_millis(u64::try_from(self.chance.below(1_000)).unwrap());
                let node = self.nodes.get_mut(&id).unwrap();
                let asked = node.waiting.iter().position(|waiting| waiting.asked == Some((owner.clone(), number)));
                let Some(index) = asked else {
                    connection.calls.push_back(Call::Release { id: number });
                    return;
                };
                if node.replica.may_use(&owner, version) {
                    let waiting = node.waiting.swap_remove(index);
                    let slot = node.backends[waiting.endpoint].hold(address);
                    let held = InFlightHere { endpoint: waiting.endpoint, address, ends, _slot: slot };
                    node.in_flight.insert(number, held);
                    self.served += 1;
                } else {
                    node.waiting[index].asked = None;
                    connection.calls.push_back(Call::Release { id: number });
                }
            }
            Reply::Refused { id: number, why } => {
                let node = self.nodes.get_mut(&id).unwrap();
                let asked = node.waiting.iter().position(|waiting| waiting.asked == Some((owner.clone(), number)));
                if let Some(index) = asked {
                    node.waiting[index].asked = None;
                    if why != Why::Elsewhere {
                        node.waiting.swap_remove(index);
                    }
                }
            }
        }
    }

    /// A beat on each connection to `id` whose time has come, and a newer view.
    fn beat(&mut self, id: &str) {
        let node = &self.nodes[id];
        for connection in self.connections.iter_mut().filter(|connection| connection.owner == id) {
            if connection.owner_open && self.now >= connection.beat + BEAT {
                connection.beat = self.now;
                if connection.told < node.replica.view().version {
                    connection.replies.push_back(Reply::View(View::clone(node.replica.view())));
                }
                connection.replies.push_back(Reply::Beat { sent: self.now });
            }
        }
    }

    fn moment(&self) -> Instant {
        self.start + self.now
    }

    /// Does what the replica may do for those who wait, here and elsewhere.
    fn work(&mut self, id: &str) {
        let now = self.now;
        let mut node = self.nodes.remove(id).unwrap();
        // What has ended is told to whoever owns it now.
        let ended: Vec<_> = node.in_flight.iter().filter(|(_, held)| held.ends <= now).map(|(id, _)| *id).collect();
        for number in ended {
            let held = node.in_flight.remove(&number).unwrap();
            let view = node.replica.view();
            if let Some(owner) = view.owner(key(held.endpoint)).map(|rank| view.members()[rank].id.clone()) {
                self.call(id, &owner, Call::Release { id: number });
            }
        }
        self.work_for_others(&mut node);
        self.work_for_itself(&mut node);
        self.nodes.insert(id.to_owned(), node);
    }

    fn work_for_others(&mut self, node: &mut Node) {
        let (now, moment, limit) = (self.now, self.moment(), self.limit);
        for (caller, number, endpoint, rate) in std::mem::take(&mut node.asks) {
            let standing = node.replica.standing(now);
            let refused = |why| Reply::Refused { id: number, why };
            match standing.right(key(endpoint), now, PATIENCE) {
                Right::Grant(portion) => {
                    let (share, whole) = portion.parts();
                    if rate {
                        let since = self.start + standing.since;
                        if let Err(retry_after) = node.rates[endpoint].take_shared(share, whole, since, moment) {
                            self.reply(&caller, refused(Why::RateLimited { retry_after }));
                            continue;
                        }
                        self.tokens[endpoint].push(now);
                    }
                    let point = u32::try_from(self.chance.below(1_000)).unwrap();
                    match node.take(endpoint, &portion, limit, point) {
                        None => node.asks.push((caller, number, endpoint, false)),
                        Some(slot) => {
                            let (address, version) = (slot.instance().address, standing.view.version);
                            if node.replica.grant(&caller, number, slot.for_another(), version) {
                                self.reply(&caller, Reply::Granted { id: number, version, address });
                            } else {
                                self.reply(&caller, refused(Why::Elsewhere));
                            }
                        }
                    }
                }
                Right::Wait => node.asks.push((caller, number, endpoint, rate)),
                Right::Ask(_) | Right::Alone(..) => self.reply(&caller, refused(Why::Elsewhere)),
            }
        }
    }

    fn work_for_itself(&mut self, node: &mut Node) {
        let (now, moment, limit) = (self.now, self.moment(), self.limit);
        let id = node.id.clone();
        for mut waiting in std::mem::take(&mut node.waiting) {
            let endpoint = waiting.endpoint;
            if waiting.gives_up <= now {
                if let Some((owner, number)) = waiting.asked {
                    self.call(&id, &owner, Call::Release { id: number });
                }
                continue;
            }
            if waiting.asked.is_some() {
                node.waiting.push(waiting);
                continue;
            }
            let standing = node.replica.standing(now);
            let portion = match standing.right(key(endpoint), now, PATIENCE) {
                Right::Grant(portion) => portion,
                Right::Alone(..) => node.replica.go_alone(key(endpoint), now, PATIENCE).unwrap(),
                Right::Ask(rank) => {
                    node.rates[endpoint].leave();
                    let owner = standing.view.members()[rank].id.clone();
                    let number = node.next;
                    node.next += 1;
                    let ask = Call::Ask {
                        id: number,
                        target: target(endpoint),
                        rate: waiting.rate,
                        tried: Vec::new(),
                        patience: PATIENCE,
                    };
                    if self.call(&id, &owner, ask) {
                        waiting.asked = Some((owner, number));
                    }
                    node.waiting.push(waiting);
                    continue;
                }
                Right::Wait => {
                    node.waiting.push(waiting);
                    continue;
                }
            };
            if waiting.rate {
                let (share, whole) = portion.parts();
                let alone = matches!(portion, Portion::Only(..));
                let since = if alone { self.start } else { self.start + standing.since };
                if node.rates[endpoint].take_shared(share, whole, since, moment).is_err() {
                    continue;
                }
                waiting.rate = false;
                self.tokens[endpoint].push(now);
            }
            let point = u32::try_from(self.chance.below(1_000)).unwrap();
            match node.take(endpoint, &portion, limit, point) {
                None => node.waiting.push(waiting),
                Some(slot) => {
                    let number = node.next;
                    node.next += 1;
                    let ends = now + Duration::from_millis(u64::try_from(self.chance.below(1_000)).unwrap());
                    let held = InFlightHere { endpoint, address: slot.instance().address, ends, _slot: slot };
                    node.in_flight.insert(number, held);
                    self.served += 1;
                }
            }
        }
    }

    fn call(&mut self, caller: &str, owner: &str, call: Call) -> bool {
        let open = |connection: &&mut Connection| {
            connection.caller == caller && connection.owner == owner && connection.caller_open && connection.said
        };
        self.connections.iter_mut().find(open).is_some_and(|connection| {
            connection.calls.push_back(call);
            true
        })
    }

    fn reply(&mut self, caller: &Caller, reply: Reply) {
        let connection = self.connections.iter_mut().find(|connection| connection.number == caller.connection);
        if let Some(connection) = connection.filter(|connection| connection.owner_open) {
            connection.replies.push_back(reply);
        }
    }

    fn step(&mut self, troubled: bool) {
        self.now += Duration::from_millis(u64::try_from(self.chance.below(20)).unwrap());
        if troubled && self.chance.one_in(60) {
            self.trouble();
        }
        self.leave();
        for _ in 0..12 {
            self.deliver();
            self.check();
        }
        for id in self.nodes.keys().cloned().collect::<Vec<_>>() {
            if !self.runs(&id) || self.chance.one_in(2) {
                continue;
            }
            if self.chance.one_in(8) {
                self.deliver_view(&id);
            }
            self.connect(&id);
            self.beat(&id);
            if troubled && !self.nodes[&id].leaving && self.chance.one_in(3) {
                let patience = Duration::from_millis(u64::try_from(self.chance.below(4_000)).unwrap());
                self.ask(&id, patience, true);
            }
            self.work(&id);
            self.check();
        }
    }

    fn ask(&mut self, id: &str, patience: Duration, rate: bool) {
        let endpoint = self.chance.below(ENDPOINTS);
        let gives_up = self.now + patience;
        let waiting = Waiting { endpoint, rate, asked: None, gives_up };
        self.nodes.get_mut(id).unwrap().waiting.push(waiting);
    }

    /// Who waits for what, for a failed test.
    fn picture(&mut self) -> String {
        use std::fmt::Write;
        let mut picture = String::new();
        for node in self.nodes.values_mut() {
            let waiting: Vec<_> = node.waiting.iter().map(|waiting| (waiting.endpoint, &waiting.asked)).collect();
            let outstanding = node.backends.iter().map(|backend| backend.in_flight()).collect::<Vec<_>>();
            let standing = node.replica.standing(self.now);
            let asks = node.asks.len();
            write!(
                picture,
                "\n{}: {waiting:?} waiting, {asks} asks, {outstanding:?} outstanding, {} own, {standing:?}\n  {:?}",
                node.id,
                node.in_flight.len(),
                node.replica
            )
            .unwrap();
        }
        picture
    }

    /// No instance has more in flight than it may.
    fn check(&mut self) {
        let mut counts: HashMap<(usize, Address), usize> = HashMap::new();
        for node in self.nodes.values() {
            for held in node.in_flight.values().filter(|held| held.ends > self.now) {
                *counts.entry((held.endpoint, held.address)).or_default() += 1;
            }
        }
        let most = counts.values().max().copied().unwrap_or(0);
        self.most = self.most.max(most);
        assert!(most <= self.limit, "seed {}: {most} of {} in flight at {:?}", self.seed, self.limit, self.now);
    }

    /// In no stretch of time are more admitted than the rate and a burst; each share that was used alone has a burst of
    /// its own, as has each owner that comes back to the whole.
    fn check_rate(&self) {
        for tokens in &self.tokens {
            for window in [1, 10] {
                let window = Duration::from_secs(window);
                for (index, first) in tokens.iter().enumerate() {
                    let count = tokens[index..].iter().take_while(|token| **token < *first + window).count();
                    let allowed = RATE * window.as_secs() + 2 * RATE.div_ceil(10) + 2;
                    assert!(u64::try_from(count).unwrap() <= allowed, "seed {}: {count} in {window:?}", self.seed);
                }
            }
        }
    }

    /// The world becomes whole, and whoever waits then is served.
    fn heal(&mut self) {
        self.cut.clear();
        let gone: Vec<_> = self.members.keys().filter(|id| !self.nodes.contains_key(*id)).cloned().collect();
        for id in gone {
            self.members.remove(&id);
        }
        for node in self.nodes.values_mut() {
            node.stopped_until = Moment::ZERO;
            node.waiting.clear();
        }
        self.change();
        for id in self.nodes.keys().cloned().collect::<Vec<_>>() {
            for _ in 0..4 {
                self.ask(&id, Duration::from_mins(10), false);
            }
        }
        let deadline = self.now + Duration::from_mins(2);
        let served = self.served;
        while self.nodes.values().any(|node| !node.waiting.is_empty()) {
            let seed = self.seed;
            assert!(self.now < deadline, "seed {seed}: some wait for ever: {}", self.picture());
            self.step(false);
        }
        assert!(self.served >= served + 4 * self.nodes.values().filter(|node| !node.leaving).count());
    }
}

fn run(seed: u64, steps: usize) -> World {
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step(true);
    }
    world.heal();
    world.check_rate();
    world
}

#[test]
fn no_instance_ever_has_too_many_and_whoever_waits_is_served() {
    let schedules: u64 = std::env::var("MOORING_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let first: u64 = std::env::var("MOORING_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let (mut served, mut full) = (0, 0);
    for seed in first..first + schedules {
        let world = run(seed, 600);
        served += world.served;
        full += usize::from(world.most == world.limit);
    }
    // Or else the world would prove nothing.
    assert!(served > 0 && full > 0);
    println!("{served} served, the limit was reached in {full} of {schedules}");
}
