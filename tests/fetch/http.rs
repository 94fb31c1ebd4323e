//! `http://` and `https://`.

use std::io::Write;

use mooring_operator::catalogue::Reason;

use crate::program::Job;
use crate::store;
use crate::web::{Answer, Web, response};

/// Of `model`.
const DIGEST: &str = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4";

#[test]
fn an_object_keeps_the_name_in_its_uri() {
    let web = Web::fixed("200 OK", "", b"model");
    Job::model(web.url("/models/my%20model.bin?version=1")).run().has(&[("my model.bin", b"model")]);
    Job::code(web.url("/score.py"), "score.py").run().has(&[("score.py", b"model")]);
    Job::model(web.url("/..%2F..%2Fescape")).run().failed(Reason::ArtifactUnpackUnsafe, &["escape"]);
    Job::model(web.url("/folder/")).run().failed(Reason::ArtifactUriInvalid, &["single objects"]);
}

#[test]
fn an_empty_object_is_a_file() {
    Job::model(Web::fixed("200 OK", "", b"").url("/empty.bin")).run().has(&[("empty.bin", b"")]);
}

#[test]
fn an_object_without_a_length_arrives_whole() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nmod\r\n2\r\nel\r\n0\r\n\r\n";
    let web = Web::start(|_, _| Answer::Bytes(chunked.to_vec()));
    Job::model(web.url("/model.bin")).run().has(&[("model.bin", b"model")]);
}

#[test]
fn the_right_digest_passes_and_another_does_not() {
    let web = Web::fixed("200 OK", "", b"model");
    Job::model(web.url("/model.bin")).sha256(DIGEST).run().has(&[("model.bin", b"model")]);
    let wrong = DIGEST.replace('9', "8");
    let ended = Job::model(web.url("/model.bin")).sha256(&wrong).run();
    ended.failed(Reason::ArtifactChecksumMismatch, &[DIGEST, &wrong]);
    assert!(ended.files().is_empty(), "a file with the wrong bytes is in place");
}

#[test]
fn a_digest_that_is_none_is_no_reason_to_look_away() {
    let web = Web::fixed("200 OK", "", b"model");
    Job::model(web.url("/model.bin")).sha256("00").run().failed(Reason::ArtifactChecksumMismatch, &["no SHA-256"]);
}

#[test]
fn a_second_run_leaves_the_same() {
    let web = Web::fixed("200 OK", "", b"model");
    Job::model(web.url("/model.bin")).run_twice().has(&[("model.bin", b"model")]);
}

#[test]
fn what_a_killed_run_left_is_removed() {
    let job = Job::model(Web::fixed("200 OK", "", b"model").url("/model.bin"));
    let scratch = job.scratch();
    std::fs::create_dir_all(&scratch).unwrap();
    std::fs::write(scratch.join("7.partial"), "half").unwrap();
    let ended = job.run();
    ended.has(&[("model.bin", b"model")]);
    assert!(!ended.scratch.join("7.partial").exists());
}

#[test]
fn without_a_scratch_folder_nothing_of_it_stays() {
    let web = Web::fixed("200 OK", "", b"model");
    Job::model(web.url("/model.bin")).without_scratch().run().has(&[("model.bin", b"model")]);
}

#[test]
fn credentials_are_sent_and_never_shown() {
    let is_sent = |web: &Web, header: &str| {
        let requests = web.requests();
        assert!(requests.iter().all(|request| request.contains(header)), "{requests:?}");
    };
    let web = Web::fixed("200 OK", "", b"model");
    let expected: &[(&str, &[u8])] = &[("model.bin", b"model")];

    let keys = [("username", "me"), ("password", "S3CR3T")];
    Job::model(web.url("/model.bin")).secret(&keys).run().has(expected);
    is_sent(&web, "authorization: basic bwu6uzndujnu"); // me:S3CR3T

    let web = Web::fixed("200 OK", "", b"model");
    Job::model(web.url("/model.bin")).secret(&[("authorization", "Bearer S3CR3T")]).run().has(expected);
    is_sent(&web, "authorization: bearer s3cr3t");

    let web = Web::fixed("200 OK", "", b"model");
    Job::model(web.url("/model.bin")).secret(&[("headers", "X-Key: S3CR3T\nX-Other: b")]).run().has(expected);
    is_sent(&web, "x-key: s3cr3t");
    is_sent(&web, "x-other: b");

    let web = Web::fixed("200 OK", "", b"model");
    Job::model(format!("http://me:S3CR3T@{}/model.bin?sig=S3CR3T", web.address())).run().has(expected);
    is_sent(&web, "authorization: basic bwu6uzndujnu");
    is_sent(&web, "get /model.bin?sig=s3cr3t ");
}

#[test]
fn a_secret_without_a_known_key_is_told_which_are() {
    let job = Job::model("http://127.0.0.1:1/model.bin").secret(&[("passwort", "S3CR3T")]);
    job.run().failed(Reason::ArtifactCredentialsMissing, &["username", "password", "authorization", "headers"]);
    let job = Job::model("http://127.0.0.1:1/model.bin").secret(&[("username", "me")]);
    job.run().failed(Reason::ArtifactCredentialsMissing, &["password"]);
}

#[test]
fn a_refusal_is_told_by_its_status() {
    for (status, code, reason) in [
        ("401 Unauthorized", 401, Reason::ArtifactUnauthenticated),
        ("403 Forbidden", 403, Reason::ArtifactForbidden),
        ("404 Not Found", 404, Reason::ArtifactNotFound),
        ("410 Gone", 410, Reason::ArtifactNotFound),
        ("400 Bad Request", 400, Reason::ArtifactStoreError),
        ("304 Not Modified", 304, Reason::ArtifactStoreError),
    ] {
        let web = Web::fixed(status, "", b"AccessDenied NoSuchKey: words that must not decide");
        let ended = Job::model(web.url("/model.bin?sig=S3CR3T")).run();
        ended.failed(reason, &[status, &web.address()]).with_answer(code, None);
        assert_eq!(web.requests().len(), 1, "a final answer is not asked for twice");
    }
}

#[test]
fn a_passing_fault_is_tried_again() {
    for status in ["500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable", "429 Too Many Requests"] {
        let web = Web::start(move |_, before| {
            Answer::Bytes(if before == 0 { response(status, "", b"") } else { response("200 OK", "", b"model") })
        });
        let ended = Job::model(web.url("/model.bin")).run();
        ended.has(&[("model.bin", b"model")]);
        assert_eq!(ended.log_says("trying again"), 1);
    }
}

#[test]
fn a_fault_that_stays_is_told() {
    let web = Web::fixed("500 Internal Server Error", "", b"");
    let ended = Job::model(web.url("/model.bin")).run();
    ended.failed(Reason::ArtifactStoreError, &["500"]).with_answer(500, None);
    assert_eq!(web.requests().len(), 2);
    let web = Web::fixed("429 Too Many Requests", "Retry-After: 1\r\n", b"");
    let ended = Job::model(web.url("/model.bin")).run();
    ended.failed(Reason::ArtifactStoreThrottled, &["429"]).with_answer(429, None);
    assert_eq!(ended.log_says("trying again in 1.0 s"), 1, "the store's own pause is kept");
}

#[test]
fn a_body_that_ends_early_is_fetched_again() {
    const SHORT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nmod";
    let web = Web::start(|_, before| {
        Answer::Bytes(if before == 0 { SHORT.to_vec() } else { response("200 OK", "", b"model") })
    });
    Job::model(web.url("/model.bin")).run().has(&[("model.bin", b"model")]);
    let web = Web::start(|_, _| Answer::Bytes(SHORT.to_vec()));
    let ended = Job::model(web.url("/model.bin")).run();
    ended.failed(Reason::ArtifactStoreError, &["after 3 of 5 bytes", &web.address()]);
    assert!(ended.files().is_empty());
}

#[test]
fn a_store_that_stops_sending_is_told_from_one_that_is_not_there() {
    let web = Web::start(|_, _| Answer::Stall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nmod".to_vec()));
    let job = Job::model(web.url("/model.bin")).arguments(&["--attempts", "2", "--stall-seconds", "1"]);
    job.run().failed(Reason::ArtifactStalled, &["after 3 of 5 bytes", &web.address()]);
    let silent = Web::start(|_, _| Answer::Stall(Vec::new()));
    let job = Job::model(silent.url("/model.bin")).arguments(&["--attempts", "1", "--stall-seconds", "1"]);
    job.run().failed(Reason::ArtifactStalled, &[&silent.address()]);
}

#[test]
fn a_store_that_is_not_there_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = Job::model(format!("http://{free}/model.bin")).run();
    ended.failed(Reason::ArtifactStoreUnreachable, &[&free.to_string(), "refused"]);
    assert_eq!(ended.log_says("trying again"), 1);
    let ended = Job::model("http://no-such-host.invalid/model.bin").run();
    ended.failed(Reason::ArtifactStoreUnreachable, &["no-such-host.invalid"]);
}

#[test]
fn a_certificate_that_nobody_signed_is_refused() {
    let tls = store::tls();
    let ended = Job::model(format!("{}/model.bin", tls.endpoint)).run();
    ended.failed(Reason::ArtifactStoreTls, &["127.0.0.1", "invalid peer certificate"]);
    assert_eq!(ended.log_says("trying again"), 0);
}

#[test]
fn a_certificate_of_an_authority_that_the_machine_trusts_is_taken() {
    let tls = store::tls();
    let job = Job::model(format!("{}/model.bin", tls.endpoint));
    job.trusting(&tls.certificate).run().has(&[("model.bin", b"model")]);
}

#[test]
fn plain_http_where_tls_is_wanted_is_a_tls_failure() {
    // The first bytes of TLS are no request that a server would answer, so this one does not wait for any.
    let eager = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = eager.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in eager.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let ended = Job::model(format!("https://{address}/model.bin")).run();
    ended.failed(Reason::ArtifactStoreTls, &[&address.to_string()]);
}

/// An object that is changed after the first question, at a server that knows times and no conditions.
#[test]
fn a_change_in_the_middle_is_told_by_its_time() {
    let at =
        |time: &str| format!("Last-Modified: Sun, 06 Nov 1994 {time} GMT\r\nDate: Sun, 06 Nov 1994 08:50:00 GMT\r\n");
    for later in ["08:49:38", "08:49:36", "08:50:00"] {
        let web = Web::answering(move |_, before| {
            let (time, body) = if before == 0 { ("08:49:37", b"model") } else { (later, b"modal") };
            response("200 OK", &at(time), body)
        });
        let ended = Job::model(web.url("/model.bin")).run();
        ended.failed(Reason::ArtifactStoreError, &["was changed"]);
        let requests = web.requests();
        let condition = "if-unmodified-since: sun, 06 nov 1994 08:49:37 gmt";
        assert!(!requests[0].contains(condition) && requests[1].contains(condition), "{requests:?}");
    }
}

#[test]
fn a_full_disk_is_told() {
    let web = Web::start(|_, _| Answer::Bytes(response("200 OK", "", &vec![7; 2 << 20])));
    let ended = Job::model(web.url("/model.bin")).run_with_room_for(512);
    ended.failed(Reason::ArtifactDiskFull, &["2.0 MiB are needed", "its disk has 512.0 KiB in all"]);
    assert_eq!(web.requests().len(), 1, "more was asked for than how large it is");
    // One whose length nobody knows before.
    let endless = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".as_slice(), &vec![7; 2 << 20]].concat();
    let web = Web::start(move |_, _| Answer::Bytes(endless.clone()));
    let ended = Job::model(web.url("/model.bin")).without_scratch().run_with_room_for(512);
    ended.failed(Reason::ArtifactDiskFull, &["No space left"]);
}
