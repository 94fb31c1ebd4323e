//! Archives that are fetched to be unpacked.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use mooring_operator::catalogue::Reason;

use crate::program::Job;
use crate::web::{Answer, Web, response};

/// A gzipped tar with these files.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, *bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn serves(version: &'static str, body: Vec<u8>) -> Web {
    Web::start(move |_, _| Answer::Bytes(response("200 OK", &format!("ETag: \"{version}\"\r\n"), &body)))
}

/// Serves what `body` is when it is asked: its version and its bytes.
fn serves_now(body: &Arc<Mutex<(&'static str, Vec<u8>)>>) -> Web {
    let body = Arc::clone(body);
    Web::answering(move |_, _| {
        let (version, body) = &*body.lock().unwrap();
        response("200 OK", &format!("ETag: \"{version}\"\r\n"), body)
    })
}

#[test]
fn the_content_lies_in_the_directory_and_the_archive_is_gone() {
    let web = serves("1", archive(&[("iris/model.pkl", b"pickle"), ("MLmodel", b"flavors")]));
    let ended = Job::model(web.url("/iris.tar.gz")).unpacked().run_twice();
    ended.has(&[("MLmodel", b"flavors"), ("iris/model.pkl", b"pickle")]);
    let left: Vec<_> = std::fs::read_dir(&ended.scratch).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(["lock".into(), "unpacked.json".into()]));
    // The second run asks for no more than how it stands.
    assert_eq!(web.requests().len(), 3, "{:?}", web.requests());
}

#[test]
fn another_version_takes_the_place_of_the_old_one() {
    let body = Arc::new(Mutex::new(("1", archive(&[("old/a", b"a"), ("both", b"1")]))));
    let web = serves_now(&body);
    let job = Job::model(web.url("/model.tgz")).unpacked();
    assert_eq!(job.run_here().0, 0);
    *body.lock().unwrap() = ("2", archive(&[("new/b", b"b"), ("both", b"2")]));
    job.run().has(&[("both", b"2"), ("new/b", b"b")]);
}

#[test]
fn nothing_stays_of_an_archive_that_was_half_moved() {
    let names: Vec<String> = (0..5000).map(|number| format!("half-{number}")).collect();
    let half: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), b"".as_slice())).collect();
    let body = Arc::new(Mutex::new(("1", archive(&half))));
    let web = serves_now(&body);
    let moved = |job: &Job| std::fs::read_dir(job.directory()).map_or(0, Iterator::count);
    let half_moved = |job: &Job| job.run_until(|| moved(job) > 0) && moved(job) < names.len();
    // A busy machine may let one be too quick for us.
    let mut jobs = (0..20).map(|_| Job::model(web.url("/model.tgz")).unpacked());
    let job = jobs.find(half_moved).expect("one is killed while it moves");
    *body.lock().unwrap() = ("2", archive(&[("model.pkl", b"pickle")]));
    job.run().has(&[("model.pkl", b"pickle")]);
}

#[test]
fn code_in_an_archive_must_have_its_script() {
    let web = serves("1", archive(&[("src/score.py", b"def init(): pass")]));
    Job::code(web.url("/code.tar.gz"), "src/score.py").unpacked().run().has(&[("src/score.py", b"def init(): pass")]);
    Job::code(web.url("/code.tar.gz"), "main.py")
        .unpacked()
        .run()
        .failed(Reason::ScoringScriptMissing, &["src/score.py"]);
}

#[test]
fn what_is_no_archive_is_told() {
    let web = serves("1", b"GGUF and then the weights".to_vec());
    let ended = Job::model(web.url("/model.gguf")).unpacked().run();
    ended.failed(Reason::ArtifactUnpackUnsafe, &["model.gguf", "tar.gz"]);
    assert!(ended.files().is_empty());
}

#[test]
fn nothing_of_a_hostile_archive_gets_its_place() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o644);
    tar.append_data(&mut header.clone(), "first", &b"good"[..]).unwrap();
    header.as_old_mut().name[..10].copy_from_slice(b"../outside");
    header.set_cksum();
    tar.append(&header, &b"evil"[..]).unwrap();
    let web = serves("1", tar.into_inner().unwrap());
    let ended = Job::model(web.url("/model.tar")).unpacked().run();
    ended.failed(Reason::ArtifactUnpackUnsafe, &["../outside"]);
    assert!(ended.files().is_empty());
    assert!(!Path::new(&ended.directory).join("../outside").exists());
}

#[test]
fn an_archive_goes_through_the_cache_as_well() {
    let web = serves("1", archive(&[("model.pkl", b"pickle")]));
    let cache = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        Job::model(web.url("/iris.tar.gz"))
            .unpacked()
            .through(cache.path(), None)
            .run()
            .has(&[("model.pkl", b"pickle")]);
    }
    assert_eq!(web.requests().len(), 3, "{:?}", web.requests());
}
