//! An instance's socket from which only so much is read before the head of an answer is there. hyper reads words before
//! the answer (100 to 199) without an end, and an instance that sends them so would have a whole thread for itself.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that a head may have, with all words before it. hyper reads at most 408 KiB of a single head, and may have read
/// some times as much of the body before it says that the head is there.
const HEAD: usize = 2 << 20;

/// What may still be read.
#[derive(Clone, Debug)]
pub struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    /// Lets a head be read from here on.
    pub fn head(&self) {
        self.0.store(HEAD, Ordering::Relaxed);
    }

    /// Lets a body be read, which is measured elsewhere.
    pub fn body(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    /// Whether there was anything left; `read` bytes less are from now on.
    fn spend(&self, read: usize) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        if left != usize::MAX {
            self.0.store(left.saturating_sub(read), Ordering::Relaxed);
        }
        left > 0
    }
}

/// A socket of an instance.
#[derive(Debug)]
pub struct Bounded<I> {
    socket: I,
    allowance: Allowance,
}

impl<I> Bounded<I> {
    /// Bounds what is read from `socket`.
    pub fn new(socket: I) -> (Self, Allowance) {
        let allowance = Allowance(Arc::new(AtomicUsize::new(HEAD)));
        (Self { socket, allowance: allowance.clone() }, allowance)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Bounded<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        if read.is_ready() && !self.allowance.spend(buffer.filled().len() - before) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the head of the answer has no end")));
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Bounded<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, buffers)
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
