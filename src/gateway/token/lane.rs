//! A line of waiting work, of which a few are under way.

use std::collections::VecDeque;
use std::time::Instant;

use super::pace::Pace;

/// A bounded line with a bound for what is under way, and perhaps a pace.
#[derive(Debug)]
pub struct Lane<T> {
    waiting: VecDeque<T>,
    room: usize,
    under_way: usize,
    most: usize,
    pace: Option<Pace>,
}

impl<T> Lane<T> {
    /// An empty line with `room` for those who wait, of whom `most` are under way at the same time.
    #[must_use]
    pub const fn new(room: usize, most: usize, pace: Option<Pace>) -> Self {
        Self { waiting: VecDeque::new(), room, under_way: 0, most, pace }
    }

    /// Lines up; false when there is no room.
    pub fn push(&mut self, work: T) -> bool {
        let fits = self.waiting.len() < self.room;
        if fits {
            self.waiting.push_back(work);
        }
        fits
    }

    /// The next work that may begin now. Those whom nobody `wants` any more go without.
    pub fn next(&mut self, now: Instant, mut wants: impl FnMut(&T) -> bool) -> Option<T> {
        while let Some(first) = self.waiting.front() {
            if !wants(first) {
                self.waiting.pop_front();
                continue;
            }
            if self.free_at(now)? > now {
                return None;
            }
            if let Some(pace) = &mut self.pace {
                pace.take(now);
            }
            self.under_way += 1;
            return self.waiting.pop_front();
        }
        None
    }

    /// When the next one may begin, if time alone keeps it.
    #[must_use]
    pub fn free_at(&self, now: Instant) -> Option<Instant> {
        let may = !self.waiting.is_empty() && self.under_way < self.most;
        may.then(|| self.pace.as_ref().map_or(now, |pace| pace.free_at(now)))
    }

    /// One that was under way has ended.
    pub fn ended(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn no_more_than_some_are_under_way_and_no_more_than_some_wait() {
        let now = Instant::now();
        let mut lane = Lane::new(3, 2, None);
        assert_eq!([1, 2, 3, 4].map(|number| lane.push(number)), [true, true, true, false]);
        assert_eq!(lane.next(now, |_| true), Some(1));
        assert_eq!(lane.next(now, |_| true), Some(2));
        assert_eq!((lane.next(now, |_| true), lane.free_at(now)), (None, None));
        lane.ended();
        assert_eq!(lane.next(now, |_| true), Some(3));
    }

    #[test]
    fn the_pace_is_kept_and_the_unwanted_do_not_count() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut lane = Lane::new(10, 10, Some(Pace::new(second, 1)));
        for number in 0..4 {
            lane.push(number);
        }
        assert_eq!(lane.next(now, |number| number % 2 == 1), Some(1));
        assert_eq!((lane.next(now, |_| true), lane.free_at(now)), (None, Some(now + second)));
        assert_eq!(lane.next(now + second, |number| number % 2 == 1), Some(3));
        assert_eq!(lane.free_at(now + second), None, "nobody waits");
    }
}
