//! A bound for handshakes under way, which slow callers can't fill for others.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

/// Handshakes that one thread has under way at the same time. They take two round trips, and some 20 KiB each.
const MOST: usize = 1024;

/// The handshakes under way, oldest first. One too many ends the oldest: among slow callers and others, that is a slow
/// one.
#[derive(Debug, Default)]
pub struct Handshakes(Mutex<VecDeque<oneshot::Sender<()>>>);

impl Handshakes {
    /// Begins a handshake, under way until the receiver is dropped. The receiver resolves when it must give way.
    pub fn begin(&self) -> oneshot::Receiver<()> {
        let (give_way, given_up) = oneshot::channel();
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.len() >= MOST {
            under_way.retain(|handshake| !handshake.is_closed());
        }
        if under_way.len() >= MOST {
            under_way.pop_front();
        }
        under_way.push_back(give_way);
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneshot::error::TryRecvError;

    #[test]
    fn the_oldest_gives_way_to_one_too_many_and_the_ended_count_for_nothing() {
        let handshakes = Handshakes::default();
        let mut all: Vec<_> = (0..MOST).map(|_| handshakes.begin()).collect();
        drop(all.remove(5));
        all.push(handshakes.begin());
        assert!(all.iter_mut().all(|one| one.try_recv() == Err(TryRecvError::Empty)));
        all.push(handshakes.begin());
        let given_up = all.iter_mut().map(|one| one.try_recv() == Err(TryRecvError::Closed));
        assert_eq!(given_up.enumerate().filter(|(_, up)| *up).map(|(at, _)| at).collect::<Vec<_>>(), [0]);
    }
}
