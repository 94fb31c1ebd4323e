//! Where other replicas come in, to ask for places at instances of the endpoints that this one owns.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Peers;
use super::admission::Wanted;
use super::message::{Call, InFlight, Reply};
use super::replica::Caller;
use super::view::{Version, View};
use super::words::{self, Words};
use crate::gateway::backend::Slot;

/// How often a caller is given a sign of life, which it has to answer.
const BEAT: Duration = Duration::from_millis(500);
/// The silence of a caller after which its connection is given up.
const SILENCE: Duration = Duration::from_secs(10);
/// The longest that a caller may take to say who it is.
const HELLO: Duration = Duration::from_secs(2);
/// Pause after a failed accept, so that a shortage of descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers other replicas until this one ends.
pub async fn serve(listener: TcpListener, peers: Arc<Peers>) {
    let mut connection = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = peers.ending.cancelled() => return,
        };
        match accepted {
            Ok((stream, from)) => {
                let peers = Arc::clone(&peers);
                connection += 1;
                peers.visits.clone().spawn(async move {
                    if let Err(error) = talk(stream, connection, &peers).await {
                        tracing::debug!(%from, %error, "the connection of another replica broke");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection of another replica failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn talk(stream: TcpStream, connection: u64, peers: &Arc<Peers>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let from = stream.peer_addr()?;
    let (read, write) = stream.into_split();
    let mut words = Words::of_stranger(read);
    let Some(Call::Hello { secret, id, incarnation }) = tokio::time::timeout(HELLO, words.next()).await?? else {
        return Err(io::Error::other("its first word was no hello"));
    };
    let known = peers.secret();
    if !known.is_some_and(|known| bool::from(known.as_bytes().ct_eq(secret.as_bytes()))) {
        tracing::warn!(%from, "a caller on the port for replicas does not know the secret");
        return Err(io::Error::other("it does not know the secret"));
    }
    words.trust();
    let caller = Caller { id, incarnation, connection };
    let (sender, mut receiver) = unbounded_channel();
    let mut visit = Visit { peers, caller, sender, told: None, asks: HashMap::new() };
    let ended = tokio::select! {
        ended = visit.hear(&mut words) => ended,
        ended = words::write(write, &mut receiver) => ended,
    };
    visit.end();
    ended
}

/// One connection of another replica.
struct Visit<'a> {
    peers: &'a Arc<Peers>,
    caller: Caller,
    sender: UnboundedSender<Reply>,
    /// The view that the caller said it is in.
    told: Option<Version>,
    /// Questions without an answer yet, by the caller's numbers.
    asks: HashMap<u64, AbortHandle>,
}

impl Visit<'_> {
    async fn hear(&mut self, words: &mut Words) -> io::Result<()> {
        let mut beats = tokio::time::interval(BEAT);
        let mut heard = Instant::now();
        let mut ending = pin!(self.peers.ending.cancelled().fuse());
        loop {
            tokio::select! {
                () = &mut ending => {
                    let _ = self.sender.send(Reply::Goodbye);
                }
                word = words.next() => match word? {
                    Some(Call::Goodbye) => {
                        self.peers.replica().said_goodbye(&self.caller);
                        return Ok(());
                    }
                    Some(call) => {
                        heard = Instant::now();
                        self.take(call);
                    }
                    None => return Ok(()),
                },
                _ = beats.tick() => {
                    if heard.elapsed() > SILENCE {
                        return Err(io::Error::other("it has fallen silent"));
                    }
                    self.beat();
                }
            }
        }
    }

    fn beat(&mut self) {
        self.show_newer_view();
        let _ = self.sender.send(Reply::Beat { sent: self.peers.now() });
        self.asks.retain(|_, ask| !ask.is_finished());
    }

    fn show_newer_view(&self) {
        let view = Arc::clone(self.peers.replica().view());
        if self.told.is_some_and(|told| told < view.version) {
            let _ = self.sender.send(Reply::View(View::clone(&view)));
        }
    }

    fn take(&mut self, call: Call) {
        let peers = self.peers;
        match call {
            Call::State { view, in_flight } => {
                let view = view.hashed();
                let mut replica = peers.replica();
                peers.adopt_by(&mut replica, &view);
                replica.said(&self.caller, view.version, in_flight, peers.now(), |request| place(peers, &request));
                peers.publish(&mut replica);
                drop(replica);
                self.told = Some(view.version);
                self.show_newer_view();
            }
            Call::Ask { id, target, rate, tried, patience } => {
                let wanted = Wanted { caller: self.caller.clone(), id, target, rate, tried, patience };
                let ask = tokio::spawn(wanted.answer(Arc::clone(peers), self.sender.clone()));
                self.asks.insert(id, ask.abort_handle());
            }
            Call::Release { id } => {
                if let Some(ask) = self.asks.remove(&id) {
                    ask.abort();
                }
                let freed = peers.replica().released(&self.caller, id);
                // Whoever waits is woken without the lock.
                drop(freed);
            }
            Call::Echo { sent } => {
                let mut replica = peers.replica();
                replica.answered(&self.caller, sent, peers.now());
                peers.publish(&mut replica);
            }
            Call::Hello { .. } | Call::Goodbye => {}
        }
    }

    fn end(self) {
        for ask in self.asks.into_values() {
            ask.abort();
        }
        let mut replica = self.peers.replica();
        replica.parted(&self.caller);
        self.peers.publish(&mut replica);
    }
}

/// Counts a request that another replica has in flight.
fn place(peers: &Peers, request: &InFlight) -> Option<Slot> {
    let (_, deployment) = peers.find(&request.target)?;
    Some(deployment.backend.hold(request.address).for_another())
}
