//! What a fetch that is killed has done is not done again, and bytes that turn on the way are found.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mooring_operator::api::artifact::Outcome;
use mooring_operator::catalogue::Reason;
use mooring_operator::fetch::transfer::chunk::CHUNK;
use sha2::{Digest, Sha256};

use crate::program::Job;
use crate::vast::{Vast, sha256};

/// What may come again of each connection that a kill cuts: a chunk, and what the network held.
const AGAIN: u64 = 16 << 20;

fn digest_of(path: &Path) -> Vec<u8> {
    let (mut file, mut hasher, mut buffer) = (File::open(path).unwrap(), Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return hasher.finalize().to_vec(),
            length => hasher.update(&buffer[..length]),
        }
    }
}

/// Numbers that are the same in every run of the tests.
fn random(seed: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(seed), |last| Some(last.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1)))
        .map(|it| it >> 16)
}

/// The issue asks for 4 GiB, which takes its time; `MOORING_TEST_MEBIBYTES=4096` does it.
fn size() -> u64 {
    std::env::var("MOORING_TEST_MEBIBYTES").map_or(512, |mebibytes| mebibytes.parse().unwrap()) << 20
}

#[test]
fn killed_at_twenty_moments_it_fetches_little_again() {
    let size = size();
    let vast = Vast::start(size, Duration::ZERO, |_, _| {});
    let job = Job::model(vast.url());
    let mut moments: Vec<u64> = random(7).take(20).map(|number| number % size).collect();
    moments.sort_unstable();
    let (mut cut, mut kills) = (0, 0);
    for moment in moments {
        let wanted = moment.max(vast.sent());
        if job.run_until(|| vast.sent() > wanted && vast.open() > 0) {
            kills += 1;
            cut += vast.open() as u64;
        }
    }
    let (code, report, log) = job.run_here();
    assert_eq!((code, report.outcome), (0, Outcome::Succeeded), "{log}");
    let again = vast.sent().saturating_sub(size);
    println!("{kills} kills cut {cut} answers; {} MiB came again of {} MiB", again >> 20, size >> 20);
    assert!(kills >= 10, "only {kills} kills came before the end");
    assert!(again <= cut * AGAIN, "{again} bytes came again after {cut} answers were cut");
    let names = |folder: &Path| -> BTreeSet<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names(&job.directory()), BTreeSet::from(["model.bin".to_owned()]));
    assert!(names(&job.scratch()).iter().all(|name| !name.contains("partial")), "an orphan is left");
    assert_eq!(digest_of(&job.directory().join("model.bin")), sha256(size));
    // The next run has nothing to do but to ask whether it is still the same.
    let before = vast.sent();
    assert_eq!(job.run_here().0, 0);
    assert!(vast.sent() - before <= 1, "a complete model was fetched again");
}

#[test]
fn another_version_is_fetched_whole_and_nothing_of_the_old_one_stays() {
    let size = 6 * CHUNK;
    let vast = Vast::start(size, Duration::from_millis(1), |_, _| {});
    let job = Job::model(vast.url());
    assert!(job.run_until(|| vast.sent() > size / 2));
    vast.change("2");
    let before = vast.sent();
    let (code, _, log) = job.run_here();
    assert_eq!(code, 0, "{log}");
    assert!(vast.sent() - before >= size, "chunks of two versions were mixed");
}

#[test]
fn a_change_in_the_middle_is_told() {
    let size = 6 * CHUNK;
    let vast = Arc::new(Mutex::new(None::<Vast>));
    let (later, changes) = (Arc::clone(&vast), AtomicUsize::new(0));
    let server = Vast::start(size, Duration::ZERO, move |at, _| {
        if at >= CHUNK {
            let change = changes.fetch_add(1, Ordering::Relaxed);
            if let Some(vast) = &*later.lock().unwrap() {
                vast.change(&format!("v{change}"));
            }
        }
    });
    let job = Job::model(server.url());
    *vast.lock().unwrap() = Some(server);
    let ended = job.run();
    ended.failed(Reason::ArtifactStoreError, &["was changed"]);
}

/// A restarted machine has lost what was not on its disk yet: as much as the sums tell.
#[test]
fn after_a_restart_of_the_machine_only_what_is_damaged_comes_again() {
    let size = 6 * CHUNK;
    let vast = Vast::start(size, Duration::ZERO, |_, _| {});
    let job = Job::model(vast.url());
    assert_eq!(job.run_here().0, 0);
    let manifest = job.scratch().join("manifest.json");
    let mut known: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    known["boot"] = "another".into();
    let model = job.directory().join("model.bin");
    for damaged in [0, 2] {
        std::fs::write(&manifest, known.to_string()).unwrap();
        let file = File::options().write(true).open(&model).unwrap();
        for chunk in 0..damaged {
            std::os::unix::fs::FileExt::write_all_at(&file, &[0; 4096], chunk * 2 * CHUNK).unwrap();
        }
        let before = vast.sent();
        assert_eq!(job.run_here().0, 0);
        let again = vast.sent() - before;
        assert!((damaged * CHUNK..=damaged * CHUNK + 1).contains(&again), "{again} bytes came again");
        assert_eq!(digest_of(&model), sha256(size));
    }
}

/// What is damaged is known to be damaged by the next run as well, also when this one is killed before it is mended.
#[test]
fn a_kill_after_a_restart_of_the_machine_does_not_make_damage_whole() {
    let size = 6 * CHUNK;
    let vast = Vast::start(size, Duration::from_millis(4), |_, _| {});
    let job = Job::model(vast.url());
    assert_eq!(job.run_here().0, 0);
    let manifest = job.scratch().join("manifest.json");
    let mut known: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    known["boot"] = "another".into();
    std::fs::write(&manifest, known.to_string()).unwrap();
    let model = job.directory().join("model.bin");
    let file = File::options().write(true).open(&model).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 4096], 2 * CHUNK).unwrap();
    let before = vast.sent();
    assert!(job.run_until(|| vast.sent() > before + 1));
    assert_eq!(job.run_here().0, 0);
    assert_eq!(digest_of(&model), sha256(size));
}

/// One bit of the object is turned, at the first time that it passes or always.
#[test]
fn fifty_corruptions_are_found() {
    let size = 2 * CHUNK + 12345;
    for (index, place) in random(11).take(50).enumerate() {
        let (place, always) = (place % size, index % 2 == 0);
        let turned = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&turned);
        let vast = Vast::start(size, Duration::ZERO, move |at, block| {
            let inside = usize::try_from(place.wrapping_sub(at)).ok().filter(|inside| *inside < block.len());
            // The first byte goes with the question for the size, too.
            if let Some(inside) = inside.filter(|_| block.len() > 1)
                && (always || count.load(Ordering::Relaxed) == 0)
            {
                block[inside] ^= 1 << (place % 8);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let ended = Job::model(vast.url()).run();
        assert!(turned.load(Ordering::Relaxed) > 0, "no bit was turned");
        assert!(ended.log_says("has the SHA-256") > 0, "{}", ended.log);
        if always {
            ended.failed(Reason::ArtifactChecksumMismatch, &["SHA-256", "is expected"]);
            assert!(!ended.directory.join("model.bin").exists());
        } else {
            assert_eq!(ended.code, 0, "{}", ended.log);
            assert_eq!(digest_of(&ended.directory.join("model.bin")), sha256(size));
        }
    }
}
