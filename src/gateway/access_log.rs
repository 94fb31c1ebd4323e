//! One line of JSON for each request, on standard output.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Serialize;

/// How often lines are written. A write for each request would cost more than the line.
const INTERVAL: Duration = Duration::from_millis(250);
/// Bytes of lines that may wait; beyond it lines are dropped, and counted.
const MAX_WAITING: usize = 4 << 20;

/// One request, in the shape of the managed product's traffic log.
#[derive(Serialize, Debug, Default)]
#[serde(rename_all = "PascalCase")]
pub struct Line<'a> {
    /// When the request came, as RFC 3339.
    pub time_generated: String,
    /// Method of the request.
    pub method: &'a str,
    /// Path of the request, as the caller sent it, without the query.
    pub path: &'a str,
    /// Namespace of the endpoint.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace: &'a str,
    /// Name of the endpoint.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub endpoint_name: &'a str,
    /// Whether this is about the copy of a request that went to the mirror, and whose answer nobody got.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mirrored: bool,
    /// Name of the deployment.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub deployment_name: &'a str,
    /// As `HTTP/1.1`.
    pub protocol: &'a str,
    /// Code of the answer.
    pub response_code: u16,
    /// The refusal's name, or why the answer was cut off.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub response_code_reason: &'a str,
    /// Code of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_status_code: Option<u16>,
    /// What that code is called.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub model_status_reason: &'a str,
    /// Bytes of the request body that were read.
    pub request_payload_size: u64,
    /// Bytes of the response body that were sent.
    pub response_payload_size: u64,
    /// The first 70 characters of what the caller calls itself.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user_agent: &'a str,
    /// Our id of the request.
    #[serde(rename = "XRequestId")]
    pub request_id: &'a str,
    /// The caller's id of the request.
    #[serde(rename = "XMSClientRequestId", skip_serializing_if = "str::is_empty")]
    pub client_request_id: &'a str,
    /// The trace that the caller's `traceparent` names.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub trace_id: &'a str,
    /// How callers of the endpoint are authenticated, as its `authMode` says it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub auth_mode: &'a str,
    /// Milliseconds from the head of the request to the end of its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_duration_ms: Option<f64>,
    /// Milliseconds from the head of the request to the end of the answer.
    pub total_duration_ms: f64,
    /// Milliseconds from the head of the request to the head of the model's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_duration_ms: Option<f64>,
    /// Milliseconds that the request waited for a free instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_duration_ms: Option<f64>,
}

/// Lines that wait to be written.
#[derive(Debug, Default)]
pub struct AccessLog {
    waiting: Mutex<Waiting>,
    /// Lines that never were written.
    dropped: AtomicU64,
    /// Held while writing, so that the last lines come last.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    dropped: u64,
}

impl AccessLog {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn start() -> io::Result<Arc<Self>> {
        let log = Arc::new(Self::default());
        let writer = Arc::downgrade(&log);
        thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            while let Some(log) = writer.upgrade() {
                log.flush();
                drop(log);
                thread::sleep(INTERVAL);
            }
        })?;
        Ok(log)
    }

    /// Leaves a line to be written.
    pub fn push(&self, line: &Line) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let length = waiting.lines.len();
        if length > MAX_WAITING {
            waiting.dropped += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match serde_json::to_writer(&mut waiting.lines, line) {
            Ok(()) => waiting.lines.push(b'\n'),
            Err(_) => waiting.lines.truncate(length),
        }
    }

    /// Lines that were dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes all lines that wait.
    pub fn flush(&self) {
        let turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if waiting.dropped > 0 {
            tracing::warn!(
                dropped = waiting.dropped,
                "lines of the access log were dropped: standard output is too slow"
            );
        }
        if waiting.lines.is_empty() {
            return;
        }
        let mut output = io::stdout().lock();
        if let Err(error) = output.write_all(&waiting.lines).and_then(|()| output.flush()) {
            tracing::warn!(%error, "writing the access log failed");
        }
        drop(turn);
    }
}
