//! The storage initializer.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Parser;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use mooring_operator::api::artifact::{ArtifactReport, PLAN_VARIABLE, PROGRESS_PATH, PROGRESS_VARIABLE};
use mooring_operator::fetch::progress::Board;
use mooring_operator::fetch::{self, Patience, report};
use mooring_operator::process::{answer, telemetry};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const EXAMPLE: &str = r#"Example:
  mooring-fetch --plan - <<'PLAN'
  {"version": 1, "artifacts": [{"kind": "model", "uri": "s3://models/iris/",
    "credentialsDirectory": "/var/run/secrets/mooring/model",
    "delivery": {"download": {"directory": "/tmp/iris", "folder": "subFolder"}}}]}
  PLAN

Credentials are the files of a mounted Secret: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN,
AWS_ENDPOINT_URL, AWS_REGION for s3://; AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, or AZURE_TENANT_ID,
AZURE_CLIENT_ID and AZURE_CLIENT_SECRET for azure:// and abfss://; service-account.json for gs://; username and
password, authorization, or headers for http(s)://; HF_TOKEN, HF_ENDPOINT for hf://; .dockerconfigjson or config.json,
or username and password for oci://. Without them the identity that the cloud gave to the pod is used, else the access
is anonymous, and where that is refused the identity of the node is tried.

Exit codes:
  0    everything is in place
  2    the arguments or the plan can't be read
  13   an artifact is not in place (ERR_1300); the report tells why
  143  ended by SIGTERM"#;

/// Exit code without a plan to follow, as for wrong arguments.
const UNREADABLE: u8 = 2;

/// Exit code of a program that SIGTERM ended.
const TERMINATED: u8 = 143;

/// Puts models and code in place, before the inference server starts.
#[derive(Parser)]
#[command(name = "mooring-fetch", version, after_help = EXAMPLE)]
struct Arguments {
    /// File with the artifact plan (JSON), or `-` for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "plan_json", required_unless_present = "plan_json")]
    plan: Option<PathBuf>,

    /// The artifact plan itself.
    #[arg(long, value_name = "JSON", env = PLAN_VARIABLE, hide_env_values = true)]
    plan_json: Option<String>,

    /// Where the report goes [default: /dev/termination-log, where that exists].
    #[arg(long, value_name = "FILE", env = "MOORING_TERMINATION_LOG")]
    termination_log: Option<PathBuf>,

    /// How often a request or a file is tried in all.
    #[arg(long, value_name = "NUMBER", env = "MOORING_FETCH_ATTEMPTS", default_value = "5")]
    attempts: NonZeroUsize,

    /// Longest wait for a connection.
    #[arg(long, value_name = "SECONDS", env = "MOORING_FETCH_CONNECT_SECONDS", default_value = "10")]
    connect_seconds: NonZeroU64,

    /// Longest wait for the next bytes of an answer; after a second one in a row, nothing more is expected.
    #[arg(long, value_name = "SECONDS", env = "MOORING_FETCH_STALL_SECONDS", default_value = "10")]
    stall_seconds: NonZeroU64,

    /// Where to serve `/progress`, as in `[::]:8089`; nowhere without it.
    #[arg(long, value_name = "ADDRESS", env = PROGRESS_VARIABLE)]
    progress: Option<SocketAddr>,

    /// Filter of the log, as in `info,mooring_operator=debug`.
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info")]
    log: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::init(telemetry::Format::Text, &arguments.log);
    // Fails only if a provider is there already, which is then as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    start(&arguments).unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::from(UNREADABLE)
    })
}

fn start(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let plan = read(arguments)?;
    let patience = Patience {
        attempts: arguments.attempts.get(),
        connect: Duration::from_secs(arguments.connect_seconds.get()),
        stall: Duration::from_secs(arguments.stall_seconds.get()),
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("can't start the runtime")?;
    let Some(report) = runtime.block_on(follow(&plan, patience, arguments.progress))? else {
        // Work on the disk that is under way would be waited for.
        runtime.shutdown_background();
        return Ok(ExitCode::from(TERMINATED));
    };
    report::tell(&report);
    if let Some(kibibytes) = peak_memory() {
        tracing::debug!("peak memory: {kibibytes} KiB");
    }
    if let Err(error) = report::write(&report, arguments.termination_log.as_deref()) {
        // How it ended counts more than who hears of it.
        tracing::error!("can't write the report: {error}");
    }
    Ok(ExitCode::from(report::exit_code(&report)))
}

/// The most memory that this process has had, in KiB.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok())
}

fn read(arguments: &Arguments) -> anyhow::Result<String> {
    match (&arguments.plan, &arguments.plan_json) {
        (Some(path), _) if path.as_os_str() == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("can't read the plan from standard input")?;
            Ok(text)
        }
        (Some(path), _) => {
            std::fs::read_to_string(path).with_context(|| format!("can't read the plan {}", path.display()))
        }
        (None, json) => Ok(json.clone().unwrap_or_default()),
    }
}

/// Follows the plan to its end; `None` when SIGTERM came first.
async fn follow(
    plan: &str,
    patience: Patience,
    progress: Option<SocketAddr>,
) -> anyhow::Result<Option<ArtifactReport>> {
    let plan = match fetch::read_plan(plan) {
        Ok(plan) => plan,
        Err(error) => return Ok(Some(report::without_plan(&error))),
    };
    // The first process of a container is not ended by SIGTERM unless it wants to be.
    let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
    let board = Board::default();
    if let Some(address) = progress {
        match listen(address).await {
            Ok(listener) => {
                tracing::debug!("the progress is served on {}", listener.local_addr()?);
                tokio::spawn(answer::serve(listener, shows(board.clone()), CancellationToken::new()));
            }
            // Nobody needs it to fetch.
            Err(error) => tracing::warn!("can't serve the progress on {address}: {error}"),
        }
    }
    tokio::select! {
        report = fetch::run(&plan, patience, &board) => Ok(Some(report)),
        _ = terminate.recv() => Ok(None),
    }
}

/// Listens on `address`; where the system has no IPv6, on every IPv4 address instead of on every one.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(_) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// The answers of the progress server.
fn shows(board: Board) -> impl Fn(&str) -> Response<Full<Bytes>> + Send + Sync + 'static {
    move |path| match (path, board.document()) {
        (PROGRESS_PATH, Some(document)) => {
            let body = serde_json::to_string(&document).unwrap_or_default();
            answer::with_type(StatusCode::OK, body, "application/json")
        }
        (PROGRESS_PATH, None) => answer::text(StatusCode::SERVICE_UNAVAILABLE, "nothing is fetched yet\n".to_owned()),
        _ => answer::text(StatusCode::NOT_FOUND, format!("there is {PROGRESS_PATH}\n")),
    }
}
