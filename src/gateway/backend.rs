//! The instances behind one Service, and who works on what.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::peers::permit::Permit;

/// How long an instance that refused a connection is the last choice. `EndpointSlices` tell of a dead pod only
/// after seconds, and an instance that answers nothing has the fewest requests outstanding.
const AVOID: Duration = Duration::from_secs(5);

/// The start of the process, so that moments fit into an atomic.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn milliseconds_since_start() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Where an instance listens.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The instance's own address.
    pub ip: IpAddr,
    /// Its port; the deployment's without one.
    pub port: Option<u16>,
}

impl Address {
    /// The socket to connect to, when the deployment's port is `port`.
    #[must_use]
    pub fn socket(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port))
    }

    /// A number that all replicas make of it, and neighbours differ in by one.
    #[must_use]
    pub fn salt(self) -> u64 {
        let bits = match self.ip {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.segments().iter().fold(0, |bits: u64, part| bits.rotate_left(16) ^ u64::from(*part)),
        };
        bits.wrapping_add(u64::from(self.port.unwrap_or(0)))
    }
}

/// One instance, and how much it works on.
#[derive(Debug)]
pub struct Instance {
    /// Where it listens.
    pub address: Address,
    outstanding: AtomicUsize,
    /// How many of those other replicas sent.
    elsewhere: AtomicUsize,
    /// Milliseconds since the start of the process; 0 for an instance without blame.
    avoid_until: AtomicU64,
}

impl Instance {
    fn new(address: Address) -> Self {
        Self {
            address,
            outstanding: AtomicUsize::new(0),
            elsewhere: AtomicUsize::new(0),
            avoid_until: AtomicU64::new(0),
        }
    }

    /// Requests that it works on now, as far as this replica has to know.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::SeqCst)
    }

    /// Requests that it works on now, and this replica sent.
    #[must_use]
    pub fn own(&self) -> usize {
        self.outstanding().saturating_sub(self.elsewhere.load(Ordering::SeqCst))
    }

    /// Makes it the last choice for some seconds.
    pub fn avoid(&self) {
        let until = milliseconds_since_start() + u64::try_from(AVOID.as_millis()).unwrap_or(0);
        self.avoid_until.store(until.max(1), Ordering::Relaxed);
    }

    fn is_avoided(&self) -> bool {
        let until = self.avoid_until.load(Ordering::Relaxed);
        until != 0 && milliseconds_since_start() < until
    }

    fn take(&self, limit: usize) -> bool {
        let free = |busy| (busy < limit).then_some(busy + 1);
        self.outstanding.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free).is_ok()
    }
}

/// Whether the instances of a Service may get requests; in the order in which traffic goes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// There is none.
    Absent,
    /// They were ready, and none is said to be now: their node may only be out of the API server's sight. Better than
    /// nothing.
    Doubtful,
    /// They are ready.
    Ready,
}

/// The instances of one Service. Stays the same object while routes change, so that its counts stay true.
#[derive(Debug, Default)]
pub struct Backend {
    ready: ArcSwap<Vec<Arc<Instance>>>,
    is_doubtful: AtomicBool,
    changes: AtomicU64,
    /// Instances that left with requests unfinished: they may come back, and their count must come with them.
    departed: Mutex<Vec<Weak<Instance>>>,
    waiting: AtomicUsize,
    freed: Notify,
}

impl Backend {
    /// The instances that may get requests.
    #[must_use]
    pub fn ready(&self) -> Arc<Vec<Arc<Instance>>> {
        self.ready.load_full()
    }

    /// Whether there is an instance that may get requests.
    #[must_use]
    pub fn standing(&self) -> Standing {
        if self.ready.load().is_empty() {
            Standing::Absent
        } else if self.is_doubtful.load(Ordering::Relaxed) {
            Standing::Doubtful
        } else {
            Standing::Ready
        }
    }

    /// How often the instances were replaced. The same before and after a look at several Services: what was seen was
    /// so at one time.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Requests that the ready instances work on.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.ready.load().iter().map(|instance| instance.outstanding()).sum()
    }

    /// Requests that the ready instances work on, and this replica sent.
    #[must_use]
    pub fn own_in_flight(&self) -> usize {
        self.ready.load().iter().map(|instance| instance.own()).sum()
    }

    /// Requests that the ready instances may work on, each within its limit.
    #[must_use]
    pub fn capacity(&self, limit: impl Fn(&Instance) -> usize) -> usize {
        self.ready.load().iter().fold(0, |sum, instance| sum.saturating_add(limit(instance)))
    }

    /// Requests that wait for a free instance.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Takes `addresses` for the instances that may get requests from now on; `is_doubtful` when they are only those that
    /// were ready last. One that stays keeps its count.
    pub fn replace(&self, addresses: &[Address], is_doubtful: bool) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.is_doubtful.store(is_doubtful, Ordering::Relaxed);
        let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.ready.load_full();
        let known = |address: &Address| {
            before
                .iter()
                .find(|instance| instance.address == *address)
                .cloned()
                .or_else(|| departed.iter().filter_map(Weak::upgrade).find(|instance| instance.address == *address))
        };
        let after: Vec<_> = addresses
            .iter()
            .map(|address| known(address).unwrap_or_else(|| Arc::new(Instance::new(*address))))
            .collect();
        departed.extend(before.iter().map(Arc::downgrade));
        self.ready.store(Arc::new(after));
        drop(before);
        departed.retain(|instance| instance.strong_count() > 0);
        drop(departed);
        self.freed.notify_waiters();
    }

    /// A place at the instance with the fewest requests outstanding that has room below its limit and is none of
    /// `tried`. Equals are chosen by `point`.
    #[must_use]
    pub fn try_slot(
        self: &Arc<Self>,
        limit: impl Fn(&Instance) -> usize,
        tried: &[Arc<Instance>],
        point: u32,
    ) -> Option<Slot> {
        let ready = self.ready.load();
        let start = usize::try_from(point).unwrap_or(0) % ready.len().max(1);
        loop {
            let (first, last) = ready.split_at_checked(start)?;
            let best = last
                .iter()
                .chain(first)
                .filter(|instance| instance.outstanding() < limit(instance) && !was_tried(instance, tried))
                .max_by_key(|instance| Reverse((instance.is_avoided(), instance.outstanding())))?;
            if best.take(limit(best)) {
                return Some(Slot {
                    instance: Arc::clone(best),
                    backend: Arc::clone(self),
                    elsewhere: false,
                    permit: None,
                });
            }
        }
    }

    /// A place at the instance of this address, whatever its limit: another replica has admitted the request, and it is
    /// only counted here.
    #[must_use]
    pub fn hold(self: &Arc<Self>, address: Address) -> Slot {
        let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = self.ready.load();
        let known = ready.iter().find(|instance| instance.address == address).cloned();
        let known =
            known.or_else(|| departed.iter().filter_map(Weak::upgrade).find(|instance| instance.address == address));
        let instance = known.unwrap_or_else(|| {
            // It may come here yet, and must then come with its count.
            let instance = Arc::new(Instance::new(address));
            departed.push(Arc::downgrade(&instance));
            instance
        });
        instance.outstanding.fetch_add(1, Ordering::SeqCst);
        Slot { instance, backend: Arc::clone(self), elsewhere: false, permit: None }
    }

    /// The ready instances of these addresses.
    #[must_use]
    pub fn at(&self, addresses: &[Address]) -> Vec<Arc<Instance>> {
        self.ready.load().iter().filter(|instance| addresses.contains(&instance.address)).cloned().collect()
    }

    /// Whether an instance is left that is none of `tried`.
    #[must_use]
    pub fn has_untried(&self, tried: &[Arc<Instance>]) -> bool {
        self.ready.load().iter().any(|instance| !was_tried(instance, tried))
    }

    /// Joins those who wait for a free instance.
    #[must_use]
    pub fn wait(self: &Arc<Self>) -> Place<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Place { backend: self, waits: true }
    }
}

fn was_tried(instance: &Arc<Instance>, tried: &[Arc<Instance>]) -> bool {
    tried.iter().any(|other| Arc::ptr_eq(instance, other))
}

/// A place among those who wait for a free instance.
#[derive(Debug)]
pub struct Place<'a> {
    backend: &'a Arc<Backend>,
    waits: bool,
}

impl<'a> Place<'a> {
    /// Resolves when an instance may have become free, in the order of arrival.
    pub fn freed(&self) -> tokio::sync::futures::Notified<'a> {
        self.backend.freed.notified()
    }

    /// [`Backend::try_slot`] for whoever waits. At no moment is the request counted twice, as one that waits and as one that
    /// is worked on: another one would be turned away for it.
    #[must_use]
    pub fn try_slot(
        &mut self,
        limit: impl Fn(&Instance) -> usize,
        tried: &[Arc<Instance>],
        point: u32,
    ) -> Option<Slot> {
        self.leave();
        let slot = self.backend.try_slot(limit, tried, point);
        if slot.is_none() {
            self.backend.waiting.fetch_add(1, Ordering::SeqCst);
            self.waits = true;
        }
        slot
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.backend.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The right to send one request to an instance, until dropped.
#[derive(Debug)]
pub struct Slot {
    instance: Arc<Instance>,
    backend: Arc<Backend>,
    /// Whether another replica sends the request.
    elsewhere: bool,
    /// What the other replicas know of it, where there may be some.
    permit: Option<Permit>,
}

impl Slot {
    /// The instance that it is for.
    #[must_use]
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// Whether a request must not begin with it any more.
    #[must_use]
    pub fn is_lapsed(&self) -> bool {
        self.permit.as_ref().is_some_and(Permit::is_lapsed)
    }

    /// The same, for a request that another replica sends.
    #[must_use]
    pub fn for_another(mut self) -> Self {
        self.elsewhere = true;
        self.instance.elsewhere.fetch_add(1, Ordering::SeqCst);
        self
    }

    /// The same, to be told to other replicas.
    #[must_use]
    pub fn with(mut self, permit: Permit) -> Self {
        self.permit = Some(permit);
        self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.elsewhere {
            self.instance.elsewhere.fetch_sub(1, Ordering::SeqCst);
        }
        self.instance.outstanding.fetch_sub(1, Ordering::SeqCst);
        // The owner hears of it when the place is free here too.
        self.permit = None;
        if self.backend.waiting() > 0 {
            self.backend.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Address {
        Address { ip: IpAddr::from([198, 18, 0, last]), port: None }
    }

    fn backend(count: u8) -> Arc<Backend> {
        let backend = Arc::new(Backend::default());
        backend.replace(&(1..=count).map(address).collect::<Vec<_>>(), false);
        backend
    }

    #[test]
    fn requests_go_where_the_fewest_are_outstanding() {
        let backend = backend(3);
        let slots: Vec<_> = (0..6).map(|point| backend.try_slot(|_| 9, &[], point).unwrap()).collect();
        assert!(backend.ready().iter().all(|instance| instance.outstanding() == 2));
        drop(slots);
        assert_eq!(backend.in_flight(), 0);
    }

    #[test]
    fn no_instance_gets_more_than_its_limit() {
        let backend = backend(2);
        let _slots: Vec<_> = (0..4).map(|point| backend.try_slot(|_| 2, &[], point).unwrap()).collect();
        assert!(backend.try_slot(|_| 2, &[], 0).is_none());
    }

    #[test]
    fn an_instance_that_stays_keeps_its_count() {
        let backend = backend(1);
        let _slot = backend.try_slot(|_| 1, &[], 0).unwrap();
        backend.replace(&[address(2), address(1)], false);
        let counts: Vec<_> = backend.ready().iter().map(|instance| instance.outstanding()).collect();
        assert_eq!(counts, [0, 1]);
    }

    #[test]
    fn an_instance_that_comes_back_is_as_busy_as_it_left() {
        let backend = backend(1);
        let slot = backend.try_slot(|_| 1, &[], 0).unwrap();
        backend.replace(&[], false);
        assert_eq!(backend.standing(), Standing::Absent);
        backend.replace(&[address(1)], false);
        assert!(backend.try_slot(|_| 1, &[], 0).is_none());
        drop(slot);
        assert!(backend.try_slot(|_| 1, &[], 0).is_some());
    }

    #[test]
    fn whoever_waited_is_counted_once() {
        let backend = backend(1);
        let first = backend.try_slot(|_| 1, &[], 0).unwrap();
        let mut place = backend.wait();
        assert!(place.try_slot(|_| 1, &[], 0).is_none());
        assert_eq!((backend.in_flight(), backend.waiting()), (1, 1));
        drop(first);
        let second = place.try_slot(|_| 1, &[], 0);
        assert_eq!((second.is_some(), backend.in_flight(), backend.waiting()), (true, 1, 0));
        drop(place);
        assert_eq!(backend.waiting(), 0);
    }

    #[test]
    fn an_instance_that_refused_is_the_last_choice() {
        let backend = backend(2);
        let refused = backend.try_slot(|_| 1, &[], 0).unwrap();
        refused.instance().avoid();
        let address = refused.instance().address;
        drop(refused);
        let others: Vec<_> = (0..2).map(|point| backend.try_slot(|_| 1, &[], point).unwrap()).collect();
        assert_ne!(others[0].instance().address, address);
        assert_eq!(others[1].instance().address, address);
    }
}
