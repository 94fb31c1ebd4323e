//! Sockets and the threads behind them: one single-threaded runtime for each, sharing the port.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Gateway;
use super::phase;
use super::upstream::Pool;

/// How long a connection may be idle, and how long the head of a request may take. Longer than the callers' own
/// pools keep one (mostly 60 seconds), or else they would meet a closing connection.
const IDLE: Duration = Duration::from_secs(90);
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// Pause after a failed accept, so that a shortage of descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds `count` sockets to one address, among which the kernel shares the connections.
///
/// # Errors
/// When the address can't be had, also because another process has it.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpListener>> {
    // Sharing a port works between processes too, without a word. A socket that does not share finds that out.
    let alone = std::net::TcpListener::bind(address)?;
    let address = alone.local_addr()?;
    drop(alone);
    (0..count)
        .map(|_| {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            socket.set_reuseport(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)?.into_std()
        })
        .collect()
}

/// Serves on `listener` until `close`, then finishes what is in flight within `drain`.
pub fn serve(listener: std::net::TcpListener, gateway: &Arc<Gateway>, close: &CancellationToken, drain: Duration) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "starting the runtime of a serving thread failed");
            return;
        }
    };
    runtime.block_on(async {
        match TcpListener::from_std(listener) {
            Ok(listener) => accept(listener, gateway, close, drain).await,
            Err(error) => tracing::error!(%error, "taking over a listening socket failed"),
        }
    });
}

async fn accept(listener: TcpListener, gateway: &Arc<Gateway>, close: &CancellationToken, drain: Duration) {
    let pool = Arc::new(Pool::default());
    let sweeper = Arc::clone(&pool);
    tokio::spawn(async move { sweeper.keep_swept().await });
    let connections = TaskTracker::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(gateway), Arc::clone(&pool), close.child_token()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = close.cancelled() => break,
        }
    }
    // Whoever is connected already but not accepted would be reset.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        connections.spawn(connection(stream, Arc::clone(gateway), Arc::clone(&pool), close.child_token()));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), after = ?drain, "requests were still in flight; breaking them off");
    }
}

async fn connection(stream: TcpStream, gateway: Arc<Gateway>, pool: Arc<Pool>, close: CancellationToken) {
    // Most of the memory of a connection comes with its first byte.
    let mut first = [0];
    tokio::select! {
        spoken = tokio::time::timeout(IDLE, stream.peek(&mut first)) => if !matches!(spoken, Ok(Ok(1..))) { return },
        () = close.cancelled() => if !matches!(stream.peek(&mut [0]).now_or_never(), Some(Ok(1..))) { return },
    }
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request| {
        // On the heap, so that an idle connection does not hold the room of a request.
        let answer = Box::pin(phase::score(Arc::clone(&gateway), Arc::clone(&pool), request));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = close.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
