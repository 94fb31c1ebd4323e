//! One connection of a caller, from its first byte to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response, StatusCode, server};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::Gateway;
use super::body::AnswerBody;
use super::patient::{Patient, Turns};
use super::phase;
use super::protocol::Protocol;
use super::upstream::Pool;

/// How long a connection may be idle. Longer than the callers' own
/// pools keep one (mostly 60 seconds), or else they would meet a closing connection.
const IDLE: Duration = Duration::from_secs(90);
/// How long nothing must be asked for a connection of HTTP/1 to give back its memory, but for the socket.
const REST: Duration = Duration::from_secs(1);
/// Bytes that are taken from a socket to see whether it speaks again.
const WORD: usize = 64;
/// What an HTTP/2 connection opens with (RFC 9113, 3.4). No request of HTTP/1 begins with its first three bytes.
const PREFACE: &[u8] = b"PRI";
/// Pause before a caller is looked at again who has sent less than that of it.
const PREFACE_PAUSE: Duration = Duration::from_millis(20);
/// The longest that the beginning of the preface may take.
const PREFACE_TIME: Duration = Duration::from_secs(5);
/// The longest head of an HTTP/1 request, in bytes, what is read ahead of a body, and what waits for a slow caller. An
/// answer to a longer head is 431; nginx takes 32 KiB, Envoy 60.
const BUFFER: usize = 32 << 10;
/// Requests that a caller may have open on one HTTP/2 connection, as in nginx and Envoy's advice for edges.
const MAX_STREAMS: u32 = 128;
/// The longest head of an HTTP/2 request, in bytes after decompression; what hyper allows a head of HTTP/1.
const MAX_HEAD: u32 = 64 << 10;
/// Bytes of one request's body that may be under way unread, and of all on one connection: what a caller that is
/// faster than the model costs in memory.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of one answer that may wait for a slow caller.
const SEND_BUFFER: usize = 256 << 10;
/// Pause between the pings that find out whether an HTTP/2 caller is still there, and the longest for an answer.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);

/// Serves a caller until it leaves, is idle for too long, or `close`.
pub async fn of_caller(stream: TcpStream, gateway: Arc<Gateway>, pool: Arc<Pool>, close: CancellationToken) {
    let _open = gateway.connections.open();
    let Some(protocol) = spoken(&stream, &close).await else { return };
    if stream.set_nodelay(true).is_ok() {
        serve(stream, protocol, gateway, pool, close).await;
    }
}

/// What the caller begins to speak; None when it says nothing. Most of the memory of a connection comes after this.
pub async fn spoken(stream: &TcpStream, close: &CancellationToken) -> Option<Protocol> {
    let mut first = [0; PREFACE.len()];
    let mut read = tokio::select! {
        peeked = tokio::time::timeout(IDLE, stream.peek(&mut first)) => peeked.ok()?.ok()?,
        () = close.cancelled() => futures::FutureExt::now_or_never(stream.peek(&mut first))?.ok()?,
    };
    let until = tokio::time::Instant::now() + PREFACE_TIME;
    while let Some(beginning @ [_, ..]) = first.get(..read) {
        match PREFACE.strip_prefix(beginning) {
            Some([]) => return Some(Protocol::Http2),
            None => return Some(Protocol::Http1),
            // The next look would find the same byte at once: there is no waiting for a second one.
            Some(_) if tokio::time::Instant::now() < until => tokio::time::sleep(PREFACE_PAUSE).await,
            Some(_) => return None,
        }
        read = stream.peek(&mut first).await.ok()?;
    }
    None
}

/// Serves the requests of `stream`.
pub async fn serve<I>(stream: I, protocol: Protocol, gateway: Arc<Gateway>, pool: Arc<Pool>, close: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let score = move |request| {
        // On the heap, so that an idle connection does not hold the room of a request.
        let answer = Box::pin(phase::score(Arc::clone(&gateway), Arc::clone(&pool), request));
        async move { Ok::<_, Infallible>(answer.await) }
    };
    let ended = match protocol {
        Protocol::Http1 => http1(stream, service_fn(score), close).await,
        Protocol::Http2 => http2(stream, score, close).await,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

async fn http1<I, S>(stream: I, service: S, close: CancellationToken) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<Box<AnswerBody>>, Error = Infallible>,
{
    let turns = Arc::new(Turns::default());
    let mut stream = Patient::new(stream, Arc::clone(&turns));
    let service = service_fn(|request| {
        let turn = turns.begin();
        let answer = service.call(request);
        async move {
            let mut answer = answer.await?;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                turn.stay();
            } else {
                answer.body_mut().hold(turn);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    loop {
        let mut connection = server::conn::http1::Builder::new()
            // Patient and rest see to that: hyper would set a timer for each request.
            .header_read_timeout(None)
            .max_buf_size(BUFFER)
            .max_header_size(BUFFER)
            .serve_connection(TokioIo::new(stream), &service)
            .with_upgrades();
        tokio::select! {
            biased;
            ended = &mut connection => return ended,
            rests = rest(&turns) => if !rests { return Ok(()) },
            () = close.cancelled() => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                return connection.await;
            }
        }
        // The connection's buffers are most of what it costs.
        let Some(parts) = connection.into_parts() else { return Ok(()) };
        stream = parts.io.into_inner();
        let Some(word) = word(&mut stream, parts.read_buf, &close).await else { return Ok(()) };
        stream.put_back(word);
    }
}

/// Resolves when nothing was asked for [`REST`] and all is over, or with false when nothing was for [`IDLE`] and some of
/// an old request is still to come.
async fn rest(turns: &Turns) -> bool {
    let (mut begun, mut asked) = (0, tokio::time::Instant::now());
    loop {
        tokio::time::sleep(REST).await;
        if turns.begun() != begun || turns.are_under_way() {
            (begun, asked) = (turns.begun(), tokio::time::Instant::now());
        } else if begun > 0 && turns.are_over() {
            return true;
        } else if asked.elapsed() >= IDLE {
            return false;
        }
    }
}

/// What comes next, after what is `left` of the last time; None when nothing comes.
async fn word(stream: &mut (impl AsyncRead + Unpin), left: Bytes, close: &CancellationToken) -> Option<Bytes> {
    if !left.is_empty() {
        return Some(left);
    }
    let mut first = [0; WORD];
    let read = tokio::select! {
        biased;
        read = tokio::time::timeout(IDLE, stream.read(&mut first)) => read.ok()?.ok()?,
        () = close.cancelled() => return None,
    };
    first.get(..read).filter(|bytes| !bytes.is_empty()).map(Bytes::copy_from_slice)
}

async fn http2<I, F>(stream: I, score: impl Fn(Request<Incoming>) -> F, close: CancellationToken) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Result<Response<Box<AnswerBody>>, Infallible>> + Send + 'static,
{
    let (asked, ever_asked) = (AtomicBool::new(true), AtomicBool::new(false));
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        ever_asked.store(true, Ordering::Relaxed);
        score(request)
    });
    let connection = server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .serve_connection(TokioIo::new(Patient::of_many(stream)), service);
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = unasked(&asked) => {}
        () = close.cancelled() => {}
    }
    // What is open goes on; a next request needs a new connection.
    connection.as_mut().graceful_shutdown();
    if ever_asked.load(Ordering::Relaxed) {
        return connection.await;
    }
    // Before the whole preface has come, hyper waits for it without end.
    tokio::time::timeout(PREFACE_TIME, connection).await.unwrap_or(Ok(()))
}

/// Resolves when `asked` was not set for [`IDLE`]: HTTP/2 has no such timeout in hyper.
async fn unasked(asked: &AtomicBool) {
    while asked.swap(false, Ordering::Relaxed) {
        tokio::time::sleep(IDLE).await;
    }
}
