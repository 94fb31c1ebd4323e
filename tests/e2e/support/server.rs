//! HTTP servers of the tests, plain or TLS. One ends with its owner, and so do its connections.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::waits::DEADLINE;

pub type Body = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

pub struct Server {
    pub address: SocketAddr,
    asked: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers each request with what `answer` makes of it.
    pub fn start<F>(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let (count, asked) = watch::channel(0);
        let answer = Arc::new(move |request| {
            count.send_modify(|count| *count += 1);
            answer(request)
        });
        let task = tokio::spawn(async move {
            // Ends with this task, and so do the connections in it.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, answer) = (tls.clone(), Arc::clone(&answer));
                connections.spawn(async move {
                    match tls {
                        None => converse(stream, answer).await,
                        Some(tls) => {
                            // A client that does not like our certificate is no fault of a test.
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, answer).await;
                            }
                        }
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, asked, task }
    }

    /// Waits until it has been asked for something since the start.
    pub async fn asked(&self) {
        let mut asked = self.asked.clone();
        let wait = tokio::time::timeout(DEADLINE, asked.wait_for(|count| *count > 0)).await;
        assert!(wait.is_ok(), "nobody asked {}", self.address);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse<S, F>(stream: S, answer: Arc<impl Fn(Request<Incoming>) -> F>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<Body>>,
{
    let service = service_fn(|request| {
        let response = answer(request);
        async { Ok::<_, Infallible>(response.await) }
    });
    // A client may leave when it likes.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
