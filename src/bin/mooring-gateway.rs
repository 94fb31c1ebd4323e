//! The scoring data plane.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use mooring_operator::gateway::tls::certificate::Files;
use mooring_operator::gateway::{self, Options, Source, TlsOptions, peers};
use mooring_operator::process::{descriptors, shutdown, telemetry};

/// Gives back what connections have freed, which the system's own keeps: it is mixed with what they still hold.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Takes scoring requests, finds the endpoint, checks the key or token, chooses a deployment and one of its instances, and
/// passes the answer back as a stream.
#[derive(Parser, Debug)]
#[command(name = "mooring-gateway", version, after_help = EXAMPLES)]
struct Arguments {
    /// Address and port for scoring requests
    #[arg(long, env = "MOORING_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// File with the certificate for TLS and those that lead to its root, as PEM; read again when it changes
    #[arg(long, env = "MOORING_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// File with the certificate's private key, as PEM
    #[arg(long, env = "MOORING_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Address and port for scoring requests over TLS, when there is a certificate
    #[arg(long, env = "MOORING_TLS_LISTEN", default_value = "0.0.0.0:8443", value_name = "ADDRESS")]
    tls_listen: SocketAddr,
    /// Address and port for /live, /ready, /metrics and /internal/load
    #[arg(long, env = "MOORING_ADMIN", default_value = "0.0.0.0:8081", value_name = "ADDRESS")]
    admin: SocketAddr,
    /// Where routes and instances come from
    #[arg(long, env = "MOORING_SOURCE", value_enum, default_value_t = SourceKind::Cluster)]
    source: SourceKind,
    /// File, or folder of .yaml, .yml and .json files, with routes and instances; with --source file
    #[arg(long, env = "MOORING_FILE", value_name = "PATH", required_if_eq("source", "file"))]
    file: Option<PathBuf>,
    /// The only namespace to serve; without it, all
    #[arg(long, env = "MOORING_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
    /// Domain of the cluster, for host names such as iris.default.svc.cluster.local
    #[arg(long, env = "MOORING_CLUSTER_DOMAIN", default_value = "cluster.local", value_name = "DOMAIN")]
    cluster_domain: String,
    /// Name of the Service of this gateway, by which its replicas find one another; without it, each has limits of its
    /// own
    #[arg(long, env = "MOORING_SERVICE_NAME", value_name = "NAME", requires_all = ["service_namespace", "pod_name", "peer_secret_file"])]
    service_name: Option<String>,
    /// Namespace of that Service
    #[arg(long, env = "MOORING_SERVICE_NAMESPACE", value_name = "NAME")]
    service_namespace: Option<String>,
    /// Name of this replica's pod
    #[arg(long, env = "MOORING_POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,
    /// File with the secret that all replicas know
    #[arg(long, env = "MOORING_PEER_SECRET_FILE", value_name = "PATH")]
    peer_secret_file: Option<PathBuf>,
    /// Address and port for other replicas; with --service-name
    #[arg(long, env = "MOORING_PEER_LISTEN", default_value = "0.0.0.0:8082", value_name = "ADDRESS")]
    peer_listen: SocketAddr,
    /// Threads that serve requests; without it, one for each processor
    #[arg(long, env = "MOORING_THREADS", value_name = "COUNT")]
    threads: Option<NonZero<usize>>,
    /// Write one line of JSON for each request on standard output
    #[arg(long, env = "MOORING_ACCESS_LOG")]
    access_log: bool,
    /// Seconds after the signal to end in which new requests are still taken, while the word spreads
    #[arg(long, env = "MOORING_SHUTDOWN_DELAY_SECONDS", default_value_t = 5, value_name = "SECONDS")]
    shutdown_delay_seconds: u64,
    /// Seconds after that in which requests in flight may finish
    #[arg(long, env = "MOORING_DRAIN_SECONDS", default_value_t = 20, value_name = "SECONDS")]
    drain_seconds: u64,
    /// Form of the log on standard error
    #[arg(long, env = "MOORING_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,
    /// What is logged: info, debug, or a level for each module with commas between
    #[arg(
        long,
        env = "MOORING_LOG_FILTER",
        default_value = "info,kube_client=off,kube_runtime=error",
        value_name = "FILTER"
    )]
    log_filter: String,
}

const EXAMPLES: &str = "\
Examples:
  Serve all endpoints of the cluster that the kubeconfig or the pod's service account leads to:
    mooring-gateway
  Serve one namespace, with a line for each request:
    mooring-gateway --namespace shop --access-log
  Serve without a cluster, from a file, read again when it changes:
    mooring-gateway --source file --file routes.yaml --listen 127.0.0.1:8080
  The same over TLS, too:
    mooring-gateway --source file --file routes.yaml --tls-certificate tls.crt --tls-key tls.key

In a cluster it needs the rights to get, list and watch endpointroutes.mooring.dev and
endpointslices.discovery.k8s.io, and for endpoints with authMode AMLToken to create
tokenreviews.authentication.k8s.io and subjectaccessreviews.authorization.k8s.io.";

#[derive(ValueEnum, Clone, Copy, Debug)]
enum SourceKind {
    /// A cluster
    Cluster,
    /// A file or folder
    File,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl Arguments {
    fn options(self) -> anyhow::Result<Options> {
        let others = self.service_name.zip(self.service_namespace).zip(self.pod_name).zip(self.peer_secret_file);
        let peers = others.map(|(((service, namespace), id), secret_file)| peers::Options {
            listen: self.peer_listen,
            id,
            namespace,
            service,
            secret_file,
        });
        let processors = || std::thread::available_parallelism().map_or(1, NonZero::get);
        Ok(Options {
            listen: self.listen,
            tls: self
                .tls_certificate
                .zip(self.tls_key)
                .map(|(certificate, key)| TlsOptions { listen: self.tls_listen, files: Files { certificate, key } }),
            admin: self.admin,
            source: match self.source {
                SourceKind::Cluster => Source::Cluster { namespace: self.namespace },
                SourceKind::File => Source::File { path: self.file.context("--source file needs --file")? },
            },
            cluster_domain: self.cluster_domain,
            peers,
            threads: self.threads.map_or_else(processors, NonZero::get),
            access_log: self.access_log,
            shutdown_delay: Duration::from_secs(self.shutdown_delay_seconds),
            drain: Duration::from_secs(self.drain_seconds),
        })
    }
}

fn main() -> anyhow::Result<()> {
    // Before anything else, so that every library takes the same one.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("a TLS provider was installed before main");
    }
    let arguments = Arguments::parse();
    let format = match arguments.log_format {
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    telemetry::init(format, &arguments.log_filter);
    descriptors::raise();
    let options = arguments.options()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime failed")?;
    runtime.block_on(async {
        let shutdown = shutdown::on_signal().context("installing the signal handlers failed")?;
        gateway::run(options, shutdown).await.context("the gateway can't go on")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_twin_in_the_environment() {
        let command = Arguments::command();
        for argument in
            command.get_arguments().filter(|argument| argument.get_id() != "help" && argument.get_id() != "version")
        {
            let twin = format!("MOORING_{}", argument.get_id().as_str().to_ascii_uppercase());
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(twin.as_str()));
        }
    }
}
