//! Scripted models: real servers that do as a test says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub type Body = BoxBody<Bytes, Infallible>;

/// A model. It stops listening when dropped.
pub struct Model {
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    cancelled: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

/// Counts a request whose connection went before its answer.
struct Cancelled(Option<watch::Sender<usize>>);

impl Cancelled {
    fn answered(&mut self) {
        self.0 = None;
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            sender.send_modify(|count| *count += 1);
        }
    }
}

impl Model {
    /// A model that answers each request with what `answer` makes of it.
    pub async fn start<F>(answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start_speaking(false, answer).await
    }

    /// The same in HTTP/2, or in HTTP/1.
    pub async fn start_speaking<F>(http2: bool, answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), http2, answer)
    }

    fn start_on<F>(
        listener: TcpListener,
        http2: bool,
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let (requests, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (sender, cancelled) = watch::channel(0);
        let answer = Arc::new(move |request| -> BoxFuture<'static, Response<Body>> { Box::pin(answer(request)) });
        let counts = (Arc::clone(&requests), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counts.1.fetch_add(1, Ordering::SeqCst);
                let (answer, requests, sender) = (Arc::clone(&answer), Arc::clone(&counts.0), sender.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        requests.fetch_add(1, Ordering::SeqCst);
                        let mut cancelled = Cancelled(Some(sender.clone()));
                        let answer = answer(request);
                        async move {
                            let response = answer.await;
                            cancelled.answered();
                            Ok::<_, Infallible>(response)
                        }
                    });
                    let stream = TokioIo::new(stream);
                    if http2 {
                        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        let _ = builder.serve_connection(stream, service).await;
                    } else {
                        let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
                    }
                });
            }
        });
        Self { address, requests, connections, cancelled, task }
    }

    /// A model that answers its own name at once.
    pub async fn named(name: &'static str) -> Self {
        Self::named_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), false, name)
    }

    /// The same on a socket of one's own, in HTTP/2 or in HTTP/1.
    pub fn named_on(listener: TcpListener, http2: bool, name: &'static str) -> Self {
        Self::start_on(listener, http2, move |request| async move {
            let _ = request.into_body().collect().await;
            full(name)
        })
    }

    /// A model that answers with what it was asked: method, path and query, headers and body.
    pub async fn inspecting() -> Self {
        Self::inspecting_speaking(false).await
    }

    /// The same in HTTP/2, or in HTTP/1.
    pub async fn inspecting_speaking(http2: bool) -> Self {
        Self::start_speaking(http2, |request| async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let headers: Vec<_> =
                parts.headers.iter().map(|(name, value)| [name.as_str(), value.to_str().unwrap()]).collect();
            let seen = serde_json::json!({
                "method": parts.method.as_str(),
                "version": format!("{:?}", parts.version),
                "path": parts.uri.to_string(),
                "headers": headers,
                "body": String::from_utf8(body.to_vec()).unwrap(),
            });
            full(seen.to_string())
        })
        .await
    }

    /// A model that tells each piece of a body as it arrives.
    pub async fn telling() -> (Self, mpsc::Receiver<Bytes>) {
        let (sender, arrived) = mpsc::channel(16);
        let model = Self::start(move |request| {
            let sender = sender.clone();
            async move {
                let mut body = request.into_body();
                while let Some(Ok(frame)) = body.frame().await {
                    sender.send(frame.into_data().unwrap()).await.unwrap();
                }
                full("done")
            }
        });
        (model.await, arrived)
    }

    /// A model that takes each request and never answers.
    pub async fn silent() -> Self {
        Self::silent_speaking(false).await
    }

    /// The same in HTTP/2, or in HTTP/1.
    pub async fn silent_speaking(http2: bool) -> Self {
        Self::start_speaking(http2, |request| async move {
            // A body that is not asked for stops hyper from reading on, and so from hearing that a caller left.
            let _ = request.into_body().collect().await;
            std::future::pending().await
        })
        .await
    }

    /// A model that answers once it is told to.
    pub async fn held() -> (Self, watch::Sender<bool>) {
        let (finish, finished) = watch::channel(false);
        let model = Self::start(move |_| {
            let mut finished = finished.clone();
            async move {
                finished.wait_for(|finished| *finished).await.unwrap();
                full("late")
            }
        });
        (model.await, finish)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until so many requests were cancelled.
    pub async fn cancelled(&self, count: usize) {
        let mut cancelled = self.cancelled.clone();
        let waited =
            tokio::time::timeout(crate::process::PATIENCE, cancelled.wait_for(|cancelled| *cancelled >= count));
        waited.await.expect("no request was cancelled").unwrap();
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn full(text: impl Into<Bytes>) -> Response<Body> {
    Response::new(Full::new(text.into()).boxed())
}

/// An answer whose chunks come out of a channel.
pub fn streamed() -> (mpsc::Sender<&'static str>, Response<Body>) {
    let (sender, receiver) = mpsc::channel(16);
    (sender, Response::new(Chunks(receiver).boxed()))
}

struct Chunks(mpsc::Receiver<&'static str>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
    }
}

/// A server that reads a request's head and then does what `act` says with the connection.
pub async fn raw<F>(act: impl Fn(TcpStream, usize) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(act(stream, number));
        }
    });
    address
}

/// Reads until the end of a request's head.
pub async fn read_head(stream: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    while !read.windows(4).any(|end| end == b"\r\n\r\n") {
        if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
            return false;
        }
    }
    true
}

/// An address where nobody listens.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
