//! What a caller or an instance sends so that two readers see two things: refused, or put right.

mod requests;
mod responses;

use crate::documents::{Deployment, Endpoint, KEY};
use crate::process::Gateway;
use crate::strict::{Seen, Strict};
use crate::wire::{self, Connection};
use requests::Fate;

fn spelled(text: &str) -> String {
    let key = format!("authorization: Bearer {KEY}\r\n");
    let evil = format!("GET /evil HTTP/1.1\r\nhost: iris.default\r\n{key}\r\n");
    text.replace("<host>", "host: iris.default\r\n").replace("<key>", &key).replace("<evil>", &evil)
}

/// What comes of a connection on which `case` and a good request are sent at once.
async fn outcome(gateway: &Gateway, strict: &Strict, case: &str) -> Result<(Fate, String), String> {
    let mut connection = Connection::open(gateway.address).await;
    connection.send(spelled(case) + &wire::request("GET", "/next", "connection: close\r\n", "")).await;
    let mut answers = connection.answers_to(if case.starts_with("HEAD") { "HEAD" } else { "GET" }).await;
    answers.retain(|answer| answer.status != 100);
    let seen = strict.take();
    let said = format!("{answers:?}, at the instance {seen:?}");
    let next = seen.last().is_some_and(|last| last.line == "GET /next HTTP/1.1");
    match (&answers[..], &seen[..]) {
        ([refusal], []) if (400..=505).contains(&refusal.status) => Ok((Fate::Refused, said)),
        ([first], [one]) if first.status == 200 && !next => Ok((Fate::Ends(one.body.clone().leak()), said)),
        ([first, second], [one, _]) if next && first.status == 200 && second.text().contains("/next") => {
            Ok((Fate::Serves(one.body.clone().leak()), said))
        }
        _ => Err(said),
    }
}

#[tokio::test]
async fn a_request_is_refused_or_put_right() {
    let strict = Strict::start(|_| None).await;
    let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[strict.address])])).await;
    let mut wrong = Vec::new();
    for (name, case, fate) in requests::CASES {
        match outcome(&gateway, &strict, case).await {
            // An instance may have seen the head of a request whose body turned out bad, but never the whole.
            Ok((got, _)) if got == *fate => {}
            other => wrong.push(format!("{name}: {other:?} instead of {fate:?}")),
        }
        // Whoever comes next gets what is theirs.
        let next = gateway.send("GET", "/good", "", "").await;
        if next.text() != "GET /good HTTP/1.1" || strict.take().len() != 1 {
            wrong.push(format!("{name} spoils what follows: {next:?}"));
        }
    }
    let faults = strict.faults();
    assert!(
        wrong.is_empty() && faults.is_empty(),
        "{} of {}: {wrong:#?} {faults:#?}",
        wrong.len(),
        requests::CASES.len()
    );
}

fn scripted(seen: &Seen) -> Option<Vec<u8>> {
    let number: usize = seen.line.split(' ').nth(1)?.strip_prefix("/case/")?.parse().ok()?;
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-evil: 1\r\n\r\nevil";
    Some(responses::CASES[number].2.replace("<evil>", evil).into_bytes())
}

#[tokio::test]
async fn an_answer_is_refused_or_put_right() {
    let strict = Strict::start(scripted).await;
    let gateway = Gateway::start(&Endpoint::new(&[Deployment::new("blue", 100, &[strict.address])])).await;
    let mut wrong = Vec::new();
    for (number, (name, method, _, fate)) in responses::CASES.iter().enumerate() {
        let mut connection = Connection::open(gateway.address).await;
        connection.send(wire::request(method, &format!("/case/{number}"), "", "")).await;
        let answer = if *method == "HEAD" { connection.head().await } else { connection.answer().await };
        let got = match answer.status {
            424 if answer.header("ms-azureml-model-error-statuscode") == Some("0") => responses::Fate::Fails,
            200 if !answer.whole && *method != "HEAD" => responses::Fate::Breaks,
            status => responses::Fate::Passes(status, answer.text().to_owned().leak()),
        };
        let evil = answer.headers.iter().any(|(name, value)| name.contains("evil") || value.contains("evil"));
        let ours = |name| answer.headers.iter().filter(|(other, _)| other == name).count();
        if got != *fate || evil || ours("x-request-id") != 1 || ours("azureml-model-deployment") != 1 {
            wrong.push(format!("{name}: {got:?} instead of {fate:?}: {answer:?}"));
        }
        // Whoever comes next gets what is theirs, on the same connection too.
        for follower in 0..3 {
            let path = format!("/good/{number}/{follower}");
            let asked = wire::request("GET", &path, "", "");
            let next = if follower == 0 && got == *fate && got != responses::Fate::Breaks {
                connection.send(asked).await;
                connection.answer().await
            } else {
                wire::exchange(gateway.address, asked).await
            };
            if next.text() != format!("GET {path} HTTP/1.1") {
                wrong.push(format!("{name} spoils what follows: {next:?}"));
            }
        }
    }
    let faults = strict.faults();
    assert!(wrong.is_empty() && faults.is_empty(), "{}: {wrong:#?} {faults:#?}", wrong.len());
}
