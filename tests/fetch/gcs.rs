//! `gs://`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mooring_operator::catalogue::Reason;

use crate::program::Job;
use crate::shelf::{self, How, What, iris};
use crate::store;
use crate::web::{Answer, Web, response};

/// A metadata server that is not there is not waited for.
const NOWHERE: &str = "127.0.0.1:1";

fn anonymous(uri: &str) -> Job {
    as_node(uri, NOWHERE)
}

fn as_node(uri: &str, metadata: &str) -> Job {
    let job = Job::model(uri).environment("STORAGE_EMULATOR_HOST", &store::gcs().endpoint);
    job.environment("GCE_METADATA_HOST", metadata).environment("GCE_METADATA_IP", metadata)
}

fn by_key(uri: &str) -> Job {
    let job = anonymous(uri).secret(&[("service-account.json", &store::gcs().key)]);
    job.hiding("PRIVATE KEY").hiding(private_part())
}

/// Some of the private key that stands on one line.
fn private_part() -> &'static str {
    &store::gcs().key.split("\\n").nth(1).unwrap()[8..]
}

#[test]
fn every_kind_of_question_has_its_answer() {
    let other = store::gcs().key.replace("reader@project", "S3CR3T@project");
    shelf::ask(&[What::Object, What::Prefix], Reason::ArtifactEmpty, What::files, |what, how| {
        let path = what.path(how);
        match how {
            How::Rightly | How::Missing => by_key(&format!("gs://models/{path}")),
            How::Forbidden => by_key(&format!("gs://forbidden/{path}")),
            How::Unknown => anonymous(&format!("gs://models/{path}")).secret(&[("GOOGLE_SERVICE_ACCOUNT_KEY", &other)]),
        }
    });
}

#[test]
fn a_prefix_becomes_a_sub_folder() {
    for uri in ["gs://models/iris/model/", "gs://models/iris/model"] {
        let ended = by_key(uri).run();
        ended.has_files(&iris("model/"));
        assert!(ended.directory.join("model/marker").is_dir(), "the folder of a marker is missing");
    }
}

#[test]
fn a_prefix_never_matches_half_a_segment() {
    by_key("gs://models/iris/mod").run().failed(Reason::ArtifactNotFound, &["iris/mod"]);
}

#[test]
fn an_object_wins_over_a_prefix_of_the_same_name() {
    by_key("gs://models/both/key").run().has(&[("key", b"the object\n")]);
    by_key("gs://models/both/key/").run().has(&[("key/below", b"below the key\n")]);
}

#[test]
fn a_single_object_lies_directly_in_the_directory() {
    by_key("gs://models/iris/model/MLmodel").run().has(&[("MLmodel", b"flavors: {}\n")]);
    by_key("gs://models/iris/model/a%20b+c%2520d.txt").run().has(&[("a b+c%20d.txt", b"space, plus, percent\n")]);
    by_key("gs://models/iris/model/empty.txt").run_twice().has(&[("empty.txt", b"")]);
}

#[test]
fn a_large_object_is_fetched_in_chunks() {
    let weights: Vec<u8> = (0..251).cycle().take(251 << 17).collect();
    for (uri, path) in [("gs://models/vast/", "vast/weights.bin"), ("gs://models/vast/weights.bin", "weights.bin")] {
        by_key(uri).run().has(&[(path, &weights)]);
    }
}

#[test]
fn what_was_uploaded_compressed_arrives_as_it_is_stored() {
    for uri in ["gs://models/packed/words.txt", "gs://models/packed/"] {
        let ended = by_key(uri).run();
        assert_eq!(ended.code, 0, "{}", ended.report.detail);
        let files = ended.files();
        let bytes = files.values().next().unwrap();
        assert!(bytes.starts_with(b"\x1f\x8b"), "{bytes:?}");
    }
}

#[test]
fn nothing_is_told_from_nothing_there() {
    by_key("gs://models/absent/").run().failed(Reason::ArtifactEmpty, &["absent/"]);
    by_key("gs://models/markers").run().failed(Reason::ArtifactEmpty, &["markers/"]);
    by_key("gs://hollow").run().failed(Reason::ArtifactEmpty, &["hollow"]);
    let ended = by_key("gs://models/absent").run();
    ended.failed(Reason::ArtifactNotFound, &["no object \"absent\"", "models"]);
    assert_eq!(ended.report.http_status, Some(404));
    for uri in ["gs://no-such-bucket/model", "gs://no-such-bucket/model/"] {
        by_key(uri).run().failed(Reason::ArtifactNotFound, &["no-such-bucket"]);
    }
}

#[test]
fn a_key_that_leaves_the_directory_is_refused() {
    by_key("gs://models/climbing/").run().failed(Reason::ArtifactUnpackUnsafe, &[]);
}

#[test]
fn a_wrong_key_is_told_from_a_missing_right() {
    let ended = by_key("gs://forbidden/code/score.py").run();
    ended.failed(Reason::ArtifactForbidden, &["storage.objects.get on gs://forbidden/code/score.py", "reader@project"]);
    ended.with_answer(403, Some("forbidden"));
    let ended = by_key("gs://forbidden/code/").run();
    ended.failed(Reason::ArtifactForbidden, &["storage.objects.list on gs://forbidden"]);

    let other = store::gcs().key.replace("reader@project", "S3CR3T@project");
    let ended = anonymous("gs://models/iris/").secret(&[("GOOGLE_SERVICE_ACCOUNT_KEY", &other)]).run();
    ended.failed(Reason::ArtifactUnauthenticated, &["does not accept the service account"]);
    ended.with_answer(401, Some("authError"));
}

#[test]
fn a_key_that_is_none_is_told_so() {
    for (key, word) in [
        (r#"{"type": "external_account", "audience": "S3CR3T"}"#, "external_account"),
        (r#"{"type": "service_account", "client_email": "S3CR3T"}"#, "private_key, private_key_id"),
        ("S3CR3T", "no JSON object"),
    ] {
        let ended = anonymous("gs://models/iris/").secret(&[("key.json", key)]).run();
        ended.failed(Reason::ArtifactCredentialsMissing, &[word]);
    }
    let ended = anonymous("gs://models/iris/").secret(&[("password", "S3CR3T")]).run();
    ended.failed(Reason::ArtifactCredentialsMissing, &["GOOGLE_SERVICE_ACCOUNT_KEY or service-account.json"]);
    let job = anonymous("gs://models/iris/").environment("GOOGLE_APPLICATION_CREDENTIALS", "/absent/key.json");
    job.run().failed(Reason::ArtifactCredentialsMissing, &["/absent/key.json"]);
}

#[test]
fn a_key_file_that_the_environment_names_is_used() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &store::gcs().key).unwrap();
    let job = anonymous("gs://models/iris/model").hiding(private_part());
    job.environment("GOOGLE_APPLICATION_CREDENTIALS", file.path().to_str().unwrap()).run().has_files(&iris("model/"));
}

#[test]
fn what_is_public_needs_no_credentials() {
    anonymous("gs://public/iris/model").run().has_files(&iris("model/"));
    anonymous("gs://public/iris/model").secret(&[("anonymous", "true")]).run().has_files(&iris("model/"));
    for uri in ["gs://models/iris/model", "gs://models/iris/model/"] {
        let ended = anonymous(uri).run();
        ended.failed(Reason::ArtifactForbidden, &["without credentials", "Anonymous caller", "no Secret"]);
        ended.with_answer(401, Some("required"));
    }
}

/// A metadata server, which gives tokens that are good for `seconds`.
fn metadata(seconds: u32, token: impl Fn(usize) -> String + Send + Sync + 'static) -> Web {
    Web::start(move |request, before| {
        let is_right = request.starts_with("GET /computeMetadata/v1/instance/service-accounts/default/token")
            && request.to_lowercase().contains("metadata-flavor: google");
        assert!(is_right, "not the right request: {request}");
        // Source: Compute Engine, "access tokens of the metadata server".
        let token = token(before);
        let body = format!(r#"{{"access_token": "{token}", "expires_in": {seconds}, "token_type": "Bearer"}}"#);
        Answer::Bytes(response("200 OK", "Metadata-Flavor: Google\r\n", body.as_bytes()))
    })
}

#[test]
fn the_identity_of_the_node_is_only_asked_for_when_the_store_wants_one() {
    let node = metadata(3599, |_| store::gcs().token.clone());
    as_node("gs://public/iris/model", &node.address()).run().has_files(&iris("model/"));
    assert!(node.requests().is_empty(), "the node was asked for nothing: {:?}", node.requests());
    as_node("gs://models/iris/model", &node.address()).hiding(&store::gcs().token).run().has_files(&iris("model/"));
    assert_eq!(node.requests().len(), 1, "one token does for all");
    let ended = as_node("gs://forbidden/code/score.py", &node.address()).run();
    ended.failed(Reason::ArtifactForbidden, &["storage.objects.get", "the node's identity"]);
}

#[test]
fn a_node_without_an_identity_leaves_the_refusal_as_it_is() {
    let node = Web::fixed("404 Not Found", "Metadata-Flavor: Google\r\n", b"no such account");
    let ended = as_node("gs://models/iris/model", &node.address()).run();
    ended.failed(Reason::ArtifactForbidden, &["without credentials", "404 Not Found"]);
    ended.with_answer(401, Some("required"));
}

fn error(status: &str, reason: &str) -> Vec<u8> {
    let code = &status[..3];
    let body = format!(
        r#"{{"error": {{"code": {code}, "message": "My words",
            "errors": [{{"message": "My words", "domain": "global", "reason": "{reason}"}}]}}}}"#
    );
    response(status, "", body.as_bytes())
}

fn to(web: &Web, uri: &str) -> Job {
    Job::model(uri).secret(&[("anonymous", "true"), ("endpoint", &web.url(""))])
}

#[test]
fn each_code_has_its_reason() {
    // Source: Cloud Storage JSON API, "HTTP status and error codes".
    let codes = [
        ("403 Forbidden", "forbidden", Reason::ArtifactForbidden),
        ("403 Forbidden", "insufficientPermissions", Reason::ArtifactForbidden),
        ("403 Forbidden", "userRateLimitExceeded", Reason::ArtifactStoreThrottled),
        ("400 Bad Request", "userProjectMissing", Reason::ArtifactForbidden),
        ("404 Not Found", "notFound", Reason::ArtifactNotFound),
        ("429 Too Many Requests", "rateLimitExceeded", Reason::ArtifactStoreThrottled),
        ("503 Service Unavailable", "backendError", Reason::ArtifactStoreError),
    ];
    shelf::refuse(&codes, ["gs://models/iris/", "gs://models/model.bin"], error, to);
}

fn page(items: &str, next: &str) -> Vec<u8> {
    response("200 OK", "", format!(r#"{{"items": [{items}]{next}}}"#).as_bytes())
}

fn item(name: &str) -> String {
    // The digest is that of `model`.
    format!(r#"{{"name": "{name}", "size": "5", "generation": "17", "md5Hash": "IPNeYw2vRNv6TD9o9TmdjA=="}}"#)
}

#[test]
fn a_listing_of_many_pages_is_read_to_its_end() {
    let ended = by_key("gs://models/many").run();
    assert_eq!(ended.code, 0, "{}", ended.report.detail);
    assert_eq!(ended.report.files, 1205);
    let web = Web::answering(|head, _| match head {
        head if head.contains("pageToken=next%2B1") => page(&item("many/2.txt"), ""),
        head if head.contains("prefix=") => page(&item("many/1.txt"), r#", "nextPageToken": "next+1""#),
        _ => response("200 OK", "x-goog-generation: 17\r\n", b"model"),
    });
    let ended = to(&web, "gs://models/many/").run();
    let requests = web.requests();
    let bytes = requests.iter().filter(|request| request.contains("alt=media"));
    assert!(bytes.clone().count() >= 2 && bytes.clone().all(|request| request.contains("ifgenerationmatch=17")));
    ended.has(&[("many/1.txt", b"model"), ("many/2.txt", b"model")]);
}

#[test]
fn an_object_that_changes_meanwhile_is_not_taken() {
    let changes = |answer: fn() -> Vec<u8>| {
        Web::answering(move |head, _| if head.contains("prefix=") { page(&item("many/1.txt"), "") } else { answer() })
    };
    let web = changes(|| error("412 Precondition Failed", "conditionNotMet"));
    let ended = to(&web, "gs://models/many/").run();
    ended.failed(Reason::ArtifactStoreError, &["many/1.txt"]).with_answer(412, Some("conditionNotMet"));
    let web = changes(|| response("200 OK", "x-goog-generation: 18\r\n", b"model"));
    to(&web, "gs://models/many/").run().failed(Reason::ArtifactStoreError, &["another version"]);
    let web = changes(|| response("200 OK", "x-goog-generation: 17\r\n", b"modal"));
    to(&web, "gs://models/many/").run().failed(Reason::ArtifactChecksumMismatch, &["MD5"]);
}

#[test]
fn a_listing_that_lies_is_refused() {
    for (lie, next, reason) in [
        (item("other/a"), "", Reason::ArtifactStoreError),
        (item("many/a/../../b"), "", Reason::ArtifactUnpackUnsafe),
        (String::new(), r#", "nextPageToken": "again""#, Reason::ArtifactStoreError),
        (r#"{"name": "many/a", "size": "-1"}"#.to_owned(), "", Reason::ArtifactStoreError),
        ("{".to_owned(), "", Reason::ArtifactStoreError),
    ] {
        let web = Web::answering(move |_, _| page(&lie, next));
        to(&web, "gs://models/many/").run().failed(reason, &[]);
    }
}

#[test]
fn a_token_that_expires_meanwhile_is_renewed() {
    // Each token is over as soon as it is given, and the store only takes the newest.
    let given = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&given);
    let node = metadata(0, move |_| format!("S3CR3T-{}", counter.fetch_add(1, Ordering::SeqCst) + 1));
    let web = Web::answering(move |head, _| {
        let newest = format!("bearer s3cr3t-{}", given.load(Ordering::SeqCst));
        match head.to_lowercase() {
            head if !head.contains(&newest) => error("401 Unauthorized", "required"),
            head if head.contains("prefix=") => page(&item("many/1.txt"), ""),
            _ => response("200 OK", "x-goog-generation: 17\r\n", b"model"),
        }
    });
    let job = as_node("gs://models/many/", &node.address()).environment("GCS_ENDPOINT_URL", &web.url(""));
    job.run().has(&[("many/1.txt", b"model")]);
    // One to see whether the node has any, one for the listing, one for the bytes.
    assert_eq!(node.requests().len(), 3);
}
