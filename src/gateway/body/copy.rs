//! The copy of a request body while the body itself passes. The data is shared, not copied; whoever reads the copy
//! slowly delays nobody, and loses it when too much waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::SizeHint;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// What a frame counts beside its data: a body that comes in single bytes must not hold many times its size.
const FRAME: u64 = 256;

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All of the body was passed on.
    Whole,
    /// Too much waited.
    Behind,
    /// The body itself broke off.
    Cut,
}

#[derive(Debug, Default)]
struct Shared {
    /// Bytes that wait, with what their frames count.
    held: AtomicU64,
    whole: AtomicBool,
}

fn weight(data: &Bytes) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX).saturating_add(FRAME)
}

/// Where the data of a body is passed on to its copy.
#[derive(Debug)]
pub struct Tee {
    /// None once nothing is passed on any more.
    open: Option<(UnboundedSender<Bytes>, oneshot::Sender<Fate>)>,
    shared: Arc<Shared>,
    limit: u64,
}

impl Tee {
    /// Passes on a piece of the body.
    pub fn pass(&mut self, data: &Bytes) {
        let Some((frames, _)) = &self.open else { return };
        let weight = weight(data);
        if self.shared.held.fetch_add(weight, Ordering::Relaxed).saturating_add(weight) > self.limit {
            self.close(Fate::Behind);
        } else if frames.send(data.clone()).is_err() {
            self.open = None;
        }
    }

    /// Says that the body has come to its end.
    pub fn end(&mut self) {
        self.close(Fate::Whole);
    }

    fn close(&mut self, fate: Fate) {
        if let Some((frames, word)) = self.open.take() {
            self.shared.whole.store(fate == Fate::Whole, Ordering::Release);
            // That nobody listens any more is no matter.
            let _ = word.send(fate);
            // Only now is the reader woken.
            drop(frames);
        }
    }
}

/// Tells what becomes of a copy, also to whoever can't read it just now.
#[derive(Debug)]
pub struct Watch(oneshot::Receiver<Fate>);

impl Watch {
    /// Waits for the end of the copy.
    pub async fn fate(self) -> Fate {
        self.0.await.unwrap_or(Fate::Cut)
    }
}

/// The data of a copy as it is read.
#[derive(Debug)]
pub struct Copy {
    frames: UnboundedReceiver<Bytes>,
    shared: Arc<Shared>,
    /// Bytes that are still to come, when that is known.
    rest: Option<u64>,
}

impl Copy {
    /// The next piece; None at the end.
    pub fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.frames.poll_recv(context).map(|data| {
            let data = data?;
            self.shared.held.fetch_sub(weight(&data), Ordering::Relaxed);
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            self.rest = self.rest.map(|rest| rest.saturating_sub(length));
            Some(data)
        })
    }

    /// Whether all of the body was read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.shared.whole.load(Ordering::Acquire) && self.frames.is_empty()
    }

    /// How much is still to come.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        self.rest.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// The ends of a copy of a body that is `size` long, so far as is known, and of which at most `limit` bytes may wait.
#[must_use]
pub fn copy(size: &SizeHint, limit: u64) -> (Tee, Copy, Watch) {
    let (sender, frames) = unbounded_channel();
    let (word, fate) = oneshot::channel();
    let shared = Arc::new(Shared::default());
    let tee = Tee { open: Some((sender, word)), shared: Arc::clone(&shared), limit };
    (tee, Copy { frames, shared, rest: size.exact() }, Watch(fate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn read(copy: &mut Copy) -> Poll<Option<Bytes>> {
        copy.poll_data(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn a_copy_gets_all_data_and_its_end() {
        let (mut tee, mut copy, watch) = copy(&SizeHint::with_exact(6), 10_000);
        tee.pass(&Bytes::from_static(b"one"));
        assert_eq!(read(&mut copy), Poll::Ready(Some(Bytes::from_static(b"one"))));
        assert_eq!(copy.size_hint().exact(), Some(3));
        assert!(read(&mut copy).is_pending());
        tee.pass(&Bytes::from_static(b"two"));
        tee.end();
        assert!(!copy.is_at_end());
        assert_eq!(read(&mut copy), Poll::Ready(Some(Bytes::from_static(b"two"))));
        assert!(copy.is_at_end());
        assert_eq!(read(&mut copy), Poll::Ready(None));
        assert_eq!(watch.fate().await, Fate::Whole);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_leaves_no_whole_copy() {
        let (mut tee, mut copy, watch) = copy(&SizeHint::new(), 10_000);
        tee.pass(&Bytes::from_static(b"one"));
        drop(tee);
        assert!(matches!(read(&mut copy), Poll::Ready(Some(_))));
        assert_eq!(read(&mut copy), Poll::Ready(None));
        assert!(!copy.is_at_end());
        assert_eq!(watch.fate().await, Fate::Cut);
    }

    #[tokio::test]
    async fn no_more_waits_than_may() {
        let (mut tee, copy, watch) = copy(&SizeHint::new(), 10 * (FRAME + 1));
        for _ in 0..1000 {
            tee.pass(&Bytes::from_static(b"1"));
        }
        tee.end();
        assert_eq!(copy.frames.len(), 10);
        assert!(!copy.is_at_end());
        assert_eq!(watch.fate().await, Fate::Behind);
    }

    #[test]
    fn whoever_keeps_up_is_never_behind() {
        let (mut tee, mut copy, _watch) = copy(&SizeHint::new(), FRAME + 1);
        for _ in 0..1000 {
            tee.pass(&Bytes::from_static(b"1"));
            assert!(matches!(read(&mut copy), Poll::Ready(Some(_))));
        }
        assert!(tee.open.is_some());
    }
}
