//! A caller's socket that does not wait for ever. A caller that holds back the rest of a head costs memory, and one
//! that does not take its answer keeps an instance busy that has long given it.
//!
//! The timers are set only when something is awaited that has begun: an exchange that flows sets none.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The longest from the first byte of a head to its last. A head is a packet or two.
const HEAD: Duration = Duration::from_secs(15);
/// The longest that a caller may take nothing of what waits for it. The system keeps a good part of it, so whoever
/// reads at all gets on in this time, if the line is not slower than about 40 kbit/s.
const ANSWER: Duration = Duration::from_secs(30);

/// How many requests of a connection have begun, and how many of them are not over.
#[derive(Debug, Default)]
pub struct Turns {
    begun: AtomicUsize,
    open: AtomicUsize,
    /// One more than how many had begun when bytes came that belong to none of them: a next head.
    head: AtomicUsize,
    /// Whether the caller has not taken all that was written.
    stuck: AtomicBool,
    /// Whether a request was answered of which more may come.
    unread: AtomicBool,
}

impl Turns {
    /// Begins a request.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Turn {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Turn { turns: Arc::clone(self), ends: true }
    }

    /// How many requests have begun.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether something that was asked is not answered.
    #[must_use]
    pub fn are_under_way(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Whether everything that was asked is answered, and nothing is under way in either direction.
    #[must_use]
    pub fn are_over(&self) -> bool {
        !self.are_under_way()
            && !self.awaits_head()
            && !self.stuck.load(Ordering::Relaxed)
            && !self.unread.load(Ordering::Relaxed)
    }

    /// Whether a head has begun that is not whole.
    fn awaits_head(&self) -> bool {
        self.head.load(Ordering::Relaxed) == self.begun() + 1 && !self.are_under_way()
    }
}

/// A request of a connection, until its answer is sent.
#[derive(Debug)]
pub struct Turn {
    turns: Arc<Turns>,
    ends: bool,
}

impl Turn {
    /// Lets it be the last one: the connection has become something else.
    pub fn stay(mut self) {
        self.ends = false;
    }

    /// Notes that the request was answered before the whole of it came.
    pub fn leave_unread(&self) {
        self.turns.unread.store(true, Ordering::Relaxed);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.ends {
            self.turns.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A socket of a caller.
#[derive(Debug)]
pub struct Patient<I> {
    socket: I,
    turns: Arc<Turns>,
    /// What was read already, and is read first.
    ahead: Bytes,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
}

impl<I> Patient<I> {
    /// Watches over `socket`, on which `turns` are taken.
    #[must_use]
    pub const fn new(socket: I, turns: Arc<Turns>) -> Self {
        Self { socket, turns, ahead: Bytes::new(), reading: None, writing: None }
    }

    /// The same where heads are not one behind the other.
    #[must_use]
    pub fn of_many(socket: I) -> Self {
        let turns = Arc::new(Turns::default());
        turns.begin().stay();
        Self::new(socket, turns)
    }

    /// Has `bytes`, which came from here, read once more.
    pub fn put_back(&mut self, bytes: Bytes) {
        self.ahead = bytes;
    }

    /// What a write comes to, which gives up after some time without one.
    fn written(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.turns.stuck.store(written.is_pending(), Ordering::Relaxed);
        if written.is_ready() {
            self.writing = None;
            return written;
        }
        expire(&mut self.writing, ANSWER, context)
    }
}

/// Waits for `timer`, which is set when there is none.
fn expire<T>(timer: &mut Option<Pin<Box<Sleep>>>, time: Duration, context: &mut Context<'_>) -> Poll<io::Result<T>> {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
    timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
}

impl<I: AsyncRead + Unpin> AsyncRead for Patient<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = if this.ahead.is_empty() {
            Pin::new(&mut this.socket).poll_read(context, buffer)
        } else {
            let fitting = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.ahead.split_to(fitting));
            Poll::Ready(Ok(()))
        };
        if read.is_ready() {
            if buffer.filled().len() > before && !this.turns.are_under_way() {
                this.turns.head.store(this.turns.begun() + 1, Ordering::Relaxed);
            }
            return read;
        }
        if this.turns.awaits_head() {
            return expire(&mut this.reading, HEAD, context);
        }
        this.reading = None;
        Poll::Pending
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Patient<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.written(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, buffers);
        self.written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn a_head_that_is_not_whole_in_time_is_given_up_and_silence_before_it_is_not() {
        let (mut caller, socket) = tokio::io::duplex(64);
        let turns = Arc::new(Turns::default());
        let mut patient = Patient::new(socket, Arc::clone(&turns));
        let silent = tokio::time::timeout(HEAD * 3, patient.read_u8()).await;
        assert!(silent.is_err());
        for _ in 0..2 {
            caller.write_all(b"GET").await.unwrap();
            patient.read_exact(&mut [0; 3]).await.unwrap();
            let turn = turns.begin();
            let body = tokio::time::timeout(HEAD * 3, patient.read_u8()).await;
            assert!(body.is_err(), "what comes of a body is not for here to say");
            drop(turn);
            let idle = tokio::time::timeout(HEAD * 3, patient.read_u8()).await;
            assert!(idle.is_err());
        }
        caller.write_all(b"GET").await.unwrap();
        patient.read_exact(&mut [0; 3]).await.unwrap();
        let half = tokio::time::timeout(HEAD * 2, patient.read_u8()).await.unwrap();
        assert_eq!(half.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_become_something_else_may_be_silent() {
        let (mut caller, socket) = tokio::io::duplex(64);
        let turns = Arc::new(Turns::default());
        let mut patient = Patient::new(socket, Arc::clone(&turns));
        turns.begin().stay();
        caller.write_all(b"frame").await.unwrap();
        patient.read_exact(&mut [0; 5]).await.unwrap();
        assert!(tokio::time::timeout(HEAD * 3, patient.read_u8()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_takes_nothing_is_given_up_and_one_that_takes_little_is_not() {
        let (mut caller, socket) = tokio::io::duplex(4);
        let mut patient = Patient::new(socket, Arc::default());
        let slow = tokio::spawn(async move {
            for _ in 0..4 {
                tokio::time::sleep(ANSWER * 2 / 3).await;
                caller.read_u8().await.unwrap();
            }
            caller
        });
        patient.write_all(&[0; 8]).await.unwrap();
        let _caller = slow.await.unwrap();
        let stuck = patient.write_all(&[0; 8]).await;
        assert_eq!(stuck.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
