//! Connections to instances. Each serving thread keeps its own, and whoever uses a connection drives it: no task, no
//! channel and no wake-up between a request and its socket.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::RequestBody;

/// How long an unused connection is kept. Below the two seconds after which gunicorn closes its side: a request that
/// meets a closing connection on the way can't be sent again.
const IDLE: Duration = Duration::from_secs(1);
/// The longest that connecting may take, however patient the request. An instance on a lost node does not even refuse.
const CONNECT: Duration = Duration::from_secs(2);

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

/// An open connection to an instance, for one request at a time.
pub struct Upstream {
    address: SocketAddr,
    sender: SendRequest<RequestBody>,
    /// None once it has ended.
    connection: Option<Box<Connection<TokioIo<TcpStream>, RequestBody>>>,
}

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
    pub async fn connect(address: SocketAddr, patience: Duration) -> Result<Self, ConnectError> {
        let patience = patience.min(CONNECT);
        let connect = |source| ConnectError::Connect { address, source };
        let stream = tokio::time::timeout(patience, TcpStream::connect(address));
        let stream = stream.await.map_err(|_| ConnectError::Timeout { address, patience })?.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        let handshake = Builder::new().handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|source| ConnectError::Handshake { address, source })?;
        Ok(Self { address, sender, connection: Some(Box::new(connection)) })
    }

    /// Lets the connection work.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection.as_mut()).poll(context).is_ready()
        {
            // Whoever waits for an answer on it is told by hyper.
            self.connection = None;
        }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// When the connection breaks before; with the request, when nothing of it was sent.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        let mut response = std::pin::pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        std::future::poll_fn(|context| {
            if let Some(open) = connection
                && Pin::new(open.as_mut()).poll(context).is_ready()
            {
                *connection = None;
            }
            response.as_mut().poll(context)
        })
        .await
    }

    /// Whether a next request can be sent.
    fn is_usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }
}

/// Unused connections of one thread.
#[derive(Debug, Default)]
pub struct Pool {
    /// By address, the one used last on top. The lock is never waited for: a pool belongs to a thread.
    unused: Mutex<HashMap<SocketAddr, Vec<(Instant, Upstream)>>>,
}

impl Pool {
    /// An unused connection that is still open, so far as can be known.
    #[must_use]
    pub fn take(&self, address: SocketAddr) -> Option<Upstream> {
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
        if upstream.is_usable() {
            self.unused().entry(upstream.address).or_default().push((Instant::now(), upstream));
        }
    }

    /// Closes connections that were not used for some time.
    pub fn sweep(&self) {
        self.unused().retain(|_, stack| {
            stack.retain(|(since, _)| since.elapsed() < IDLE);
            !stack.is_empty()
        });
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
}
