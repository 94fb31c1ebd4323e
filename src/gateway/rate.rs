//! How many requests of an endpoint are admitted each second.
//!
//! The generic cell rate algorithm: one moment says all. Crates that have it fix the rate when a limiter is made; here
//! it changes with the endpoint and with the replica's share of it, and what was admitted before still counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Part of a second whose requests may come at once: over ten seconds at most one in a hundred more than the rate.
const BURST_PART: u64 = 10;
/// The time whose requests may come at once.
pub const BURST: Duration = Duration::from_millis(1_000 / BURST_PART);
const SECOND: u64 = 1_000_000_000;

/// A limit of requests each second, which many threads ask without a lock.
#[derive(Debug)]
pub struct RateLimit {
    /// What moments are counted from.
    start: Instant,
    /// When the next request were due if all came evenly, in nanoseconds since the start.
    due: AtomicU64,
    /// Nanoseconds between two requests; 0 lets none pass.
    interval: AtomicU64,
    /// Whether this replica counts them; otherwise another one does.
    counting: AtomicBool,
}

impl RateLimit {
    /// A limit of `rate` requests each second that lets a burst pass at once.
    #[must_use]
    pub fn new(rate: u64) -> Self {
        Self {
            start: Instant::now(),
            due: AtomicU64::new(0),
            interval: AtomicU64::new(interval(rate)),
            counting: AtomicBool::new(false),
        }
    }

    /// Allows `rate` requests each second from `now` on. What was admitted still counts, as so
    /// many requests and not as so much time.
    pub fn set(&self, rate: u64, now: Instant) {
        let now = self.since_start(now);
        let after = interval(rate);
        let before = self.interval.swap(after, Ordering::Relaxed);
        if before == after || before == 0 || after == 0 {
            return;
        }
        let scaled = |due: u64| {
            let early = u128::from(due.checked_sub(now)?) * u128::from(after) / u128::from(before);
            Some(now.saturating_add(u64::try_from(early).unwrap_or(u64::MAX)))
        };
        // Whoever is not early has nothing that could be scaled.
        let _ = self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, scaled);
    }

    /// Takes the place of one request at `now`.
    ///
    /// # Errors
    /// With the time after which there is one, when there is none.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        self.take_of(1, 1, now)
    }

    /// The same within `share` of `whole` parts of the rate, where this replica counts since `since` and another one did
    /// before. What that admitted is not known: the burst counts as used at that moment.
    ///
    /// # Errors
    /// With the time after which there is a place, when there is none.
    pub fn take_shared(&self, share: u64, whole: u64, since: Instant, now: Instant) -> Result<(), Duration> {
        if !self.counting.swap(true, Ordering::Relaxed) {
            let interval = self.interval.load(Ordering::Relaxed).saturating_mul(whole) / share.max(1);
            let spent = self.since_start(since).saturating_add(interval.max(SECOND / BURST_PART));
            self.due.fetch_max(spent, Ordering::Relaxed);
        }
        self.take_of(share, whole, now)
    }

    /// Leaves the counting to another replica.
    pub fn leave(&self) {
        self.counting.store(false, Ordering::Relaxed);
    }

    fn take_of(&self, share: u64, whole: u64, now: Instant) -> Result<(), Duration> {
        let now = self.since_start(now);
        let interval = self.interval.load(Ordering::Relaxed).saturating_mul(whole).div_ceil(share.max(1));
        if interval == 0 {
            return Err(Duration::from_secs(1));
        }
        let tolerance = tolerance(interval);
        let mut due = self.due.load(Ordering::Relaxed);
        loop {
            let early = due.saturating_sub(now);
            if early > tolerance {
                return Err(Duration::from_nanos(early - tolerance));
            }
            let next = due.max(now).saturating_add(interval);
            match self.due.compare_exchange_weak(due, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(moved) => due = moved,
            }
        }
    }

    fn since_start(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Nanoseconds between two requests; rounded up, so that the rate is never more.
const fn interval(rate: u64) -> u64 {
    if rate == 0 { 0 } else { SECOND.div_ceil(rate) }
}

/// How many nanoseconds before it is due a request may come: the burst's requests but the first.
const fn tolerance(interval: u64) -> u64 {
    (SECOND / BURST_PART).saturating_sub(interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEN_SECONDS: Duration = Duration::from_secs(10);

    /// Requests that pass of those that come every `pause`, for ten seconds.
    fn passed(limit: &RateLimit, from: Instant, pause: Duration) -> u64 {
        let moments = std::iter::successors(Some(Duration::ZERO), |at| Some(*at + pause));
        let passed = moments.take_while(|at| *at < TEN_SECONDS).filter(|at| limit.take(from + *at).is_ok());
        u64::try_from(passed.count()).unwrap()
    }

    #[test]
    fn the_rate_is_met_within_a_hundredth_over_ten_seconds() {
        for rate in [1, 3, 10, 100, 1_000, 33_333] {
            let limit = RateLimit::new(rate);
            let passed = passed(&limit, limit.start, Duration::from_micros(1_000.min(300_000 / rate)));
            assert!((rate * 10..=rate * 10 + rate.div_ceil(10)).contains(&passed), "{rate}: {passed}");
        }
    }

    #[test]
    fn requests_below_the_rate_all_pass() {
        let limit = RateLimit::new(100);
        assert_eq!(passed(&limit, limit.start, Duration::from_millis(10)), 1_000);
    }

    #[test]
    fn a_refused_request_passes_after_the_time_it_is_told() {
        let limit = RateLimit::new(10);
        assert_eq!(limit.take(limit.start), Ok(()));
        let wait = limit.take(limit.start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(limit.take(limit.start + wait), Ok(()));
    }

    #[test]
    fn a_new_rate_does_not_forget_what_was_admitted() {
        let limit = RateLimit::new(1_000);
        let burst = (0..200).filter(|_| limit.take(limit.start).is_ok()).count();
        assert_eq!(burst, 100);
        limit.set(500, limit.start);
        assert!(limit.take(limit.start).is_err());
        let later = limit.start + Duration::from_secs(1);
        assert!((5_000..=5_051).contains(&passed(&limit, later, Duration::from_micros(500))));
        limit.set(0, later);
        assert!(limit.take(later + TEN_SECONDS).is_err());
    }

    #[test]
    fn whoever_waited_for_a_low_rate_does_not_wait_under_a_high_one() {
        let limit = RateLimit::new(1);
        assert!(limit.take(limit.start).is_ok());
        limit.set(1_000_000, limit.start);
        assert!(limit.take(limit.start).is_ok());
    }

    #[test]
    fn whoever_takes_over_the_counting_has_no_burst_and_a_share_is_no_more_than_that() {
        let limit = RateLimit::new(1_000);
        let take =
            |at: u64| limit.take_shared(1, 2, limit.start, limit.start + Duration::from_micros(at * 100)).is_ok();
        let passed: Vec<u64> = (0..10_000).filter(|at| take(*at)).collect();
        assert!((495..=500).contains(&passed.len()), "{}", passed.len());
        assert!(passed.iter().zip(&passed[1..]).all(|(one, next)| next - one >= 19), "one by one");
        assert!(passed[0] > 0, "the first one too has to wait for its turn");
    }

    proptest! {
        /// Whenever requests come: in no stretch of time do more pass than its rate and one burst.
        #[test]
        fn no_stretch_of_time_has_more_than_its_rate_and_a_burst(
            rate in 1u64..=1_000_000,
            pauses in prop::collection::vec(0u64..50_000_000, 1..300),
        ) {
            let limit = RateLimit::new(rate);
            let mut at = 0;
            let passed: Vec<u64> = pauses
                .iter()
                .filter_map(|pause| {
                    at += pause;
                    limit.take(limit.start + Duration::from_nanos(at)).is_ok().then_some(at)
                })
                .collect();
            let burst = (rate / BURST_PART).max(1);
            for (index, first) in passed.iter().enumerate() {
                for (count, last) in (1..).zip(&passed[index..]) {
                    let allowed = u128::from(last - first) * u128::from(rate) / u128::from(SECOND);
                    prop_assert!(count <= allowed + u128::from(burst) + 1, "{count} in {} ns", last - first);
                }
            }
        }
    }
}
