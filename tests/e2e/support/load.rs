//! A constant stream of requests (open loop: a slow answer delays no other request) while something changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::scoring::{Answer, Scorer};

/// What came back.
#[derive(Debug, Default)]
pub struct Outcome {
    pub answers: Vec<Answer>,
    pub failures: Vec<String>,
}

impl Outcome {
    /// Fails the test when a single request failed.
    pub fn assert_none_lost(&self, at_least: usize) {
        assert!(self.answers.len() >= at_least, "only {} answers: the load was none", self.answers.len());
        let wrong: Vec<_> = self.answers.iter().filter(|answer| answer.status != 200).collect();
        assert!(
            self.failures.is_empty() && wrong.is_empty(),
            "{} of {} requests failed: {:?} {:?}",
            self.failures.len() + wrong.len(),
            self.answers.len() + self.failures.len(),
            self.failures.first(),
            wrong.first(),
        );
    }

    pub fn count(&self, keep: impl Fn(&Answer) -> bool) -> usize {
        self.answers.iter().filter(|answer| keep(answer)).count()
    }
}

/// A stream that goes on until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Outcome>,
}

pub fn start(scorer: &Scorer, requests_per_second: u32, body: &'static str) -> Load {
    let (stop, scorer) = (Arc::new(AtomicBool::new(false)), scorer.clone());
    let stopped = Arc::clone(&stop);
    let task = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / requests_per_second);
        // After a standstill of this machine a burst of what is missing would be more than the endpoint's limit.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut requests = JoinSet::new();
        while !stopped.load(Ordering::Relaxed) {
            ticks.tick().await;
            let scorer = scorer.clone();
            requests.spawn(async move { scorer.score(body, None).await });
        }
        let mut outcome = Outcome::default();
        while let Some(answer) = requests.join_next().await {
            match answer.unwrap() {
                Ok(answer) => outcome.answers.push(answer),
                Err(error) => outcome.failures.push(format!("{error:?}")),
            }
        }
        outcome
    });
    Load { stop, task }
}

impl Load {
    pub async fn stop(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}
