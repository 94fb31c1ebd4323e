//! What can go wrong, in the user's words.

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// There is no such object.
    #[error(
        "{kind} {name:?} does not exist in namespace {namespace:?}; list them with `mooring {verb} list --namespace {namespace}`"
    )]
    NotFound {
        /// Kind of the object.
        kind: &'static str,
        /// The verb that lists its kind.
        verb: &'static str,
        /// Its name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// The kubeconfig can't be used.
    #[error("reading the kubeconfig failed; name a context that exists with --context")]
    Kubeconfig(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The API server refused or did not answer.
    #[error("{act} failed")]
    Api {
        /// What was asked.
        act: &'static str,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// The endpoint has no usable keys.
    #[error("endpoint {0:?} has no keys yet; look at the condition AuthReady with `mooring endpoint show -n {0}`")]
    NoKeys(String),
    /// No gateway runs.
    #[error("no ready gateway was found in any namespace; is the chart installed?")]
    NoGateway,
    /// The request could not be sent.
    #[error("sending the request through the gateway failed")]
    Send(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer was not 200.
    #[error("the endpoint answered {status} {phrase}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its reason phrase.
        phrase: String,
    },
    /// A file could not be read.
    #[error("reading {path} failed")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The output could not be written.
    #[error("writing the output failed")]
    Write(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl CliError {
    /// The exit code of the program.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 3,
            _ => 1,
        }
    }
}
