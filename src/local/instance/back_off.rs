//! How long the kubelet waits before it tries again: 10 s, doubling, 300 s at most.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_secs(10);
/// The longest wait.
const LONGEST: Duration = Duration::from_mins(5);
/// A container that ran for so long begins from the start again.
const FORGIVEN: Duration = Duration::from_mins(10);

/// The wait after the `failures`-th failure in a row, which is at least the first.
#[must_use]
pub fn after(failures: u32) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST)
}

/// Ends of one container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crashes(u32);

impl Crashes {
    /// As after so many restarts, by an agent before this one.
    #[must_use]
    pub fn of_restarts(restarts: i32) -> Self {
        Self(u32::try_from(restarts).unwrap_or_default())
    }

    /// One more end, after it ran for `ran`: the wait from that end to the next start. The first time there is none.
    pub fn ended(&mut self, ran: Duration) -> Duration {
        if ran >= FORGIVEN {
            self.0 = 0;
        }
        self.0 = self.0.saturating_add(1);
        if self.0 == 1 { Duration::ZERO } else { after(self.0 - 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_are_the_kubelets() {
        let mut crashes = Crashes::default();
        let seconds: Vec<u64> = (0..8).map(|_| crashes.ended(Duration::from_secs(1)).as_secs()).collect();
        assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(crashes.ended(Duration::from_mins(11)), Duration::ZERO);
        assert_eq!(after(1).as_secs(), 10);
        assert_eq!(after(u32::MAX).as_secs(), 300);
    }
}
