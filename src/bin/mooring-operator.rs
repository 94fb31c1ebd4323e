//! The operator: from the command line to `operator::run`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use mooring_operator::catalogue::{page, troubleshooting};
use mooring_operator::operator::lease::Candidacy;
use mooring_operator::operator::place::Place;
use mooring_operator::operator::{admission, crds, run, webhook_arguments};
use mooring_operator::plan;
use mooring_operator::process::{admin, readiness::Readiness, shutdown, telemetry};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

/// Makes managed online endpoints out of `OnlineEndpoint` and `OnlineDeployment` objects.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  mooring-operator run --fetch-image registry/mooring/fetch:0.1.0 --gateway-host mooring-gateway.mooring-system.svc.cluster.local
  mooring-operator crds | kubectl apply -f -
  mooring-operator crds --write crds
  mooring-operator catalogue --markdown
  mooring-operator catalogue --troubleshooting"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reconcile until SIGTERM.
    Run(Box<Run>),
    /// Print the custom resource definitions, or write them as files.
    Crds {
        /// The folder to write one file for each kind into.
        #[arg(long, value_name = "FOLDER")]
        write: Option<PathBuf>,
    },
    /// Print every error that users can see: code, reason, message and next step.
    Catalogue {
        /// As a page in Markdown.
        #[arg(long, conflicts_with = "json")]
        markdown: bool,
        /// As the page that leads from a failure to its cause, in Markdown.
        #[arg(long, conflicts_with_all = ["markdown", "json"])]
        troubleshooting: bool,
        /// As JSON, which is the default.
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct Run {
    /// Image of the storage initializer for new revisions.
    #[arg(long, env = "MOORING_FETCH_IMAGE")]
    fetch_image: String,
    /// Claim, in each namespace, on which new revisions share their downloads when they name none; none without it.
    #[arg(long, env = "MOORING_CACHE_CLAIM_NAME", value_name = "CLAIM")]
    cache_claim_name: Option<String>,
    /// DNS name of the gateway's Service, as pods of other namespaces resolve it.
    #[arg(long, env = "MOORING_GATEWAY_HOST")]
    gateway_host: String,
    /// The cluster's DNS domain.
    #[arg(long, env = "MOORING_CLUSTER_DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// The only namespace to look at; all without it.
    #[arg(long, env = "MOORING_NAMESPACE")]
    namespace: Option<String>,
    /// Passes of each kind at the same time.
    #[arg(long, env = "MOORING_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Secret by which the replicas of the gateway know one another, as NAMESPACE/NAME; it is made when it is missing.
    #[arg(long, env = "MOORING_PEER_SECRET", value_name = "NAMESPACE/NAME")]
    peer_secret: Option<Place>,
    /// Lease of whoever writes, as NAMESPACE/NAME: of several replicas one reconciles, and another one goes on when it
    /// ends. Without it there must be no other replica.
    #[arg(long, env = "MOORING_LEASE", value_name = "NAMESPACE/NAME")]
    lease: Option<Place>,
    /// Name of this pod, by which the Lease tells who holds it.
    #[arg(long, env = "MOORING_POD_NAME", default_value = "mooring-operator")]
    pod_name: String,
    #[command(flatten)]
    webhook: webhook_arguments::Webhook,
    /// Address of /live, /ready and /metrics.
    #[arg(long, env = "MOORING_ADMIN", default_value = "0.0.0.0:8081")]
    admin: String,
    /// Form of the log lines.
    #[arg(long, env = "MOORING_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// What is logged, in the syntax of `RUST_LOG`.
    #[arg(long, env = "MOORING_LOG_FILTER", default_value = "info,kube_client=off")]
    log_filter: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Run(arguments) => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("starting the runtime failed")?
            .block_on(operate(*arguments)),
        Command::Crds { write: Some(folder) } => {
            for path in crds::write(&folder)? {
                eprintln!("wrote {}", path.display());
            }
            Ok(())
        }
        Command::Catalogue { markdown: true, .. } => {
            print!("{}", page::markdown());
            Ok(())
        }
        Command::Catalogue { troubleshooting: true, .. } => {
            print!("{}", troubleshooting::markdown());
            Ok(())
        }
        Command::Catalogue { .. } => {
            print!("{}", page::json()?);
            Ok(())
        }
        Command::Crds { write: None } => {
            for (_, document) in crds::documents()? {
                print!("---\n{document}");
            }
            Ok(())
        }
    }
}

/// A name of our own, also after a restart in the same pod: what the process before has left is not known.
fn candidacy(lease: Place, pod_name: &str) -> anyhow::Result<Candidacy> {
    let number = getrandom::u32().context("the system gives no random bytes")?;
    Ok(Candidacy { lease, me: format!("{pod_name}_{number:08x}") })
}

async fn operate(arguments: Run) -> anyhow::Result<()> {
    let format = match arguments.log_format {
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    telemetry::init(format, &arguments.log_filter);
    // Every library uses the same provider; a second installation is no error.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let shutdown = shutdown::on_signal().context("installing the signal handlers failed")?;
    let webhook = arguments.webhook.settings(arguments.namespace.clone());
    let readiness = match webhook {
        Some(_) => Readiness::waiting_for(&[run::CACHES, admission::WEBHOOK]),
        None => Readiness::waiting_for(&[run::CACHES]),
    };
    let mut registry = Registry::default();
    let settings = run::Settings {
        plan: plan::Config {
            fetch_image: arguments.fetch_image,
            cache_claim: arguments.cache_claim_name.filter(|claim| !claim.is_empty()),
            gateway_host: arguments.gateway_host,
            cluster_domain: arguments.cluster_domain,
        },
        namespace: arguments.namespace,
        concurrency: arguments.concurrency,
        lease: arguments.lease.map(|lease| candidacy(lease, &arguments.pod_name)).transpose()?,
        webhook,
        peer_secret: arguments.peer_secret,
    };
    let controllers = run::run(settings, &readiness, &mut registry, shutdown.clone()).await?;
    let listener = TcpListener::bind(&arguments.admin)
        .await
        .with_context(|| format!("listening on {} (--admin) failed", arguments.admin))?;
    tokio::spawn(admin::serve(listener, readiness, Arc::new(registry), shutdown));
    controllers.await?;
    Ok(())
}
