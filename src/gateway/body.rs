//! Bodies on their way through: counted, limited, never collected.

pub mod copy;

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::backend::Slot;
use super::patient::Turn;
use super::phase::identify;
use super::record::Record;
use super::upstream::{Pool, Upstream};
use copy::{Copy, Tee, Watch};

/// How far beyond the limit a refused body is still read, so that the caller gets to see the answer.
const READ_BEYOND: u64 = 64 << 10;
/// The longest that is read from a refused body.
const READ_BEYOND_TIME: Duration = Duration::from_secs(5);

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The request body is over the limit.
    #[error("the request body is over the limit of {limit} bytes")]
    RequestTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The response body is over the limit.
    #[error("the response body is over the limit of {limit} bytes")]
    ResponseTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The instance sent nothing for too long.
    #[error("the instance sent nothing for {0:?}")]
    Stalled(Duration),
    /// The body that a copy is of broke off, or the copy fell too far behind it.
    #[error("the copy of the request body breaks off")]
    Copy,
    /// The connection to the caller broke.
    #[error("reading the request body failed")]
    Caller(#[source] hyper::Error),
    /// The connection to the instance broke.
    #[error("reading the response body failed")]
    Instance(#[source] hyper::Error),
}

/// How much of a request body has come in.
#[derive(Debug, Default)]
pub struct Upload {
    received: AtomicU64,
    complete: AtomicBool,
    awaited: AtomicBool,
    /// When the end came, of a body that is not empty.
    ended: OnceLock<Instant>,
    exceeded: AtomicBool,
    broken: AtomicBool,
}

impl Upload {
    /// Counts `data`, and gives the count.
    fn receive(&self, data: &Bytes) -> u64 {
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.received.fetch_add(length, Ordering::Relaxed).saturating_add(length)
    }

    /// Bytes that were read.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Notes whether there is nothing to come of `incoming`.
    pub fn watch(&self, incoming: &Incoming) -> bool {
        let complete = incoming.is_end_stream();
        self.complete.store(complete, Ordering::Relaxed);
        complete
    }

    /// Counts bytes that were read otherwise.
    pub fn add(&self, count: u64) {
        self.received.fetch_add(count, Ordering::Relaxed);
    }

    /// Whether the whole body was read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }

    /// Whether more of it is wanted, and it is the caller that does not send it.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    /// When the whole body was read, if there was one.
    #[must_use]
    pub fn ended(&self) -> Option<Instant> {
        self.ended.get().copied()
    }

    /// Whether the body was over its limit.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    /// Whether the caller's connection broke or its body was malformed.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

/// The body of a request, on its way to an instance. Trailers stay behind.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    limit: u64,
    upload: Arc<Upload>,
    /// Where a copy is made.
    tee: Option<Tee>,
}

#[derive(Debug)]
enum Source {
    Caller(Incoming),
    Copy(Copy),
    Ended,
}

impl RequestBody {
    /// The caller's body, of which at most `limit` bytes pass.
    #[must_use]
    pub fn new(incoming: Incoming, limit: u64, upload: Arc<Upload>) -> Self {
        let complete = upload.watch(&incoming);
        Self { source: if complete { Source::Ended } else { Source::Caller(incoming) }, limit, upload, tee: None }
    }

    /// No body, as a second attempt of a request that has none.
    #[must_use]
    pub const fn empty(upload: Arc<Upload>) -> Self {
        Self { source: Source::Ended, limit: 0, upload, tee: None }
    }

    /// A body that follows this one as it passes, and whoever tells what becomes of it; nobody when it is empty. At
    /// most as much of it as this one may be long is held in memory.
    #[must_use]
    pub fn copy(&mut self, upload: Arc<Upload>) -> (Self, Option<Watch>) {
        let Source::Caller(incoming) = &self.source else {
            upload.complete.store(true, Ordering::Relaxed);
            return (Self::empty(upload), None);
        };
        let (tee, copy, watch) = copy::copy(&incoming.size_hint(), self.limit);
        self.tee = Some(tee);
        (Self { source: Source::Copy(copy), limit: self.limit, upload, tee: None }, Some(watch))
    }

    fn end(&mut self) {
        self.source = Source::Ended;
        self.upload.complete.store(true, Ordering::Relaxed);
        self.upload.ended.get_or_init(Instant::now);
        if let Some(tee) = &mut self.tee {
            tee.end();
        }
    }

    fn poll_caller(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        while let Source::Caller(incoming) = &mut self.source {
            let frame = Pin::new(&mut *incoming).poll_frame(context);
            self.upload.awaited.store(frame.is_pending(), Ordering::Relaxed);
            match ready!(frame) {
                None => self.end(),
                Some(Err(error)) => {
                    self.upload.broken.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(BodyError::Caller(error))));
                }
                Some(Ok(frame)) => {
                    // A trailer could carry what the headers were cleaned of.
                    let Ok(data) = frame.into_data() else { continue };
                    let received = self.upload.receive(&data);
                    if received > self.limit {
                        self.upload.exceeded.store(true, Ordering::Relaxed);
                        if let Source::Caller(incoming) = std::mem::replace(&mut self.source, Source::Ended) {
                            discard(incoming, (self.limit.saturating_add(READ_BEYOND)).saturating_sub(received));
                        }
                        return Poll::Ready(Some(Err(BodyError::RequestTooLarge { limit: self.limit })));
                    }
                    let ended = incoming.is_end_stream();
                    if let Some(tee) = &mut self.tee {
                        tee.pass(&data);
                    }
                    if ended {
                        self.end();
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
            }
        }
        Poll::Ready(None)
    }

    fn poll_copy(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let Source::Copy(copy) = &mut self.source else { return Poll::Ready(None) };
        let data = ready!(copy.poll_data(context));
        let whole = copy.is_at_end();
        if let Some(data) = &data {
            self.upload.receive(data);
        }
        if whole {
            self.end();
        } else if data.is_none() {
            self.upload.broken.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(BodyError::Copy)));
        }
        Poll::Ready(data.map(Ok))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let data = match &self.source {
            Source::Caller(_) => ready!(self.poll_caller(context)),
            Source::Copy(_) => ready!(self.poll_copy(context)),
            Source::Ended => None,
        };
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Caller(incoming) => incoming.is_end_stream(),
            Source::Copy(copy) => copy.is_at_end(),
            Source::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Caller(incoming) => incoming.size_hint(),
            Source::Copy(copy) => copy.size_hint(),
            Source::Ended => SizeHint::with_exact(0),
        }
    }
}

/// Reads a refused body a little further: a caller that still sends would find its connection reset, and never see
/// why.
pub fn discard_refused(incoming: Incoming, limit: u64) {
    discard(incoming, limit.saturating_add(READ_BEYOND));
}

fn discard(mut incoming: Incoming, mut budget: u64) {
    tokio::spawn(tokio::time::timeout(READ_BEYOND_TIME, async move {
        while let Some(Ok(frame)) = incoming.frame().await {
            let length = frame.data_ref().map_or(0, Buf::remaining);
            match budget.checked_sub(u64::try_from(length).unwrap_or(u64::MAX)) {
                Some(left) => budget = left,
                None => return,
            }
        }
    }));
}

/// The body of an instance's answer. It drives the connection that it comes from, holds the slot until it ends, and
/// gives the connection back then. Trailers pass between HTTP/2 and HTTP/2 (gRPC has its status there), else they stay
/// behind.
#[derive(Debug)]
pub struct InstanceBody {
    incoming: Incoming,
    /// None once the connection is given back or lost.
    upstream: Option<Upstream>,
    slot: Option<Slot>,
    pool: Arc<Pool>,
    limit: u64,
    received: u64,
    patience: Duration,
    progress: Instant,
    timer: Pin<Box<Sleep>>,
    trailers: bool,
}

impl InstanceBody {
    /// The body `incoming` of `upstream`, of which at most `limit` bytes pass, and which breaks off when nothing
    /// comes for `patience`. `timer` is reused.
    #[must_use]
    pub fn new(
        incoming: Incoming,
        upstream: Upstream,
        slot: Slot,
        pool: Arc<Pool>,
        limit: u64,
        patience: Duration,
        timer: Pin<Box<Sleep>>,
    ) -> Self {
        let progress = Instant::now();
        Self {
            incoming,
            upstream: Some(upstream),
            slot: Some(slot),
            pool,
            limit,
            received: 0,
            patience,
            progress,
            timer,
            trailers: false,
        }
    }

    /// Lets trailers pass, but what [`clean`](identify::clean) takes out of them.
    pub const fn pass_trailers(&mut self) {
        self.trailers = true;
    }

    fn finish(&mut self) {
        if let Some(upstream) = self.upstream.take() {
            self.pool.put(upstream);
        }
        self.slot = None;
    }

    fn break_off(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.upstream = None;
        self.slot = None;
        Poll::Ready(Some(Err(error)))
    }

    fn poll_incoming(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let first = Pin::new(&mut self.incoming).poll_frame(context);
        match (first, &mut self.upstream) {
            (Poll::Pending, Some(upstream)) => {
                upstream.drive(context);
                Pin::new(&mut self.incoming).poll_frame(context)
            }
            (first, _) => first,
        }
    }
}

impl Body for InstanceBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let frame = match this.poll_incoming(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(None) => {
                    this.finish();
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => return this.break_off(BodyError::Instance(error)),
                Poll::Pending => {
                    // The timer is set again only when it fires: setting it for each chunk would cost more than the chunk.
                    while this.timer.as_mut().poll(context).is_ready() {
                        let until = this.progress + this.patience;
                        if until <= Instant::now() {
                            return this.break_off(BodyError::Stalled(this.patience));
                        }
                        this.timer.as_mut().reset(until);
                    }
                    return Poll::Pending;
                }
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    let Some(mut trailers) = frame.into_trailers().ok().filter(|_| this.trailers) else { continue };
                    identify::clean(&mut trailers);
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
            };
            this.received = this.received.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            if this.received > this.limit {
                return this.break_off(BodyError::ResponseTooLarge { limit: this.limit });
            }
            this.progress = Instant::now();
            if this.incoming.is_end_stream() {
                this.finish();
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for InstanceBody {
    /// A body without bytes is never polled; its connection is as good as any.
    fn drop(&mut self) {
        if self.incoming.is_end_stream() {
            self.finish();
        }
    }
}

/// The body of an answer, with the record that is closed when it ends.
#[derive(Debug)]
pub struct AnswerBody {
    content: Content,
    /// None when the account is closed elsewhere.
    record: Option<Record>,
    /// The caller's turn on its connection.
    turn: Option<Turn>,
    /// Why it broke off, until the caller's connection has heard it.
    broken: Option<BodyError>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all answers are of an instance, and all lie on the heap anyway")]
enum Content {
    Own(Full<Bytes>),
    Instance(InstanceBody),
}

impl AnswerBody {
    /// An answer of our own.
    #[must_use]
    pub fn own(text: impl Into<Bytes>, record: Record) -> Box<Self> {
        Self::new(Content::Own(Full::new(text.into())), Some(record))
    }

    /// Ends `turn` with the body.
    pub fn hold(&mut self, turn: Turn) {
        self.turn = Some(turn);
    }

    /// No body, of an answer whose account is closed elsewhere.
    #[must_use]
    pub fn none() -> Box<Self> {
        Self::new(Content::Own(Full::default()), None)
    }

    /// The answer of an instance.
    #[must_use]
    pub fn instance(body: InstanceBody, record: Record) -> Box<Self> {
        Self::new(Content::Instance(body), Some(record))
    }

    /// On the heap: hyper moves an answer a dozen times on its way out.
    fn new(content: Content, record: Option<Record>) -> Box<Self> {
        Box::new(Self { content, record, turn: None, broken: None })
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(error) = this.broken.take() {
            this.record.iter_mut().for_each(|record| record.cut(&error));
            return Poll::Ready(Some(Err(error)));
        }
        let frame = match &mut this.content {
            Content::Own(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Content::Instance(body) => Pin::new(body).poll_frame(context),
        };
        match frame {
            Poll::Ready(Some(Ok(ref frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                this.record.iter_mut().for_each(|record| record.sent(length));
            }
            // An error throws away what is not yet written, even the head. A pause lets that go out first.
            Poll::Ready(Some(Err(error))) => {
                this.broken = Some(error);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            _ => {}
        }
        if matches!(frame, Poll::Ready(None)) || self.is_end_stream() {
            self.record.iter_mut().for_each(Record::complete);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none()
            && match &self.content {
                Content::Own(body) => body.is_end_stream(),
                Content::Instance(body) => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(body) => body.size_hint(),
            Content::Instance(body) => body.size_hint(),
        }
    }
}

impl Drop for AnswerBody {
    /// A body without bytes is never polled.
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.record.iter_mut().for_each(Record::complete);
        }
        let whole = self.record.as_ref().is_some_and(|record| record.upload.is_complete());
        if let Some(turn) = self.turn.take_if(|_| !whole) {
            turn.leave_unread();
        }
    }
}
