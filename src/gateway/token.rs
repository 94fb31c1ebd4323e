//! Short-lived Kubernetes tokens: whoever has one may score when the cluster's own rules say so.
//!
//! The API server judges each token, and its word is kept for a while. A token that is known waits for nobody: what
//! is kept is read without a lock, and renewed before it ends. Strangers wait in a line of their own, so that a flood
//! of them reaches neither the API server nor those who are known.

pub mod cache;
pub mod claims;
pub mod desk;
pub mod lane;
pub mod pace;
pub mod refused;
pub mod review;
pub mod reviewer;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

use cache::{Cache, Key};
use refused::Refused;

use crate::api::endpoint_route::TOKEN_SECONDS;

/// The longest that a good word of the API server is kept. So a right that was taken away, or a service account that
/// was deleted, is felt no later. The documents that users read say it too.
pub const GOOD: Duration = Duration::from_secs(TOKEN_SECONDS);
/// How long a definite no is kept: enough to stop a loop, short enough for whoever has just been given the right.
pub const BAD: Duration = Duration::from_secs(5);
/// When a kept word is renewed while it is used, so that callers neither wait for that nor notice a short outage.
const RENEW: Duration = Duration::from_secs(30);
/// Pause after a renewal that failed.
const RETRY: Duration = Duration::from_secs(1);
/// The longest that a caller waits for a word.
const PATIENCE: Duration = Duration::from_secs(5);
/// Tokens that are remembered, and as many that were refused.
const REMEMBERED: usize = 16_384;
/// Questions between the serving threads and the reviewer.
const HANDED: usize = 1024;

/// What a token must be good for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Namespace of the endpoint.
    pub namespace: String,
    /// Name of the endpoint.
    pub endpoint: String,
    /// The audience that tokens must have.
    pub audience: String,
}

/// A token itself. It never shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token")
    }
}

/// What the API server says about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It is genuine, and its user may score.
    Admitted,
    /// It is not, for this reason.
    Refused(Refused),
}

/// A token that the API server is to judge.
#[derive(Debug)]
pub struct Question {
    /// What its answer is kept under.
    key: Key,
    token: Token,
    scope: Arc<Scope>,
    expires: SystemTime,
    /// Whether there is a good word already, which is to be renewed.
    renewal: bool,
}

/// A question, and whoever waits for the answer. It gets none when the token could not be checked.
type Asked = (Question, Option<oneshot::Sender<Word>>);

/// A good word that is kept.
#[derive(Debug)]
struct Grant {
    renew: Instant,
    renewing: AtomicBool,
}

impl Grant {
    fn new(renew: Instant) -> Arc<Self> {
        Arc::new(Self { renew, renewing: AtomicBool::new(false) })
    }

    /// Whether it is to be renewed, and by this caller.
    fn is_due(&self, now: Instant) -> bool {
        now >= self.renew && !self.renewing.swap(true, Ordering::Relaxed)
    }
}

/// Why a caller is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The token is no good.
    Refused(Refused),
    /// It may be good; nobody could say in time.
    NotChecked,
}

/// What is known about tokens, shared by all threads.
#[derive(Debug)]
pub struct Tokens {
    admitted: Cache<Arc<Grant>>,
    refused: Cache<Refused>,
    reviewer: mpsc::Sender<Asked>,
}

impl Tokens {
    /// An empty memory, and the questions that come out of it.
    fn new() -> (Arc<Self>, mpsc::Receiver<Asked>) {
        let (reviewer, questions) = mpsc::channel(HANDED);
        let tokens = Self { admitted: Cache::new(REMEMBERED), refused: Cache::new(REMEMBERED), reviewer };
        (Arc::new(tokens), questions)
    }

    /// Lets `token` pass when it is good for `scope`.
    ///
    /// # Errors
    /// When it is not, or when that can't be found out in time.
    pub async fn check(&self, token: &[u8], scope: &Arc<Scope>) -> Result<(), Denial> {
        let key = key(scope, token);
        let now = Instant::now();
        if let Some(grant) = self.admitted.get(&key, now) {
            if grant.is_due(now) {
                self.renew(key, token, scope, &grant);
            }
            return Ok(());
        }
        // On the heap, so that the requests of known tokens have no room for it.
        Box::pin(self.ask(key, token, scope, now)).await
    }

    /// Has a good word renewed in the background. The caller does not wait for it.
    fn renew(&self, key: Key, token: &[u8], scope: &Arc<Scope>, grant: &Grant) {
        let handed =
            question(key, token, scope, true).is_ok_and(|question| self.reviewer.try_send((question, None)).is_ok());
        grant.renewing.store(handed, Ordering::Relaxed);
    }

    async fn ask(&self, key: Key, token: &[u8], scope: &Arc<Scope>, now: Instant) -> Result<(), Denial> {
        let question = question(key, token, scope, false).map_err(Denial::Refused)?;
        if let Some(refused) = self.refused.get(&key, now) {
            return Err(Denial::Refused(refused));
        }
        let (sender, answer) = oneshot::channel();
        self.reviewer.try_send((question, Some(sender))).map_err(|_| Denial::NotChecked)?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(Word::Admitted)) => Ok(()),
            Ok(Ok(Word::Refused(refused))) => Err(Denial::Refused(refused)),
            Ok(Err(_)) | Err(_) => Err(Denial::NotChecked),
        }
    }

    /// What is kept about a token.
    fn known(&self, key: &Key, now: Instant) -> Option<Word> {
        let admitted = self.admitted.get(key, now).map(|_| Word::Admitted);
        admitted.or_else(|| self.refused.get(key, now).map(Word::Refused))
    }

    /// Keeps a word about a token that is good for another `left` by its own claim.
    fn keep(&self, key: Key, word: Word, left: Duration, now: Instant) {
        match word {
            Word::Admitted => self.admitted.keep(key, Grant::new(now + RENEW), now + left.min(GOOD), now),
            Word::Refused(refused) => {
                self.admitted.forget(&key);
                self.refused.keep(key, refused, now + BAD, now);
            }
        }
    }

    /// A good word could not be renewed: it stays as long as it would have, and is tried again.
    fn keep_unrenewed(&self, key: &Key, now: Instant) {
        self.admitted.replace(key, Grant::new(now + RETRY));
    }
}

/// A token is known for an endpoint and an audience, and for no other.
fn key(scope: &Scope, token: &[u8]) -> Key {
    let mut digest = Sha256::new();
    for part in [&scope.namespace, &scope.endpoint, &scope.audience] {
        digest.update(part);
        // No name and no header has this character.
        digest.update([0]);
    }
    digest.update(token);
    digest.finalize().into()
}

/// The question about a token, if it is worth one.
fn question(key: Key, token: &[u8], scope: &Arc<Scope>, renewal: bool) -> Result<Question, Refused> {
    let expires = claims::expiry(token, &scope.audience, SystemTime::now())?;
    let token = str::from_utf8(token).map_err(|_| Refused::NoToken)?;
    Ok(Question { key, token: Token(token.to_owned()), scope: Arc::clone(scope), expires, renewal })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(namespace: &str, endpoint: &str) -> Arc<Scope> {
        let audience = format!("mooring.dev/{namespace}/{endpoint}");
        Arc::new(Scope { namespace: namespace.to_owned(), endpoint: endpoint.to_owned(), audience })
    }

    /// A token that nobody has signed, good for an hour.
    fn token(user: &str) -> String {
        let expires = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 3600;
        claims::tests::token(&format!(r#"{{"sub":"{user}","aud":"mooring.dev/a/iris","exp":{expires}}}"#))
    }

    #[tokio::test]
    async fn a_known_token_passes_without_a_question_until_its_time_is_over() {
        let (tokens, mut questions) = Tokens::new();
        let (scope, token, now) = (scope("a", "iris"), token("one"), Instant::now());
        let key = key(&scope, token.as_bytes());
        tokens.keep(key, Word::Admitted, Duration::from_hours(1), now);
        assert_eq!(tokens.check(token.as_bytes(), &scope).await, Ok(()));
        assert!(questions.try_recv().is_err());
        let second = Duration::from_secs(1);
        assert_eq!(tokens.known(&key, now + 59 * second), Some(Word::Admitted));
        assert_eq!(tokens.known(&key, now + GOOD), None);
        tokens.keep(key, Word::Admitted, 7 * second, now);
        assert_eq!(tokens.known(&key, now + 6 * second), Some(Word::Admitted));
        assert_eq!(tokens.known(&key, now + 7 * second), None, "its own claim ends it earlier");
    }

    #[tokio::test]
    async fn a_no_is_kept_for_a_short_time_and_ends_a_yes() {
        let (tokens, _questions) = Tokens::new();
        let (scope, token, now) = (scope("a", "iris"), token("one"), Instant::now());
        let key = key(&scope, token.as_bytes());
        tokens.keep(key, Word::Admitted, GOOD, now);
        tokens.keep(key, Word::Refused(Refused::MayNotScore), GOOD, now);
        assert_eq!(tokens.check(token.as_bytes(), &scope).await, Err(Denial::Refused(Refused::MayNotScore)));
        assert_eq!(tokens.known(&key, now + BAD), None);
    }

    #[tokio::test]
    async fn a_word_that_is_used_is_renewed_once_and_stays_when_that_fails() {
        let (tokens, mut questions) = Tokens::new();
        let (scope, token) = (scope("a", "iris"), token("one"));
        let key = key(&scope, token.as_bytes());
        let now = Instant::now();
        let end = now + 2 * RETRY;
        tokens.admitted.keep(key, Grant::new(now), end, now);
        for _ in 0..3 {
            assert_eq!(tokens.check(token.as_bytes(), &scope).await, Ok(()));
        }
        let (question, waiting) = questions.try_recv().unwrap();
        assert!(question.renewal && waiting.is_none());
        assert!(questions.try_recv().is_err(), "one asks for all");
        assert!(!format!("{question:?}").contains(&token), "a token shows");
        tokens.keep_unrenewed(&key, now);
        assert_eq!(tokens.known(&key, now + RETRY), Some(Word::Admitted));
        assert_eq!(tokens.known(&key, end), None, "not a moment longer");
    }

    #[tokio::test]
    async fn what_is_clear_from_the_token_itself_takes_no_question() {
        let (tokens, mut questions) = Tokens::new();
        for (token, scope, refused) in [
            ("no-token".to_owned(), scope("a", "iris"), Refused::NoToken),
            (token("one"), scope("b", "iris"), Refused::OtherAudience),
        ] {
            assert_eq!(tokens.check(token.as_bytes(), &scope).await, Err(Denial::Refused(refused)));
        }
        assert!(questions.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_the_patience_and_a_full_line_is_no_wait_at_all() {
        let (tokens, mut questions) = Tokens::new();
        let scope = scope("a", "iris");
        assert_eq!(tokens.check(token("one").as_bytes(), &scope).await, Err(Denial::NotChecked));
        while tokens.reviewer.try_reserve().is_ok() {
            let (question, _) = questions.try_recv().unwrap_or_else(|_| {
                let token = token("other");
                (super::question([0; 32], token.as_bytes(), &scope, false).unwrap(), None)
            });
            for _ in 0..HANDED {
                let copy = Question { token: question.token.clone(), scope: Arc::clone(&scope), ..question };
                let _ = tokens.reviewer.try_send((copy, None));
            }
        }
        let begin = tokio::time::Instant::now();
        assert_eq!(tokens.check(token("two").as_bytes(), &scope).await, Err(Denial::NotChecked));
        assert_eq!(tokio::time::Instant::now(), begin);
    }

    #[test]
    fn the_same_token_is_another_question_for_another_endpoint() {
        let same = [scope("a", "bc"), scope("ab", "c"), scope("a", "b")].map(|scope| key(&scope, b"c"));
        assert!(same[0] != same[1] && same[1] != same[2] && same[0] != same[2]);
    }
}
