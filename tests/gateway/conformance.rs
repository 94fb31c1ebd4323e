//! The status table of the scoring path, case by case, over HTTP/1.1 and over HTTP/2.

mod table;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::documents::{Deployment, Endpoint, KEY};
use crate::model;
use crate::process::{Gateway, PATIENCE};
use crate::strict::{HANG, Seen, Strict};
use crate::wire::{self, Answer, Connection};
use table::{Case, Group, Instances};

/// What a request has that keeps an instance busy for as long as its caller waits.
const BUSY: &str = "x-busy: 1\r\n";

/// A gateway for the cases of a group, and what stands behind it.
struct Stage {
    gateway: Gateway,
    strict: Strict,
    script: Arc<Mutex<Option<Vec<u8>>>>,
    http2: SendRequest<BoxBody<Bytes, std::convert::Infallible>>,
    /// Callers that are kept waiting.
    _busy: Vec<Connection>,
}

impl Stage {
    async fn start(group: &Group) -> Self {
        let script = Arc::<Mutex<Option<Vec<u8>>>>::default();
        let current = Arc::clone(&script);
        let strict = Strict::start(move |seen| {
            if seen.all("x-busy").is_empty() { current.lock().unwrap().clone() } else { Some(HANG.to_vec()) }
        })
        .await;
        let settings = &group.endpoint;
        let instances = match settings.instances {
            Instances::One => vec![strict.address],
            Instances::None => vec![],
            Instances::Nobody => vec![model::nobody().await],
        };
        let deployment = |name, weight| Deployment {
            timeout_ms: settings.timeout_ms,
            concurrent: settings.concurrent,
            queue_ms: settings.queue_ms,
            scoring_path: settings.scoring_path.clone().leak(),
            ..Deployment::new(name, weight, &instances)
        };
        let mut endpoint = Endpoint::new(&[deployment("blue", settings.weight), deployment("dark", 0)]);
        endpoint.max_bytes = settings.max_bytes;
        endpoint.requests_per_second = settings.requests_per_second;
        let gateway = Gateway::start(&endpoint).await;
        let mut busy = Vec::new();
        for number in 0..settings.busy {
            let mut connection = Connection::open(gateway.address).await;
            connection.send(wire::request("POST", "/score", BUSY, "{}")).await;
            busy.push(connection);
            let working = number.min(settings.concurrent - 1) + 1;
            gateway.wait_for_metric("mooring_gateway_in_flight_requests", &["blue"], f64::from(working)).await;
            gateway
                .wait_for_metric("mooring_gateway_queued_requests", &["blue"], f64::from(number + 1 - working))
                .await;
        }
        while strict.take().len() < usize::try_from(settings.busy.min(settings.concurrent)).unwrap() {
            tokio::task::yield_now().await;
        }
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let (http2, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { gateway, strict, script, http2, _busy: busy }
    }

    /// The answer to `case`, and what the instance saw of it.
    async fn ask(&self, case: &Case, http2: bool) -> (Answer, Vec<Seen>) {
        self.strict.take();
        let answer = if http2 { self.http2(case).await } else { self.http1(case).await };
        (answer, self.strict.take())
    }

    async fn http1(&self, case: &Case) -> Answer {
        let mut connection = Connection::open(self.gateway.address).await;
        connection.send(http1(case)).await;
        if case.method == "HEAD" { connection.head().await } else { connection.answer().await }
    }

    async fn http2(&self, case: &Case) -> Answer {
        let response = self.http2.clone().send_request(http2(case));
        let response = tokio::time::timeout(PATIENCE, response).await.unwrap().unwrap();
        let (parts, mut body) = response.into_parts();
        let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap().to_owned();
        let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let mut answer = Answer { status: parts.status.as_u16(), headers, whole: true, ..Answer::default() };
        while let Some(frame) = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap() {
            let Ok(frame) = frame else {
                answer.whole = false;
                break;
            };
            answer.body.extend(frame.into_data().unwrap_or_default());
        }
        answer
    }
}

fn http1(case: &Case) -> String {
    let mut text = format!("{} {} HTTP/{}\r\n", case.method, case.path, case.version);
    for (name, value) in headers(case) {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    let body = case.body();
    if case.chunked {
        format!("{text}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    } else if body.is_empty() {
        text + "\r\n"
    } else {
        format!("{text}content-length: {}\r\n\r\n{body}", body.len())
    }
}

fn http2(case: &Case) -> hyper::Request<BoxBody<Bytes, std::convert::Infallible>> {
    let authority = case.host.as_deref().unwrap();
    let mut request =
        hyper::Request::builder().method(case.method.as_str()).uri(format!("http://{authority}{}", case.path));
    for (name, value) in headers(case).into_iter().filter(|(name, _)| name != "host") {
        request = request.header(name, value);
    }
    let body = Bytes::from(case.body());
    let body = if case.chunked {
        let frames = (!body.is_empty()).then(|| Ok(Frame::data(body)));
        BodyExt::boxed(StreamBody::new(futures::stream::iter(frames)))
    } else {
        Full::new(body).boxed()
    };
    request.body(body).unwrap()
}

/// The headers of a request but those of its body.
fn headers(case: &Case) -> Vec<(String, String)> {
    let mut headers: Vec<_> = case.host.iter().map(|host| ("host".to_owned(), host.clone())).collect();
    if !case.headers.contains_key("authorization") {
        headers.push(("authorization".to_owned(), format!("Bearer {KEY}")));
    }
    let said = case.headers.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    headers.extend(said);
    headers
}

/// All that is wrong with the answer to `case`, and with what the instance saw.
fn faults(case: &Case, answer: &Answer, seen: &[Seen], phrases: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expect = |what: &str, good: bool| {
        if !good {
            faults.push(what.to_owned());
        }
    };
    let all = |name: &str| -> Vec<&str> {
        answer.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    };
    expect("code", answer.status == case.code);
    expect("phrase", !phrases || answer.phrase == case.phrase);
    let id = answer.header("x-request-id").unwrap_or_default();
    expect("x-request-id", all("x-request-id").len() == 1 && id.len() == 36 && id != "mine");
    expect("date", all("date").len() == 1);
    expect("deployment", all("azureml-model-deployment") == Vec::from_iter(case.deployment.as_deref()));
    for (name, values) in &case.has {
        expect(name, all(name) == values.all());
    }
    for name in &case.lacks {
        expect(name, all(name).is_empty());
    }
    expect("whole", case.method == "HEAD" || answer.whole != case.cut);
    if let Some(text) = &case.text {
        expect("text", answer.text() == text);
    }
    if let Some(error) = case.error.as_ref() {
        expect("content-type", all("content-type") == ["application/json"]);
        if case.method != "HEAD" {
            let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let members = document["error"].as_object().cloned().unwrap_or_default();
            let named: BTreeMap<_, _> = members
                .iter()
                .filter(|(name, _)| *name != "message")
                .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
                .collect();
            let mut wanted = BTreeMap::from([("code", error.as_str()), ("requestId", id)]);
            wanted.extend(case.deployment.as_deref().map(|deployment| ("deployment", deployment)));
            expect("error", named == wanted && document.as_object().is_some_and(|document| document.len() == 1));
            expect(
                "message",
                members
                    .get("message")
                    .and_then(|message| message.as_str())
                    .is_some_and(|message| message.ends_with('.')),
            );
            expect("content-length", all("content-length") == [answer.body.len().to_string()]);
        }
    }
    if let Some(lines) = &case.saw {
        expect("saw", seen.iter().map(|seen| &seen.line).eq(lines));
    }
    let last = seen.last();
    if let Some(body) = &case.saw_body {
        expect("saw_body", last.is_some_and(|seen| seen.body == *body));
    }
    for name in &case.saw_lacks {
        expect(name, last.is_some_and(|seen| seen.all(name).is_empty()));
    }
    for (name, value) in &case.saw_has {
        expect(name, last.is_some_and(|seen| seen.all(name) == [value]));
    }
    faults
}

async fn check(row: &str) {
    let group = table::group(row);
    let stage = Stage::start(&group).await;
    let mut wrong = Vec::new();
    for case in &group.cases {
        *stage.script.lock().unwrap() = case.model.as_ref().map(|model| model.bytes(&case.method));
        for http2 in [false, true] {
            if http2 && case.only == Some(1) {
                continue;
            }
            // Where a second ends between the two requests, the rate lets the case pass.
            let (mut answer, mut seen) = stage.ask(case, http2).await;
            for _ in 0..5 {
                if group.endpoint.requests_per_second > 1 || answer.status != 200 {
                    break;
                }
                (answer, seen) = stage.ask(case, http2).await;
            }
            let faults = faults(case, &answer, &seen, !http2);
            if !faults.is_empty() {
                let text = String::from_utf8_lossy(&answer.body).chars().take(200).collect::<String>();
                let head = (answer.status, answer.phrase, answer.headers);
                wrong.push(format!("{} (HTTP/2: {http2}): {faults:?} in {head:?} {text:?}; saw {seen:?}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), group.cases.len());
    assert_eq!(stage.strict.faults(), Vec::<String>::new(), "in what came out of the gateway");
}

macro_rules! rows {
    ($($name:ident $row:literal;)+) => {
        $(#[tokio::test] async fn $name() { check($row).await; })+

        #[test]
        fn each_row_is_checked() {
            assert_eq!(table::rows(), [$($row),+]);
        }
    };
}

rows! {
    ok "200";
    ok_on_other_paths "200 on other paths than the scoring path";
    unauthorized "401";
    not_found "404";
    no_traffic "404 without a share of the traffic";
    request_timeout "408";
    payload_too_large "413";
    model_error "424 Model Error";
    response_payload_too_large "424 Response Payload Too Large";
    broken_connection "424 of a connection that breaks";
    nobody_listens "424 where nobody listens";
    not_ready "424 without a ready instance";
    rate_limited "429 Rate Limited";
    too_many_pending "429 when too many wait";
    waited_too_long "429 when one waits too long";
    internal "500";
    bad_request "400";
}
