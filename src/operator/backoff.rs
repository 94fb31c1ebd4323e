//! Pauses between failed passes, for each object on its own.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Pause after the first failure.
const FIRST: Duration = Duration::from_millis(200);
/// Longest pause.
const LONGEST: Duration = Duration::from_mins(1);

/// How often each object has failed in a row.
#[derive(Debug)]
pub(super) struct Backoff<Key>(Mutex<HashMap<Key, u32>>);

impl<Key: Eq + Hash> Backoff<Key> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// Counts a failure and gives the pause before the next pass; `chance` is any number.
    pub(super) fn failed(&self, key: Key, chance: u32) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key).or_insert(0);
        *count = count.saturating_add(1);
        pause(*count, chance)
    }

    /// Forgets the failures of an object.
    pub(super) fn succeeded(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Doubles with each failure; between half and all of that, so that many objects don't come back at once.
fn pause(failures: u32, chance: u32) -> Duration {
    let full = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST);
    full / 2 + (full / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_success_starts_again() {
        let backoff = Backoff::new();
        let pauses: Vec<Duration> = (0..4).map(|_| backoff.failed("a", u32::MAX)).collect();
        assert!(pauses.is_sorted() && pauses[3] == 8 * FIRST, "{pauses:?}");
        backoff.succeeded(&"a");
        assert_eq!(backoff.failed("a", u32::MAX), FIRST);
        assert_eq!(backoff.failed("b", u32::MAX), FIRST);
    }

    proptest! {
        #[test]
        fn a_pause_is_never_too_short_nor_too_long(failures in 1_u32.., chance: u32) {
            let pause = pause(failures, chance);
            prop_assert!(pause >= FIRST / 2 && pause <= LONGEST);
        }
    }
}
