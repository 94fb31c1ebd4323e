//! Why an artifact is not in place: a typed cause, never guessed from text.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;

use crate::catalogue::Reason;
use crate::fetch::address;
use crate::process::cause;

type Source = Box<dyn Error + Send + Sync>;

/// Why an artifact, or a part of it, is not in place.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{act}")]
pub struct Failure {
    /// The cause, as users see it.
    pub reason: Reason,
    /// The store's HTTP status.
    pub http_status: Option<u16>,
    /// The store's own error code.
    pub provider_code: Option<String>,
    /// Whether trying again may help.
    pub retry: Retry,
    act: String,
    #[source]
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// Whether trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Only a change by somebody helps.
    Never,
    /// Yes, after a growing pause.
    Soon,
    /// Yes, after the pause that the store asked for.
    After(Duration),
}

impl Failure {
    /// A failure for `reason` that trying again does not help. `act` says what failed, for people and without secrets.
    pub fn new(reason: Reason, act: impl Into<String>) -> Self {
        Self { reason, http_status: None, provider_code: None, retry: Retry::Never, act: act.into(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// Adds the HTTP status and the store's own code.
    #[must_use]
    pub fn with_answer(mut self, status: StatusCode, provider_code: Option<String>) -> Self {
        self.http_status = Some(status.as_u16());
        self.provider_code = provider_code;
        self
    }

    /// Says what the store's own code means: the cause, and whether trying again may help, after the `pause` that the
    /// store asked for.
    #[must_use]
    pub fn meaning(mut self, reason: Reason, retry: Retry, pause: Option<Duration>) -> Self {
        self.reason = reason;
        self.retry = pause.filter(|_| retry != Retry::Never).map_or(retry, Retry::After);
        self
    }

    /// Says what failed, anew.
    #[must_use]
    pub fn with_act(mut self, act: impl Into<String>) -> Self {
        self.act = act.into();
        self
    }

    /// Says more of what failed, after what is said already.
    #[must_use]
    pub fn and(mut self, more: &str) -> Self {
        self.act.push(' ');
        self.act.push_str(more);
        self
    }

    /// Says whether trying again may help.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// A request to `host` that got no whole answer.
    #[must_use]
    pub fn transport(error: reqwest::Error, host: &str) -> Self {
        // The text of reqwest holds the whole url, and with it signatures in the query.
        let error = error.without_url();
        let (is_connect, is_timeout) = (error.is_connect(), error.is_timeout());
        Self::broken(error, is_connect, is_timeout, host)
    }

    /// As [`Failure::transport`], of an error that another client has wrapped.
    #[must_use]
    pub fn broken(error: impl Error + Send + Sync + 'static, is_connect: bool, is_timeout: bool, host: &str) -> Self {
        let failure = if has_cause::<rustls::Error>(&error) {
            Self::new(Reason::ArtifactStoreTls, format!("{host} can't be trusted"))
        } else if has_cause::<address::Forbidden>(&error) {
            Self::new(Reason::ArtifactUriInvalid, format!("{host} is refused"))
        } else if is_connect {
            Self::new(Reason::ArtifactStoreUnreachable, format!("{host} can't be reached")).with_retry(Retry::Soon)
        } else if is_timeout {
            Self::new(Reason::ArtifactStalled, format!("{host} stopped sending")).with_retry(Retry::Soon)
        } else {
            Self::new(Reason::ArtifactStoreError, format!("{host} broke the connection")).with_retry(Retry::Soon)
        };
        failure.caused_by(error)
    }

    /// An answer of a store with an error status. `act` says what was asked for.
    #[must_use]
    pub fn status(status: StatusCode, retry_after: Option<Duration>, act: impl Into<String>) -> Self {
        let again = retry_after.map_or(Retry::Soon, Retry::After);
        let (reason, retry) = match status.as_u16() {
            401 => (Reason::ArtifactUnauthenticated, Retry::Never),
            403 => (Reason::ArtifactForbidden, Retry::Never),
            404 | 410 => (Reason::ArtifactNotFound, Retry::Never),
            429 => (Reason::ArtifactStoreThrottled, again),
            408 | 500.. => (Reason::ArtifactStoreError, again),
            _ => (Reason::ArtifactStoreError, Retry::Never),
        };
        Self::new(reason, act).with_retry(retry).with_answer(status, None)
    }

    /// A file operation on our side of the wire.
    #[must_use]
    pub fn local(error: io::Error, act: &str, path: &Path) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Reason::ArtifactDiskFull
            }
            io::ErrorKind::InvalidFilename => Reason::ArtifactUnpackUnsafe,
            _ => Reason::ArtifactVolumeUnavailable,
        };
        Self::new(reason, format!("can't {act} {}", path.display())).caused_by(error)
    }

    /// What failed and the deepest cause, for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        self.source().map_or_else(|| self.act.clone(), |error| format!("{}: {}", self.act, cause::root(error)))
    }
}

/// Whether a `Cause` is at the bottom of `error`; that of rustls travels inside an `io::Error`, which hides it from
/// `source`.
fn has_cause<Cause: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<Cause>() {
            return true;
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(status: u16) -> Reason {
        Failure::status(StatusCode::from_u16(status).unwrap(), None, "").reason
    }

    #[test]
    fn a_status_has_a_reason() {
        assert_eq!(reason(401), Reason::ArtifactUnauthenticated);
        assert_eq!(reason(403), Reason::ArtifactForbidden);
        assert_eq!(reason(404), Reason::ArtifactNotFound);
        assert_eq!(reason(429), Reason::ArtifactStoreThrottled);
        assert_eq!(reason(400), Reason::ArtifactStoreError);
        assert_eq!(reason(503), Reason::ArtifactStoreError);
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_volume() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Failure::local(full, "write", Path::new("/m")).reason, Reason::ArtifactDiskFull);
        let read_only = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(Failure::local(read_only, "write", Path::new("/m")).reason, Reason::ArtifactVolumeUnavailable);
    }

    #[test]
    fn a_sentence_ends_with_the_deepest_cause() {
        let failure = Failure::local(io::Error::other("wires cut"), "write", Path::new("/m/x"));
        assert_eq!(failure.sentence(), "can't write /m/x: wires cut");
        assert_eq!(failure.to_string(), "can't write /m/x");
    }
}
