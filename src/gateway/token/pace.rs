//! How fast something may happen on average, and how much at once.

use std::time::{Duration, Instant};

/// A rate with a burst, as the generic cell rate algorithm has it: one moment is all that is remembered.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    /// How far the moment below may be ahead.
    tolerance: Duration,
    /// When it would be the next one's turn, had all come evenly.
    due: Option<Instant>,
}

impl Pace {
    /// One event each `interval`, and at most `burst` at once.
    #[must_use]
    pub fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, tolerance: interval * burst.saturating_sub(1), due: None }
    }

    /// When the next event may happen; now, when it may.
    #[must_use]
    pub fn free_at(&self, now: Instant) -> Instant {
        let free = self.due.and_then(|due| due.checked_sub(self.tolerance));
        free.map_or(now, |free| free.max(now))
    }

    /// Counts an event.
    pub fn take(&mut self, now: Instant) {
        self.due = Some(self.due.map_or(now, |due| due.max(now)) + self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_one_comes_each_interval() {
        let now = Instant::now();
        let interval = Duration::from_millis(10);
        let mut pace = Pace::new(interval, 3);
        for _ in 0..3 {
            assert_eq!(pace.free_at(now), now);
            pace.take(now);
        }
        assert_eq!(pace.free_at(now), now + interval);
        let later = now + interval;
        assert_eq!(pace.free_at(later), later);
        pace.take(later);
        assert_eq!(pace.free_at(later), now + 2 * interval);
        let much_later = now + Duration::from_secs(9);
        for _ in 0..3 {
            assert_eq!(pace.free_at(much_later), much_later, "a pause gives no more than the burst");
            pace.take(much_later);
        }
        assert_eq!(pace.free_at(much_later), much_later + interval);
    }
}
