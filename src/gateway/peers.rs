//! Limits that hold over all replicas of the gateway together.
//!
//! [`replica`] decides, [`admission`] asks it for each request, [`link`] asks other replicas and [`door`] answers them.

pub mod admission;
pub mod door;
pub mod link;
pub mod membership;
pub mod message;
pub mod permit;
pub mod replica;
pub mod view;
pub mod words;

#[cfg(test)]
mod simulation;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::table::{Deployment, Endpoint, SharedTable};
use crate::process::readiness::Readiness;
use link::Link;
use membership::Membership;
use message::Target;
use permit::InFlight;
use replica::{Moment, Replica, Standing};
use view::View;

/// How often silence is looked for.
const TICK: Duration = Duration::from_millis(100);
/// How long the others may take to hear the last word.
const GOODBYE: Duration = Duration::from_millis(500);
/// How often a secret that is not there yet is looked for.
const SECRET_INTERVAL: Duration = Duration::from_secs(1);

/// How a gateway finds its other replicas.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where this replica listens for the others. Port 0 takes a free one.
    pub listen: std::net::SocketAddr,
    /// Name of this replica's pod.
    pub id: String,
    /// Namespace of the gateway's Service.
    pub namespace: String,
    /// Name of the gateway's Service.
    pub service: String,
    /// File with the secret that all replicas know.
    pub secret_file: PathBuf,
}

/// This replica among the others.
pub struct Peers {
    id: String,
    /// Tells this run of the process from others of the same pod.
    incarnation: u64,
    start: Instant,
    secret_file: PathBuf,
    table: Arc<SharedTable>,
    replica: Mutex<Replica>,
    /// What follows from the replica's knowledge, for requests, which take no lock.
    standing: ArcSwap<Standing>,
    /// What of it matters to those who wait.
    outline: watch::Sender<replica::Outline>,
    /// To each other member, by its id.
    links: ArcSwap<BTreeMap<String, Arc<Link>>>,
    in_flight: InFlight,
    /// Cancelled when this replica has nothing in flight and never will again.
    ending: CancellationToken,
    /// The connections of others to this one.
    visits: TaskTracker,
}

impl fmt::Debug for Peers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Peers").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Peers {
    /// A replica that knows of no others yet.
    #[must_use]
    pub fn new(options: &Options, table: Arc<SharedTable>) -> Arc<Self> {
        let (_, incarnation) = Uuid::new_v4().as_u64_pair();
        Arc::new(Self {
            id: options.id.clone(),
            incarnation,
            start: Instant::now(),
            secret_file: options.secret_file.clone(),
            table,
            replica: Mutex::new(Replica::new(options.id.clone())),
            standing: ArcSwap::default(),
            outline: watch::Sender::default(),
            links: ArcSwap::default(),
            in_flight: InFlight::default(),
            ending: CancellationToken::new(),
            visits: TaskTracker::new(),
        })
    }

    /// Listens for the others, and gives what has to be told who they are. Marks `secret` ready as
    /// soon as there is one, and `replicas` as soon as all others are reached: once this one is in the view, the others
    /// admit nothing without its word.
    ///
    /// # Errors
    /// When the port can't be listened on.
    pub async fn join(self: &Arc<Self>, options: Options, readiness: Readiness) -> io::Result<Membership> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        tracing::info!(%address, replica = self.id, "listening for other replicas");
        tokio::spawn(door::serve(listener, Arc::clone(self)));
        tokio::spawn(Arc::clone(self).keep_watch(readiness.clone()));
        tokio::spawn(Arc::clone(self).wait_for_secret(readiness));
        Ok(Membership::new(Arc::clone(self), options, address.port()))
    }

    /// Goes on to a newer view.
    pub fn adopt(self: &Arc<Self>, view: &View) {
        self.adopt_by(&mut self.replica(), view);
    }

    fn adopt_by(self: &Arc<Self>, replica: &mut Replica, view: &View) {
        if !replica.adopt(view, self.now()) {
            return;
        }
        // From here on nothing is admitted under the older view, and what was is told below.
        self.publish(replica);
        let me = view.rank(&self.id);
        for endpoint in self.table.load().endpoints().filter(|endpoint| view.owner(endpoint.key) != me) {
            endpoint.rate.leave();
        }
        let before = self.links.load_full();
        let mut links = BTreeMap::new();
        for member in view.members().iter().filter(|member| member.id != self.id) {
            let known = before.get(&member.id).filter(|link| link.address == member.address).cloned();
            links.insert(member.id.clone(), known.unwrap_or_else(|| Link::open(self, member)));
        }
        let links = Arc::new(links);
        self.links.store(Arc::clone(&links));
        for (id, link) in before.iter() {
            if !links.get(id).is_some_and(|kept| Arc::ptr_eq(kept, link)) {
                link.close();
            }
        }
        for link in links.values() {
            self.say_state(replica, link);
        }
        let members = view.members().len();
        tracing::info!(revision = view.version.revision, members, "the replicas of the gateway are others now");
    }

    /// Says on `link` which view this replica is in, and what it has in flight there.
    fn say_state(&self, replica: &Replica, link: &Link) {
        let view = replica.view();
        let owner = view.rank(&link.owner);
        self.in_flight.told(
            |key| view.owner(key) == owner,
            |in_flight| {
                link.say(message::Call::State { view: View::clone(view), in_flight });
            },
        );
    }

    /// Puts in force what follows from what is known now.
    fn publish(&self, replica: &mut Replica) {
        let now = self.now();
        let standing = replica.standing(now);
        let outline = standing.outline(now);
        self.standing.store(Arc::new(standing));
        self.outline.send_if_modified(|before| {
            let changed = *before != outline;
            *before = outline;
            changed
        });
    }

    /// Looks for silence without end.
    async fn keep_watch(self: Arc<Self>, readiness: Readiness) {
        let mut ticks = tokio::time::interval(TICK);
        let mut reached = false;
        loop {
            ticks.tick().await;
            self.publish(&mut self.replica());
            if !reached && self.reaches_all() {
                reached = true;
                readiness.set("replicas", true);
            }
        }
    }

    /// Whether this replica admits for the endpoint, as far as it knows.
    #[must_use]
    pub fn owns(&self, endpoint: &Endpoint) -> bool {
        self.standing.load().is_owner(endpoint.key)
    }

    /// Whether there is a view, and a connection to each other member of it that has not ended.
    fn reaches_all(&self) -> bool {
        let (standing, links) = (self.standing.load(), self.links.load());
        let known = standing.view.version != view::Version::default();
        known && standing.others().all(|id| links.get(id).is_some_and(|link| link.is_open()))
    }

    /// Tells the others that this replica has nothing in flight and never will again, so that none waits for its word
    /// while the Service still names it.
    pub async fn say_goodbye(&self) {
        let links = self.links.load_full();
        self.ending.cancel();
        self.visits.close();
        let said = futures::future::join_all(links.values().map(|link| link.say_goodbye()));
        let said = futures::future::join(said, self.visits.wait());
        if tokio::time::timeout(GOODBYE, said).await.is_err() {
            tracing::warn!(after = ?GOODBYE, "not all other replicas heard that this one ends");
        }
    }

    fn replica(&self) -> MutexGuard<'_, Replica> {
        self.replica.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        self.start.elapsed()
    }

    fn find(&self, target: &Target) -> Option<(Arc<Endpoint>, Arc<Deployment>)> {
        let table = self.table.load();
        let endpoint = table.by_name(&target.namespace, &target.endpoint)?;
        let deployment = endpoint.deployments.iter().find(|deployment| deployment.name == target.deployment)?;
        Some((Arc::clone(endpoint), Arc::clone(deployment)))
    }

    /// Read each time, so that a new secret needs no restart.
    fn secret(&self) -> Option<String> {
        read_secret(&self.secret_file)
    }

    /// Marks `secret` ready as soon as there is one.
    async fn wait_for_secret(self: Arc<Self>, readiness: Readiness) {
        let mut complained = false;
        while self.secret().is_none() {
            if !std::mem::replace(&mut complained, true) {
                tracing::warn!(file = %self.secret_file.display(), "there is no secret for the talk among replicas yet; waiting for it");
            }
            tokio::time::sleep(SECRET_INTERVAL).await;
        }
        readiness.set("secret", true);
    }
}

fn read_secret(file: &Path) -> Option<String> {
    let secret = std::fs::read_to_string(file).ok()?;
    let secret = secret.trim();
    (!secret.is_empty()).then(|| secret.to_owned())
}
