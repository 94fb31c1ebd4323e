//! Where a redirect may lead, and what goes with it.

use std::sync::OnceLock;

use mooring_operator::catalogue::Reason;

use crate::program::Job;
use crate::store;
use crate::web::{Answer, Web, response};

const CREDENTIALS: &[(&str, &str)] = &[("authorization", "Bearer S3CR3T"), ("headers", "X-Key: S3CR3T")];

fn redirect(to: &str) -> Answer {
    Answer::Bytes(response("302 Found", &format!("Location: {to}\r\n"), b""))
}

#[test]
fn a_redirect_at_the_same_origin_keeps_the_credentials() {
    let web = Web::start(|head, _| match head.split(' ').nth(1) {
        Some("/moved.bin") => Answer::Bytes(response("200 OK", "", b"model")),
        _ => redirect("/moved.bin"),
    });
    let ended = Job::model(web.url("/model.bin")).secret(CREDENTIALS).run();
    ended.has(&[("model.bin", b"model")]);
    assert!(web.requests().iter().all(|request| request.contains("bearer s3cr3t")), "{:?}", web.requests());
}

#[test]
fn no_credential_goes_to_another_origin_nor_comes_back() {
    static FIRST: OnceLock<String> = OnceLock::new();
    let other = Web::start(|_, _| redirect(&format!("{}/back.bin", FIRST.get().unwrap())));
    let away = other.url("/away.bin?sig=S3CR3T");
    let first = Web::start(move |head, _| match head.split(' ').nth(1) {
        Some("/back.bin") => Answer::Bytes(response("200 OK", "", b"model")),
        _ => redirect(&away),
    });
    FIRST.set(first.url("")).unwrap();
    let ended = Job::model(first.url("/model.bin")).secret(CREDENTIALS).run();
    ended.has(&[("model.bin", b"model")]);
    let first = first.requests();
    assert!(first[0].contains("bearer s3cr3t") && first[0].contains("x-key: s3cr3t"));
    for request in [&first[1], &other.requests()[0]] {
        assert!(!request.contains("authorization") && !request.contains("x-key"), "{request}");
    }
}

#[test]
fn credentials_in_a_redirect_are_not_used() {
    let other = Web::fixed("200 OK", "", b"model");
    let away = format!("http://me:S3CR3T@{}/model.bin", other.address());
    let web = Web::start(move |_, _| redirect(&away));
    Job::model(web.url("/model.bin")).run().has(&[("model.bin", b"model")]);
    assert!(!other.requests()[0].contains("authorization"), "{:?}", other.requests());
}

#[test]
fn five_redirects_are_followed_and_a_sixth_is_not() {
    let web =
        |redirects: usize| {
            Web::start(move |_, before| {
                if before < redirects { redirect("/next") } else { Answer::Bytes(response("200 OK", "", b"model")) }
            })
        };
    Job::model(web(5).url("/model.bin")).run().has(&[("model.bin", b"model")]);
    let ended = Job::model(web(6).url("/model.bin")).run();
    ended.failed(Reason::ArtifactStoreError, &["more than 5 times"]);
}

#[test]
fn a_redirect_from_https_to_http_is_refused() {
    let tls = store::tls();
    let job = Job::model(format!("{}/downgrade", tls.endpoint));
    let ended = job.trusting(&tls.certificate).run();
    ended.failed(Reason::ArtifactStoreError, &["from https to http"]).with_answer(302, None);
}

#[test]
fn a_redirect_to_another_scheme_is_refused() {
    let web = Web::start(|_, _| redirect("file:///etc/passwd"));
    Job::model(web.url("/model.bin")).run().failed(Reason::ArtifactStoreError, &["another scheme"]);
}
