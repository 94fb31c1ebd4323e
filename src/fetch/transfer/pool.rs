//! Connections that work through the chunks: few at first, and twice as many for as long as that brings more.

use std::collections::VecDeque;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::job::{Job, Outcome};
use super::parts;
use crate::catalogue::Reason;
use crate::fetch::Patience;
use crate::fetch::download::Span;
use crate::fetch::failure::{Failure, Retry};
use crate::fetch::progress::Progress;
use crate::fetch::retry::pauses;
use crate::fetch::source::Source;
use crate::fetch::verify::Verifier;

/// Connections at the start.
const FEWEST: usize = 4;
/// Connections at most: each holds what its socket has brought, some 400 KiB, so that all stay within half of 64 MiB.
const MOST: usize = 32;
/// Time in which the rate is taken.
const TICK: Duration = Duration::from_millis(200);
/// Tenths that twice as many connections must bring more: a rate that is taken in so short a time comes and goes by less.
const WORTH: u64 = 3;
/// A small file counts as this many bytes more, since its request takes time as well.
const FILE_COUNTS: u64 = 64 << 10;
/// Bytes without a break after which earlier breaks are forgotten.
const FORGIVEN: u64 = 1 << 20;
/// How often nothing at all comes before that is the cause.
const SILENCES: usize = 2;
/// Bytes in a second that count as more than silence.
const SLOWEST: u64 = 1 << 10;

/// What all connections share.
pub struct Pool {
    /// Where the chunks come from.
    pub source: Arc<Source>,
    /// How patient they are.
    pub patience: Patience,
    /// Who is told.
    pub progress: Arc<Progress>,
    /// Files whose chunks an earlier run has left, all of them, without giving them their name.
    ready: Vec<Arc<Job>>,
    queue: Mutex<VecDeque<Piece>>,
}

/// One chunk to fetch.
#[derive(Clone)]
struct Piece {
    job: Arc<Job>,
    index: usize,
}

/// What has come of a chunk.
struct Partial {
    bytes: u64,
    sum: crc_fast::Digest,
    verifier: Verifier,
}

impl Pool {
    /// A pool that will fetch what `jobs` miss, the largest file first.
    #[must_use]
    pub fn new(source: Arc<Source>, patience: Patience, progress: Arc<Progress>, mut jobs: Vec<Job>) -> Self {
        jobs.sort_by_key(|job| std::cmp::Reverse(job.object.size));
        let (mut queue, mut ready) = (VecDeque::new(), Vec::new());
        for job in jobs.into_iter().map(Arc::new) {
            let missing = job.missing();
            if missing.is_empty() {
                ready.push(Arc::clone(&job));
            }
            queue.extend(missing.into_iter().map(|index| Piece { job: Arc::clone(&job), index }));
        }
        Self { source, patience, progress, ready, queue: Mutex::new(queue) }
    }

    /// Fetches everything.
    ///
    /// # Errors
    ///
    /// The first failure that trying again does not help; all other connections are dropped with it.
    pub async fn run(self: Arc<Self>) -> Result<(), Failure> {
        for job in &self.ready {
            self.see(job, job.finish().await?);
        }
        let mut workers = JoinSet::new();
        let mut ticks = interval_at(Instant::now() + TICK, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut wanted, mut seen, mut best, mut are_new) = (FEWEST, self.work_done(), 0, true);
        loop {
            while workers.len() < wanted && self.has_work() {
                let pool = Arc::clone(&self);
                workers.spawn(async move {
                    while let Some(piece) = pool.next() {
                        pool.fetch(piece).await?;
                    }
                    Ok(())
                });
            }
            tokio::select! {
                ended = workers.join_next() => match ended {
                    None => return Ok(()),
                    Some(Ok(result)) => result?,
                    Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                },
                _ = ticks.tick() => {
                    let now = self.work_done();
                    let rate = now.saturating_sub(seen);
                    seen = now;
                    // What has just begun has to get going before it is judged.
                    if !std::mem::take(&mut are_new) && rate > best + best / 10 * WORTH && wanted < MOST {
                        (best, wanted, are_new) = (rate, wanted * 2, true);
                    }
                }
            }
        }
    }

    fn work_done(&self) -> u64 {
        self.progress.fetched() + FILE_COUNTS * self.progress.files_done()
    }

    fn has_work(&self) -> bool {
        !self.queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn next(&self) -> Option<Piece> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Fetches one chunk, however often it takes.
    async fn fetch(&self, piece: Piece) -> Result<(), Failure> {
        let Piece { job, index } = &piece;
        self.progress.at(job.object.name());
        let mut partial = Partial { bytes: 0, sum: parts::summer(), verifier: Verifier::new(&[]) };
        let mut waits = pauses(self.patience.attempts);
        let (mut forgiven, mut silences, mut most) = (0, 0, 0);
        loop {
            let Err(failure) = self.attempt(job, job.span(*index), &mut partial).await else { break };
            // Of a whole object all comes again: only what never came before is progress.
            let more = partial.bytes.saturating_sub(most);
            most = most.max(partial.bytes);
            forgiven += more;
            if forgiven >= FORGIVEN {
                (forgiven, waits) = (0, pauses(self.patience.attempts));
            }
            silences = if failure.reason == Reason::ArtifactStalled && more == 0 { silences + 1 } else { 0 };
            let asked = match failure.retry {
                Retry::Never => None,
                _ if silences >= SILENCES => None,
                Retry::Soon => waits.next(),
                // The store knows best how long, but not how often.
                Retry::After(pause) => waits.next().map(|_| pause),
            };
            let Some(pause) = asked else { return Err(failure.and(&self.progress.so_far())) };
            tracing::warn!("{}; trying again in {:.1} s", failure.sentence(), pause.as_secs_f64());
            tokio::time::sleep(pause).await;
        }
        self.see(job, job.arrived(*index, partial.sum.finalize()).await?);
        Ok(())
    }

    fn see(&self, job: &Arc<Job>, outcome: Outcome) {
        match outcome {
            Outcome::Open => {}
            Outcome::InPlace => self.progress.file_done(),
            Outcome::Again => {
                self.progress.retract(job.object.size.unwrap_or_default());
                let again = job.missing().into_iter().map(|index| Piece { job: Arc::clone(job), index });
                self.queue.lock().unwrap_or_else(PoisonError::into_inner).extend(again);
            }
        }
    }

    /// One request, for what has not come of the chunk yet. Of a whole object all comes again.
    async fn attempt(&self, job: &Job, span: Option<Span>, partial: &mut Partial) -> Result<(), Failure> {
        let file = job.file()?;
        let local = |error| Failure::local(error, "write", &job.partial);
        let rest = span.map(|span| Span { start: span.start + partial.bytes, ..span });
        if rest.is_none() {
            self.progress.retract(partial.bytes);
            (partial.bytes, partial.sum) = (0, parts::summer());
        }
        let mut download = self.source.read(&job.object, rest).await?;
        if rest.is_none() {
            let told = download.told();
            let all: Vec<_> = job.checksums.iter().chain(&told.checksums).cloned().collect();
            partial.verifier = Verifier::new(&all);
            if job.object.size.is_none() {
                self.progress.expect(told.size.unwrap_or_default());
            }
        }
        // One byte more than there should be is enough to know that it is another object.
        let most = job.object.size.map_or(u64::MAX, |size| size.saturating_add(1));
        let Span { start: mut at, end } = rest.unwrap_or(Span { start: 0, end: most });
        let mut come = download.start();
        let mut pace = Pace::start(self.patience.stall);
        while let Some(bytes) = download.next().await? {
            pace.keep(bytes.len(), download.host())?;
            // A server that does not know ranges sends what lies before and behind as well.
            let length = bytes.len() as u64;
            let from = usize::try_from(at.saturating_sub(come).min(length)).unwrap_or_default();
            let to = usize::try_from(end.saturating_sub(come).min(length)).unwrap_or_default();
            come += length;
            let bytes = bytes.get(from..to).unwrap_or_default();
            // The page cache takes them at the speed of memory, and a disk that is slower than the network has to slow
            // the network down.
            file.write_all_at(bytes, at).map_err(local)?;
            at += bytes.len() as u64;
            partial.sum.update(bytes);
            partial.verifier.see(bytes);
            partial.bytes += bytes.len() as u64;
            self.progress.add(bytes.len() as u64);
            if come >= end {
                break;
            }
        }
        if rest.is_none() {
            file.set_len(at).map_err(local)?;
            if let Some(size) = job.object.size.filter(|size| *size != at) {
                let act = format!("{} sent {at} bytes of {}, which has {size}", download.host(), job.object.name());
                return Err(Failure::new(Reason::ArtifactStoreError, act).with_retry(Retry::Soon));
            }
            return std::mem::replace(&mut partial.verifier, Verifier::new(&[])).judge(job.object.name());
        }
        if at < end {
            let act = format!("{} ended its answer before the end of what was asked for", download.host());
            return Err(Failure::new(Reason::ArtifactStoreError, act).with_retry(Retry::Soon));
        }
        Ok(())
    }
}

/// Whether bytes come at more than a drip.
struct Pace {
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn start(window: Duration) -> Self {
        Self { window, since: Instant::now(), bytes: 0 }
    }

    fn keep(&mut self, bytes: usize, host: &str) -> Result<(), Failure> {
        self.bytes += bytes as u64;
        if self.since.elapsed() < self.window {
            return Ok(());
        }
        if self.bytes < SLOWEST * self.window.as_secs() {
            let act = format!("{host} sent {} bytes in {} s", self.bytes, self.window.as_secs());
            return Err(Failure::new(Reason::ArtifactStalled, act).with_retry(Retry::Soon));
        }
        *self = Self::start(self.window);
        Ok(())
    }
}
