//! How far it is, over HTTP and in the log.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use mooring_operator::api::artifact::{ArtifactKind, DownloadProgress};
use mooring_operator::fetch::transfer::chunk::CHUNK;

use crate::program::Job;
use crate::vast::Vast;

fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn whoever_asks_is_told_how_far_it_is() {
    let size = 4 * CHUNK;
    let vast = Vast::start(size, Duration::from_millis(40), |_, _| {});
    let job = Job::model(vast.url()).arguments(&["--progress", "127.0.0.1:0"]);
    let (mut process, mut log) = job.start();
    let served = log.find_map(|line| line.split_once("the progress is served on ").map(|(_, it)| it.to_owned()));
    let address = served.unwrap();
    // It goes on to write its log, which somebody has to read.
    let reader = std::thread::spawn(move || log.collect::<Vec<_>>());
    let told = loop {
        let (status, body) = get(&address, "/progress");
        if status.contains("200") {
            let told: DownloadProgress = serde_json::from_str(&body).unwrap();
            if told.bytes_per_second > 0 {
                break told;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!((told.artifact, told.bytes_total), (ArtifactKind::Model, Some(size)));
    assert!(told.bytes_done > 0 && told.bytes_done < size, "{told:?}");
    assert!(told.remaining_seconds.is_some() && told.current_file.is_some(), "{told:?}");
    assert!(get(&address, "/").0.contains("404"));
    assert!(process.wait().unwrap().success());
    let log = reader.join().unwrap().join("\n");
    assert!(
        log.contains("model: 1 file to fetch, 32.0 MiB") && log.contains("model: 1 file in place, 32.0 MiB"),
        "{log}"
    );
}
