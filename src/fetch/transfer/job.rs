//! One file on its way: its chunks, its place among the files that are not whole yet, and its name once it is.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::follow::Follower;
use super::parts::Parts;
use super::{chunk, disk};
use crate::catalogue::Reason;
use crate::fetch::download::Span;
use crate::fetch::failure::Failure;
use crate::fetch::source::Object;
use crate::fetch::verify::{Checksum, Verifier};

/// How often a file is fetched whose chunks do not add up to what the store says.
const TRIES: usize = 2;

/// One file on its way.
#[derive(Debug)]
pub struct Job {
    /// The object that it becomes.
    pub object: Object,
    /// What it must add up to.
    pub checksums: Vec<Checksum>,
    /// Where it grows.
    pub partial: PathBuf,
    /// Where it belongs.
    pub target: PathBuf,
    cut: Cut,
    state: Mutex<State>,
}

/// How an object is asked for.
#[derive(Debug)]
enum Cut {
    /// In one answer.
    Whole,
    /// In chunks, which are remembered.
    Chunks { size: u64, parts: Parts, left: AtomicUsize },
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<File>>,
    follower: Option<Follower>,
    /// Chunks that an earlier run left, for the follower.
    there: Vec<usize>,
    tries: usize,
}

/// What has become of a file when one more of its chunks is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// More has to come.
    Open,
    /// It has its name.
    InPlace,
    /// It did not add up, and all of its chunks have to come again.
    Again,
}

impl Job {
    /// A file that comes in one answer.
    #[must_use]
    pub fn whole(object: Object, checksums: Vec<Checksum>, partial: PathBuf, target: PathBuf) -> Self {
        Self { object, checksums, partial, target, cut: Cut::Whole, state: Mutex::default() }
    }

    /// A file of `size` bytes that comes in chunks, of which `sums` tells those that are there.
    #[must_use]
    pub fn in_chunks(
        object: Object,
        checksums: Vec<Checksum>,
        (partial, target): (PathBuf, PathBuf),
        size: u64,
        (parts, sums): (Parts, &[Option<u64>]),
    ) -> Self {
        let there: Vec<usize> = (0..).zip(sums).filter_map(|(index, sum)| sum.map(|_| index)).collect();
        let left = AtomicUsize::new(sums.len() - there.len());
        let state = Mutex::new(State { there, ..State::default() });
        Self { object, checksums, partial, target, cut: Cut::Chunks { size, parts, left }, state }
    }

    /// Forgets what an earlier run left of it: its file is going to be written over.
    ///
    /// # Errors
    ///
    /// When the records can't be cut.
    pub fn forget(&self) -> Result<(), Failure> {
        let Cut::Chunks { size, parts, left } = &self.cut else { return Ok(()) };
        parts.forget().map_err(|error| Failure::local(error, "forget the parts of", &self.partial))?;
        left.store(chunk::count(*size), Ordering::Release);
        self.state.lock().unwrap_or_else(PoisonError::into_inner).there.clear();
        Ok(())
    }

    /// The chunks that have to come.
    #[must_use]
    pub fn missing(&self) -> Vec<usize> {
        match &self.cut {
            Cut::Whole => vec![0],
            Cut::Chunks { size, .. } => {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                (0..chunk::count(*size)).filter(|index| state.there.binary_search(index).is_err()).collect()
            }
        }
    }

    /// The bytes of a chunk; `None` for the whole object, however long it is.
    #[must_use]
    pub fn span(&self, index: usize) -> Option<Span> {
        match &self.cut {
            Cut::Whole => None,
            Cut::Chunks { size, .. } => Some(chunk::span(index, *size)),
        }
    }

    /// The file that it grows in, opened by who comes first.
    ///
    /// # Errors
    ///
    /// When it can't be opened, or the disk has no room for it.
    pub fn file(&self) -> Result<Arc<File>, Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &state.file {
            return Ok(Arc::clone(file));
        }
        let length = match &self.cut {
            Cut::Whole => 0,
            Cut::Chunks { size, .. } => *size,
        };
        let file = disk::open(&self.partial, length).map_err(|error| Failure::local(error, "make", &self.partial))?;
        let file = Arc::new(file);
        state.file = Some(Arc::clone(&file));
        let verifier = Verifier::new(&self.checksums);
        if let Cut::Chunks { size, .. } = &self.cut
            && verifier.is_needed()
        {
            let name = self.object.name().to_owned();
            let follower = Follower::start(Arc::clone(&file), self.partial.clone(), *size, verifier, name);
            state.there.iter().for_each(|index| follower.arrived(*index));
            state.follower = Some(follower);
        }
        Ok(file)
    }

    /// A chunk is on disk and adds up to `sum`. With the last one the file gets its name, if it is what it should be.
    ///
    /// # Errors
    ///
    /// When it is not, or the disk does not take it.
    pub async fn arrived(&self, index: usize, sum: u64) -> Result<Outcome, Failure> {
        let Cut::Chunks { parts, left, .. } = &self.cut else { return self.finish().await };
        parts.mark(index, sum).map_err(|error| Failure::local(error, "remember the parts of", &self.partial))?;
        if let Some(follower) = &self.state.lock().unwrap_or_else(PoisonError::into_inner).follower {
            follower.arrived(index);
        }
        if left.fetch_sub(1, Ordering::AcqRel) > 1 { Ok(Outcome::Open) } else { self.finish().await }
    }

    /// Gives a file its name whose chunks are all on disk, if it is what it should be.
    ///
    /// # Errors
    ///
    /// When it is not, again and again, or the disk does not take it.
    pub async fn finish(&self) -> Result<Outcome, Failure> {
        self.file()?;
        let follower = self.state.lock().unwrap_or_else(PoisonError::into_inner).follower.take();
        let verdict = match follower {
            Some(follower) => follower.verdict().await,
            None => Ok(()),
        };
        match (verdict, &self.cut) {
            (Ok(()), _) => {
                self.state.lock().unwrap_or_else(PoisonError::into_inner).file = None;
                let put = fs::rename(&self.partial, &self.target);
                put.map_err(|error| Failure::local(error, "put in place", &self.target))?;
                Ok(Outcome::InPlace)
            }
            (Err(failure), Cut::Chunks { size, parts, left }) if failure.reason == Reason::ArtifactChecksumMismatch => {
                // No chunk of it can be trusted, now or in a later run.
                parts.forget().map_err(|error| Failure::local(error, "forget the parts of", &self.partial))?;
                left.store(chunk::count(*size), Ordering::Release);
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let tries = state.tries + 1;
                *state = State { tries, ..State::default() };
                if tries >= TRIES {
                    return Err(failure);
                }
                tracing::warn!("{}; fetching it again", failure.sentence());
                Ok(Outcome::Again)
            }
            (Err(failure), _) => Err(failure),
        }
    }
}
