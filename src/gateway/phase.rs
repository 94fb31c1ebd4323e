//! A scoring request from its head to the end of its answer, one file a verb, in this order.

pub mod understand;

pub mod identify;

pub mod authenticate;

pub mod admit;

pub mod choose;

pub mod forward;

pub mod mirror;

pub mod answer;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response};

use super::Gateway;
use super::body::{self, AnswerBody, RequestBody};
use super::cors::Visit;
use super::record::Record;
use super::table::Endpoint;
use super::tunnel::Wish;
use super::upstream::Pool;
use answer::{Answer, Refusal};
use identify::Caller;

/// Answers one request, whatever happens. `pool` belongs to the calling thread.
pub async fn score(gateway: Arc<Gateway>, pool: Arc<Pool>, request: Request<Incoming>) -> Response<Box<AnswerBody>> {
    let (mut parts, incoming) = request.into_parts();
    let mut record = Record::open(&gateway, &parts);
    record.upload.watch(&incoming);
    let caller = identify::caller(&mut parts);
    record.ids(&caller.request_id, caller.client_request_id.as_ref());
    let found = understand::understand(&parts).and_then(|()| identify::endpoint(&parts, &gateway));
    let visit = found.as_ref().ok().and_then(|(endpoint, _)| Visit::of(endpoint, &parts));
    if let Ok((endpoint, _)) = &found {
        record.endpoint(endpoint);
    }
    let response = if visit.as_ref().is_some_and(Visit::is_preflight) {
        answer::preflight(record)
    } else {
        let answer = walk(&gateway, &pool, found, parts, incoming, &caller, &mut record).await;
        answer::answer(answer, &caller, record)
    };
    answer::sign(response, &caller, visit.as_ref(), &gateway)
}

async fn walk(
    gateway: &Gateway,
    pool: &Arc<Pool>,
    found: Result<(Arc<Endpoint>, Option<String>), Refusal>,
    mut parts: hyper::http::request::Parts,
    incoming: Incoming,
    caller: &Caller,
    record: &mut Record,
) -> Result<Answer, Refusal> {
    let (mut endpoint, path) = found?;
    authenticate::authenticate(&endpoint.auth, gateway.tokens.as_deref(), &mut parts.headers).await?;
    admit::rate(&endpoint.rate, record)?;
    if let Err(refusal) = admit::size(&parts.headers, endpoint.max_request_bytes) {
        // Whoever waits for a word before sending needs no patience from us.
        if !parts.headers.contains_key(hyper::header::EXPECT) {
            body::discard_refused(incoming, endpoint.max_request_bytes);
        }
        return Err(refusal);
    }
    let pin = parts.headers.get(choose::PIN);
    let (deployment, slot) = loop {
        let deployment = match choose::deployment(&endpoint, pin, caller.point) {
            Err(Refusal::NotReady) if pin.is_none() => {
                // Perhaps only in a table that has been exchanged meanwhile, and with it went the instances.
                let before = std::mem::replace(&mut endpoint, identify::endpoint(&parts, gateway)?.0);
                if Arc::ptr_eq(&before, &endpoint) {
                    return Err(Refusal::NotReady);
                }
                continue;
            }
            chosen => chosen?,
        };
        record.deployment(&deployment);
        match admit::slot(&deployment, &[], caller.point, record).await {
            Ok(slot) => break (deployment, slot),
            // Its last instance has left meanwhile; the traffic has gone elsewhere, and so does this request.
            Err(Refusal::NotReady) if pin.is_none() => (endpoint, _) = identify::endpoint(&parts, gateway)?,
            Err(refusal) => return Err(refusal),
        }
    };
    let (pinned, wish) = (pin.is_some(), Wish::of(&mut parts, &incoming));
    identify::clean(&mut parts.headers);
    let mut body = RequestBody::new(incoming, endpoint.max_request_bytes, Arc::clone(&record.upload));
    // A conversation can't be held with two.
    if !pinned && wish.is_none() {
        mirror::mirror(pool, &endpoint, &parts, path.as_ref(), &mut body, caller, record);
    }
    let (request, scoring) = forward::request(parts, body, path.as_ref(), &deployment, caller, wish.as_ref())?;
    let response = forward::forward(pool, &deployment, slot, request, caller.point, record).await?;
    Ok(Answer { response, deployment, scoring, max_response_bytes: endpoint.max_response_bytes, wish })
}
