//! The scoring data plane: a request comes in, one instance of one deployment answers it.
//!
//! A request walks through [`phase`] in the order of its files. What it needs to know is one look at [`table`],
//! which a [`source`] keeps current; so that the gateway goes on serving when the source falls silent.

pub mod access_log;
pub mod backend;
pub mod body;
pub mod bounded;
pub mod connection;
pub mod cors;
pub mod listen;
pub mod load;
pub mod metrics;
pub mod patient;
pub mod peers;
pub mod phase;
pub mod protocol;
pub mod rate;
pub mod record;
pub mod source;
pub mod table;
pub mod tls;
pub mod token;
pub mod tunnel;
pub mod upstream;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::process::readiness::Readiness;
use crate::process::{admin, answer};
use access_log::AccessLog;
use listen::Doors;
use metrics::{Collector, Connections, Results};
use peers::Peers;
use table::SharedTable;
use table::writer::TableWriter;
use tls::Tls;
use token::{Tokens, reviewer};

/// What a gateway is told when it starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where scoring requests come in. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where they come in over TLS, when they do.
    pub tls: Option<TlsOptions>,
    /// Where `/live`, `/ready`, `/metrics` and `/internal/load` are. Port 0 takes a free one.
    pub admin: SocketAddr,
    /// Where routes and instances come from.
    pub source: Source,
    /// The cluster's domain, for host names such as `iris.default.svc.cluster.local`.
    pub cluster_domain: String,
    /// How other replicas are found, where there may be others.
    pub peers: Option<peers::Options>,
    /// Threads that serve requests.
    pub threads: usize,
    /// Whether each request leaves a line on standard output.
    pub access_log: bool,
    /// How long requests are still accepted after the signal to end, while the word spreads that this replica is going.
    pub shutdown_delay: Duration,
    /// The longest that requests in flight may take to finish after that.
    pub drain: Duration,
}

/// A second port, with TLS.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Where scoring requests come in. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the certificate and its key are.
    pub files: tls::certificate::Files,
}

/// Where routes and instances come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// `EndpointRoutes` and `EndpointSlices` of a cluster.
    Cluster {
        /// The only namespace to look at; all of them without it.
        namespace: Option<String>,
    },
    /// A file, or a folder of `.yaml`, `.yml` and `.json` files.
    File {
        /// Path of the file or folder.
        path: PathBuf,
    },
}

/// Why a gateway ended.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A port can't be listened on.
    #[error("listening on {address} failed")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// A thread or its runtime can't be started.
    #[error("starting a serving thread failed")]
    Thread(#[source] io::Error),
    /// The certificate can't be used.
    #[error("the certificate for TLS can't be used")]
    Certificate(#[from] tls::certificate::CertificateError),
    /// The cluster's address and credentials can't be found.
    #[error("finding the cluster's address and credentials failed")]
    ClusterConfig(#[source] Box<kube::config::InferConfigError>),
    /// No client can be made from the cluster's address and credentials.
    #[error("making a client for the cluster failed")]
    ClusterClient(#[source] Box<kube::Error>),
    /// A task ended that must go on as long as the process.
    #[error("the {0} ended by itself")]
    Ended(&'static str),
}

/// What all threads of a gateway share.
#[derive(Debug)]
pub struct Gateway {
    /// The routing table in force.
    pub table: Arc<SharedTable>,
    /// The cluster's domain, for host names.
    pub cluster_domain: String,
    /// Who has a good token; none without a cluster to ask.
    pub tokens: Option<Arc<Tokens>>,
    /// This replica among the others, where there may be others.
    pub peers: Option<Arc<Peers>>,
    /// Results of requests that belong to no endpoint.
    pub unknown: Arc<Results>,
    /// Connections of callers.
    pub connections: Arc<Connections>,
    /// Where the lines about requests go, when they are wanted.
    pub access_log: Option<Arc<AccessLog>>,
    /// Whether this replica is about to end: connections are then closed after their answer.
    pub draining: AtomicBool,
}

/// Serves until `shutdown`, then finishes what is in flight.
///
/// # Errors
/// When a port or the cluster's configuration can't be had at the start, or when a lasting task ends.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), GatewayError> {
    let readiness = Readiness::waiting_for(match options.peers {
        None => &["routes", "listener"],
        Some(_) => &["routes", "listener", "secret", "replicas"],
    });
    let table = Arc::new(SharedTable::default());
    let mut registry = Registry::default();
    let source = source::open(options.source).await?;
    let (tokens, reviewer) = source.client().map(|client| reviewer::start(client.clone(), &mut registry)).unzip();
    let gateway = Arc::new(Gateway {
        peers: options.peers.as_ref().map(|options| Peers::new(options, Arc::clone(&table))),
        table,
        cluster_domain: options.cluster_domain.to_ascii_lowercase(),
        tokens,
        unknown: Arc::new(Results::default()),
        connections: Arc::default(),
        access_log: options.access_log.then(AccessLog::start).transpose().map_err(GatewayError::Thread)?,
        draining: AtomicBool::new(false),
    });
    registry.register_collector(Box::new(Collector::new(Arc::clone(&gateway))));

    let listen_error = |address| move |source| GatewayError::Listen { address, source };
    let admin = TcpListener::bind(options.admin).await.map_err(listen_error(options.admin))?;
    let admin_address = admin.local_addr().map_err(listen_error(options.admin))?;
    let bind = |address| listen::bind(address, options.threads).map_err(listen_error(address));
    let (plain, address) = bind(options.listen)?;
    let (mut secure, tls_address, certificate) = match options.tls {
        None => (None, None, None),
        Some(TlsOptions { listen, files }) => {
            let (certificate, work) = tls::certificate::open(files).await?;
            let (listeners, address) = bind(listen)?;
            (Some((listeners.into_iter(), Tls::new(certificate)?)), Some(address), Some(work))
        }
    };

    let ended = CancellationToken::new();
    let (watched, ready) = (Arc::clone(&gateway), readiness.clone());
    let answer = move |path: &str| match path {
        "/internal/load" => load::answer(&watched.table.load()),
        _ => admin::answer(path, &ready, &registry),
    };
    let admin = tokio::spawn(answer::serve(admin, answer, ended.clone()));
    let writer = TableWriter::new(Arc::clone(&gateway.table));
    let membership = match gateway.peers.as_ref().zip(options.peers) {
        None => None,
        Some((peers, options)) => {
            let address = options.listen;
            Some(peers.join(options, readiness.clone()).await.map_err(listen_error(address))?)
        }
    };
    let source = tokio::spawn(source.follow(writer, readiness.clone(), membership));
    let reviewer = tokio::spawn(reviewer.unwrap_or_else(|| Box::pin(std::future::pending())));
    let certificate = tokio::spawn(certificate.unwrap_or_else(|| Box::pin(std::future::pending())));

    let close = CancellationToken::new();
    let threads = plain
        .into_iter()
        .enumerate()
        .map(|(number, plain)| {
            let secure = secure.as_mut();
            let secure = secure.and_then(|(listeners, tls)| Some((listeners.next()?, tls.for_another_thread())));
            let doors = Doors { plain, secure };
            let (gateway, close, drain) = (Arc::clone(&gateway), close.clone(), options.drain);
            thread::Builder::new()
                .name(format!("serve-{number}"))
                .spawn(move || listen::serve(doors, &gateway, &close, drain))
        })
        .collect::<io::Result<Vec<_>>>()
        .map_err(GatewayError::Thread)?;
    readiness.set("listener", true);
    let tls = tls_address.map(tracing::field::display);
    tracing::info!(%address, tls, admin = %admin_address, threads = options.threads, "listening");

    tokio::select! {
        () = shutdown.cancelled() => {}
        _ = reviewer => return Err(GatewayError::Ended("reviewer of tokens")),
        _ = certificate => return Err(GatewayError::Ended("reader of the certificate")),
        _ = source => return Err(GatewayError::Ended("source of routes")),
        _ = admin => return Err(GatewayError::Ended("admin port")),
    }
    readiness.set("listener", false);
    gateway.draining.store(true, std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(options.shutdown_delay).await;
    close.cancel();
    let joined = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
    let clean = joined.await.unwrap_or(false);
    if let Some(peers) = &gateway.peers {
        peers.say_goodbye().await;
    }
    if let Some(access_log) = &gateway.access_log {
        access_log.flush();
    }
    ended.cancel();
    if clean { Ok(()) } else { Err(GatewayError::Ended("serving thread")) }
}
