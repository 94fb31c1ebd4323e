//! Sockets and the threads behind them: one single-threaded runtime for each, sharing the port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use super::Gateway;
use super::connection;
use super::upstream::Pool;

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
    let connections = &pool.callers;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection::of_caller(stream, Arc::clone(gateway), Arc::clone(&pool), close.child_token()));
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
        connections.spawn(connection::of_caller(stream, Arc::clone(gateway), Arc::clone(&pool), close.child_token()));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), after = ?drain, "requests were still in flight; breaking them off");
    }
}
