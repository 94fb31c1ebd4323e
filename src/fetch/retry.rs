//! Trying again what may pass by itself.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder, Retryable};

use crate::fetch::failure::{Failure, Retry};

const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Does `attempt` up to `attempts` times, until it succeeds or fails for a reason that stays. The pauses double and
/// have jitter, unless the store asked for a pause.
///
/// # Errors
///
/// The failure of the last attempt.
pub async fn persist<T, Work>(attempts: usize, attempt: impl FnMut() -> Work) -> Result<T, Failure>
where
    Work: Future<Output = Result<T, Failure>>,
{
    attempt
        .retry(growing(attempts))
        .when(|failure| failure.retry != Retry::Never)
        .adjust(|failure, pause| match (pause, failure.retry) {
            (Some(_), Retry::After(asked)) => Some(asked),
            (pause, _) => pause,
        })
        .notify(|failure, pause| {
            tracing::warn!("{}; trying again in {:.1} s", failure.sentence(), pause.as_secs_f64());
        })
        .await
}

/// The pauses between `attempts` attempts.
pub fn pauses(attempts: usize) -> impl Iterator<Item = Duration> + Send {
    growing(attempts).build()
}

fn growing(attempts: usize) -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(SHORTEST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_max_times(attempts.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::catalogue::Reason;

    async fn attempts_made(limit: usize, retry: Retry) -> usize {
        let made = Cell::new(0);
        let result: Result<(), Failure> = persist(limit, async || {
            made.set(made.get() + 1);
            Err(Failure::new(Reason::ArtifactStoreError, "no").with_retry(retry))
        })
        .await;
        assert!(result.is_err());
        made.get()
    }

    #[tokio::test(start_paused = true)]
    async fn a_passing_failure_is_tried_again_up_to_the_limit() {
        assert_eq!(attempts_made(3, Retry::Soon).await, 3);
        assert_eq!(attempts_made(4, Retry::After(Duration::from_secs(1))).await, 4);
        assert_eq!(attempts_made(1, Retry::Soon).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lasting_failure_is_final_at_once() {
        assert_eq!(attempts_made(5, Retry::Never).await, 1);
    }
}
