//! A bounded memory with an end for each entry. Reading takes no lock.

use std::collections::HashMap;
use std::time::Instant;

use arc_swap::ArcSwap;

/// SHA-256 of what is remembered.
pub type Key = [u8; 32];

/// Parts that are copied alone when something is written.
const SHARDS: usize = 64;

/// Values by digest. Written seldom, read by all threads for each request.
#[derive(Debug)]
pub struct Cache<V> {
    shards: [ArcSwap<HashMap<Key, Kept<V>>>; SHARDS],
    /// Entries in each shard.
    room: usize,
}

#[derive(Clone, Debug)]
struct Kept<V> {
    value: V,
    until: Instant,
}

impl<V: Clone> Cache<V> {
    /// An empty memory of about `capacity` entries.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| ArcSwap::from_pointee(HashMap::new())),
            room: capacity.div_ceil(SHARDS).max(1),
        }
    }

    /// A digest is spread evenly, its first byte too.
    fn shard(&self, key: &Key) -> &ArcSwap<HashMap<Key, Kept<V>>> {
        let [first, ..] = *key;
        &self.shards[usize::from(first) % SHARDS]
    }

    /// What is kept under `key`, when its time is not over at `now`.
    pub fn get(&self, key: &Key, now: Instant) -> Option<V> {
        let shard = self.shard(key).load();
        shard.get(key).filter(|kept| now < kept.until).map(|kept| kept.value.clone())
    }

    /// Keeps `value` until its time. When there is no room, what would end first goes.
    pub fn keep(&self, key: Key, value: V, until: Instant, now: Instant) {
        self.shard(&key).rcu(|shard| {
            let mut shard = HashMap::clone(shard);
            if shard.len() >= self.room && !shard.contains_key(&key) {
                shard.retain(|_, kept| now < kept.until);
                let first = shard.iter().min_by_key(|(_, kept)| kept.until).map(|(first, _)| *first);
                if let Some(first) = first.filter(|_| shard.len() >= self.room) {
                    shard.remove(&first);
                }
            }
            shard.insert(key, Kept { value: value.clone(), until });
            shard
        });
    }

    /// Puts another value in the place of a kept one, which ends when that would have.
    pub fn replace(&self, key: &Key, value: V) {
        self.shard(key).rcu(|shard| {
            let mut shard = HashMap::clone(shard);
            if let Some(kept) = shard.get_mut(key) {
                kept.value = value.clone();
            }
            shard
        });
    }

    /// Forgets what is kept under `key`.
    pub fn forget(&self, key: &Key) {
        if self.shard(key).load().contains_key(key) {
            self.shard(key).rcu(|shard| {
                let mut shard = HashMap::clone(shard);
                shard.remove(key);
                shard
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A key in the shard `shard`.
    fn key(shard: u8, number: u8) -> Key {
        let mut key = [0; 32];
        (key[0], key[31]) = (shard, number);
        key
    }

    #[test]
    fn each_entry_ends_at_its_own_time() {
        let (cache, now) = (Cache::new(128), Instant::now());
        let second = Duration::from_secs(1);
        cache.keep(key(0, 1), 'a', now + second, now);
        cache.keep(key(0, 2), 'b', now + 2 * second, now);
        assert_eq!((cache.get(&key(0, 1), now), cache.get(&key(0, 2), now)), (Some('a'), Some('b')));
        let later = now + second;
        assert_eq!((cache.get(&key(0, 1), later), cache.get(&key(0, 2), later)), (None, Some('b')));
        cache.replace(&key(0, 2), 'c');
        assert_eq!(cache.get(&key(0, 2), later), Some('c'));
        assert_eq!(cache.get(&key(0, 2), now + 2 * second), None, "a replaced value ends as before");
        cache.replace(&key(0, 3), 'd');
        assert_eq!(cache.get(&key(0, 3), now), None, "nothing to replace");
        cache.forget(&key(0, 2));
        assert_eq!(cache.get(&key(0, 2), later), None);
    }

    #[test]
    fn a_full_memory_loses_the_dead_first_and_then_what_ends_first() {
        let (cache, now) = (Cache::new(3 * SHARDS), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        for (number, end) in [(1, 10), (2, 30), (3, 20)] {
            cache.keep(key(0, number), number, at(end), now);
        }
        cache.keep(key(0, 4), 4, at(40), at(15));
        let kept = |number| cache.get(&key(0, number), at(15));
        assert_eq!([1, 2, 3, 4].map(kept), [None, Some(2), Some(3), Some(4)]);
        cache.keep(key(0, 5), 5, at(50), at(15));
        assert_eq!([2, 3, 4, 5].map(kept), [Some(2), None, Some(4), Some(5)]);
        cache.keep(key(0, 5), 6, at(50), at(15));
        assert_eq!([2, 4, 5].map(kept), [Some(2), Some(4), Some(6)], "a known key needs no room");
        cache.keep(key(1, 1), 7, at(50), at(15));
        assert_eq!([2, 4, 5].map(kept), [Some(2), Some(4), Some(6)], "each shard has its own");
    }

    #[test]
    fn a_flood_does_not_grow_it() {
        let (cache, now) = (Cache::new(256), Instant::now());
        for number in 0..20_000u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b1).to_be_bytes());
            cache.keep(key, (), now + Duration::from_secs(5), now);
        }
        let count: usize = cache.shards.iter().map(|shard| shard.load().len()).sum();
        assert_eq!(count, 256);
    }
}
