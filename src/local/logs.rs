//! What instances have written: the server's log as the engine keeps it, the storage initializer's as a file.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::time::Duration;

use bollard::query_parameters::LogsOptionsBuilder;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use hyper::body::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::engine::{self, Engine};
use super::instance::container::PREVIOUS;

/// Time between two looks at a file that is followed.
const PERIOD: Duration = Duration::from_millis(200);
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// How much of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Lines from the end.
    pub lines: u64,
    /// Whether what is written from now on comes too, until the container ends.
    pub follow: bool,
    /// Whether it is that of the container before the last restart.
    pub previous: bool,
    /// Whether each line begins with its time; those of the storage initializer always do.
    pub timestamps: bool,
}

/// Why a log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no such container.
    #[error("{instance} has no such log; it has not been started yet, or was not started again")]
    None {
        /// The instance.
        instance: String,
    },
    /// The engine does not give it.
    #[error("the container engine does not give the log of {instance}: {words}")]
    Engine {
        /// The instance.
        instance: String,
        /// What it said.
        words: String,
    },
    /// The file can't be read.
    #[error("reading {} failed", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// A log, piece by piece.
pub type Pieces = BoxStream<'static, Result<Bytes, LogError>>;

/// The log of the inference server of an instance.
#[must_use]
pub fn of_server(engine: &Engine, instance: &str, extent: Extent) -> Pieces {
    let name = if extent.previous { format!("{instance}{PREVIOUS}") } else { instance.to_owned() };
    let options = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .follow(extent.follow && !extent.previous)
        .timestamps(extent.timestamps)
        .tail(&extent.lines.to_string())
        .build();
    let (engine, instance) = (engine.clone(), instance.to_owned());
    let pieces = async_stream(move || engine.api.logs(&name, Some(options)).boxed());
    pieces
        .map_ok(bollard::container::LogOutput::into_bytes)
        .map_err(move |error| match engine::status(&error) {
            Some(404) => LogError::None { instance: instance.clone() },
            _ => LogError::Engine { instance: instance.clone(), words: engine::words(&error) },
        })
        .boxed()
}

/// A stream that is made when it is first asked, so that it owns what it is made from.
fn async_stream<T>(make: impl FnOnce() -> BoxStream<'static, T> + Send + 'static) -> impl futures::Stream<Item = T> {
    futures::stream::once(async move { make() }).flatten()
}

/// The log of the storage initializer.
#[must_use]
pub fn of_file(path: PathBuf, extent: Extent) -> Pieces {
    let failed = |path: &PathBuf| {
        let path = path.clone();
        move |source| LogError::File { path, source }
    };
    let first = {
        let path = path.clone();
        async move {
            let mut text = Vec::new();
            let mut file = match File::open(&path).await {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Bytes::new(), 0)),
                Err(error) => return Err(failed(&path)(error)),
            };
            file.read_to_end(&mut text).await.map_err(failed(&path))?;
            let read = text.len() as u64;
            Ok((last_lines(&text.into(), extent.lines), read))
        }
    };
    let rest = move |read: u64| {
        futures::stream::try_unfold((path, read), move |(path, mut read)| async move {
            loop {
                tokio::time::sleep(PERIOD).await;
                let Ok(mut file) = File::open(&path).await else { continue };
                let length = file.metadata().await.map_err(failed(&path))?.len();
                // It was begun anew.
                read = if length < read { 0 } else { read };
                if length == read {
                    continue;
                }
                file.seek(SeekFrom::Start(read)).await.map_err(failed(&path))?;
                let mut chunk = vec![0; CHUNK];
                let count = file.read(&mut chunk).await.map_err(failed(&path))?;
                chunk.truncate(count);
                return Ok(Some((Bytes::from(chunk), (path, read + count as u64))));
            }
        })
    };
    let all = async move {
        let (text, read) = first.await?;
        let follows = extent.follow.then(|| rest(read));
        Ok(futures::stream::once(async move { Ok(text) }).chain(futures::stream::iter(follows).flatten()))
    };
    futures::stream::once(all).try_flatten().boxed()
}

/// The last `lines` of a text.
fn last_lines(text: &Bytes, lines: u64) -> Bytes {
    if lines == 0 {
        return Bytes::new();
    }
    let end = text.len() - usize::from(text.ends_with(b"\n"));
    let breaks = text.iter().take(end).enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let start = breaks.map(|(at, _)| at + 1).nth(usize::try_from(lines - 1).unwrap_or(usize::MAX));
    text.slice(start.unwrap_or(0)..)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_last_lines_are_whole() {
        let last = |text: &'static str, lines| String::from_utf8(last_lines(&text.into(), lines).to_vec()).unwrap();
        assert_eq!(last("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(last("a\nb\nc", 2), "b\nc");
        assert_eq!(last("a\nb\n", 9), "a\nb\n");
        assert_eq!(last("a\n", 0), "");
    }

    #[tokio::test]
    async fn a_file_is_followed_from_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "a\nb\n").unwrap();
        let extent = Extent { lines: 1, follow: true, previous: false, timestamps: false };
        let mut pieces = of_file(path.clone(), extent);
        assert_eq!(pieces.next().await.unwrap().unwrap(), "b\n");
        std::fs::File::options().append(true).open(&path).unwrap().write_all(b"c\n").unwrap();
        assert_eq!(pieces.next().await.unwrap().unwrap(), "c\n");
        let whole = of_file(path, Extent { follow: false, ..extent }).try_collect::<Vec<_>>().await.unwrap();
        assert_eq!(whole.concat(), b"c\n");
    }
}
