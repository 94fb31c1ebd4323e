//! The gateway's process.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::documents::Endpoint;
use crate::wire::{self, Answer};

/// The longest that anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Gateway {
    child: Child,
    folder: TempDir,
    log: watch::Receiver<Vec<String>>,
    /// The access log to its end.
    access_log: JoinHandle<String>,
    /// Where it scores.
    pub address: SocketAddr,
    /// Where it scores over TLS, if it does.
    pub tls: Option<SocketAddr>,
    /// Where it is watched.
    pub admin: SocketAddr,
}

impl Gateway {
    /// Starts a gateway that serves `endpoint`, and waits until it is ready.
    pub async fn start(endpoint: &Endpoint) -> Self {
        Self::start_with(endpoint, &[]).await
    }

    /// The same with further arguments.
    pub async fn start_with(endpoint: &Endpoint, arguments: &[&OsStr]) -> Self {
        Self::start_from(&endpoint.yaml(), arguments).await
    }

    /// The same with the text of the file.
    pub async fn start_from(text: &str, arguments: &[&OsStr]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("routes.yaml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mooring-gateway"));
        command.args(["--source=file", "--file"]).arg(folder.path()).args(arguments);
        let gateway = Self::run(command, folder).await;
        gateway.wait_for("the files were read", 1).await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while gateway.admin("/ready").await.status != 200 {
            assert!(
                tokio::time::Instant::now() < deadline,
                "it never became ready; the log: {:#?}",
                gateway.log.borrow()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        gateway
    }

    /// Runs `command`, the gateway with its source, and waits until it listens.
    pub async fn run(mut command: Command, folder: TempDir) -> Self {
        let mut child = command
            .args(["--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--threads=2", "--access-log"])
            .args(["--shutdown-delay-seconds=1", "--drain-seconds=20", "--log-filter=debug,hyper=info"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (sender, mut log) = watch::channel(Vec::new());
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                sender.send_modify(|log: &mut Vec<String>| log.push(line));
            }
        });
        let mut output = child.stdout.take().unwrap();
        // Read all the time: a gateway does not end before its last line is taken.
        let access_log = tokio::spawn(async move {
            let mut text = String::new();
            output.read_to_string(&mut text).await.unwrap();
            text
        });
        let listening = |log: &Vec<String>| log.iter().any(|line| line.contains("\"message\":\"listening\""));
        let log_now = tokio::time::timeout(PATIENCE, log.wait_for(listening)).await.unwrap().unwrap().clone();
        let line = log_now.iter().find(|line| line.contains("\"message\":\"listening\"")).unwrap();
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let address = |field: &str| line[field].as_str().unwrap().parse().unwrap();
        let tls = line["tls"].as_str().map(|address| address.parse().unwrap());
        Self { tls, address: address("address"), admin: address("admin"), child, folder, log, access_log }
    }

    /// Serves `endpoint` from now on.
    pub async fn serve(&self, endpoint: &Endpoint) {
        let reads = self.lines("the files were read");
        self.write(&endpoint.yaml());
        self.wait_for("the files were read", reads + 1).await;
    }

    /// The field of the first line of the log with this message.
    pub async fn logged(&self, message: &str, field: &str) -> String {
        self.wait_for(message, 1).await;
        let log = self.log();
        let line = log.iter().find(|line| line.contains(message)).unwrap();
        serde_json::from_str::<serde_json::Value>(line).unwrap()[field].as_str().unwrap().to_owned()
    }

    /// Replaces the file as a whole, so that no half of it is read.
    pub fn write(&self, text: &str) {
        let new = self.folder.path().join("routes.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.path().join("routes.yaml")).unwrap();
    }

    /// Lines of the log that have `text`.
    pub fn lines(&self, text: &str) -> usize {
        self.log.borrow().iter().filter(|line| line.contains(text)).count()
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    /// The log to its end.
    pub fn whole_log(&self) -> impl Future<Output = Vec<String>> + use<> {
        let mut log = self.log.clone();
        async move {
            while log.changed().await.is_ok() {}
            log.borrow().clone()
        }
    }

    /// Waits until the log has `text` in so many lines.
    pub async fn wait_for(&self, text: &str, count: usize) {
        let mut log = self.log.clone();
        let enough = |log: &Vec<String>| log.iter().filter(|line| line.contains(text)).count() >= count;
        let waited = tokio::time::timeout(PATIENCE, log.wait_for(enough)).await;
        assert!(waited.is_ok_and(|log| log.is_ok()), "{text:?} never came; the log: {:#?}", self.log.borrow());
    }

    pub async fn admin(&self, path: &str) -> Answer {
        wire::exchange(self.admin, format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")).await
    }

    /// Scores `body` with the key.
    pub async fn score(&self, body: &str) -> Answer {
        self.send("POST", "/score", "", body).await
    }

    /// Sends a request with the key and further `headers`, each with its line end.
    pub async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        wire::exchange(self.address, wire::request(method, path, headers, body)).await
    }

    /// The most memory that it ever had, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Asks the process to end.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends the process a signal, such as `-STOP`.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Waits for the end.
    pub async fn wait(&mut self) {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
    }

    /// Waits for the end, and gives the access log.
    pub async fn ended(mut self) -> Vec<serde_json::Value> {
        let ended = tokio::time::timeout(PATIENCE, async {
            let output = (&mut self.access_log).await.unwrap();
            (output, self.child.wait().await.unwrap())
        });
        let (output, status) = ended.await.unwrap();
        assert!(status.success(), "{status}; the log: {:#?}", self.log.borrow());
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The sum of a metric's series that have all of `labels`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = String::from_utf8(self.admin("/metrics").await.body).unwrap();
        let series = text.lines().filter(|line| {
            line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
        });
        // A sum of nothing is -0.
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).fold(0.0, |sum, value| sum + value)
    }

    /// The same, of a metric that counts.
    pub async fn count(&self, name: &str, labels: &[&str]) -> usize {
        format!("{:.0}", self.metric(name, labels).await).parse().unwrap()
    }

    /// Waits until a metric has counted so many.
    pub async fn wait_for_count(&self, name: &str, labels: &[&str], count: usize) {
        self.wait_for_metric(name, labels, u32::try_from(count).unwrap().into()).await;
    }

    /// Waits until a metric has a value.
    pub async fn wait_for_metric(&self, name: &str, labels: &[&str], value: f64) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while (self.metric(name, labels).await - value).abs() > f64::EPSILON {
            let metrics = String::from_utf8(self.admin("/metrics").await.body).unwrap();
            let series = || metrics.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
            let late = tokio::time::Instant::now() >= deadline;
            assert!(!late, "{name} {labels:?} never became {value}: {:#?}", series());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
