//! Files of this machine on their way to a store, and how far they are. All words on standard error.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc::{Sender, channel};

use super::error::{Cause, CliError};
use super::parcel::{Meter, Parcel};
use super::store::{Pieces, Store};
use super::talk::say;
use crate::api::size::size;

/// Bytes of a piece, and pieces that wait for the store.
const PIECE: usize = 1 << 20;
const WAITING: usize = 8;
/// How often a pipe is told how far it is.
const PAUSE: Duration = Duration::from_secs(10);
/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(120);

/// A parcel and where it goes.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) store: Store,
    pub(super) parcel: Parcel,
    /// Where it will be.
    pub(super) uri: String,
}

/// Uploads what is not there yet.
pub(super) async fn all(uploads: &[Upload]) -> Result<(), CliError> {
    for (index, upload) in uploads.iter().enumerate() {
        // Two deployments of a file may have the same model.
        if uploads.iter().take(index).all(|earlier| earlier.uri != upload.uri) {
            one(upload).await?;
        }
    }
    Ok(())
}

async fn one(upload: &Upload) -> Result<(), CliError> {
    let Upload { store, parcel, uri } = upload;
    let (kind, path) = (parcel.kind.as_str(), parcel.path.display());
    let failed = |source: Cause| CliError::Upload {
        what: format!("{kind} {path}"),
        store: store.to_string(),
        advice: store.advice(),
        source,
    };
    let door = store.open().await.map_err(failed)?;
    if door.has(parcel).await.map_err(failed)? {
        say!("{kind} {path} is in the store already, as {uri}");
        return Ok(());
    }
    let begun = Instant::now();
    let (sender, pieces) = channel(WAITING);
    let packed = parcel.clone();
    let packing = tokio::task::spawn_blocking(move || pack(&packed, &sender));
    let mut face = Face::of(parcel, uri);
    let put = door.put(parcel, watched(pieces, move |bytes| face.see(bytes))).await;
    // It ends when nobody takes its pieces any more.
    let end = packing.await;
    put.map_err(failed)?;
    end.map_err(|error| failed(error.into()))?;
    say!("{kind} {path} is uploaded, {} in {} s, as {uri}", size(parcel.bytes), begun.elapsed().as_secs());
    Ok(())
}

/// Packs once more, into the channel. An error is its last piece.
fn pack(parcel: &Parcel, sender: &Sender<io::Result<Bytes>>) {
    let mut meter = Meter::new(Pipe { sender, piece: BytesMut::with_capacity(PIECE) });
    let packed = parcel.write(&mut meter, &mut |_| {}).and_then(|()| meter.flush());
    let packed = packed.and_then(|()| {
        let (sha256, _) = meter.end();
        if sha256 == parcel.sha256 { Ok(()) } else { Err(changed(parcel)) }
    });
    if let Err(error) = packed {
        // Whoever takes no pieces knows why.
        let _ = sender.blocking_send(Err(error));
    }
}

fn changed(parcel: &Parcel) -> io::Error {
    let path = parcel.path.display();
    io::Error::other(format!("{path} was changed while it was uploaded; try again once nobody writes there"))
}

/// The writing end of a channel, for a thread that may block.
struct Pipe<'a> {
    sender: &'a Sender<io::Result<Bytes>>,
    piece: BytesMut,
}

impl Write for Pipe<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let room = PIECE.saturating_sub(self.piece.len());
        let taken = buffer.get(..buffer.len().min(room)).unwrap_or_default();
        self.piece.extend_from_slice(taken);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split().freeze();
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

/// The same pieces, with `see` told the bytes of each.
fn watched(mut pieces: Pieces, mut see: impl FnMut(u64) + Send + 'static) -> Pieces {
    let (sender, watched) = channel(1);
    tokio::spawn(async move {
        while let Some(piece) = pieces.recv().await {
            see(piece.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or_default()));
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    watched
}

/// How far an upload is: a bar on a terminal, else a line now and then.
struct Face {
    bar: Option<ProgressBar>,
    begun: Instant,
    told: Instant,
    done: u64,
    total: u64,
}

impl Face {
    fn of(parcel: &Parcel, uri: &str) -> Self {
        let (kind, path) = (parcel.kind.as_str(), parcel.path.display());
        say!("{kind} {path}, {}, is uploaded to {uri}", size(parcel.bytes));
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(parcel.bytes), ProgressDrawTarget::stderr());
            bar.set_style(style(
                "{spinner} {bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
            ));
            bar.enable_steady_tick(TURN);
            bar
        });
        let now = Instant::now();
        Self { bar, begun: now, told: now, done: 0, total: parcel.bytes }
    }

    fn see(&mut self, bytes: u64) {
        self.done += bytes;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        } else if self.told.elapsed() >= PAUSE {
            self.told = Instant::now();
            let milliseconds = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
            say!("{}", line(self.done, self.total, milliseconds));
        }
    }
}

impl Drop for Face {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `  10s  1.2 GiB of 4.0 GiB, 23 s left, 122.8 MiB/s`.
fn line(done: u64, total: u64, milliseconds: u64) -> String {
    let rate = done.saturating_mul(1000) / milliseconds;
    let left = total.saturating_sub(done).checked_div(rate).map(|seconds| format!("{seconds} s left, "));
    let seconds = milliseconds / 1000;
    format!("{seconds:>4}s  {} of {}, {}{}/s", size(done), size(total), left.unwrap_or_default(), size(rate))
}

/// What is shown while a path is packed for its digest; only on a terminal.
pub(super) struct Packing {
    bar: Option<ProgressBar>,
    done: u64,
}

impl Packing {
    pub(super) fn of(path: &str) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style("{spinner} {msg}: {binary_bytes} read, {binary_bytes_per_sec}"));
            bar.set_message(path.to_owned());
            bar.enable_steady_tick(TURN);
            bar
        });
        Self { bar, done: 0 }
    }

    pub(super) fn see(&mut self, bytes: u64) {
        self.done += bytes;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }
}

impl Drop for Packing {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A template of ours, which is sound.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::artifact::ArtifactKind;
    use crate::cli::azure::LocalPath;

    #[test]
    fn the_templates_are_sound() {
        for template in [
            "{spinner} {bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
            "{spinner} {msg}: {binary_bytes} read, {binary_bytes_per_sec}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    #[test]
    fn a_line_says_how_far_it_is() {
        assert_eq!(line(1 << 30, 3 << 30, 10_000), "  10s  1.0 GiB of 3.0 GiB, 20 s left, 102.3 MiB/s");
        assert_eq!(line(0, 10, 12_000), "  12s  0 B of 10 B, 0 B/s");
    }

    #[tokio::test]
    async fn what_changes_while_it_is_uploaded_does_not_end_well() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("model");
        std::fs::write(&path, "before").unwrap();
        let local = LocalPath {
            deployment: String::new(),
            kind: ArtifactKind::Model,
            field: String::new(),
            path: path.display().to_string(),
        };
        let parcel = Arc::new(Parcel::of(&local, &mut |_| {}).unwrap());
        for (content, words) in [("before", None), ("after!", Some("was changed")), ("gone", Some("became shorter"))] {
            std::fs::write(&path, content).unwrap();
            let (sender, mut pieces) = channel(WAITING);
            let packed = Arc::clone(&parcel);
            tokio::task::spawn_blocking(move || pack(&packed, &sender)).await.unwrap();
            let mut last = None;
            while let Some(piece) = pieces.recv().await {
                last = Some(piece);
            }
            match (last.unwrap(), words) {
                (Ok(piece), None) => assert_eq!(piece, content),
                (Err(error), Some(words)) => assert!(error.to_string().contains(words), "{error}"),
                (last, _) => panic!("{content}: {last:?}"),
            }
        }
    }
}
