//! Which questions go to the API server, and when. Pure: time comes from outside.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::oneshot::Sender;

use super::cache::Key;
use super::lane::Lane;
use super::pace::Pace;
use super::{Asked, Question, REMEMBERED, Word};

/// Strangers that wait for their turn. At the pace below the last one's patience just holds.
const STRANGERS: usize = 512;
/// Strangers that the API server is asked about at the same time.
const STRANGERS_AT_ONCE: usize = 12;
/// At most 100 strangers a second, each of whom costs the API server a signature and some look-ups …
pub const STRANGERS_INTERVAL: Duration = Duration::from_millis(10);
/// … but this many at once, as after a start.
pub const STRANGERS_BURST: u32 = 200;
/// Renewals at the same time. They need no pace: as many come as tokens are remembered.
const RENEWALS_AT_ONCE: usize = 4;

/// The questions that wait or are under way, and whoever waits for each.
#[derive(Debug)]
pub struct Desk {
    asked: HashMap<Key, Vec<Sender<Word>>>,
    strangers: Lane<Question>,
    renewals: Lane<Question>,
}

impl Default for Desk {
    fn default() -> Self {
        let pace = Pace::new(STRANGERS_INTERVAL, STRANGERS_BURST);
        Self {
            asked: HashMap::new(),
            strangers: Lane::new(STRANGERS, STRANGERS_AT_ONCE, Some(pace)),
            renewals: Lane::new(REMEMBERED, RENEWALS_AT_ONCE, None),
        }
    }
}

impl Desk {
    /// Takes a question; false when there is no room for it. Whoever asks what was asked already waits for that answer.
    pub fn take(&mut self, (question, waiting): Asked) -> bool {
        if let Some(others) = self.asked.get_mut(&question.key) {
            others.extend(waiting);
            return true;
        }
        let key = question.key;
        let lane = if question.renewal { &mut self.renewals } else { &mut self.strangers };
        let fits = lane.push(question);
        if fits {
            self.asked.insert(key, waiting.into_iter().collect());
        }
        fits
    }

    /// The next question to ask now.
    pub fn next(&mut self, now: Instant) -> Option<Question> {
        let asked = &mut self.asked;
        self.renewals.next(now, |_| true).or_else(|| {
            self.strangers.next(now, |question| {
                let wanted =
                    asked.get(&question.key).is_some_and(|waiting| waiting.iter().any(|caller| !caller.is_closed()));
                if !wanted {
                    asked.remove(&question.key);
                }
                wanted
            })
        })
    }

    /// When there may be a next question, if time alone keeps it.
    #[must_use]
    pub fn free_at(&self, now: Instant) -> Option<Instant> {
        self.strangers.free_at(now)
    }

    /// A question has been answered; without a word, nobody knows.
    pub fn ended(&mut self, question: &Question, word: Option<Word>) {
        if question.renewal { &mut self.renewals } else { &mut self.strangers }.ended();
        for caller in self.asked.remove(&question.key).into_iter().flatten() {
            if let Some(word) = word {
                // Whoever has left needs no answer.
                let _ = caller.send(word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Scope, Token};
    use super::*;
    use std::sync::Arc;
    use std::time::SystemTime;
    use tokio::sync::oneshot;

    fn question(number: u16, renewal: bool) -> Question {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        let scope = Scope { namespace: String::new(), endpoint: String::new(), audience: String::new() };
        let token = Token(number.to_string());
        Question { key, token, scope: Arc::new(scope), expires: SystemTime::now(), renewal }
    }

    /// Callers who wait, each for a question of its own.
    fn strangers(desk: &mut Desk, numbers: std::ops::Range<u16>) -> Vec<oneshot::Receiver<Word>> {
        let ask = |number| {
            let (sender, receiver) = oneshot::channel();
            desk.take((question(number, false), Some(sender)));
            receiver
        };
        numbers.map(ask).collect()
    }

    fn all(desk: &mut Desk, now: Instant) -> Vec<Question> {
        std::iter::from_fn(|| desk.next(now)).collect()
    }

    #[test]
    fn one_question_answers_all_who_ask_the_same() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        let mut callers = strangers(&mut desk, 1..2);
        callers.extend(strangers(&mut desk, 1..2));
        let asked = desk.next(now).unwrap();
        assert!(desk.next(now).is_none());
        callers.extend(strangers(&mut desk, 1..2));
        assert!(desk.next(now).is_none(), "while it is under way, too");
        desk.ended(&asked, Some(Word::Admitted));
        assert!(callers.iter_mut().all(|caller| caller.try_recv() == Ok(Word::Admitted)));
    }

    #[test]
    fn a_question_without_an_answer_frees_its_callers_and_its_place() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        let mut callers = strangers(&mut desk, 1..2);
        let asked = desk.next(now).unwrap();
        desk.ended(&asked, None);
        assert_eq!(callers[0].try_recv(), Err(oneshot::error::TryRecvError::Closed));
        let _callers = strangers(&mut desk, 1..2);
        assert!(desk.next(now).is_some(), "and may be asked again");
    }

    #[test]
    fn a_flood_of_strangers_keeps_its_bounds_and_no_renewal_waiting() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        let mut callers = strangers(&mut desk, 0..2000);
        let closed =
            |caller: &mut oneshot::Receiver<Word>| caller.try_recv() == Err(oneshot::error::TryRecvError::Closed);
        assert_eq!(callers.iter_mut().filter_map(|caller| closed(caller).then_some(())).count(), 2000 - STRANGERS);
        let mut under_way = all(&mut desk, now);
        assert_eq!(under_way.len(), STRANGERS_AT_ONCE);
        desk.take((question(5000, true), None));
        assert_eq!(all(&mut desk, now).len(), 1, "a renewal begins at once");
        let mut count = under_way.len();
        while !under_way.is_empty() {
            for question in std::mem::take(&mut under_way) {
                desk.ended(&question, Some(Word::Admitted));
            }
            under_way = all(&mut desk, now);
            count += under_way.len();
        }
        assert_eq!(count, STRANGERS_BURST as usize);
        let later = desk.free_at(now).unwrap();
        assert_eq!((later, all(&mut desk, later).len()), (now + STRANGERS_INTERVAL, 1));
    }

    #[test]
    fn whoever_has_left_is_not_asked_for() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        drop(strangers(&mut desk, 1..5));
        let _caller = strangers(&mut desk, 9..10);
        assert_eq!(all(&mut desk, now).iter().map(|question| question.key[1]).collect::<Vec<_>>(), [9]);
        let _caller = strangers(&mut desk, 1..2);
        assert_eq!(all(&mut desk, now).len(), 1, "and may come again");
    }
}
