//! What replicas say to one another on a connection that one of them, the caller, has opened to another, the owner.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::view::{Version, View};
use crate::gateway::backend::Address;

/// A deployment that requests are for, by the names that all replicas know.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Namespace of the endpoint.
    pub namespace: String,
    /// Name of the endpoint.
    pub endpoint: String,
    /// Name of the deployment.
    pub deployment: String,
}

/// What a caller says to an owner.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub enum Call {
    /// Who calls; the first word. All others come after the owner's first beat: an owner that stood still finds the words
    /// of connections that were given up long ago, and must not take them for news.
    Hello {
        /// The secret that all replicas know.
        secret: String,
        /// Name of the caller's pod.
        id: String,
        /// A number that each start of the process draws.
        incarnation: u64,
    },
    /// The view that the caller is in from now on, and what it has in flight of the endpoints that the owner has there.
    State {
        /// The view.
        view: View,
        /// The requests by the caller's numbers, and the instances that they are at.
        in_flight: Vec<(u64, InFlight)>,
    },
    /// Asks for a place at an instance.
    Ask {
        /// The caller's number of the request.
        id: u64,
        /// What it is for.
        target: Target,
        /// Whether the request still has to be counted against the endpoint's rate.
        rate: bool,
        /// Instances that have failed already.
        tried: Vec<Address>,
        /// How long it may wait.
        patience: Duration,
    },
    /// A request has ended, or nobody waits for its place any more.
    Release {
        /// The caller's number of the request.
        id: u64,
    },
    /// The last word: the caller has nothing in flight and never will again.
    Goodbye,
    /// The answer to a beat. With it the caller promises to leave its own share of the limits alone for some time.
    Echo {
        /// When the beat was sent, by the owner's clock.
        sent: Duration,
    },
}

/// A request in flight.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// What it is for.
    pub target: Target,
    /// The instance that it is at.
    pub address: Address,
}

/// What an owner says to a caller.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A sign of life, to be answered.
    Beat {
        /// When it was sent, by the owner's clock.
        sent: Duration,
    },
    /// A newer view than the caller's.
    View(View),
    /// The last word: the owner has nothing in flight itself and never will again. Whoever it does not call hears it here.
    Goodbye,
    /// The request has a place until it is released.
    Granted {
        /// The caller's number of the request.
        id: u64,
        /// The view under which it was granted.
        version: Version,
        /// The instance.
        address: Address,
    },
    /// The request has no place.
    Refused {
        /// The caller's number of the request.
        id: u64,
        /// Why not.
        why: Why,
    },
}

/// Why a request has no place.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The endpoint's rate is used up.
    RateLimited {
        /// The time after which there is room for one again.
        retry_after: Duration,
    },
    /// As many wait as may, or it waited too long.
    TooManyPending,
    /// No instance is ready.
    NotReady,
    /// None is left that has not failed.
    Connection,
    /// Somebody else has to be asked, or later.
    Elsewhere,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // Without the secret.
            Self::Hello { id, incarnation, .. } => write!(formatter, "Hello({id}, {incarnation})"),
            Self::State { view, in_flight } => write!(formatter, "State({:?}, {in_flight:?})", view.version),
            Self::Ask { id, target, .. } => write!(formatter, "Ask({id}, {target:?})"),
            Self::Release { id } => write!(formatter, "Release({id})"),
            Self::Goodbye => write!(formatter, "Goodbye"),
            Self::Echo { sent } => write!(formatter, "Echo({sent:?})"),
        }
    }
}
