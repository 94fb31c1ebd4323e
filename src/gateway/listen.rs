//! Sockets and the threads behind them: one single-threaded runtime for each, sharing the port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Gateway;
use super::connection;
use super::tls::{self, Tls};
use super::upstream::Pool;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// Bytes of an answer that the system keeps beyond what is on its way to the caller. Without this it is up to 4 MiB for
/// each caller that reads slowly, which counts as memory of the container.
const UNSENT: u32 = 128 << 10;
/// Pause after a failed accept, so that a shortage of descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds `count` sockets to one address, among which the kernel shares the connections, and tells the address.
///
/// # Errors
/// When the address can't be had, also because another process has it.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<(Vec<std::net::TcpListener>, SocketAddr)> {
    // Sharing a port works between processes too, without a word. A socket that does not share finds that out.
    let alone = std::net::TcpListener::bind(address)?;
    let address = alone.local_addr()?;
    drop(alone);
    let sockets = (0..count)
        .map(|_| {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            socket.set_reuseport(true)?;
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG)?.into_std()?;
            // What is accepted inherits it.
            SockRef::from(&listener).set_tcp_notsent_lowat(UNSENT)?;
            Ok(listener)
        })
        .collect::<io::Result<_>>()?;
    Ok((sockets, address))
}

/// Where callers come in.
pub struct Doors {
    /// Without TLS.
    pub plain: std::net::TcpListener,
    /// With TLS, when there is a certificate.
    pub secure: Option<(std::net::TcpListener, Tls)>,
}

/// Serves at the `doors` until `close`, then finishes what is in flight within `drain`.
pub fn serve(doors: Doors, gateway: &Arc<Gateway>, close: &CancellationToken, drain: Duration) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "starting the runtime of a serving thread failed");
            return;
        }
    };
    runtime.block_on(accept(doors, gateway, close, drain));
}

async fn accept(doors: Doors, gateway: &Arc<Gateway>, close: &CancellationToken, drain: Duration) {
    let pool = Arc::new(Pool::default());
    let sweeper = Arc::clone(&pool);
    tokio::spawn(async move { sweeper.keep_swept().await });
    let connections = &pool.callers;
    let shared = || (Arc::clone(gateway), Arc::clone(&pool), close.child_token());
    let plain = accept_at(doors.plain, close, |stream| {
        let (gateway, pool, close) = shared();
        connections.spawn(connection::of_caller(stream, gateway, pool, close));
    });
    let secure = async {
        let Some((listener, tls)) = doors.secure else { return };
        let serve = |stream| {
            let (gateway, pool, close) = shared();
            connections.spawn(tls::of_caller(stream, tls.clone(), gateway, pool, close));
        };
        accept_at(listener, close, serve).await;
    };
    tokio::join!(plain, secure);
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), after = ?drain, "requests were still in flight; breaking them off");
    }
}

/// Hands each connection to `serve`, until `close`.
async fn accept_at(listener: std::net::TcpListener, close: &CancellationToken, serve: impl Fn(TcpStream)) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "taking over a listening socket failed");
            return;
        }
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => serve(stream),
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
        serve(stream);
    }
}
