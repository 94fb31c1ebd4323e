//! What RFC 9110 and RFC 9112 want of a server and of an intermediary, rule by rule.

use std::sync::{Arc, Mutex};

use crate::documents::{Deployment, Endpoint, KEY};
use crate::process::Gateway;
use crate::strict::Strict;
use crate::wire::Connection;

#[derive(Clone, Copy)]
enum Want {
    /// The code of the first answer.
    Code(u16),
    /// All codes, in their order.
    Codes(&'static [u16]),
    /// All values of a header of the first answer.
    Has(&'static str, &'static [&'static str]),
    /// The body of the first answer.
    Body(&'static str),
    /// That the gateway closes, or serves on.
    Closes,
    Stays,
    /// The first request that the instance saw: its line, its body, all values of a header.
    Line(&'static str),
    Got(&'static str),
    Saw(&'static str, &'static [&'static str]),
    /// That the instance saw nothing.
    Nothing,
}
use Want::{Body, Closes, Code, Codes, Got, Has, Line, Nothing, Saw, Stays};

struct Rule(
    /// Where it stands.
    &'static str,
    &'static str,
    /// What is sent: `<good>` stands for the headers Host and Authorization, `<next>` for a next request.
    &'static str,
    /// What the instance answers; its usual answer without.
    &'static str,
    &'static [Want],
);

const OK: &str = "";

#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule("9112 2.2", "an empty line before the request line is ignored", "\r\nGET /a HTTP/1.1\r\n<good>\r\n", OK, &[Code(200), Line("GET /a HTTP/1.1")]),
    Rule("9112 2.2", "a bare CR is no end of a line", "GET /a HTTP/1.1\r<good>\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9112 2.2", "space between request line and headers is refused", "GET /a HTTP/1.1\r\n x: y\r\n<good>\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9112 2.3", "a caller of HTTP/1.0 is served and left", "GET /a HTTP/1.0\r\n<good>\r\n", OK, &[Code(200), Closes, Line("GET /a HTTP/1.1")]),
    Rule("9112 3", "a request line that is none is refused", "GET /a\r\n<good>\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9112 3", "a target with a space is refused", "GET /a b HTTP/1.1\r\n<good>\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9112 3.2", "a request without Host is refused", "GET /a HTTP/1.1\r\nauthorization: Bearer the-key\r\n\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9112 3.2", "a request with two Hosts is refused", "GET /a HTTP/1.1\r\n<good>host: iris.default\r\n\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9112 3.2", "a Host that is none is refused", "GET /a HTTP/1.1\r\nhost: iris default\r\n\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9112 3.2", "an empty Host is one", "GET /api/v1/endpoint/default/iris/a HTTP/1.1\r\nhost: \r\nauthorization: Bearer the-key\r\n\r\n", OK, &[Code(200), Saw("host", &[""])]),
    Rule("9112 3.2.1", "path and query pass as they are", "GET /a%20b/../c?d=%41&e HTTP/1.1\r\n<good>\r\n", OK, &[Code(200), Line("GET /a%20b/../c?d=%41&e HTTP/1.1")]),
    Rule("9112 3.2.2", "an absolute target is understood", "GET http://iris.default/a?b HTTP/1.1\r\n<good>\r\n", OK, &[Code(200), Line("GET /a?b HTTP/1.1")]),
    Rule("9112 3.2.2", "its host replaces the header", "GET http://iris.default/a HTTP/1.1\r\nhost: elsewhere\r\nauthorization: Bearer the-key\r\n\r\n", OK, &[Code(200), Saw("host", &["iris.default"])]),
    Rule("9112 3.2.3", "a target of an authority is for CONNECT alone", "GET iris.default:80 HTTP/1.1\r\n<good>\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9112 3.2.4", "the asterisk of OPTIONS passes", "OPTIONS * HTTP/1.1\r\n<good>\r\n", OK, &[Code(200), Line("OPTIONS * HTTP/1.1")]),
    Rule("9112 5.1", "space before the colon is refused", "GET /a HTTP/1.1\r\n<good>x : y\r\n\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9112 5.1", "space around a value is no part of it", "GET /a HTTP/1.1\r\n<good>x:  \t y z \t \r\n\r\n", OK, &[Code(200), Saw("x", &["y z"])]),
    Rule("9112 5.2", "a folded header is refused", "GET /a HTTP/1.1\r\n<good>x: y\r\n z\r\n\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9112 5.2", "a folded header of the instance does not pass", "GET /a HTTP/1.1\r\n<good>\r\n", "HTTP/1.1 200 OK\r\nx: y\r\n z\r\ncontent-length: 0\r\n\r\n", &[Code(424), Has("x", &[])]),
    Rule("9112 6.1", "an encoding goes before a length, and the connection ends", "POST /a HTTP/1.1\r\n<good>content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", OK, &[Code(200), Closes, Got("ab"), Saw("content-length", &[])]),
    Rule("9112 6.1", "an encoding that is not understood is refused", "POST /a HTTP/1.1\r\n<good>transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9112 6.1", "an encoding in HTTP/1.0 is a fault", "POST /a HTTP/1.0\r\n<good>transfer-encoding: chunked\r\n\r\n0\r\n\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9112 6.1", "a caller of HTTP/1.0 gets no encoding", "GET /a HTTP/1.0\r\n<good>\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", &[Code(200), Has("transfer-encoding", &[]), Closes]),
    Rule("9112 6.1", "204 has no encoding", "GET /a HTTP/1.1\r\n<good>\r\n", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[Code(204), Has("transfer-encoding", &[]), Has("content-length", &[])]),
    Rule("9112 6.2", "no length stands beside an encoding", "GET /a HTTP/1.1\r\n<good>\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n2\r\nab\r\n0\r\n\r\n", &[Code(200), Has("content-length", &[]), Body("ab")]),
    Rule("9112 6.3", "a length that is none is refused", "POST /a HTTP/1.1\r\n<good>content-length: x\r\n\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9112 6.3", "a length of the instance that is none does not pass", "GET /a HTTP/1.1\r\n<good>\r\n", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", &[Code(424)]),
    Rule("9112 6.3", "a request without length has no body", "POST /a HTTP/1.1\r\n<good>\r\n<next>", OK, &[Codes(&[200, 200]), Got("")]),
    Rule("9112 6.3", "a body up to the end of the connection passes with an end of its own", "GET /a HTTP/1.1\r\n<good>\r\n", "HTTP/1.1 200 OK\r\n\r\nab<close>", &[Code(200), Body("ab"), Has("transfer-encoding", &["chunked"]), Stays]),
    Rule("9112 7.1", "a chunk size may have capitals and zeros", "POST /a HTTP/1.1\r\n<good>transfer-encoding: chunked\r\n\r\n00A\r\n0123456789\r\n0\r\n\r\n", OK, &[Code(200), Got("0123456789")]),
    Rule("9112 7.1", "a chunk size that is too large is refused", "POST /a HTTP/1.1\r\n<good>transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nab\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9112 7.1.1", "an extension that is not understood is ignored", "POST /a HTTP/1.1\r\n<good>transfer-encoding: chunked\r\n\r\n2;x=\"y\"\r\nab\r\n0;z\r\n\r\n", OK, &[Code(200), Got("ab")]),
    Rule("9112 7.1.2", "trailers are read to their end", "POST /a HTTP/1.1\r\n<good>transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx: y\r\n\r\n<next>", OK, &[Codes(&[200, 200]), Saw("x", &[])]),
    Rule("9112 9.3", "a connection serves on", "GET /a HTTP/1.1\r\n<good>\r\n", OK, &[Code(200), Stays]),
    Rule("9112 9.3", "a connection of HTTP/1.0 serves on when it is to", "GET /a HTTP/1.0\r\n<good>connection: keep-alive\r\n\r\n", OK, &[Code(200), Has("connection", &["keep-alive"]), Stays]),
    Rule("9112 9.3.2", "requests that come at once are answered in their order", "GET /a HTTP/1.1\r\n<good>\r\nHEAD /a HTTP/1.0\r\n<good>\r\n", OK, &[Codes(&[200, 200])]),
    Rule("9112 9.6", "whoever says close is left, and told", "GET /a HTTP/1.1\r\n<good>connection: close\r\n\r\n", OK, &[Code(200), Has("connection", &["close"]), Closes]),
    Rule("9112 9.6", "nothing is read behind close", "GET /a HTTP/1.1\r\n<good>connection: close\r\n\r\n<next>", OK, &[Codes(&[200]), Closes]),
    Rule("9110 4.1", "a target of 8,000 bytes is taken", "GET /<8000> HTTP/1.1\r\n<good>\r\n", OK, &[Code(200)]),
    Rule("9110 5.3", "values of one name keep their order", "GET /a HTTP/1.1\r\n<good>x: 1\r\ny: 0\r\nX: 2\r\nx: 3\r\n\r\n", OK, &[Code(200), Saw("x", &["1", "2", "3"])]),
    Rule("9110 5.1", "a header that is not known passes", "GET /a HTTP/1.1\r\n<good>x-unknown: \u{e9}\r\n\r\n", "HTTP/1.1 200 OK\r\nx-unknown: 1\r\ncontent-length: 0\r\n\r\n", &[Saw("x-unknown", &["\u{e9}"]), Has("x-unknown", &["1"])]),
    Rule("9110 5.5", "NUL in a value is refused", "GET /a HTTP/1.1\r\n<good>x: a\0\r\n\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9110 6.6.1", "the date of the instance is kept", "GET /a HTTP/1.1\r\n<good>\r\n", "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\ncontent-length: 0\r\n\r\n", &[Has("date", &["Thu, 01 Jan 1970 00:00:00 GMT"])]),
    Rule("9110 7.6.1", "what Connection names goes no further", "GET /a HTTP/1.1\r\n<good>connection: x, Y\r\nx: 1\r\ny: 2\r\nz: 3\r\n\r\n", OK, &[Saw("x", &[]), Saw("y", &[]), Saw("connection", &[]), Saw("z", &["3"])]),
    Rule("9110 7.6.1", "nor do the headers of a connection", "GET /a HTTP/1.1\r\n<good>keep-alive: 5\r\nproxy-connection: x\r\nte: gzip\r\nupgrade: x\r\n\r\n", OK, &[Saw("keep-alive", &[]), Saw("proxy-connection", &[]), Saw("te", &[]), Saw("upgrade", &[])]),
    Rule("9110 7.6.1", "nor those of the instance", "GET /a HTTP/1.1\r\n<good>\r\n", "HTTP/1.1 200 OK\r\nconnection: x\r\nx: 1\r\nkeep-alive: 5\r\ncontent-length: 0\r\n\r\n", &[Has("x", &[]), Has("keep-alive", &[]), Has("connection", &[])]),
    Rule("9110 7.8", "an upgrade that is not known is ignored", "GET /a HTTP/1.1\r\n<good>connection: upgrade\r\nupgrade: h2c, x\r\n\r\n", OK, &[Code(200), Saw("upgrade", &[])]),
    Rule("9110 8.6", "lengths that agree are one", "GET /a HTTP/1.1\r\n<good>\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\ncontent-length: 2\r\n\r\nab", &[Has("content-length", &["2"]), Body("ab")]),
    Rule("9110 9.1", "a method is passed on by its letters", "gEt /a HTTP/1.1\r\n<good>\r\n", OK, &[Code(200), Line("gEt /a HTTP/1.1")]),
    Rule("9110 9.3.2", "an answer to HEAD has the length and no body", "HEAD /a HTTP/1.1\r\n<good>\r\n", OK, &[Code(200), Has("content-length", &["16"]), Stays]),
    Rule("9110 9.3.6", "no tunnel is made", "CONNECT iris.default:80 HTTP/1.1\r\n<good>\r\n", OK, &[Code(400), Closes, Nothing]),
    Rule("9110 10.1.1", "whoever waits for a word gets it", "POST /a HTTP/1.1\r\n<good>expect: 100-continue\r\ncontent-length: 2\r\n\r\n<later>ab", OK, &[Codes(&[100, 200]), Got("ab"), Saw("expect", &[])]),
    Rule("9110 10.1.1", "in HTTP/1.0 there is no such word", "POST /a HTTP/1.0\r\n<good>expect: 100-continue\r\ncontent-length: 2\r\n\r\nab", OK, &[Codes(&[200]), Got("ab")]),
    Rule("9110 10.1.1", "a final answer needs no word", "POST /a HTTP/1.1\r\nhost: iris.default\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n", OK, &[Codes(&[401]), Nothing]),
    Rule("9110 11.6.1", "401 says how", "GET /a HTTP/1.1\r\nhost: iris.default\r\n\r\n", OK, &[Code(401), Has("www-authenticate", &["Bearer"])]),
    Rule("9110 15.3.5", "204 has no length", "GET /a HTTP/1.1\r\n<good>\r\n", "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", &[Code(204), Has("content-length", &[]), Stays]),
    Rule("9110 15.4.5", "304 has no body", "GET /a HTTP/1.1\r\n<good>\r\n", "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 9\r\n\r\n", &[Code(304), Has("etag", &["\"x\""]), Stays]),
];

/// All that is wrong with what comes of `rule`.
async fn broken(rule: &Rule, gateway: &Gateway, strict: &Strict) -> Vec<String> {
    let Rule(_, _, sent, _, wants) = rule;
    let good = format!("host: iris.default\r\nauthorization: Bearer {KEY}\r\n");
    let next = format!("GET /next HTTP/1.1\r\n{good}connection: close\r\n\r\n");
    let sent = sent.replace("<good>", &good).replace("<next>", &next).replace("<8000>", &"x".repeat(7999));
    let (first, later) = sent.split_once("<later>").unwrap_or((&sent, ""));
    let mut connection = Connection::open(gateway.address).await;
    connection.send(first).await;
    let method = if first.starts_with("HEAD") { "HEAD" } else { "GET" };
    let mut answers = vec![if method == "HEAD" { connection.head().await } else { connection.answer().await }];
    connection.send(later).await;
    let codes = wants.iter().find_map(|want| if let Codes(codes) = want { Some(codes.len()) } else { None });
    while answers.len() < codes.unwrap_or(1) {
        let head = first.contains("\r\nHEAD ");
        answers.push(if head { connection.head().await } else { connection.answer().await });
    }
    if wants.iter().any(|want| matches!(want, Stays)) {
        connection.send(next).await;
        answers.push(connection.answer().await);
    }
    let seen = strict.take();
    let all = |name: &str| -> Vec<&str> {
        answers[0].headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    };
    let mut broken = Vec::new();
    for want in *wants {
        let (what, good) = match want {
            Code(code) => (format!("{code}"), answers[0].status == *code),
            Codes(codes) => (format!("{codes:?}"), answers.iter().map(|answer| &answer.status).eq(*codes)),
            Has(name, values) => (format!("{name}: {values:?}"), all(name) == *values),
            Body(text) => (format!("{text:?}"), answers[0].text() == *text && answers[0].whole),
            Closes => ("an end".to_owned(), connection.closes().await),
            Stays => ("a next answer".to_owned(), answers.last().is_some_and(|answer| answer.text().contains("/next"))),
            Line(line) => (format!("{line:?}"), seen.first().is_some_and(|seen| seen.line == *line)),
            Got(body) => (format!("{body:?}"), seen.first().is_some_and(|seen| seen.body == *body)),
            Saw(name, values) => {
                (format!("{name}: {values:?} there"), seen.first().is_some_and(|seen| seen.all(name) == *values))
            }
            Nothing => ("nothing there".to_owned(), seen.is_empty()),
        };
        if !good {
            broken.push(what);
        }
    }
    if !broken.is_empty() {
        broken.push(format!("in {answers:?} and {seen:?}"));
    }
    broken
}

#[tokio::test]
async fn the_rules_of_http_are_kept() {
    let script = Arc::<Mutex<&str>>::default();
    let current = Arc::clone(&script);
    let strict = Strict::start(move |seen| {
        let answer = *current.lock().unwrap();
        (!answer.is_empty() && !seen.line.contains("/next")).then(|| answer.as_bytes().to_vec())
    })
    .await;
    let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[strict.address])])).await;
    let mut wrong = Vec::new();
    for rule in RULES {
        *script.lock().unwrap() = rule.3;
        let broken = broken(rule, &gateway, &strict).await;
        if !broken.is_empty() {
            wrong.push(format!("RFC {}, {}: {broken:?}", rule.0, rule.1));
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), RULES.len());
    assert_eq!(strict.faults(), Vec::<String>::new(), "in what came out of the gateway");
}
