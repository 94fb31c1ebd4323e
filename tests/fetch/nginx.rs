//! `http://` and `https://` from nginx.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

use mooring_operator::catalogue::Reason;
use mooring_operator::fetch::transfer::chunk::CHUNK;

use crate::program::Job;
use crate::shelf::{self, How, What};
use crate::store;

/// Where it is slow enough to be stopped, with entity tags and without.
const WAYS: [&str; 2] = ["slow", "slow-without-tags"];

const READER: &[(&str, &str)] = &[("username", "reader"), ("password", "S3CR3T")];

#[test]
fn every_kind_of_question_has_its_answer() {
    let endpoint = &store::nginx().endpoint;
    // It lists nothing that a program could rely on, so there are no prefixes.
    shelf::ask(&[What::Object], Reason::ArtifactUriInvalid, What::files, |what, how| {
        let path = what.path(how);
        let (folder, password) = match how {
            How::Rightly | How::Missing => ("private", "S3CR3T"),
            How::Forbidden => ("forbidden", "S3CR3T"),
            How::Unknown => ("private", "S3CR3T-wrong"),
        };
        Job::model(format!("{endpoint}/{folder}/{path}")).secret(&[("username", "reader"), ("password", password)])
    });
}

#[test]
fn a_refusal_is_told_by_its_status() {
    let endpoint = &store::nginx().endpoint;
    let refused = |path: &str, reason, status| {
        Job::model(format!("{endpoint}{path}")).run().failed(reason, &[path]).with_answer(status, None);
    };
    refused("/private/iris/model/MLmodel", Reason::ArtifactUnauthenticated, 401);
    refused("/forbidden/iris/model/MLmodel", Reason::ArtifactForbidden, 403);
    refused("/iris/absent/MLmodel", Reason::ArtifactNotFound, 404);
    let ended = Job::model(format!("{endpoint}/private/iris/absent/MLmodel")).secret(READER).run();
    ended.failed(Reason::ArtifactNotFound, &["404"]).with_answer(404, None);
}

#[test]
fn what_it_would_compress_for_others_arrives_as_it_is() {
    let endpoint = &store::nginx().endpoint;
    let address = endpoint.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let request = "GET /iris/model/model.pkl HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("Content-Encoding: gzip"), "it compresses for nobody");
    let uri = format!("{endpoint}/iris/model/model.pkl");
    Job::model(uri).run_twice().has(&[("model.pkl", &b"pickle".repeat(1000))]);
    Job::model(format!("{endpoint}/iris/model/empty.txt")).run().has(&[("empty.txt", b"")]);
}

#[test]
fn an_authority_of_ones_own_is_trusted_when_the_pod_has_its_certificate() {
    let nginx = store::nginx();
    let job = || Job::model(format!("{}/private/vast/weights.bin", nginx.tls)).secret(READER);
    job().run().failed(Reason::ArtifactStoreTls, &["127.0.0.1", "UnknownIssuer"]);
    job().trusting(&nginx.certificate).run().has(&[("weights.bin", &weights(0))]);
}

/// The large object of nginx, or one of another version.
fn weights(first: u8) -> Vec<u8> {
    (0..251).cycle().skip(usize::from(first)).take(251 << 17).collect()
}

/// A file that was changed so many seconds ago.
fn write(path: &Path, bytes: &[u8], age: u64) {
    fs::write(path, bytes).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
}

/// Fetches `name` by `way`, is killed after a chunk, and fetches again after `meanwhile`: ends with `expected`. Gives
/// the bytes that came after the kill.
fn stopped(way: &str, name: &str, meanwhile: impl Fn(&Path), expected: &[u8]) -> u64 {
    let nginx = store::nginx();
    let file = nginx.files.join(name);
    write(&file, &weights(0), 3600);
    let path = format!("/{way}/{name}");
    // A signature that was renewed asks for the same.
    let job = Job::model(format!("{}{path}?sig=1", nginx.endpoint));
    let has_chunk = || {
        let entries = fs::read_dir(job.scratch()).into_iter().flatten().map(|entry| entry.unwrap().path());
        let mut records = entries.filter(|path| path.extension().is_some_and(|extension| extension == "parts"));
        records.any(|path| fs::read(path).unwrap_or_default().iter().any(|byte| *byte != 0))
    };
    assert!(job.run_until(has_chunk), "it came to its end");
    meanwhile(&file);
    job.by(format!("{}{path}?sig=2", nginx.endpoint)).run().has(&[(name, expected)]);
    nginx.sent(&format!("{path}?sig=2"))
}

#[test]
fn what_was_stopped_goes_on_by_its_tag_or_by_its_time() {
    let all = weights(0);
    let size = all.len() as u64;
    for way in WAYS {
        let sent = stopped(way, &format!("{way}.bin"), |_| {}, &all);
        // The last chunk is the smallest.
        assert!(sent <= size - size % CHUNK + 1, "{way}: all {sent} bytes came again");
    }
}

#[test]
fn what_was_changed_meanwhile_comes_whole() {
    for way in WAYS {
        for (age, first) in [(1800, 1), (7200, 2)] {
            let other = weights(first);
            stopped(way, &format!("{way}-{age}.bin"), |file| write(file, &other, age), &other);
        }
    }
}
