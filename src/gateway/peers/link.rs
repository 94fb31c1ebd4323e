//! The connection to another replica, which is asked for the endpoints that it owns.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Peers;
use super::message::{Call, Reply, Target, Why};
use super::permit::Permit;
use super::view::Member;
use super::words::{self, Words};
use crate::gateway::backend::{Address, Backend, Slot};

/// The longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(1);
/// The silence of an owner, which says something twice a second, after which the connection is given up.
const SILENCE: Duration = Duration::from_millis(2_500);
/// Pause before the next attempt to connect.
const PAUSE: Duration = Duration::from_millis(100);

/// The way to another replica.
#[derive(Debug)]
pub struct Link {
    /// Name of its pod.
    pub owner: String,
    /// Where it listens.
    pub address: SocketAddr,
    state: Mutex<State>,
    closed: CancellationToken,
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    /// None while there is no connection.
    sender: Option<UnboundedSender<Call>>,
    /// Requests that were asked for and have no answer yet.
    asked: HashMap<u64, Asked>,
    /// Whether the last word is said.
    over: bool,
}

#[derive(Debug)]
struct Asked {
    target: Arc<Target>,
    key: u64,
    backend: Arc<Backend>,
    answer: oneshot::Sender<Result<Slot, Why>>,
}

/// A question to an owner. Dropping it takes it back.
#[derive(Debug)]
pub struct Question {
    link: Arc<Link>,
    id: u64,
    /// The answer.
    pub answer: oneshot::Receiver<Result<Slot, Why>>,
}

impl Drop for Question {
    fn drop(&mut self) {
        let mut state = self.link.state();
        if state.asked.remove(&self.id).is_some()
            && let Some(sender) = &state.sender
        {
            let _ = sender.send(Call::Release { id: self.id });
        }
    }
}

/// What a request needs.
#[derive(Debug)]
pub struct Need<'a> {
    /// What it is for.
    pub target: &'a Arc<Target>,
    /// The endpoint's hash.
    pub key: u64,
    /// The instances of the deployment.
    pub backend: &'a Arc<Backend>,
    /// Whether it still has to be counted against the endpoint's rate.
    pub rate: bool,
    /// Instances that have failed already.
    pub tried: Vec<Address>,
    /// How long it may wait.
    pub patience: Duration,
}

impl Link {
    /// A way to `member`, which is kept open until it is closed.
    pub fn open(peers: &Arc<Peers>, member: &Member) -> Arc<Self> {
        let link = Arc::new(Self {
            owner: member.id.clone(),
            address: member.address,
            state: Mutex::default(),
            closed: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        tokio::spawn(keep(Arc::clone(&link), Arc::clone(peers)));
        link
    }

    /// Ends the connection, and makes no new one.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state().sender.is_some()
    }

    /// Says something, if there is a connection.
    pub fn say(&self, call: Call) {
        if let Some(sender) = &self.state().sender {
            let _ = sender.send(call);
        }
    }

    /// Says the last word, if there is a connection, and waits until the other has heard it.
    pub async fn say_goodbye(&self) {
        let is_said = {
            let mut state = self.state();
            state.over = true;
            state.sender.as_ref().is_some_and(|sender| sender.send(Call::Goodbye).is_ok())
        };
        if is_said {
            self.ended.cancelled().await;
        }
    }

    /// Asks for a place; None while there is no connection.
    pub fn ask(self: &Arc<Self>, id: u64, need: Need<'_>) -> Option<Question> {
        let mut state = self.state();
        let sender = state.sender.as_ref()?;
        let target = Target::clone(need.target);
        let Need { rate, tried, patience, key, .. } = need;
        sender.send(Call::Ask { id, target, rate, tried, patience }).ok()?;
        let (answer, receiver) = oneshot::channel();
        let asked = Asked { target: Arc::clone(need.target), key, backend: Arc::clone(need.backend), answer };
        state.asked.insert(id, asked);
        drop(state);
        Some(Question { link: Arc::clone(self), id, answer: receiver })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(self: &Arc<Self>, reply: Reply, peers: &Arc<Peers>) {
        match reply {
            Reply::Beat { sent } => {
                let mut replica = peers.replica();
                if replica.answering(&self.owner, peers.now()) {
                    peers.say_state(&replica, self);
                }
                self.say(Call::Echo { sent });
                peers.publish(&mut replica);
            }
            Reply::View(view) => peers.adopt(&view.hashed()),
            Reply::Goodbye => {
                let mut replica = peers.replica();
                replica.owner_said_goodbye(&self.owner);
                peers.publish(&mut replica);
            }
            Reply::Granted { id, version, address } => {
                let (replica, now) = (peers.replica(), peers.now());
                let asked = self.state().asked.remove(&id);
                let Some(Asked { target, key, backend, answer }) = asked else {
                    // Taken back on the way, and that was said.
                    return;
                };
                if replica.may_use(&self.owner, version) {
                    let slot = backend.hold(address).with(Permit::new(peers, id, &target, key, address, now));
                    drop(replica);
                    let _ = answer.send(Ok(slot));
                } else {
                    self.say(Call::Release { id });
                    let _ = answer.send(Err(Why::Elsewhere));
                }
            }
            Reply::Refused { id, why } => {
                let asked = self.state().asked.remove(&id);
                if let Some(asked) = asked {
                    let _ = asked.answer.send(Err(why));
                }
            }
        }
    }
}

async fn keep(link: Arc<Link>, peers: Arc<Peers>) {
    let mut failing = false;
    loop {
        let ended = tokio::select! {
            ended = talk(&link, &peers) => ended,
            () = link.closed.cancelled() => Ok(()),
        };
        let (asked, over) = {
            let mut state = link.state();
            state.sender = None;
            (std::mem::take(&mut state.asked), state.over)
        };
        for asked in asked.into_values() {
            let _ = asked.answer.send(Err(Why::Elsewhere));
        }
        if over || link.closed.is_cancelled() {
            link.ended.cancel();
            return;
        }
        match ended {
            Err(error) if !std::mem::replace(&mut failing, true) => {
                tracing::warn!(
                    replica = link.owner, address = %link.address, %error,
                    "no way to another replica: TCP to this port must be allowed among the gateway's pods"
                );
            }
            Err(_) => {}
            Ok(()) => failing = false,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One connection, until it ends. It is an error when it ends before the other's first word.
async fn talk(link: &Arc<Link>, peers: &Arc<Peers>) -> io::Result<()> {
    let secret = peers.secret().ok_or_else(|| io::Error::other("there is no secret yet"))?;
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(link.address)).await??;
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let (sender, mut receiver) = unbounded_channel();
    let _ = sender.send(Call::Hello { secret, id: peers.id.clone(), incarnation: peers.incarnation });
    let mut sender = Some(sender);
    let hearing = async {
        let mut words = Words::of_stranger(read);
        words.trust();
        let mut heard = false;
        loop {
            match tokio::time::timeout(SILENCE, words.next()).await {
                Ok(Ok(Some(reply))) => {
                    if let Some(sender) = sender.take() {
                        // What is said first is whole, and whatever follows is in order.
                        let replica = peers.replica();
                        link.state().sender = Some(sender);
                        peers.say_state(&replica, link);
                    }
                    let over = reply == Reply::Goodbye;
                    link.hear(reply, peers);
                    if over {
                        return Ok(());
                    }
                }
                // It was a connection; the next one is another matter.
                _ if heard => return Ok(()),
                Ok(Ok(None)) => return Err(io::Error::other("it hung up")),
                Ok(Err(error)) => return Err(error),
                Err(silence) => return Err(silence.into()),
            }
            heard = true;
        }
    };
    tokio::select! {
        ended = hearing => ended,
        ended = words::write(write, &mut receiver) => ended,
    }
}
