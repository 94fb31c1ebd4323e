//! How far the download is, for people.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::fetch::Placed;

/// Time between two lines.
const PERIOD: Duration = Duration::from_secs(5);

/// How far the download of one artifact is.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    start: Instant,
    files: AtomicU64,
    files_done: AtomicU64,
    done: AtomicU64,
    /// Bytes of `done` that an earlier run has left.
    there: AtomicU64,
    /// 0 while unknown.
    total: AtomicU64,
    /// What is asked for now.
    current: Mutex<String>,
}

impl Progress {
    /// Nothing yet. `what` is the artifact's word for people.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            what,
            start: Instant::now(),
            files: zero(),
            files_done: zero(),
            done: zero(),
            there: zero(),
            total: zero(),
            current: Mutex::default(),
        }
    }

    /// Says how much there is, and what of it an earlier run has left.
    pub fn start(&self, files: usize, bytes: u64, files_there: usize, bytes_there: u64) {
        self.files.store(files as u64, Ordering::Relaxed);
        self.files_done.store(files_there as u64, Ordering::Relaxed);
        self.total.store(bytes, Ordering::Relaxed);
        self.done.store(bytes_there, Ordering::Relaxed);
        self.there.store(bytes_there, Ordering::Relaxed);
        let there = if bytes_there > 0 { format!(", {} are there already", size(bytes_there)) } else { String::new() };
        let bytes = if bytes > 0 || files_there == files { format!(", {}", size(bytes)) } else { String::new() };
        tracing::info!("{}: {} to fetch{bytes}{there}", self.what, count(files as u64));
    }

    /// More bytes are known to be needed.
    pub fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// This object is asked for.
    pub fn at(&self, name: &str) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != name {
            name.clone_into(&mut current);
        }
    }

    /// More bytes are on disk.
    pub fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// These bytes have to come again.
    pub fn retract(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A file is in place.
    pub fn file_done(&self) {
        self.files_done.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes on disk.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes that this run has brought.
    #[must_use]
    pub fn fetched(&self) -> u64 {
        self.done().saturating_sub(self.there.load(Ordering::Relaxed))
    }

    /// Files in place.
    #[must_use]
    pub fn files_done(&self) -> u64 {
        self.files_done.load(Ordering::Relaxed)
    }

    /// How far it is, as the end of a sentence.
    #[must_use]
    pub fn so_far(&self) -> String {
        match self.total.load(Ordering::Relaxed) {
            0 => format!("after {} bytes", self.done()),
            total => format!("after {} of {total} bytes", self.done()),
        }
    }

    /// Does `work` and logs a line every few seconds meanwhile.
    pub async fn told_during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let mut before = 0;
        loop {
            if let Ok(result) = tokio::time::timeout(PERIOD, &mut work).await {
                return result;
            }
            let done = self.done();
            let total = self.total.load(Ordering::Relaxed);
            tracing::info!("{}: {}", self.what, line(done, total, done.saturating_sub(before), PERIOD));
            before = done;
        }
    }

    /// Logs the last line.
    pub fn tell_end(&self, placed: Placed) {
        let took = self.start.elapsed();
        let rate = rate(self.fetched(), took);
        let (files, bytes) = (count(placed.files), size(placed.bytes));
        tracing::info!("{}: {files} in place, {bytes} in {:.1} s, {}/s", self.what, took.as_secs_f64(), size(rate));
    }
}

/// One line: bytes done of `total` (0 when unknown), the rate of the `recent` bytes that came in `period`, time left.
fn line(done: u64, total: u64, recent: u64, period: Duration) -> String {
    let rate = rate(recent, period);
    let mut line = size(done);
    if let Some(percent) = done.saturating_mul(100).checked_div(total) {
        line = format!("{line} of {} ({percent} %)", size(total));
    }
    line = format!("{line}, {}/s", size(rate));
    if let Some(seconds) = total.saturating_sub(done).checked_div(rate).filter(|_| total > 0) {
        line = format!("{line}, {seconds} s left");
    }
    line
}

/// Bytes in a second.
fn rate(bytes: u64, took: Duration) -> u64 {
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1000) / milliseconds
}

fn count(files: u64) -> String {
    format!("{files} file{}", if files == 1 { "" } else { "s" })
}

/// `bytes` for people: `1.5 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths of the next smaller unit's thousand, in whole numbers: no rounding surprises.
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = UNITS.first().copied().unwrap_or_default();
    for larger in UNITS.iter().skip(1) {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = larger;
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_the_unit_that_fits() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 30), "3.0 GiB");
        assert_eq!(size(u64::MAX), "1638.3 PiB");
    }

    #[test]
    fn a_line_says_what_is_known() {
        let second = Duration::from_secs(1);
        assert_eq!(line(1 << 20, 4 << 20, 1 << 20, second), "1.0 MiB of 4.0 MiB (25 %), 1.0 MiB/s, 3 s left");
        assert_eq!(line(1 << 20, 0, 1 << 20, second), "1.0 MiB, 1.0 MiB/s");
        assert_eq!(line(1 << 20, 4 << 20, 0, second), "1.0 MiB of 4.0 MiB (25 %), 0 B/s");
    }

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_while_it_is_told() {
        let progress = Progress::new("model");
        let work = async {
            tokio::time::sleep(PERIOD * 3).await;
            7
        };
        assert_eq!(progress.told_during(work).await, 7);
    }
}
