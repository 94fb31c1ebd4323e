//! An instance that takes HTTP/1.1 to the letter and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::model;

/// What closes the connection at the end of a scripted answer.
const CLOSE: &[u8] = b"<close>";
/// What lets the caller wait at the end of a scripted answer.
pub const HANG: &[u8] = b"<hang>";

/// A request as it came out of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// Such an instance. What is not to the letter is remembered as a fault.
pub struct Strict {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    faults: Arc<Mutex<Vec<String>>>,
}

impl Strict {
    /// Answers each request with its request line, and those that `script` knows with the bytes from there; at their
    /// end `<close>` closes the connection, and `<hang>` lets the caller wait.
    pub async fn start(script: impl Fn(&Seen) -> Option<Vec<u8>> + Clone + Send + Sync + 'static) -> Self {
        let (seen, faults) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (requests, complaints) = (Arc::clone(&seen), Arc::clone(&faults));
        let address = model::raw(move |stream, _| {
            let (script, requests, complaints) = (script.clone(), Arc::clone(&requests), Arc::clone(&complaints));
            async move {
                if let Err(fault) = serve(stream, script, &requests).await {
                    complaints.lock().unwrap().push(fault);
                }
            }
        })
        .await;
        Self { address, seen, faults }
    }

    /// What was seen since the last call.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    script: impl Fn(&Seen) -> Option<Vec<u8>>,
    seen: &Mutex<Vec<Seen>>,
) -> Result<(), String> {
    let mut read = Vec::new();
    while let Some(request) = request(&mut stream, &mut read).await? {
        let answer = script(&request).unwrap_or_else(|| {
            let line = &request.line;
            let body = if line.starts_with("HEAD ") { "" } else { line };
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", line.len()).into_bytes()
        });
        seen.lock().unwrap().push(request);
        if let Some(beginning) = answer.strip_suffix(HANG) {
            let _ = stream.write_all(beginning).await;
            while matches!(stream.read(&mut [0]).await, Ok(1..)) {}
            break;
        }
        let last = answer.strip_suffix(CLOSE);
        if stream.write_all(last.unwrap_or(&answer)).await.is_err() || last.is_some() {
            break;
        }
    }
    Ok(())
}

/// The next request; None when the connection ends before it or in the middle.
async fn request(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<Option<Seen>, String> {
    let Some(line) = line(stream, read).await? else { return Ok(None) };
    let parts: Vec<_> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else { return Err(format!("the request line {line:?}")) };
    if method.is_empty() || !method.bytes().all(is_token) || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("the request line {line:?}"));
    }
    let mut headers = Vec::new();
    loop {
        let Some(header) = self::line(stream, read).await? else { return Ok(None) };
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').ok_or_else(|| format!("the header {header:?}"))?;
        if name.is_empty() || !name.bytes().all(is_token) || value.bytes().any(|byte| byte < b' ' && byte != b'\t') {
            return Err(format!("the header {header:?}"));
        }
        headers.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    let seen = Seen { line, headers, body: String::new() };
    if seen.headers.iter().any(|(name, _)| ["content_length", "transfer_encoding"].contains(&name.as_str())) {
        return Err(format!("a name that WSGI takes for another in {seen:?}"));
    }
    let body = match (&seen.all("host")[..], &seen.all("content-length")[..], &seen.all("transfer-encoding")[..]) {
        ([_], [], []) => Some(Vec::new()),
        ([_], [length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length = length.parse().map_err(|error| format!("the length {length:?}: {error}"))?;
            bytes(stream, read, length).await
        }
        ([_], [], ["chunked"]) => chunks(stream, read).await?,
        _ => return Err(format!("host or length of {seen:?}")),
    };
    Ok(body.map(|body| Seen { body: String::from_utf8(body).unwrap(), ..seen }))
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

async fn chunks(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<Option<Vec<u8>>, String> {
    let mut body = Vec::new();
    loop {
        let Some(size) = line(stream, read).await? else { return Ok(None) };
        let length = usize::from_str_radix(&size, 16).map_err(|_| format!("the chunk size {size:?}"))?;
        let Some(chunk) = bytes(stream, read, length).await else { return Ok(None) };
        body.extend(chunk);
        match line(stream, read).await? {
            Some(end) if end.is_empty() => {}
            Some(end) => return Err(format!("the end of a chunk or a trailer: {end:?}")),
            None => return Ok(None),
        }
        if length == 0 {
            return Ok(Some(body));
        }
    }
}

async fn line(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<Option<String>, String> {
    loop {
        if let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = read.drain(..=end).collect();
            let line = line.strip_suffix(b"\r\n").ok_or_else(|| format!("a bare line feed after {line:?}"))?;
            return String::from_utf8(line.to_vec()).map(Some).map_err(|error| error.to_string());
        }
        if !matches!(stream.read_buf(read).await, Ok(1..)) {
            return Ok(None);
        }
    }
}

async fn bytes(stream: &mut TcpStream, read: &mut Vec<u8>, count: usize) -> Option<Vec<u8>> {
    while read.len() < count {
        if !matches!(stream.read_buf(read).await, Ok(1..)) {
            return None;
        }
    }
    Some(read.drain(..count).collect())
}
