//! What the API server says of a pod that it does not let a `ReplicaSet` make.

use crate::catalogue::Reason;

/// The cause and its text; `None` for what passes by itself: a quota that is being counted for the first time, an API
/// server that is short of breath.
#[must_use]
pub fn cause(message: &str) -> Option<(Reason, String)> {
    let text = message.strip_prefix("(combined from similar events): ").unwrap_or(message);
    let text = text.strip_prefix("Error creating: ").unwrap_or(text);
    // `pods "NAME" is forbidden: CAUSE`: the name is a DNS name and can't hold the words around it.
    let forbidden = text.strip_prefix("pods ").and_then(|rest| rest.split_once(" is forbidden: "));
    let cause = forbidden.map_or(text, |(_, cause)| cause);
    let passing = ["status unknown for quota: ", "etcdserver: ", "the server ", "Timeout: ", "rpc error: "];
    if passing.iter().any(|start| cause.starts_with(start)) {
        return None;
    }
    if forbidden.is_some() && cause.starts_with("error looking up service account ") {
        return Some((Reason::ServiceAccountNotFound, cause.to_owned()));
    }
    let quota = forbidden.is_some() && cause.starts_with("exceeded quota: ");
    Some((if quota { Reason::OutOfResourceQuota } else { Reason::PodRejected }, cause.to_owned()))
}
