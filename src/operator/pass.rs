//! One pass over one object, with all that may go wrong around it.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use kube::Client;

use super::act::ActError;
use super::metrics::Metrics;
use super::observe::Observer;
use crate::catalogue::Reason;
use crate::plan::Config;
use crate::plan::status::failure::Failure;

/// The longest that a pass may take: a slow API server delays one object, not all.
const DEADLINE: Duration = Duration::from_secs(30);

/// What every pass needs.
pub(super) struct Tools {
    pub(super) client: Client,
    pub(super) observer: Observer,
    pub(super) config: Config,
    pub(super) metrics: Metrics,
}

/// Why a pass was not carried out. Waiting and user mistakes are no errors: they are in the status.
#[derive(Debug, thiserror::Error)]
pub(super) enum PassError {
    #[error("looking at the cluster failed")]
    Observe(#[source] kube::Error),
    #[error("looking at the cluster is refused: {0}")]
    Denied(String),
    #[error(transparent)]
    Act(#[from] ActError),
    #[error("writing the status failed")]
    Tell(#[source] kube::Error),
    #[error("the pass took longer than {} seconds", DEADLINE.as_secs())]
    Deadline,
    #[error("the system gives no random bytes for keys")]
    Randomness(#[source] getrandom::Error),
    #[error("the pass panicked: {0}")]
    Panicked(String),
}

impl PassError {
    /// What the user is told; `None` for races that the next pass settles.
    pub(super) fn failure(&self) -> Option<Failure> {
        let api = match self {
            Self::Observe(error) | Self::Act(ActError { source: error, .. }) | Self::Tell(error) => Some(error),
            Self::Denied(_) | Self::Deadline | Self::Randomness(_) | Self::Panicked(_) => None,
        };
        let internal = match (self, api) {
            (Self::Panicked(_), _) => Some(Reason::ReconcilePanicked),
            (Self::Denied(_), _) => Some(Reason::OperatorPermissionDenied),
            (_, Some(kube::Error::Api(status))) if status.is_conflict() || status.is_already_exists() => return None,
            (_, Some(kube::Error::Api(status))) if status.is_forbidden() => Some(Reason::OperatorPermissionDenied),
            // Written by us alone, and from what the API server took: no user can mend it.
            (Self::Act(ActError { kind: "EndpointRoute", .. }), Some(kube::Error::Api(status)))
                if status.is_invalid() =>
            {
                Some(Reason::RouteRejected)
            }
            (Self::Act(_), Some(kube::Error::Api(status))) if status.is_invalid() => None,
            _ => Some(Reason::KubernetesApiUnavailable),
        };
        let why = api.map(|error| format!(": {error}")).unwrap_or_default();
        Some(Failure { internal, message: format!("{self}{why}") })
    }
}

impl Tools {
    /// # Errors
    /// [`PassError::Denied`], when a watch is refused: what it would tell is missing in every decision.
    pub(super) fn may_look(&self) -> Result<(), PassError> {
        self.observer.caches().denials.first().map_or(Ok(()), |denial| Err(PassError::Denied(denial)))
    }
}

/// Runs a pass within its deadline; a panic is an error of this object alone.
pub(super) async fn guarded<T>(pass: impl Future<Output = Result<T, PassError>>) -> Result<T, PassError> {
    match tokio::time::timeout(DEADLINE, AssertUnwindSafe(pass).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(PassError::Panicked(words(&*panic))),
        Err(_) => Err(PassError::Deadline),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: &'static str, code: u16, reason: &str) -> Option<Reason> {
        let status = kube::core::Status::failure("no", reason).with_code(code);
        let source = kube::Error::Api(Box::new(status));
        PassError::Act(ActError { kind, name: "iris".to_owned(), source })
            .failure()
            .and_then(|failure| failure.internal)
    }

    #[test]
    fn our_own_faults_are_told_from_the_users() {
        assert_eq!(refused("EndpointRoute", 422, "Invalid"), Some(Reason::RouteRejected));
        assert_eq!(refused("Deployment", 422, "Invalid"), None);
        assert_eq!(refused("Deployment", 403, "Forbidden"), Some(Reason::OperatorPermissionDenied));
        assert_eq!(refused("Deployment", 500, "InternalError"), Some(Reason::KubernetesApiUnavailable));
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error_of_one_object() {
        let outcome: Result<(), PassError> = guarded(async { panic!("out of luck") }).await;
        let failure = outcome.unwrap_err().failure().unwrap();
        assert_eq!(failure.internal, Some(Reason::ReconcilePanicked));
        assert!(failure.message.contains("out of luck"));
    }
}
