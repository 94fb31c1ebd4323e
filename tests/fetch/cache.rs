//! One download for all who share a cache.

use std::time::Duration;

use mooring_operator::fetch::transfer::chunk::CHUNK;

use crate::program::Job;
use crate::vast::{Vast, bytes};

const SIZE: u64 = 3 * CHUNK + 7;

#[test]
fn two_at_once_are_one_download() {
    let vast = Vast::start(SIZE, Duration::ZERO, |_, _| {});
    let cache = tempfile::tempdir().unwrap();
    let model = bytes(0, SIZE);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| Job::model(vast.url()).through(cache.path(), None).run().has(&[("model.bin", &model)]));
        }
    });
    // Each asks with one byte whether it is still the same.
    assert!(vast.sent() <= SIZE + 4, "{} bytes for {SIZE}", vast.sent());
    vast.change("2");
    Job::model(vast.url()).through(cache.path(), None).run().has(&[("model.bin", &model)]);
    assert!(vast.sent() > 2 * SIZE, "another version came from the cache");
}

#[test]
fn the_next_goes_on_where_a_killed_holder_was() {
    let vast = Vast::start(SIZE, Duration::from_millis(1), |_, _| {});
    let cache = tempfile::tempdir().unwrap();
    let first = Job::model(vast.url()).through(cache.path(), None);
    assert!(first.run_until(|| vast.sent() > 2 * CHUNK && vast.open() > 0));
    Job::model(vast.url()).through(cache.path(), None).run().has(&[("model.bin", &bytes(0, SIZE))]);
    assert!(vast.sent() < 2 * SIZE, "all came again: {} of {SIZE}", vast.sent());
}

#[test]
fn damage_in_the_cache_is_found_and_mended() {
    let vast = Vast::start(SIZE, Duration::ZERO, |_, _| {});
    let cache = tempfile::tempdir().unwrap();
    let model = bytes(0, SIZE);
    Job::model(vast.url()).through(cache.path(), None).run().has(&[("model.bin", &model)]);
    let entry = std::fs::read_dir(cache.path().join("entries")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(entry.join("data/model.bin"), vec![0; usize::try_from(SIZE).unwrap()]).unwrap();
    let ended = Job::model(vast.url()).through(cache.path(), None).run();
    ended.has(&[("model.bin", &model)]);
    assert_eq!(ended.log_says("the cache is not used"), 1);
    let before = vast.sent();
    for _ in 0..2 {
        Job::model(vast.url()).through(cache.path(), None).run().has(&[("model.bin", &model)]);
    }
    assert!(vast.sent() <= before + SIZE + 2, "the entry was not filled again");
}

#[test]
fn a_cache_that_is_too_small_or_not_there_is_no_reason_to_fail() {
    let vast = Vast::start(SIZE, Duration::ZERO, |_, _| {});
    let (cache, model) = (tempfile::tempdir().unwrap(), bytes(0, SIZE));
    for job in [
        Job::model(vast.url()).through(cache.path(), Some(SIZE - 1)),
        Job::model(vast.url()).through(std::path::Path::new("/proc/no/cache"), None),
    ] {
        let ended = job.run();
        ended.has(&[("model.bin", &model)]);
        assert_eq!(ended.log_says("the cache is not used"), 1);
    }
}
