//! How far the download is: lines for people, and the document that the operator reads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::api::artifact::{ArtifactKind, DownloadProgress, VERSION};
use crate::api::size::size;
use crate::fetch::Placed;

/// Time between two looks.
const TICK: Duration = Duration::from_secs(1);
/// Looks that a rate is taken over, and between two lines.
const WINDOW: usize = 5;

/// How far the download of one artifact is.
#[derive(Debug)]
pub struct Progress {
    kind: ArtifactKind,
    start: Instant,
    files: AtomicU64,
    files_done: AtomicU64,
    done: AtomicU64,
    /// Bytes of `done` that an earlier run has left.
    there: AtomicU64,
    /// 0 while unknown.
    total: AtomicU64,
    /// Bytes per second, lately.
    rate: AtomicU64,
    /// What is asked for now.
    current: Mutex<String>,
}

impl Progress {
    /// Nothing yet.
    #[must_use]
    pub fn new(kind: ArtifactKind) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            kind,
            start: Instant::now(),
            files: zero(),
            files_done: zero(),
            done: zero(),
            there: zero(),
            total: zero(),
            rate: zero(),
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
        tracing::info!("{}: {} to fetch{bytes}{there}", self.kind.as_str(), count(files as u64));
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

    /// Does `work`, and meanwhile takes the rate every second and logs a line every few.
    pub async fn told_during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let mut lately = VecDeque::from([self.done()]);
        let mut ticks = 0;
        loop {
            if let Ok(result) = tokio::time::timeout(TICK, &mut work).await {
                return result;
            }
            let (now, seconds) = (self.done(), lately.len() as u64);
            let before = lately.front().copied().unwrap_or_default();
            self.rate.store(now.saturating_sub(before) / seconds.max(1), Ordering::Relaxed);
            lately.push_back(now);
            if lately.len() > WINDOW {
                lately.pop_front();
            }
            ticks += 1;
            if ticks % WINDOW == 0 {
                tracing::info!("{}: {}", self.kind.as_str(), line(&self.document()));
            }
        }
    }

    /// How far it is, for the operator.
    #[must_use]
    pub fn document(&self) -> DownloadProgress {
        let done = self.done();
        let total = Some(self.total.load(Ordering::Relaxed)).filter(|total| *total > 0);
        let rate = self.rate.load(Ordering::Relaxed);
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        DownloadProgress {
            version: VERSION,
            artifact: self.kind,
            bytes_done: done,
            bytes_total: total,
            bytes_per_second: rate,
            remaining_seconds: total.and_then(|total| total.saturating_sub(done).checked_div(rate)),
            current_file: Some(current).filter(|current| !current.is_empty()),
        }
    }

    /// Logs the last line.
    pub fn tell_end(&self, placed: Placed) {
        let took = self.start.elapsed();
        let rate = rate(self.fetched(), took);
        let (files, bytes) = (count(placed.files), size(placed.bytes));
        tracing::info!(
            "{}: {files} in place, {bytes} in {:.1} s, {}/s",
            self.kind.as_str(),
            took.as_secs_f64(),
            size(rate)
        );
    }
}

/// What is known of it, in one line.
fn line(progress: &DownloadProgress) -> String {
    let done = progress.bytes_done;
    let mut line = size(done);
    if let Some(total) = progress.bytes_total {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or_default();
        line = format!("{line} of {} ({percent} %)", size(total));
    }
    line = format!("{line}, {}/s", size(progress.bytes_per_second));
    if let Some(seconds) = progress.remaining_seconds {
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

/// Where the artifact that is being fetched shows how far it is.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Option<Arc<Progress>>>>);

impl Board {
    /// Shows this one from now on.
    pub fn show(&self, progress: &Arc<Progress>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(progress));
    }

    /// What it shows; nothing before the first.
    #[must_use]
    pub fn document(&self) -> Option<DownloadProgress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|progress| progress.document())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_while_it_is_told() {
        let progress = Progress::new(ArtifactKind::Model);
        progress.start(1, 4 << 20, 0, 0);
        assert_eq!(line(&progress.document()), "0 B of 4.0 MiB (0 %), 0 B/s");
        let work = async {
            for _ in 0..3 {
                tokio::time::sleep(TICK).await;
                progress.add(1 << 20);
            }
            progress.at("model.bin");
            tokio::time::sleep(TICK / 2).await;
            let document = progress.document();
            assert_eq!(line(&document), "3.0 MiB of 4.0 MiB (75 %), 1.0 MiB/s, 1 s left");
            assert_eq!(document.current_file.as_deref(), Some("model.bin"));
            7
        };
        assert_eq!(progress.told_during(work).await, 7);
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let progress = Progress::new(ArtifactKind::Code);
        progress.start(1, 0, 0, 0);
        progress.add(1 << 20);
        let document = progress.document();
        assert_eq!((document.bytes_total, document.remaining_seconds), (None, None));
        assert_eq!(line(&document), "1.0 MiB, 0 B/s");
    }
}
