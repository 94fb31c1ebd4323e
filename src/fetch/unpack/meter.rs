//! A stream that gives no more than it may, and knows when it is at its end.
//!
//! The tar reader keeps the headers of an entry in memory, long names and extensions with them, whatever they say their
//! size is; so what it reads between two contents has a limit.

use std::cell::Cell;
use std::io::{self, Read};

/// What a [`Meter`] may give, and whether it came to its end.
#[derive(Debug, Default)]
pub struct Gauge {
    left: Cell<u64>,
    is_at_end: Cell<bool>,
}

impl Gauge {
    /// Lets `bytes` more through from here.
    pub fn allow(&self, bytes: u64) {
        self.left.set(bytes);
    }

    /// Whether the stream has ended.
    pub fn is_at_end(&self) -> bool {
        self.is_at_end.get()
    }
}

/// More was read than the [`Gauge`] allows.
#[derive(Debug, thiserror::Error)]
#[error("more bytes than any real archive has there")]
pub struct TooLong;

/// A stream below a [`Gauge`].
pub struct Meter<'a, R> {
    stream: R,
    gauge: &'a Gauge,
}

impl<'a, R: Read> Meter<'a, R> {
    /// Reads `stream` as far as `gauge` allows.
    pub const fn new(stream: R, gauge: &'a Gauge) -> Self {
        Self { stream, gauge }
    }
}

impl<R: Read> Read for Meter<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.gauge.left.get();
        if left == 0 && !into.is_empty() {
            return Err(io::Error::other(TooLong));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
        let read = self.stream.read(into.get_mut(..most).unwrap_or_default())?;
        self.gauge.left.set(left - read as u64);
        if read == 0 && most > 0 {
            self.gauge.is_at_end.set(true);
        }
        Ok(read)
    }
}
