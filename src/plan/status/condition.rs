//! Conditions as kstatus and `kubectl wait` read them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Longest message of a condition that the API server takes, in bytes.
const MAX_MESSAGE: usize = 32_768;

/// A condition before its time is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Its type.
    pub kind: &'static str,
    /// What is known.
    pub status: Status,
    /// One word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// What is known of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nothing is known yet.
    Unknown,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl Draft {
    /// A condition with what is known of it.
    #[must_use]
    pub fn new(kind: &'static str, status: Status, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, status, reason: reason.into(), message: message.into() }
    }
}

/// The conditions, each with the time at which its status last changed.
#[must_use]
pub fn settle(drafts: Vec<Draft>, previous: &[Condition], now: Timestamp, generation: Option<i64>) -> Vec<Condition> {
    drafts
        .into_iter()
        .map(|draft| {
            let status = draft.status.as_str();
            let unchanged = previous.iter().find(|before| before.type_ == draft.kind && before.status == status);
            let mut message = draft.message;
            message.truncate(message.floor_char_boundary(MAX_MESSAGE));
            Condition {
                type_: draft.kind.to_owned(),
                status: status.to_owned(),
                reason: draft.reason,
                message,
                observed_generation: generation,
                last_transition_time: unchanged
                    .map_or(Time(whole_seconds(now)), |before| before.last_transition_time.clone()),
            }
        })
        .collect()
}

/// Kubernetes keeps whole seconds; a finer time would differ from what is read back.
#[must_use]
pub fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_moves_only_with_the_status() {
        let first = Timestamp::from_second(1_000).unwrap();
        let later = Timestamp::from_second(2_000).unwrap();
        let draft = |status, reason: &str| vec![Draft::new("Ready", status, reason, "")];
        let before = settle(draft(Status::False, "Provisioning"), &[], first, Some(1));
        let same = settle(draft(Status::False, "ERR_1200"), &before, later, Some(2));
        assert_eq!(same[0].last_transition_time, Time(first));
        assert_eq!((same[0].reason.as_str(), same[0].observed_generation), ("ERR_1200", Some(2)));
        let changed = settle(draft(Status::True, "Succeeded"), &same, later, Some(2));
        assert_eq!(changed[0].last_transition_time, Time(later));
    }
}
