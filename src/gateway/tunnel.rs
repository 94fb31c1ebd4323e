//! Connections that have become `WebSockets`: bytes go both ways until a side ends.
//!
//! Other upgrades are not offered to instances. `h2c` is the reason: whoever passes it on lets requests through that
//! nobody looks at.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use hyper::http::request::Parts;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::backend::Slot;
use super::record::Record;
use super::upstream::Upstream;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
/// The longest that neither side may say anything; what Envoy allows a stream. `WebSockets` have pings of their own.
const IDLE: Duration = Duration::from_mins(5);
/// Bytes that are on their way in one direction.
const BUFFER: usize = 16 << 10;

/// A caller's wish that its connection become a WebSocket.
#[derive(Debug)]
pub struct Wish(OnUpgrade);

impl Wish {
    /// The wish in a request, if there is one.
    #[must_use]
    pub fn of(parts: &mut Parts, body: &Incoming) -> Option<Self> {
        let asked = parts.version == Version::HTTP_11
            && parts.method == Method::GET
            && body.is_end_stream()
            && is_websocket(&parts.headers);
        if asked { parts.extensions.remove().map(Self) } else { None }
    }

    /// Answers with the tunnel that the instance has agreed to. `slot` and `record` are held until it ends.
    pub fn grant(
        self,
        instance: OnUpgrade,
        upstream: Upstream,
        slot: Slot,
        record: Record,
    ) -> impl Future<Output = ()> {
        let tunnel = async move {
            let (caller, instance) = tokio::try_join!(self.0, instance)?;
            Ok::<_, hyper::Error>((caller, instance))
        };
        async move {
            // The instance's socket is set free by its connection.
            let (joined, ()) = tokio::join!(tunnel, upstream.drive_to_end());
            match joined {
                Ok((caller, instance)) => exchange(caller, instance, record).await,
                Err(error) => tracing::debug!(%error, "a connection broke before it became a WebSocket"),
            }
            drop(slot);
        }
    }
}

/// Whether the headers ask for a WebSocket, or agree to one.
#[must_use]
pub fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
}

/// Says in the headers that the connection is to become a WebSocket.
pub fn mark(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
}

async fn exchange(caller: Upgraded, instance: Upgraded, mut record: Record) {
    let (mut from_caller, mut to_caller) = tokio::io::split(TokioIo::new(caller));
    let (mut from_instance, mut to_instance) = tokio::io::split(TokioIo::new(instance));
    let (received, sent) = (AtomicU64::new(0), AtomicU64::new(0));
    let ended = tokio::try_join!(
        pump(&mut from_caller, &mut to_instance, &received, &sent),
        pump(&mut from_instance, &mut to_caller, &sent, &received),
    );
    record.upload.add(received.load(Ordering::Relaxed));
    record.sent(usize::try_from(sent.load(Ordering::Relaxed)).unwrap_or(usize::MAX));
    match ended {
        Ok(_) => record.complete(),
        Err(error) => tracing::debug!(%error, "a WebSocket broke"),
    }
}

/// Carries bytes one way until the end, and counts them in `moved`. Silence counts only when `back` is silent too.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: &AtomicU64,
    back: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let before = back.load(Ordering::Relaxed);
        let read = match tokio::time::timeout(IDLE, from.read(&mut buffer)).await {
            Ok(read) => read?,
            Err(_) if back.load(Ordering::Relaxed) != before => continue,
            Err(silent) => return Err(silent.into()),
        };
        let Some(bytes @ [_, ..]) = buffer.get(..read) else { return to.shutdown().await };
        tokio::time::timeout(IDLE, to.write_all(bytes)).await??;
        moved.fetch_add(u64::try_from(read).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
