//! Real stores, started by `tests/fetch/stores` once for all tests. Each ends with this process, which holds its
//! standard input.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A running store.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Store {
    pub endpoint: String,
    #[serde(default)]
    pub access_key_id: String,
    #[serde(default)]
    pub secret_access_key: String,
    #[serde(default)]
    pub certificate: String,
    /// Of an account of Azure Storage, or of a service account of Google.
    #[serde(default)]
    pub key: String,
    /// A token that the store takes.
    #[serde(default)]
    pub token: String,
    /// Shared access signatures: right, without the permission to list, without any to read, and over.
    #[serde(default)]
    pub sas: String,
    #[serde(default)]
    pub sas_without_list: String,
    #[serde(default)]
    pub sas_to_write: String,
    #[serde(default)]
    pub sas_over: String,
    /// A role that a web identity may take, and credentials that it has, as Amazon's agents write them.
    #[serde(default)]
    pub role: String,
    #[serde(default)]
    pub session: BTreeMap<String, String>,
    #[serde(skip)]
    _process: Option<Child>,
}

/// S3 that takes every credential; anonymous access by the rights of bucket and object.
pub fn open() -> &'static Store {
    static STORE: OnceLock<Store> = OnceLock::new();
    STORE.get_or_init(|| start("open"))
}

/// S3 that checks signatures and policies; the key may read `models/iris/*`, list `models`, and do everything in `uploads`.
pub fn locked() -> &'static Store {
    static STORE: OnceLock<Store> = OnceLock::new();
    STORE.get_or_init(|| start("locked"))
}

/// A web server with a certificate that nobody has signed.
pub fn tls() -> &'static Store {
    static STORE: OnceLock<Store> = OnceLock::new();
    STORE.get_or_init(|| start("tls"))
}

/// Container registries over one folder of artifacts.
#[derive(Deserialize)]
pub struct Registry {
    /// For everybody.
    pub endpoint: String,
    /// For `reader` with the password `S3CR3T`.
    pub basic: String,
    /// With tokens: everybody may pull `models/single`, and `reader` all but `models/private`, and push to `uploads/…`.
    pub token: String,
    /// The manifest of each repository.
    pub digests: BTreeMap<String, String>,
    #[serde(skip)]
    _process: Option<Child>,
}

pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let (registry, process) = launch("registry");
        Registry { _process: Some(process), ..registry }
    })
}

/// A web server.
#[derive(Deserialize)]
pub struct Nginx {
    pub endpoint: String,
    /// The same by TLS, and the certificate of its authority.
    pub tls: String,
    pub certificate: String,
    /// The folder that it serves.
    pub files: PathBuf,
    /// A line for each answer: path and query, its status, and the bytes of its body that were sent.
    log: PathBuf,
    #[serde(skip)]
    _process: Option<Child>,
}

impl Nginx {
    /// Bytes of all answers to `asked`, a path with its query, that have ended.
    pub fn sent(&self, asked: &str) -> u64 {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let sent = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
            [of, _, bytes] if of == asked => Some(bytes.parse::<u64>().unwrap()),
            _ => None,
        };
        log.lines().filter_map(sent).sum()
    }
}

pub fn nginx() -> &'static Nginx {
    static NGINX: OnceLock<Nginx> = OnceLock::new();
    NGINX.get_or_init(|| {
        let (nginx, process) = launch("nginx");
        Nginx { _process: Some(process), ..nginx }
    })
}

/// Azure Storage with the account `acct`.
pub fn azure() -> &'static Store {
    static STORE: OnceLock<Store> = OnceLock::new();
    STORE.get_or_init(|| start("azure"))
}

/// Azure Storage with the account `acct` that takes a token.
pub fn azure_tokens() -> &'static Store {
    static STORE: OnceLock<Store> = OnceLock::new();
    STORE.get_or_init(|| start("azure-tokens"))
}

/// Google Cloud Storage.
pub fn gcs() -> &'static Store {
    static STORE: OnceLock<Store> = OnceLock::new();
    STORE.get_or_init(|| start("gcs"))
}

fn start(which: &str) -> Store {
    let (store, process) = launch(which);
    Store { _process: Some(process), ..store }
}

fn launch<What: DeserializeOwned>(which: &str) -> (What, Child) {
    let mut process = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fetch/stores"))
        .arg(which)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tests/fetch/stores starts");
    let mut line = String::new();
    let stdout = process.stdout.take().expect("its output is piped");
    BufReader::new(stdout).read_line(&mut line).expect("it prints a line");
    let store = serde_json::from_str(&line).unwrap_or_else(|error| panic!("the store {which} did not start: {error}"));
    (store, process)
}
