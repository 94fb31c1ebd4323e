//! The watches that the API server refuses: what they would tell is not known, so nothing may be decided.

use std::collections::BTreeMap;

use kube::core::Status;
use kube_runtime::watcher;
use tokio::sync::watch;

/// The refusals that stand, in the API server's words, by kind.
#[derive(Debug, Default)]
pub(super) struct Denials(watch::Sender<BTreeMap<String, String>>);

impl Denials {
    /// Keeps what an error of a watch says of rights; whether that is new.
    pub(super) fn take(&self, kind: &str, error: &watcher::Error) -> bool {
        let Some(status) = refusal(error) else { return false };
        self.0.send_if_modified(|denials| denials.insert(kind.to_owned(), status.message.clone()).is_none())
    }

    /// Forgets the refusal of a kind; whether there was one.
    pub(super) fn lift(&self, kind: &str) -> bool {
        self.0.send_if_modified(|denials| denials.remove(kind).is_some())
    }

    /// One of the refusals.
    pub(super) fn first(&self) -> Option<String> {
        self.0.borrow().values().next().cloned()
    }

    /// Whether a kind is refused now.
    pub(super) fn has(&self, kind: &str) -> bool {
        self.0.borrow().contains_key(kind)
    }

    /// Waits until a kind is refused.
    pub(super) async fn refused(&self, kind: &str) {
        // The sender lives as long as this.
        let _ = self.0.subscribe().wait_for(|denials| denials.contains_key(kind)).await;
    }
}

fn refusal(error: &watcher::Error) -> Option<&Status> {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))
    | watcher::Error::WatchFailed(kube::Error::Api(status))
    | watcher::Error::WatchError(status)) = error
    else {
        return None;
    };
    status.is_forbidden().then_some(&**status)
}
