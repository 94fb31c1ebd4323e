//! Copies of live requests for the mirror deployment. Its answers are read and thrown away: all that is left of them
//! are numbers and a line in the access log.
//!
//! A copy runs in a task of its own, takes no place that it would have to wait for, and reads the body as the live
//! request sends it: nothing here can delay or change the live answer.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::Request;
use hyper::http::request::Parts;

use super::answer::{self, Refusal};
use super::identify::Caller;
use super::{admit, forward};
use crate::gateway::body::copy::{Fate, Watch};
use crate::gateway::body::{BodyError, RequestBody};
use crate::gateway::record::Record;
use crate::gateway::table::{Deployment, Endpoint};
use crate::gateway::upstream::Pool;

/// How the copy of a request ended, beside the refusals' own names.
const SUCCEEDED: &str = "Succeeded";
const MODEL_ERROR: &str = "ModelError";
const BEHIND: &str = "Behind";
/// The live request was cut off, or this process ended.
pub const ABORTED: &str = "Aborted";

/// Whether the draw of `point`, equally distributed over all `u32`, falls on `percent` of 100.
const fn falls_on(percent: u32, point: u32) -> bool {
    ((point as u64 * 100) >> 32) < percent as u64
}

/// Copies the request to the mirror of `endpoint`, if it has one and the draw falls on it. `parts` are as the caller
/// sent them, cleaned; `path` is the path and query when they are not the request's own.
pub fn mirror(
    pool: &Arc<Pool>,
    endpoint: &Arc<Endpoint>,
    parts: &Parts,
    path: Option<&String>,
    body: &mut RequestBody,
    caller: &Caller,
    record: &Record,
) {
    let Some(mirror) = endpoint.mirror.as_ref().filter(|mirror| falls_on(mirror.percent, caller.mirror_point)) else {
        return;
    };
    let record = record.copy(&mirror.deployment);
    let (mut head, ()) = Request::new(()).into_parts();
    head.method.clone_from(&parts.method);
    head.uri.clone_from(&parts.uri);
    head.headers.clone_from(&parts.headers);
    let (body, watch) = body.copy(Arc::clone(&record.upload));
    // It fails where the live request fails too.
    if let Ok((request, scoring)) = forward::request(head, body, path, &mirror.deployment, caller, None) {
        let (pool, endpoint, deployment) = (Arc::clone(pool), Arc::clone(endpoint), Arc::clone(&mirror.deployment));
        let point = caller.point;
        tokio::spawn(async move {
            let mut record = record;
            let limit = endpoint.max_response_bytes;
            let result = tokio::select! {
                biased;
                result = ruined(watch) => result,
                result = exchange(&pool, &deployment, request, scoring, limit, point, &mut record) => result,
            };
            record.copy_ended(result);
        });
    }
}

/// Waits for the copy to fail. Whoever sends it learns that only when the instance takes more of it, or never.
async fn ruined(watch: Option<Watch>) -> &'static str {
    let fate = match watch {
        Some(watch) => watch.fate().await,
        None => Fate::Whole,
    };
    match fate {
        Fate::Whole => std::future::pending().await,
        Fate::Behind => BEHIND,
        Fate::Cut => ABORTED,
    }
}

/// Sends the request, reads the answer, and tells how it ended.
async fn exchange(
    pool: &Arc<Pool>,
    deployment: &Deployment,
    request: Request<RequestBody>,
    scoring: bool,
    max_response_bytes: u64,
    point: u32,
    record: &mut Record,
) -> &'static str {
    let begun = match admit::slot(deployment, &[], point, record).await {
        Ok(slot) => forward::forward(pool, deployment, slot, request, point, record).await,
        Err(refusal) => Err(refusal),
    };
    let begun = match begun {
        Ok(begun) => begun,
        Err(Refusal::BadBody) => return ABORTED,
        Err(refusal) => return refusal.row().name,
    };
    let (head, mut body) = begun.split(max_response_bytes);
    record.answered(head.status.as_u16());
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => record.sent(frame.data_ref().map_or(0, bytes::Bytes::len)),
            Err(BodyError::ResponseTooLarge { limit }) => return Refusal::ResponseTooLarge { limit }.row().name,
            Err(BodyError::Stalled(_)) => return Refusal::Timeout.row().name,
            Err(_) => return Refusal::Connection.row().name,
        }
    }
    if answer::is_good(scoring, head.status) { SUCCEEDED } else { MODEL_ERROR }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draw_falls_on_its_percent_of_all_points() {
        let share = |percent| (0..=u32::MAX).step_by(1 << 16).filter(|point| falls_on(percent, *point)).count();
        assert_eq!(share(0), 0);
        assert_eq!(share(100), 1 << 16);
        assert_eq!(share(50), 1 << 15);
        assert_eq!(share(10), 6554);
    }
}
