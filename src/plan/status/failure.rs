//! A pass that could not be carried out, put into words.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::condition::{Draft, Status, settle};
use crate::api::condition::{self, reason};
use crate::catalogue::Reason;

/// Why a pass could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Our own fault or the API server's; `None` when the API server refuses what the spec asks for.
    pub internal: Option<Reason>,
    /// The facts.
    pub message: String,
}

/// The conditions as they were, with `Ready` telling the failure.
#[must_use]
pub fn conditions(
    failure: &Failure,
    previous: &[Condition],
    now: Timestamp,
    generation: Option<i64>,
) -> Vec<Condition> {
    let (reason, message, kstatus, other) = match failure.internal {
        Some(cause) => {
            let message = format!("{}: {}. {}", cause.as_str(), failure.message, cause.next_step());
            (cause.code().as_str(), message, condition::RECONCILING, condition::STALLED)
        }
        None => (reason::INVALID_SPEC, failure.message.clone(), condition::STALLED, condition::RECONCILING),
    };
    let drafts = [condition::READY, kstatus]
        .map(|kind| {
            let status = if kind == condition::READY { Status::False } else { Status::True };
            Draft::new(kind, status, reason, message.as_str())
        })
        .to_vec();
    let mut conditions = settle(drafts, previous, now, generation);
    let told = [condition::READY, kstatus, other];
    conditions.extend(previous.iter().filter(|before| !told.contains(&before.type_.as_str())).cloned());
    conditions
}
