//! HTTP/1.1 by hand: what matters here is what is on the wire.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::documents::KEY;
use crate::process::PATIENCE;

/// An answer, as it came.
#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub phrase: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body came to its end.
    pub whole: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body of one of the gateway's own errors.
    pub fn error(&self) -> serde_json::Value {
        serde_json::from_slice::<serde_json::Value>(&self.body).unwrap()["error"].clone()
    }
}

/// A request to the endpoint with the key; `headers` each with its line end.
pub fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!(
        "{method} {path} HTTP/1.1\r\nhost: iris.default\r\nauthorization: Bearer {KEY}\r\n{headers}{length}\r\n{body}"
    )
}

/// Sends `bytes` on a connection of its own, and reads the answer.
pub async fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Answer {
    let mut connection = Connection::open(address).await;
    connection.send(bytes).await;
    connection.answer().await
}

pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub const fn over(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// Sends bytes; that the other side has closed shows in the answer.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Reads some more; false at the end.
    async fn more(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
        matches!(read.expect("nothing came for too long"), Ok(1..))
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8(self.read.drain(..end).collect()).unwrap();
                self.read.drain(..2);
                return Some(line);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Reads the head of an answer; status 0 when the connection closed instead.
    pub async fn head(&mut self) -> Answer {
        let Some(line) = self.line().await else { return Answer::default() };
        let mut parts = line.splitn(3, ' ');
        assert!(matches!(parts.next(), Some("HTTP/1.1" | "HTTP/1.0")));
        let status = parts.next().unwrap().parse().unwrap();
        let mut answer = Answer { status, phrase: parts.next().unwrap_or_default().to_owned(), ..Answer::default() };
        loop {
            let line = self.line().await.expect("the head breaks off");
            if line.is_empty() {
                return answer;
            }
            let (name, value) = line.split_once(':').unwrap();
            answer.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads `count` bytes of a body.
    async fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.read.len() < count {
            if !self.more().await {
                return None;
            }
        }
        Some(self.read.drain(..count).collect())
    }

    /// Reads a chunk of a body; None when it breaks off, empty at its end.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line().await?, 16).unwrap();
        let chunk = self.bytes(length).await?;
        self.bytes(2).await?;
        Some(chunk)
    }

    /// Reads an answer with its body.
    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        if matches!(answer.status, 204 | 304) {
            answer.whole = true;
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().unwrap();
            if let Some(body) = self.bytes(length).await {
                answer.body = body;
                answer.whole = true;
            }
        } else if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                answer.body.extend(&chunk);
                if chunk.is_empty() {
                    answer.whole = true;
                    break;
                }
            }
        }
        answer
    }

    /// Reads answers until the other side closes, the first of them to a request of `method`.
    pub async fn answers_to(&mut self, method: &str) -> Vec<Answer> {
        let mut answers: Vec<Answer> = Vec::new();
        loop {
            let bodiless = method == "HEAD" && answers.iter().all(|answer| answer.status == 100);
            let answer = if bodiless { self.head().await } else { self.answer().await };
            if answer.status == 0 {
                return answers;
            }
            answers.push(answer);
        }
    }

    /// Whether the other side closes.
    pub async fn closes(&mut self) -> bool {
        !self.more().await
    }
}
