//! One probe: the question that the kubelet asks, and what the answers in a row come to.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Probe;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use crate::process::cause;

/// Who asks. Servers that know the kubelet keep its questions out of their logs.
const AGENT: &str = "kube-probe/1.34";

/// A probe with the numbers of its spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Time after the start before the first question.
    pub delay: Duration,
    /// Time between questions.
    pub period: Duration,
    /// Time that an answer may take.
    pub timeout: Duration,
    /// Good answers in a row that make it healthy.
    pub successes: i32,
    /// Bad answers in a row that make it unhealthy.
    pub failures: i32,
    /// The port of the container.
    pub port: u16,
    /// The path.
    pub path: String,
}

impl Question {
    /// The probe of a pod; `None` for one that is not asked over HTTP.
    #[must_use]
    pub fn of(probe: &Probe) -> Option<Self> {
        let get = probe.http_get.as_ref()?;
        let IntOrString::Int(port) = get.port else { return None };
        let seconds = |of: Option<i32>, least: u64| {
            Duration::from_secs(of.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(least).max(least))
        };
        Some(Self {
            delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 1),
            timeout: seconds(probe.timeout_seconds, 1),
            successes: probe.success_threshold.unwrap_or(1),
            failures: probe.failure_threshold.unwrap_or(3),
            port: u16::try_from(port).ok()?,
            path: get.path.clone().unwrap_or_else(|| "/".to_owned()),
        })
    }

    /// Asks once.
    ///
    /// # Errors
    /// The kubelet's words for a bad answer or for none.
    pub async fn ask(&self, address: SocketAddr) -> Result<(), String> {
        let url = format!("http://{}:{}{}", address.ip(), self.port, self.path);
        let none = |why: &str| format!("Get \"{url}\": {why}");
        let late = || none("context deadline exceeded (Client.Timeout exceeded while awaiting headers)");
        let status = tokio::time::timeout(self.timeout, self.get(address)).await.map_err(|_| late())?;
        let status = status.map_err(|why| none(&why))?;
        if status.is_success() || status.is_redirection() {
            return Ok(());
        }
        Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
    }

    async fn get(&self, address: SocketAddr) -> Result<StatusCode, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| words(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| words(&error))?;
        let request = Request::get(&self.path)
            .header(HOST, format!("{}:{}", address.ip(), self.port))
            .header(USER_AGENT, AGENT)
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| words(&error))?;
        let mut answer = std::pin::pin!(sender.send_request(request));
        let mut connection = std::pin::pin!(connection);
        let answer = tokio::select! {
            answer = &mut answer => answer,
            // What came before the end is an answer all the same.
            _ = &mut connection => answer.await,
        };
        answer.map(|answer| answer.status()).map_err(|error| words(&error))
    }
}

/// The last cause, which says most.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let cause = cause::root(error);
    if let Some(error) = cause.downcast_ref::<std::io::Error>() {
        match error.kind() {
            std::io::ErrorKind::ConnectionRefused => return "connection refused".to_owned(),
            std::io::ErrorKind::ConnectionReset => return "connection reset by peer".to_owned(),
            _ => {}
        }
    }
    let words = cause.to_string();
    // The engine listens for the container and hangs up when nobody is there.
    if words.contains("connection closed before message completed") { "EOF".to_owned() } else { words }
}

/// Answers in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    good: i32,
    bad: i32,
}

/// What a row of answers comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As before.
    Open,
    /// Healthy.
    Healthy,
    /// Unhealthy.
    Unhealthy,
}

impl Row {
    /// One more answer.
    pub const fn add(&mut self, is_good: bool, question: &Question) -> Verdict {
        (self.good, self.bad) =
            if is_good { (self.good.saturating_add(1), 0) } else { (0, self.bad.saturating_add(1)) };
        if is_good && self.good >= question.successes {
            Verdict::Healthy
        } else if !is_good && self.bad >= question.failures {
            Verdict::Unhealthy
        } else {
            Verdict::Open
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn question() -> Question {
        let second = Duration::from_secs(1);
        let (delay, period) = (Duration::ZERO, second);
        Question { delay, period, timeout: second, successes: 1, failures: 3, port: 5001, path: "/ready".to_owned() }
    }

    /// Asks a server that answers with these bytes and hangs up.
    async fn asked(answer: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /ready HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        question().ask(address).await
    }

    #[tokio::test]
    async fn the_words_are_the_kubelets() {
        assert_eq!(asked("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await, Ok(()));
        assert_eq!(asked("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n").await, Ok(()));
        let bad = asked("HTTP/1.1 503 Gone\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(bad.unwrap_err(), "HTTP probe failed with statuscode: 503");
        assert_eq!(asked("").await.unwrap_err(), "Get \"http://127.0.0.1:5001/ready\": EOF");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let refused = question().ask(address).await.unwrap_err();
        assert_eq!(refused, "Get \"http://127.0.0.1:5001/ready\": connection refused");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_takes_too_long_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let words = question().ask(listener.local_addr().unwrap()).await.unwrap_err();
        assert!(
            words.ends_with("context deadline exceeded (Client.Timeout exceeded while awaiting headers)"),
            "{words}"
        );
    }

    #[test]
    fn as_many_answers_in_a_row_decide_as_the_spec_says() {
        use Verdict::{Healthy, Open, Unhealthy};
        let question = Question { successes: 2, ..question() };
        let mut row = Row::default();
        let verdicts = [true, false, false, true, true, false, false, false].map(|good| row.add(good, &question));
        assert_eq!(verdicts, [Open, Open, Open, Open, Healthy, Open, Open, Unhealthy]);
    }
}
