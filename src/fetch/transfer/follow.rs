//! Adds up a file while its chunks arrive in any order: reads what has no gap before it, so that the sum is there soon
//! after the last byte.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::chunk;
use crate::catalogue::Reason;
use crate::fetch::failure::Failure;
use crate::fetch::verify::Verifier;

/// Bytes that are read at a time.
const BUFFER: usize = 256 << 10;

/// Follows one file.
#[derive(Debug)]
pub struct Follower {
    done: UnboundedSender<usize>,
    verdict: JoinHandle<Result<(), Failure>>,
}

impl Follower {
    /// Starts to follow `file`, which is at `path` and will have `size` bytes.
    #[must_use]
    pub fn start(file: Arc<File>, path: PathBuf, size: u64, verifier: Verifier, name: String) -> Self {
        let (done, chunks) = unbounded_channel();
        let verdict = tokio::task::spawn_blocking(move || follow(&file, &path, size, verifier, &name, chunks));
        Self { done, verdict }
    }

    /// Tells it that a chunk is on disk.
    pub fn arrived(&self, index: usize) {
        // It ends early only when it can't read, and says so in its verdict.
        let _ = self.done.send(index);
    }

    /// Its verdict, once all chunks are there.
    ///
    /// # Errors
    ///
    /// When the file is not what it should be, or can't be read.
    pub async fn verdict(self) -> Result<(), Failure> {
        drop(self.done);
        let ended =
            |error| Failure::new(Reason::ArtifactVolumeUnavailable, "the check of a file ended").caused_by(error);
        self.verdict.await.map_err(ended)?
    }
}

fn follow(
    file: &File,
    path: &Path,
    size: u64,
    mut verifier: Verifier,
    name: &str,
    mut chunks: UnboundedReceiver<usize>,
) -> Result<(), Failure> {
    let mut buffer = vec![0; BUFFER];
    let (mut early, mut next, count) = (BTreeSet::new(), 0, chunk::count(size));
    while next < count {
        if !early.remove(&next) {
            match chunks.blocking_recv() {
                Some(index) => early.insert(index),
                // Nobody waits for the verdict any more.
                None => return Ok(()),
            };
            continue;
        }
        let span = chunk::span(next, size);
        let mut at = span.start;
        while at < span.end {
            let length = usize::try_from(span.end - at).unwrap_or(BUFFER).min(BUFFER);
            let Some(piece) = buffer.get_mut(..length) else { break };
            file.read_exact_at(piece, at).map_err(|error| Failure::local(error, "read", path))?;
            verifier.see(piece);
            at += length as u64;
        }
        next += 1;
    }
    verifier.judge(name)
}
