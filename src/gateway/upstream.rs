//! Connections to instances. Each serving thread keeps its own, and whoever uses a connection drives it: no task, no
//! channel and no wake-up between a request and its socket.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use super::body::RequestBody;
use super::bounded::{Allowance, Bounded};
use super::protocol::Protocol;

/// How long an unused connection is kept. Below the two seconds after which gunicorn closes its side: a request that
/// meets a closing connection on the way can't be sent again.
const IDLE: Duration = Duration::from_secs(1);
/// The longest head of an answer in HTTP/1, in bytes, and what is read ahead of its body: what each answer that waits for
/// a slow caller costs in memory.
const BUFFER: usize = 32 << 10;
/// The longest that connecting may take, however patient the request. An instance on a lost node does not even refuse.
const CONNECT: Duration = Duration::from_secs(2);
/// Bytes of one answer of HTTP/2 that may be under way unread. All of a connection may be as many as if 64 callers
/// were slow at once, so that a few of them hold up nobody else.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 64 * STREAM_WINDOW;
/// Pause between the pings that find out whether an instance with open requests is still there, and the longest for an
/// answer.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(10);

/// Why there is no connection to an instance.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Refused, or no way there.
    #[error("connecting to {address} failed")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// Nobody answered.
    #[error("connecting to {address} took longer than {patience:?}")]
    Timeout {
        /// Where to.
        address: SocketAddr,
        /// The longest that it might take.
        patience: Duration,
    },
    /// The connection can't be used.
    #[error("starting HTTP on the connection to {address} failed")]
    Handshake {
        /// Where to.
        address: SocketAddr,
        /// The cause.
        source: hyper::Error,
    },
}

/// A way to an instance, for one request at a time.
pub struct Upstream {
    address: SocketAddr,
    link: Link,
}

enum Link {
    /// A connection of its own.
    Http1 {
        sender: http1::SendRequest<RequestBody>,
        /// None once it has ended.
        connection: Option<Driver>,
        allowance: Allowance,
    },
    /// A place on a connection that all requests of the thread share, driven by a task.
    Http2(http2::SendRequest<RequestBody>),
}

/// A connection of HTTP/1, which moves only while it is polled. hyper does not let its type be named.
type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

impl fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Upstream").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Upstream {
    /// Opens a connection within `patience`, or two seconds if that is less.
    ///
    /// # Errors
    /// When the instance refuses or does not answer.
    pub async fn connect(address: SocketAddr, protocol: Protocol, patience: Duration) -> Result<Self, ConnectError> {
        let patience = patience.min(CONNECT);
        let connect = |source| ConnectError::Connect { address, source };
        let stream = tokio::time::timeout(patience, TcpStream::connect(address));
        let stream = stream.await.map_err(|_| ConnectError::Timeout { address, patience })?.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        let handshake = |source| ConnectError::Handshake { address, source };
        let link = match protocol {
            Protocol::Http1 => {
                let (stream, allowance) = Bounded::new(stream);
                let (sender, connection) = http1::Builder::new()
                    .max_buf_size(BUFFER)
                    .handshake(TokioIo::new(stream))
                    .await
                    .map_err(handshake)?;
                Link::Http1 { sender, connection: Some(Box::pin(connection.with_upgrades())), allowance }
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .keep_alive_interval(PING)
                    .keep_alive_timeout(PONG)
                    .handshake(TokioIo::new(stream))
                    .await
                    .map_err(handshake)?;
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%address, %error, "a connection to an instance broke");
                    }
                });
                Link::Http2(sender)
            }
        };
        Ok(Self { address, link })
    }

    /// Lets the connection work.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        if let Link::Http1 { connection, .. } = &mut self.link {
            poll(connection, context);
        }
    }

    /// Lets the connection work until it ends, which is also when its socket has become a tunnel.
    pub async fn drive_to_end(mut self) {
        std::future::poll_fn(|context| {
            self.drive(context);
            match &self.link {
                Link::Http1 { connection: Some(_), .. } => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await;
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// When the connection breaks before; with the request, when nothing of it was sent.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match &mut self.link {
            Link::Http1 { sender, connection, allowance } => {
                allowance.head();
                let mut response = std::pin::pin!(sender.try_send_request(request));
                let answer = std::future::poll_fn(|context| {
                    poll(connection, context);
                    response.as_mut().poll(context)
                });
                let answer = answer.await;
                allowance.body();
                answer
            }
            Link::Http2(sender) => sender.try_send_request(request).await,
        }
    }

    /// Whether a next request can be sent.
    fn is_usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        match &self.link {
            Link::Http1 { sender, connection, .. } => connection.is_some() && sender.is_ready(),
            Link::Http2(sender) => !sender.is_closed(),
        }
    }
}

/// Lets the connection work, if there is one. Whoever waits for an answer on it is told of its end by hyper.
fn poll(connection: &mut Option<Driver>, context: &mut Context<'_>) {
    if let Some(open) = connection
        && open.as_mut().poll(context).is_ready()
    {
        *connection = None;
    }
}

/// The connections of one thread.
#[derive(Default)]
pub struct Pool {
    /// Those to instances of HTTP/1 that nobody uses now, by address, the one used last on top. The lock is never
    /// waited for: a pool belongs to a thread.
    unused: Mutex<HashMap<SocketAddr, Vec<(Instant, Upstream)>>>,
    /// Those to instances of HTTP/2.
    shared: Mutex<HashMap<SocketAddr, http2::SendRequest<RequestBody>>>,
    /// The callers' connections, and what has become of them. Their end is waited for before the thread ends.
    pub callers: TaskTracker,
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pool").field("unused", &self.unused).finish_non_exhaustive()
    }
}

impl Pool {
    /// A connection that is open so far as can be known, and free for a request.
    #[must_use]
    pub fn take(&self, address: SocketAddr, protocol: Protocol) -> Option<Upstream> {
        if protocol == Protocol::Http2 {
            let sender = self.shared().get(&address).filter(|sender| !sender.is_closed())?.clone();
            return Some(Upstream { address, link: Link::Http2(sender) });
        }
        let mut unused = self.unused();
        let stack = unused.get_mut(&address)?;
        while let Some((since, mut upstream)) = stack.pop() {
            if since.elapsed() < IDLE && upstream.is_usable() {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection for a next request, if it is good for one.
    pub fn put(&self, mut upstream: Upstream) {
        // One of HTTP/2 is in other hands as well.
        if matches!(upstream.link, Link::Http1 { .. }) && upstream.is_usable() {
            self.unused().entry(upstream.address).or_default().push((Instant::now(), upstream));
        }
    }

    /// Lets other requests use a new connection too, if it is one of HTTP/2.
    pub fn share(&self, upstream: &Upstream) {
        if let Link::Http2(sender) = &upstream.link {
            self.shared().insert(upstream.address, sender.clone());
        }
    }

    /// Closes connections that were not used for some time.
    pub fn sweep(&self) {
        self.unused().retain(|_, stack| {
            stack.retain(|(since, _)| since.elapsed() < IDLE);
            !stack.is_empty()
        });
        self.shared().retain(|_, sender| !sender.is_closed());
    }

    /// Sweeps for ever.
    pub async fn keep_swept(&self) {
        let mut ticks = tokio::time::interval(IDLE);
        loop {
            ticks.tick().await;
            self.sweep();
        }
    }

    fn unused(&self) -> MutexGuard<'_, HashMap<SocketAddr, Vec<(Instant, Upstream)>>> {
        self.unused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> MutexGuard<'_, HashMap<SocketAddr, http2::SendRequest<RequestBody>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
