//! Whether there is room for the request.

use std::sync::Arc;
use std::time::Instant;

use hyper::header::{CONTENT_LENGTH, HeaderMap};

use super::answer::Refusal;
use crate::gateway::backend::{Instance, Slot};
use crate::gateway::rate::RateLimit;
use crate::gateway::record::Record;
use crate::gateway::table::Deployment;

/// Counts the request against the endpoint's rate.
///
/// # Errors
/// When the rate is used up.
pub fn rate(limit: &RateLimit) -> Result<(), Refusal> {
    limit.take(Instant::now()).map_err(|retry_after| Refusal::RateLimited { retry_after })
}

/// Refuses a body that says itself that it is over `limit` bytes. One that does not say is measured on its way.
///
/// # Errors
/// When the body is too large.
pub fn size(headers: &HeaderMap, limit: u64) -> Result<(), Refusal> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit) { Err(Refusal::PayloadTooLarge { limit }) } else { Ok(()) }
}

/// A place at an instance of `deployment` that is none of `tried`, at once or after some waiting; a copy does not wait.
///
/// # Errors
/// When there is no such instance, when too many wait already, or when it takes too long.
pub async fn slot(
    deployment: &Deployment,
    tried: &[Arc<Instance>],
    point: u32,
    record: &mut Record,
) -> Result<Slot, Refusal> {
    let backend = &deployment.backend;
    let limit = |_: &Instance| deployment.max_concurrent_requests_per_instance;
    // Whoever waits already comes first.
    if backend.waiting() == 0
        && let Some(slot) = backend.try_slot(limit, tried, point)
    {
        return Ok(slot);
    }
    let missing = if tried.is_empty() { Refusal::NotReady } else { Refusal::Connection };
    if record.is_copy() {
        return Err(if backend.has_untried(tried) { Refusal::TooManyPending } else { missing });
    }
    let since = Instant::now();
    let place = backend.wait();
    let capacity = backend.capacity(limit);
    if backend.in_flight().saturating_add(backend.waiting()) > capacity.saturating_mul(2) && capacity > 0 {
        return Err(Refusal::TooManyPending);
    }
    let deadline = tokio::time::sleep(deployment.max_queue_wait);
    let mut deadline = std::pin::pin!(deadline);
    loop {
        if !backend.has_untried(tried) {
            return Err(missing);
        }
        let freed = place.freed();
        let mut freed = std::pin::pin!(freed);
        // From here on no word of a free instance is missed.
        freed.as_mut().enable();
        if let Some(slot) = backend.try_slot(limit, tried, point) {
            record.queued(since);
            return Ok(slot);
        }
        tokio::select! {
            () = freed => {}
            () = &mut deadline => {
                record.queued(since);
                return Err(Refusal::TooManyPending);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn a_body_of_just_the_limit_is_admitted() {
        let headers = |length| HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static(length))]);
        assert!(size(&headers("10"), 10).is_ok());
        assert!(size(&headers("11"), 10).is_err());
        assert!(size(&HeaderMap::new(), 10).is_ok());
    }
}
