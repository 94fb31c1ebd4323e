//! Whether there is room for the request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::{CONTENT_LENGTH, HeaderMap};

use super::answer::Refusal;
use crate::gateway::backend::{Instance, Slot, Standing};
use crate::gateway::peers::admission::Seeker;
use crate::gateway::rate::RateLimit;
use crate::gateway::record::Record;
use crate::gateway::table::Deployment;

/// Counts the request against the endpoint's rate, or leaves that to whoever admits it where that may be another replica.
///
/// # Errors
/// When the rate is used up.
pub fn rate(limit: &RateLimit, record: &mut Record) -> Result<(), Refusal> {
    if record.peers().is_some() {
        record.uncounted = true;
        return Ok(());
    }
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
    if let (Some(peers), Some(endpoint)) = (record.peers().cloned(), record.endpoint_asked().cloned()) {
        // A copy takes no place that it would have to wait for.
        let patience = if record.is_copy() { Duration::ZERO } else { deployment.max_queue_wait };
        let rate = &mut record.uncounted;
        let mut seeker = Seeker { endpoint: &endpoint, deployment, tried, point, rate, patience };
        if let Some(slot) = peers.slot_at_once(&mut seeker)? {
            return Ok(slot);
        }
        let since = Instant::now();
        // On the heap, so that a request that need not wait has no room for it.
        let placed = Box::pin(peers.slot(seeker)).await;
        record.queued(since);
        return placed;
    }
    let limit = |_: &Instance| deployment.max_concurrent_requests_per_instance;
    if let Some(slot) = at_once(deployment, limit, tried, point) {
        return Ok(slot);
    }
    if record.is_copy() {
        let is_left = deployment.backend.has_untried(tried);
        return Err(if is_left { Refusal::TooManyPending } else { none_left(deployment, tried) });
    }
    let since = Instant::now();
    let deadline = tokio::time::Instant::now() + deployment.max_queue_wait;
    let placed = queue(deployment, limit, tried, point, deadline, std::future::pending()).await;
    record.queued(since);
    placed.map_err(|unplaced| match unplaced {
        Unplaced::Refused(refusal) => refusal,
        Unplaced::Changed => Refusal::Internal,
    })
}

/// Why there is no instance but those of `tried`: that one which was not ready anyway could not be reached is no news.
pub fn none_left(deployment: &Deployment, tried: &[Arc<Instance>]) -> Refusal {
    let is_ready = deployment.backend.standing() == Standing::Ready;
    if is_ready && !tried.is_empty() { Refusal::Connection } else { Refusal::NotReady }
}

/// A place that is free, when nobody waits for it already.
pub fn at_once(
    deployment: &Deployment,
    limit: impl Fn(&Instance) -> usize,
    tried: &[Arc<Instance>],
    point: u32,
) -> Option<Slot> {
    let backend = &deployment.backend;
    if backend.waiting() == 0 { backend.try_slot(limit, tried, point) } else { None }
}

/// Why a request in the queue has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// It gets none.
    Refused(Refusal),
    /// The limits are others now.
    Changed,
}

/// A place as soon as one is free, in the order of arrival, until `changed`. `limit` is how many requests an instance may
/// work on.
///
/// # Errors
/// When there is no instance but `tried`, when too many wait already, or when it takes until `deadline`.
pub async fn queue(
    deployment: &Deployment,
    limit: impl Fn(&Instance) -> usize,
    tried: &[Arc<Instance>],
    point: u32,
    deadline: tokio::time::Instant,
    changed: impl Future<Output = ()>,
) -> Result<Slot, Unplaced> {
    let backend = &deployment.backend;
    if let Some(slot) = at_once(deployment, &limit, tried, point) {
        return Ok(slot);
    }
    let mut place = backend.wait();
    // Of all that the deployment may have: a share that is withheld for a moment makes callers wait, and turns none away.
    let capacity = backend.capacity(|_| deployment.max_concurrent_requests_per_instance);
    if backend.in_flight().saturating_add(backend.waiting()) > capacity.saturating_mul(2) && capacity > 0 {
        return Err(Unplaced::Refused(Refusal::TooManyPending));
    }
    let mut deadline = std::pin::pin!(tokio::time::sleep_until(deadline));
    let mut changed = std::pin::pin!(changed);
    loop {
        if !backend.has_untried(tried) {
            return Err(Unplaced::Refused(none_left(deployment, tried)));
        }
        let freed = place.freed();
        let mut freed = std::pin::pin!(freed);
        // From here on no word of a free instance is missed.
        freed.as_mut().enable();
        if let Some(slot) = place.try_slot(&limit, tried, point) {
            return Ok(slot);
        }
        tokio::select! {
            () = freed => {}
            () = &mut deadline => return Err(Unplaced::Refused(Refusal::TooManyPending)),
            () = &mut changed => return Err(Unplaced::Changed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::backend::Address;
    use crate::gateway::table::writer::tests::{route, writer};
    use hyper::header::HeaderValue;

    #[test]
    fn an_instance_that_was_not_ready_and_is_not_reached_is_no_broken_connection() {
        let (mut writer, table) = writer();
        writer.set_route(route("n", "iris", 1, &[]));
        writer.publish();
        let deployment = Arc::clone(&table.load().by_name("n", "iris").unwrap().deployments[0]);
        let address = [Address { ip: [198, 18, 0, 1].into(), port: None }];
        for (is_doubtful, refusal) in [(false, Refusal::Connection), (true, Refusal::NotReady)] {
            writer.set_instances("n", "iris-blue", &address, is_doubtful);
            assert_eq!(none_left(&deployment, &deployment.backend.ready()), refusal);
        }
        assert_eq!(none_left(&deployment, &[]), Refusal::NotReady);
    }

    #[test]
    fn a_body_of_just_the_limit_is_admitted() {
        let headers = |length| HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static(length))]);
        assert!(size(&headers("10"), 10).is_ok());
        assert!(size(&headers("11"), 10).is_err());
        assert!(size(&HeaderMap::new(), 10).is_ok());
    }
}
