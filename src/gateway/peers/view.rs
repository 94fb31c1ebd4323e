//! Who the replicas are, and which of them admits for an endpoint.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One state of the gateway's Service. Whoever has the same version has the same members.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Its place among the states.
    pub version: Version,
    /// In the order of their ids.
    members: Vec<Member>,
    /// A hash of each member's id.
    #[serde(skip)]
    hashes: Vec<u64>,
}

/// The place of a view among all views.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The newest `resourceVersion` that was seen.
    pub revision: u64,
    /// A hash of the members: a list may lack what was deleted without a newer `resourceVersion`.
    pub digest: u64,
}

/// One replica of the gateway.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Name of its pod.
    pub id: String,
    /// Where it listens for the others.
    pub address: SocketAddr,
    /// Whether it is about to end, and should admit no more where another one can.
    pub leaving: bool,
}

impl View {
    /// The view of these members, each of which counts once.
    #[must_use]
    pub fn new(revision: u64, mut members: Vec<Member>) -> Self {
        members.sort();
        members.dedup_by(|one, other| one.id == other.id);
        let text = serde_json::to_string(&members).unwrap_or_default();
        Self { version: Version { revision, digest: hash(&text) }, members, hashes: Vec::new() }.hashed()
    }

    /// The same, after a journey on which the hashes were left out.
    #[must_use]
    pub fn hashed(mut self) -> Self {
        self.hashes = self.members.iter().map(|member| hash(&member.id)).collect();
        self
    }

    /// The members, in the order of their ids.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The place of a member among them.
    #[must_use]
    pub fn rank(&self, id: &str) -> Option<usize> {
        self.members.binary_search_by(|member| member.id.as_str().cmp(id)).ok()
    }

    /// The rank of the member that admits for the endpoint with the hash `endpoint`: of those who stay, if any does.
    /// A change of the members moves only the endpoints of those who came or went.
    #[must_use]
    pub fn owner(&self, endpoint: u64) -> Option<usize> {
        let scored = self.members.iter().zip(&self.hashes).enumerate();
        scored.max_by_key(|(_, (member, hash))| (!member.leaving, mix(**hash ^ endpoint))).map(|(rank, _)| rank)
    }

    /// What the member of this rank may use of `limit` when it is cut off from the others. All shares make up the
    /// limit; `salt` spreads what can't be divided.
    #[must_use]
    pub fn share(&self, rank: usize, limit: usize, salt: u64) -> usize {
        let count = self.members.len().max(1);
        let turn = usize::try_from(salt % u64::try_from(count).unwrap_or(1)).unwrap_or(0);
        limit / count + usize::from((rank + turn) % count < limit % count)
    }
}

/// A number that all replicas make of the same text.
#[must_use]
pub fn hash(text: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(text).into();
    digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// The finalizer of `SplitMix64` (Steele, Lea and Flood, 2014).
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(id: &str, leaving: bool) -> Member {
        Member { id: id.to_owned(), address: ([198, 18, 0, 1], 8082).into(), leaving }
    }

    fn view(ids: &[&str]) -> View {
        View::new(1, ids.iter().map(|id| member(id, false)).collect())
    }

    fn owner(view: &View, endpoint: u64) -> &str {
        &view.members()[view.owner(endpoint).unwrap()].id
    }

    #[test]
    fn a_member_that_goes_gives_away_its_own_endpoints_alone_and_all_have_about_as_many() {
        let (before, after) = (view(&["a", "b", "c"]), view(&["a", "c"]));
        let mut counts = [0; 3];
        for endpoint in (0..3_000).map(|number| hash(&format!("{number}"))) {
            counts[before.owner(endpoint).unwrap()] += 1;
            if owner(&before, endpoint) != "b" {
                assert_eq!(owner(&before, endpoint), owner(&after, endpoint));
            }
        }
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }

    #[test]
    fn whoever_leaves_owns_nothing_unless_all_leave() {
        let staying = View::new(1, vec![member("a", true), member("b", false)]);
        assert!((0..100).all(|endpoint| owner(&staying, endpoint) == "b"));
        let leaving = View::new(1, vec![member("a", true)]);
        assert_eq!(owner(&leaving, 1), "a");
        assert_eq!(View::default().owner(1), None);
    }

    #[test]
    fn other_members_are_another_version_though_the_revision_is_the_same() {
        assert_ne!(view(&["a"]).version, view(&["a", "b"]).version);
        assert_eq!(view(&["b", "a", "a"]), view(&["a", "b"]));
    }

    #[test]
    fn a_view_stays_the_same_on_a_journey() {
        let view = view(&["a", "b"]);
        let text = serde_json::to_string(&view).unwrap();
        assert_eq!(serde_json::from_str::<View>(&text).unwrap().hashed(), view);
    }

    proptest! {
        #[test]
        fn shares_make_up_the_limit(count in 1usize..9, limit in 0usize..40, salt: u64) {
            let ids: Vec<_> = (0..count).map(|id| id.to_string()).collect();
            let view = view(&ids.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!((0..count).map(|rank| view.share(rank, limit, salt)).sum::<usize>(), limit);
        }
    }
}
