//! A web server with one object of any size, which is made as it is sent: every byte is told by its place. It knows
//! ranges and versions, gives the object's SHA-256, and counts what it sends.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use sha2::{Digest, Sha256};

/// Bytes that are made and sent at a time.
const BLOCK: u64 = 64 << 10;

/// What the server does with the bytes of the object before it sends those that start here.
type Spoil = dyn Fn(u64, &mut Vec<u8>) + Send + Sync;

/// One object of `size` bytes.
pub struct Vast {
    url: String,
    state: Arc<State>,
}

struct State {
    size: u64,
    digest: String,
    version: Mutex<String>,
    sent: AtomicU64,
    open: AtomicUsize,
    /// Sleeps after each block.
    pause: Duration,
    spoil: Box<Spoil>,
}

impl Vast {
    pub fn start(size: u64, pause: Duration, spoil: impl Fn(u64, &mut Vec<u8>) + Send + Sync + 'static) -> Self {
        Self::at(Ipv4Addr::LOCALHOST.into(), size, pause, spoil)
    }

    /// Listens at this address of the machine.
    pub fn at(
        address: IpAddr,
        size: u64,
        pause: Duration,
        spoil: impl Fn(u64, &mut Vec<u8>) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let url = format!("http://{}/model.bin", listener.local_addr().unwrap());
        let state = Arc::new(State {
            size,
            digest: base64::engine::general_purpose::STANDARD.encode(sha256(size)),
            version: Mutex::new("\"1\"".to_owned()),
            sent: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            pause,
            spoil: Box::new(spoil),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || while serve(&stream, &state).is_some() {});
            }
        });
        Self { url, state }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Bytes of bodies that were handed to the network.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }

    /// Answers that are under way.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }

    /// Says that the object is another now, though it has the same bytes.
    pub fn change(&self, version: &str) {
        *self.state.version.lock().unwrap() = format!("\"{version}\"");
    }
}

/// The bytes of any object from `start` on.
pub fn bytes(start: u64, length: u64) -> Vec<u8> {
    // Eight bytes at a time, which no shift of the object leaves as they are.
    let words = start / 8..(start + length).div_ceil(8);
    let all: Vec<u8> =
        words.flat_map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).to_le_bytes()).collect();
    let skip = usize::try_from(start % 8).unwrap();
    all[skip..skip + usize::try_from(length).unwrap()].to_vec()
}

/// The SHA-256 of an object of `size` bytes.
pub fn sha256(size: u64) -> Vec<u8> {
    let mut hasher = Sha256::new();
    let mut at = 0;
    while at < size {
        let length = BLOCK.min(size - at);
        hasher.update(bytes(at, length));
        at += length;
    }
    hasher.finalize().to_vec()
}

/// Answers one request; `None` when the connection has ended.
fn serve(mut stream: &TcpStream, state: &State) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let version = state.version.lock().unwrap().clone();
    if header("if-match").is_some_and(|wanted| wanted != version) {
        return stream.write_all(b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n").ok();
    }
    let (first, last) = match header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) {
        Some((first, last)) => (first.parse().ok()?, last.parse::<u64>().ok()?.min(state.size - 1)),
        None => (0, state.size - 1),
    };
    let (status, range) = match header("range") {
        Some(_) => ("206 Partial Content", format!("Content-Range: bytes {first}-{last}/{}\r\n", state.size)),
        None => ("200 OK", String::new()),
    };
    let (length, digest) = (last + 1 - first, &state.digest);
    let head = format!(
        "HTTP/1.1 {status}\r\n{range}ETag: {version}\r\nRepr-Digest: sha-256=:{digest}:\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    state.open.fetch_add(1, Ordering::Relaxed);
    let sent = send(stream, state, first, last + 1);
    state.open.fetch_sub(1, Ordering::Relaxed);
    sent
}

fn send(mut stream: &TcpStream, state: &State, mut at: u64, end: u64) -> Option<()> {
    while at < end {
        let mut block = bytes(at, BLOCK.min(end - at));
        (state.spoil)(at, &mut block);
        stream.write_all(&block).ok()?;
        at += block.len() as u64;
        state.sent.fetch_add(block.len() as u64, Ordering::Relaxed);
        if !state.pause.is_zero() {
            std::thread::sleep(state.pause);
        }
    }
    Some(())
}
