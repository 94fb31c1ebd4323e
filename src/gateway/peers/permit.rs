//! What this replica has in flight, to be told to the owners of the endpoints.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Peers;
use super::message::{self, Call, Target};
use super::replica::{BEGIN, Moment};
use crate::gateway::backend::Address;

/// All requests in flight at this replica, by its own numbers.
#[derive(Debug, Default)]
pub struct InFlight {
    next: AtomicU64,
    /// Held for an insertion or a removal, and while all are told.
    requests: Mutex<HashMap<u64, Request>>,
}

#[derive(Debug)]
struct Request {
    target: Arc<Target>,
    /// The endpoint's hash.
    key: u64,
    address: Address,
}

impl InFlight {
    /// A number for a request.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Hands those of endpoints that `owned` holds for to `tell`. None ends meanwhile: its end is told afterwards.
    pub fn told(&self, owned: impl Fn(u64) -> bool, tell: impl FnOnce(Vec<(u64, message::InFlight)>)) {
        let requests = self.requests();
        let of = requests.iter().filter(|(_, request)| owned(request.key)).map(|(id, request)| {
            (*id, message::InFlight { target: Target::clone(&request.target), address: request.address })
        });
        tell(of.collect());
    }

    fn requests(&self) -> MutexGuard<'_, HashMap<u64, Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The note that a request is in flight. Dropping it tells the owner of the endpoint.
#[derive(Debug)]
pub struct Permit {
    peers: Arc<Peers>,
    id: u64,
    given: Moment,
}

impl Permit {
    /// Notes the request with this number: for `target`, of the endpoint with the hash `key`, at `address`, which was
    /// given to it at `given`.
    #[must_use]
    pub fn new(peers: &Arc<Peers>, id: u64, target: &Arc<Target>, key: u64, address: Address, given: Moment) -> Self {
        let request = Request { target: Arc::clone(target), key, address };
        peers.in_flight.requests().insert(id, request);
        Self { peers: Arc::clone(peers), id, given }
    }

    /// Whether the request must not begin any more, since this process stood still after the place was given to it.
    #[must_use]
    pub fn is_lapsed(&self) -> bool {
        self.peers.now() > self.given + BEGIN
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let ended = self.peers.in_flight.requests().remove(&self.id);
        let standing = self.peers.standing.load();
        // Whoever owns the endpoint by now was told of the request, or is not yet and will not be.
        if let Some(request) = ended
            && let Some(owner) = standing.owner(request.key)
            && let Some(link) = self.peers.links.load().get(owner)
        {
            link.say(Call::Release { id: self.id });
        }
    }
}
