//! The one who asks the API server, for all threads.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use kube::Client;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc::Receiver;

use super::desk::Desk;
use super::refused::Refused;
use super::review::{Fault, review};
use super::{Asked, GOOD, Question, Tokens, Word};

/// Pause between two words about strangers that are turned away.
const OVERFLOW_PAUSE: Duration = Duration::from_mins(1);

/// Questions by result.
type Counts = Family<[(&'static str, &'static str); 1], Counter>;

/// A memory for tokens, and the work of asking the API server about those that it does not know, without end.
#[must_use]
pub fn start(client: Client, registry: &mut Registry) -> (Arc<Tokens>, BoxFuture<'static, ()>) {
    let counts = Counts::default();
    registry.register(
        "mooring_gateway_token_reviews",
        "Tokens that the API server was asked about, by result; overflow: that it was not asked about",
        counts.clone(),
    );
    let (tokens, questions) = Tokens::new();
    let reviewer =
        Reviewer { tokens: Arc::clone(&tokens), counts, desk: Desk::default(), fault: None, overflow_told: None };
    (tokens, Box::pin(reviewer.work(client, questions)))
}

struct Reviewer {
    tokens: Arc<Tokens>,
    counts: Counts,
    desk: Desk,
    /// What the last question failed for.
    fault: Option<Fault>,
    /// When it was last said that strangers are turned away.
    overflow_told: Option<Instant>,
}

impl Reviewer {
    async fn work(mut self, client: Client, mut questions: Receiver<Asked>) {
        let mut under_way = FuturesUnordered::new();
        loop {
            while let Some(question) = self.desk.next(Instant::now()) {
                let client = client.clone();
                under_way.push(async move {
                    let outcome = review(&client, &question.token, &question.scope).await;
                    (question, outcome)
                });
            }
            let free_at = self.desk.free_at(Instant::now());
            tokio::select! {
                Some(asked) = questions.recv() => self.take(asked),
                Some((question, outcome)) = under_way.next() => self.ended(&question, outcome),
                () = sleep_until(free_at) => {}
            }
        }
    }

    fn take(&mut self, (question, waiting): Asked) {
        // It may have been answered while this question was on its way.
        if let Some(word) = self.tokens.known(&question.key, Instant::now()).filter(|_| !question.renewal) {
            if let Some(caller) = waiting {
                let _ = caller.send(word);
            }
        } else if !self.desk.take((question, waiting)) {
            self.count("overflow");
            self.tell_overflow(Instant::now());
        }
    }

    fn ended(&mut self, question: &Question, outcome: Result<Word, Fault>) {
        let now = Instant::now();
        self.hear(outcome.as_ref().err().cloned());
        self.count(match &outcome {
            Ok(Word::Admitted) => "admitted",
            Ok(Word::Refused(Refused::MayNotScore)) => "may_not_score",
            Ok(Word::Refused(_)) => "not_genuine",
            Err(_) => "failed",
        });
        let word = outcome.ok();
        if let Some(word) = word {
            let left = question.expires.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
            self.tokens.keep(question.key, word, left, now);
        } else if question.renewal {
            self.tokens.keep_unrenewed(&question.key, now);
        }
        self.desk.ended(question, word);
    }

    /// Says that strangers are turned away, once a minute at most.
    fn tell_overflow(&mut self, now: Instant) {
        if self.overflow_told.is_none_or(|told| now.duration_since(told) >= OVERFLOW_PAUSE) {
            self.overflow_told = Some(now);
            tracing::warn!(
                "more unknown tokens come than the API server may be asked about; some are answered 500, see \
                 mooring_gateway_token_reviews_total{{result=\"overflow\"}}"
            );
        }
    }

    /// Says once that tokens can't be checked and why, and once that they can again.
    fn hear(&mut self, fault: Option<Fault>) {
        let kind = |fault: &Option<Fault>| fault.as_ref().map(|fault| matches!(fault, Fault::Forbidden(_)));
        if kind(&fault) == kind(&self.fault) {
            return;
        }
        let next = match fault {
            Some(Fault::Forbidden(_)) => "give it that right by a ClusterRole, or install the chart again",
            _ => "look whether the API server runs and can be reached from here",
        };
        match &fault {
            None => tracing::info!("tokens are checked again"),
            Some(cause) => tracing::error!(
                %cause,
                next,
                known_seconds = GOOD.as_secs(),
                "tokens can't be checked; known ones are admitted for known_seconds at most, others are answered 500"
            ),
        }
        self.fault = fault;
    }

    fn count(&self, result: &'static str) {
        self.counts.get_or_create(&[("result", result)]).inc();
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
