//! Servers that lie, break off, drip, flood or lead astray: each is refused for what it does, in little memory, and leaves
//! no file. What archives may do is in `src/fetch/unpack`.

use mooring_operator::catalogue::Reason;

use crate::program::Job;
use crate::web::{Answer, Web, response};

/// What a case comes to, and the words that tell it.
type Expected = (Reason, &'static str);

/// Peak memory of the whole program in each case, in bytes; of any size of file.
const MOST_MEMORY: u64 = 64 << 20;

/// A whole answer as it goes over the wire.
fn raw(text: &str) -> Answer {
    Answer::Bytes(text.as_bytes().to_vec())
}

/// An answer to a range with this `Content-Range` and body.
fn part(range: &str, body: &str) -> Answer {
    raw(&format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: {range}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn status(status: &str) -> Answer {
    Answer::Bytes(response(status, "", b"no"))
}

fn to(location: &str) -> Answer {
    Answer::Bytes(response("302 Found", &format!("Location: {location}\r\n"), b""))
}

/// A server that tells a true size first and then answers like this.
fn later(before: usize, size: u64, answer: impl FnOnce() -> Answer) -> Answer {
    if before == 0 { part(&format!("bytes 0-0/{size}"), "m") } else { answer() }
}

const BROKEN: Reason = Reason::ArtifactStoreError;
const REFUSED: Reason = Reason::ArtifactUriInvalid;
const FIVE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";

/// Names, what the server does, what it comes to.
#[expect(clippy::type_complexity, clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<(&'static str, Box<dyn Fn(&str, usize) -> Answer + Send + Sync>, Expected)> {
    fn case(
        name: &'static str,
        expected: Expected,
        answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
    ) -> (&'static str, Box<dyn Fn(&str, usize) -> Answer + Send + Sync>, Expected) {
        (name, Box::new(answer), expected)
    }
    vec![
        case("range of another start", (BROKEN, "answers bytes"), |_, n| {
            later(n, 20 << 20, || part("bytes 1-5/20971520", "model"))
        }),
        case("range of another end", (BROKEN, "answers bytes"), |_, n| {
            later(n, 20 << 20, || part("bytes 0-20971519/20971520", "model"))
        }),
        case("range that ends before it starts", (BROKEN, "answers"), |_, n| {
            later(n, 20 << 20, || part("bytes 5-3/20971520", "model"))
        }),
        case("range beyond its own size", (BROKEN, "answers"), |_, _| part("bytes 0-0/0", "m")),
        case("range without its place", (BROKEN, "without saying which"), |_, _| {
            raw("HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nm")
        }),
        case("range that is no number", (BROKEN, "without saying which"), |_, _| part("bytes a-b/c", "m")),
        case("range in another unit", (BROKEN, "without saying which"), |_, _| part("lines 0-0/5", "m")),
        case("range of endless numbers", (BROKEN, "without saying which"), |_, _| {
            part("bytes 0-99999999999999999999/5", "m")
        }),
        case("several ranges", (BROKEN, "without saying which"), |_, _| {
            raw(
                "HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=x\r\nContent-Length: 3\r\n\r\n--x",
            )
        }),
        case("range shorter than it says", (BROKEN, "answers bytes"), |_, _| {
            raw("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/5\r\nContent-Length: 5\r\n\r\nmodel")
        }),
        case("no range is right", (BROKEN, "416"), |_, _| {
            raw("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */5\r\nContent-Length: 0\r\n\r\n")
        }),
        case("another size than before", (BROKEN, "had 20 bytes and has 5 now"), |_, n| {
            later(n, 20, || raw(&format!("{FIVE}model")))
        }),
        case("another version than before", (BROKEN, "changed"), |_, n| match n {
            0 => raw(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/5\r\nETag: \"a\"\r\nContent-Length: 1\r\n\r\nm",
            ),
            _ => raw("HTTP/1.1 200 OK\r\nETag: \"b\"\r\nContent-Length: 5\r\n\r\nmodel"),
        }),
        case("a version that never fits", (BROKEN, "changed"), |head, _| {
            if head.to_lowercase().contains("if-match") {
                return status("412 Precondition Failed");
            }
            raw(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/5\r\nETag: \"a\"\r\nContent-Length: 1\r\n\r\nm",
            )
        }),
        case("a size that no disk has", (Reason::ArtifactDiskFull, "are needed"), |_, _| {
            part("bytes 0-0/9007199254740992", "m")
        }),
        case("the largest size", (Reason::ArtifactDiskFull, "are needed"), |_, _| {
            part("bytes 0-0/18446744073709551615", "m")
        }),
        case("a body that ends early", (BROKEN, "after 3 of 5 bytes"), |_, _| raw(&format!("{FIVE}mod"))),
        case("fewer bytes than were told, without a length", (BROKEN, "sent 5 bytes"), |_, n| {
            later(n, 100, || raw("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nmodel"))
        }),
        case("more bytes than were told, without an end", (BROKEN, "sent 101 bytes"), |_, n| {
            later(n, 100, || raw(&format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", "m".repeat(100_000))))
        }),
        case("a length beyond all numbers", (BROKEN, ""), |_, _| {
            raw("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nmodel")
        }),
        case("a negative length", (BROKEN, ""), |_, _| raw("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nmodel")),
        case("two lengths", (BROKEN, ""), |_, _| {
            raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nmodel")
        }),
        case("chunks that break off", (BROKEN, ""), |_, _| {
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nmodel\r\n")
        }),
        case("chunks of no size", (BROKEN, ""), |_, _| {
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nmodel\r\n0\r\n\r\n")
        }),
        case("chunks of a size beyond all numbers", (BROKEN, ""), |_, _| {
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nmodel")
        }),
        case("gzip that nobody asked for", (BROKEN, "encoding gzip"), |_, _| {
            raw("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nmodel")
        }),
        case("an encoding that nobody knows", (BROKEN, "encoding br, gzip"), |_, _| {
            raw("HTTP/1.1 200 OK\r\nContent-Encoding: br, gzip\r\nContent-Length: 5\r\n\r\nmodel")
        }),
        case("headers without an end", (BROKEN, ""), |_, _| {
            raw(&format!("HTTP/1.1 200 OK\r\n{}", "X-Flood: 1\r\n".repeat(200_000)))
        }),
        case("one header without an end", (BROKEN, ""), |_, _| {
            raw(&format!("HTTP/1.1 200 OK\r\nX-Flood: {}", "x".repeat(8 << 20)))
        }),
        case("a header with a NUL", (BROKEN, ""), |_, _| {
            raw("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 5\r\n\r\nmodel")
        }),
        case("no HTTP", (BROKEN, ""), |_, _| raw("SSH-2.0-OpenSSH_9.2\r\n")),
        case("nothing", (BROKEN, ""), |_, _| Answer::Bytes(Vec::new())),
        case("no content", (BROKEN, "204"), |_, _| raw("HTTP/1.1 204 No Content\r\n\r\n")),
        case("not modified", (BROKEN, "304"), |_, _| raw("HTTP/1.1 304 Not Modified\r\n\r\n")),
        case("another protocol", (BROKEN, ""), |_, _| {
            raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        }),
        case("silence", (Reason::ArtifactStalled, "stopped sending"), |_, _| Answer::Stall(Vec::new())),
        case("silence after the head", (Reason::ArtifactStalled, "stopped sending"), |_, _| Answer::Stall(FIVE.into())),
        case("silence in the middle", (Reason::ArtifactStalled, "after 2 of 5 bytes"), |_, _| {
            Answer::Stall(format!("{FIVE}mo").into())
        }),
        case("a drip", (Reason::ArtifactStalled, "bytes in 1 s"), |_, _| {
            Answer::Drip(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n".to_vec())
        }),
        case("too busy", (Reason::ArtifactStoreThrottled, "429"), |_, _| status("429 Too Many Requests")),
        case("broken", (BROKEN, "503"), |_, _| status("503 Service Unavailable")),
        case("unknown", (Reason::ArtifactUnauthenticated, "401"), |_, _| status("401 Unauthorized")),
        case("forbidden", (Reason::ArtifactForbidden, "403"), |_, _| status("403 Forbidden")),
        case("gone", (Reason::ArtifactNotFound, "410"), |_, _| status("410 Gone")),
        case("a redirect to nowhere", (BROKEN, ""), |_, _| raw("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n")),
        case("a redirect to no url", (BROKEN, "no url"), |_, _| to("http://[")),
        case("a redirect to itself", (BROKEN, "more than 5 times"), |_, _| to("/model.bin")),
        case("a redirect to a file", (BROKEN, "another scheme"), |_, _| to("file:///etc/passwd")),
        case("a redirect to a script", (BROKEN, "another scheme"), |_, _| to("data:text/plain,model")),
        case("a redirect to metadata", (REFUSED, "169.254.169.254"), |_, _| {
            to("http://169.254.169.254/latest/meta-data/")
        }),
        case("a redirect to metadata, decimal", (REFUSED, "169.254.169.254"), |_, _| to("http://2852039166/")),
        case("a redirect to metadata, octal", (REFUSED, "169.254.169.254"), |_, _| to("http://0251.0376.0251.0376/")),
        case("a redirect to metadata, hexadecimal", (REFUSED, "169.254.169.254"), |_, _| to("//0xa9fea9fe/")),
        case("a redirect to metadata, mapped", (REFUSED, "169.254.169.254"), |_, _| {
            to("http://[::ffff:169.254.169.254]/")
        }),
        case("a redirect to metadata, translated", (REFUSED, "a9fe:a9fe"), |_, _| to("http://[64:ff9b::a9fe:a9fe]/")),
        case("a redirect to metadata of AWS over IPv6", (REFUSED, "fd00:ec2::254"), |_, _| {
            to("http://[fd00:ec2::254]/")
        }),
        case("a redirect to a neighbour", (REFUSED, "fe80::1"), |_, _| to("http://[fe80::1]/")),
    ]
}

#[test]
fn every_hostile_server_is_told_for_what_it_does() {
    let cases = cases();
    println!("{} cases", cases.len());
    let work = std::sync::Mutex::new(cases.into_iter());
    // Some wait for silence to be told.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some((name, answer, (reason, words))) = work.lock().unwrap().next() else { return };
                    let web = Web::start(answer);
                    let job = Job::model(web.url("/model.bin")).arguments(&["--attempts", "2", "--stall-seconds", "1"]);
                    let ended = job.run();
                    assert_eq!(ended.report.reason, Some(reason), "{name}: {}", ended.log);
                    ended.failed(reason, &[words]);
                    assert!(ended.files().is_empty(), "{name}: {:?}", ended.files().keys());
                    assert!(ended.peak_memory() < MOST_MEMORY, "{name}: {} bytes", ended.peak_memory());
                }
            });
        }
    });
}

#[test]
fn no_uri_leads_to_a_metadata_service() {
    for host in
        ["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]"]
    {
        let ended = Job::model(format!("http://{host}/latest/meta-data")).run();
        ended.failed(Reason::ArtifactUriInvalid, &["this machine's own services"]);
    }
    let job = Job::model("s3://models/iris/").environment("AWS_ENDPOINT_URL", "http://169.254.169.254");
    job.run().failed(Reason::ArtifactUriInvalid, &["this machine's own services"]);
}

/// A server that sends more than it announced is not believed in what comes next on that connection.
#[test]
fn what_follows_a_body_is_no_answer() {
    let web = Web::start(|_, _| raw(&format!("{FIVE}modelHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")));
    Job::model(web.url("/model.bin")).run().has(&[("model.bin", b"model")]);
}

#[test]
fn a_file_name_never_leaves_the_directory() {
    for name in ["%2e%2e", "..%2fx", "a%2fb", "%00", "%2e", ".mooring-fetch", &"x".repeat(256)] {
        let web = Web::fixed("200 OK", "", b"model");
        let ended = Job::model(web.url(&format!("/folder/{name}"))).run();
        let reason = ended.report.reason.unwrap();
        assert!(matches!(reason, Reason::ArtifactUnpackUnsafe | Reason::ArtifactUriInvalid), "{name}: {}", ended.log);
        assert!(ended.files().is_empty());
    }
}
