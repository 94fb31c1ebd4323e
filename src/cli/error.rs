//! What can go wrong, in the user's words: the object, and what to do now. The cause is the source.

use kube::core::Status;

use super::arguments::deployment::Container;
use crate::local::engine::EngineError;
use crate::local::store::StoreError;

/// A cause that a library names.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// There is no such object.
    #[error("{kind} {name:?} does not exist {place}; {next_step}")]
    NotFound {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Where it was looked for, as `in namespace "team"`.
        place: String,
        /// What shows those that exist.
        next_step: String,
    },
    /// There is such an object already.
    #[error("{kind} {name:?} exists already {place}; change it with `mooring {kind} update`")]
    Exists {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Where it is, as `in namespace "team"`.
        place: String,
    },
    /// The arguments don't go together.
    #[error("{0}")]
    Usage(String),
    /// A file with resources can't be understood.
    #[error("{file} can't be used; nothing was changed:\n  {problems}")]
    File {
        /// The file.
        file: String,
        /// All of what is wrong, a line each.
        problems: String,
    },
    /// A person has said no.
    #[error("nothing was deleted")]
    Declined,
    /// A deployment or an endpoint has failed; what was printed before has the rest.
    #[error("{kind} {name:?} has failed{code}")]
    Failed {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The code and the cause, as ` with ERR_1200 ImageNotFound`; empty where there is none.
        code: String,
    },
    /// It went away while it was waited for.
    #[error("{kind} {name:?} was deleted by somebody while it was waited for")]
    Gone {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Ctrl-C.
    #[error("the waiting has ended, the work goes on; come back with `{come_back}`")]
    Interrupted {
        /// The command that shows how it goes.
        come_back: String,
    },
    /// It was not there in time.
    #[error("{what} after {seconds} seconds; {next_step}")]
    Late {
        /// What is not as it was to be.
        what: String,
        /// How long the wait was.
        seconds: u64,
        /// What to do now.
        next_step: String,
    },
    /// The system gives no random bytes.
    #[error("making a key failed: the system gives no random bytes")]
    Randomness(#[source] getrandom::Error),
    /// There is no such word in the catalogue.
    #[error("{what:?} is no code, no reason and no status; {next_step}")]
    Unexplained {
        /// The word.
        what: String,
        /// What may be meant.
        next_step: String,
    },
    /// The instance has no such container.
    #[error(
        "instance {instance:?} has no container {}; a deployment without model and code has no storage-initializer",
        container.as_str()
    )]
    NoContainer {
        /// Name of the pod.
        instance: String,
        /// The container.
        container: Container,
    },
    /// The container has never been restarted.
    #[error(
        "container {} of instance {instance:?} has not been restarted; leave out --previous",
        container.as_str()
    )]
    NoPrevious {
        /// Name of the pod.
        instance: String,
        /// The container.
        container: Container,
    },
    /// The kubeconfig can't be used.
    #[error("{which} can't be used; name a file with --kubeconfig, or one of its contexts with --context")]
    Kubeconfig {
        /// The file or context.
        which: String,
        /// Why not.
        source: Cause,
    },
    /// The API server said no.
    #[error("{act} failed; {}", next_step(.source))]
    Denied {
        /// What was asked.
        act: String,
        /// The API server's own words.
        source: Box<Status>,
    },
    /// The API server did not answer, or not in words that are known.
    #[error(
        "{act} failed; check that `kubectl version` reaches the cluster, and that the operator is of the version of `mooring version`"
    )]
    NoAnswer {
        /// What was asked.
        act: String,
        /// What came instead.
        source: Box<kube::Error>,
    },
    /// The endpoint has no usable keys.
    #[error(
        "endpoint {endpoint:?} has no keys: {why}; look at its conditions with `mooring endpoint show -n {endpoint}`"
    )]
    NoKeys {
        /// Name of the endpoint.
        endpoint: String,
        /// Why not.
        why: String,
    },
    /// Nobody has a token that the endpoint would take.
    #[error(
        "endpoint {endpoint:?} wants a token for {audience}, which is made for service accounts, and {user:?} is none; name one that \
         may score with --service-account NAMESPACE:NAME"
    )]
    NoToken {
        /// Name of the endpoint.
        endpoint: String,
        /// Who is calling.
        user: String,
        /// The audience that the token must have.
        audience: String,
    },
    /// The API server has answered without what was asked for.
    #[error("{act} failed: the API server's answer holds none; try again")]
    NoAnswerInIt {
        /// What was asked.
        act: String,
    },
    /// No gateway runs.
    #[error("no ready gateway was found in {0}; install the chart, wait for its pods, or name an address with --url")]
    NoGateway(String),
    /// The request can't be put together.
    #[error("the request can't be put together; check --name, --deployment, --content-type and --url")]
    Request(#[source] Cause),
    /// The request got no answer.
    #[error("sending the request to {to} failed; check that it runs and can be reached from here")]
    Send {
        /// Whom.
        to: String,
        /// Why not.
        source: Cause,
    },
    /// The answer was not 200.
    #[error("endpoint {endpoint:?} answered {status} {phrase}{request_id}; {next_step}")]
    Refused {
        /// Name of the endpoint.
        endpoint: String,
        /// HTTP status.
        status: u16,
        /// Its reason phrase.
        phrase: String,
        /// The gateway's id of the request, as ` (x-request-id …)`; empty without one.
        request_id: String,
        /// What to do now.
        next_step: String,
    },
    /// The doctor found something that does not work.
    #[error("{count} of the findings above failed; each says what to do below the table")]
    Unwell {
        /// How many.
        count: usize,
    },
    /// No answer came in time.
    #[error("{act} took longer than {seconds} seconds; try again, or allow more with --timeout")]
    TimedOut {
        /// What was asked.
        act: String,
        /// How long the wait was.
        seconds: u64,
    },
    /// A file could not be read.
    #[error("reading {path} failed; name a readable file with {flag}, or - for standard input")]
    Read {
        /// The file.
        path: String,
        /// The flag that names it.
        flag: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of this machine did not get to its store.
    #[error("uploading {what} to {store} failed; nothing was changed in the cluster; {advice}")]
    Upload {
        /// What was to be uploaded.
        what: String,
        /// Where to.
        store: String,
        /// What has to be right.
        advice: String,
        /// Why not.
        source: Cause,
    },
    /// The manual pages could not be written.
    #[error(
        "writing the manual pages into {directory} failed; name a directory that you may write to with --directory"
    )]
    WritePage {
        /// The directory.
        directory: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The output could not be written.
    #[error("writing the output failed")]
    Write(#[source] std::io::Error),
    /// A log broke off.
    #[error("{act} failed")]
    Log {
        /// What was asked.
        act: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A local deployment has callers.
    #[error(
        "deployment {name:?} gets {share} % of the traffic of endpoint {endpoint:?}; first give it to another with `mooring \
         endpoint traffic --local -n {endpoint} OTHER=100`, or delete the endpoint"
    )]
    Served {
        /// Name of the deployment.
        name: String,
        /// Name of its endpoint.
        endpoint: String,
        /// Its percent of the traffic.
        share: i32,
    },
    /// The files of a local object are gone, its containers may be there.
    #[error(
        "the files of {kind} {name:?} are deleted, and its containers may be left; delete it again when the engine runs"
    )]
    Left {
        /// What it is.
        kind: String,
        /// Its name.
        name: String,
        /// Why the engine could not be asked.
        source: EngineError,
    },
    /// Local mode can't do it.
    #[error(transparent)]
    Local(#[from] StoreError),
    /// The output could not be put into its form.
    #[error("putting the output into its form failed")]
    Form(#[source] Cause),
}

impl CliError {
    /// Nothing has that name at a place that `arguments` stand for.
    pub(super) fn not_found(kind: &'static str, name: &str, place: String, arguments: &str) -> Self {
        let next_step = format!("see `mooring {kind} list {arguments}`");
        Self::NotFound { kind, name: name.to_owned(), place, next_step }
    }

    /// The exit code of the program.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::NotFound { .. }
            | Self::Local(StoreError::NotFound { .. })
            | Self::NoContainer { .. }
            | Self::NoPrevious { .. }
            | Self::Gone { .. }
            | Self::Unexplained { .. } => 3,
            Self::TimedOut { .. } | Self::Late { .. } => 4,
            // What a shell says of a program that SIGINT ended.
            Self::Interrupted { .. } => 130,
            _ => 1,
        }
    }

    /// Whether it is only that the reader of the output has had enough, as `head` does.
    #[must_use]
    pub fn reader_is_gone(&self) -> bool {
        matches!(self, Self::Write(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

fn next_step(status: &Status) -> &'static str {
    match status.code {
        _ if status.message.starts_with("admission webhook ") => "do what its answer below says",
        401 => "sign in to the cluster again",
        403 => "ask the cluster's administrator for the right that is named below",
        404 => "install the chart: the cluster does not know this kind of object",
        _ => "read the API server's own words below",
    }
}
