//! `s3://`.

use mooring_operator::catalogue::Reason;

use crate::program::Job;
use crate::shelf::{self, How, What, iris};
use crate::store::{self, Store};
use crate::web::{Web, response};

/// Anonymous, as the operator configures it.
fn anonymous(uri: &str) -> Job {
    Job::model(uri).environment("AWS_ENDPOINT_URL", &store::open().endpoint)
}

/// With the key of the store that checks it.
fn signed(uri: &str) -> Job {
    let store = store::locked();
    signed_by(uri, store, &store.access_key_id, &store.secret_access_key)
}

fn signed_by(uri: &str, store: &Store, key: &str, secret: &str) -> Job {
    let keys = [
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_ENDPOINT_URL", &store.endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    Job::model(uri).secret(&keys).hiding(secret)
}

#[test]
fn every_kind_of_question_has_its_answer() {
    let store = store::locked();
    shelf::ask(&[What::Object, What::Prefix], Reason::ArtifactEmpty, What::files, |what, how| {
        let path = what.path(how);
        match how {
            How::Rightly | How::Missing => signed(&format!("s3://models/{path}")),
            How::Forbidden => signed(&format!("s3://forbidden/{path}")),
            How::Unknown => signed_by(&format!("s3://models/{path}"), store, &store.access_key_id, "S3CR3T"),
        }
    });
}

#[test]
fn a_prefix_becomes_a_sub_folder() {
    for uri in ["s3://models/iris/model/", "s3://models/iris/model"] {
        let ended = signed(uri).run();
        ended.has_files(&iris("model/"));
        assert!(ended.directory.join("model/marker").is_dir(), "the folder of a marker is missing");
    }
}

#[test]
fn a_prefix_never_matches_half_a_segment() {
    let ended = anonymous("s3://models/iris/mod").run();
    ended.failed(Reason::ArtifactNotFound, &["iris/mod"]);
    let ended = anonymous("s3://models/iris/model").run();
    ended.has_files(&iris("model/"));
}

#[test]
fn an_object_wins_over_a_prefix_of_the_same_name() {
    anonymous("s3://models/both/key").run().has(&[("key", b"the object\n")]);
    anonymous("s3://models/both/key/").run().has(&[("key/below", b"below the key\n")]);
}

#[test]
fn a_single_object_lies_directly_in_the_directory() {
    signed("s3://models/iris/model/MLmodel").run().has(&[("MLmodel", b"flavors: {}\n")]);
    signed("s3://models/iris/model/empty.txt").run().has(&[("empty.txt", b"")]);
    signed("s3://models/iris/model/a%20b+c%2520d.txt").run().has(&[("a b+c%20d.txt", b"space, plus, percent\n")]);
}

#[test]
fn code_lies_directly_in_the_directory() {
    let code =
        |script| Job::code("s3://models/code/", script).environment("AWS_ENDPOINT_URL", &store::open().endpoint).run();
    code("score.py").has(&[("score.py", b"def init(): pass\n"), ("helper.py", b"")]);
    code("main.py").failed(Reason::ScoringScriptMissing, &["main.py", "helper.py, score.py"]);
}

#[test]
fn a_listing_of_many_pages_is_read_to_its_end() {
    let ended = anonymous("s3://models/many").run();
    assert_eq!(ended.code, 0, "{}", ended.report.detail);
    assert_eq!(ended.report.files, 1205);
    let files = ended.files();
    assert_eq!(files.len(), 1205);
    assert_eq!(files["many/1204.txt"], b"1204");
}

#[test]
fn a_second_run_leaves_the_same() {
    signed("s3://models/iris/model/").run_twice().has_files(&iris("model/"));
}

#[test]
fn nothing_is_told_from_nothing_there() {
    let ended = anonymous("s3://models/markers/").run();
    ended.failed(Reason::ArtifactEmpty, &["markers/", "models"]);
    anonymous("s3://models/markers").run().failed(Reason::ArtifactEmpty, &["markers/"]);
    anonymous("s3://models/absent/").run().failed(Reason::ArtifactEmpty, &["absent/"]);
    anonymous("s3://hollow").run().failed(Reason::ArtifactEmpty, &["hollow"]);
    let ended = anonymous("s3://models/absent").run();
    ended.failed(Reason::ArtifactNotFound, &["key \"absent\"", "bucket models"]).with_answer(404, Some("NoSuchKey"));
    for uri in ["s3://no-such-bucket/model", "s3://no-such-bucket/model/"] {
        let ended = anonymous(uri).run();
        ended.failed(Reason::ArtifactNotFound, &["no bucket no-such-bucket"]).with_answer(404, Some("NoSuchBucket"));
    }
}

#[test]
fn a_key_that_leaves_the_directory_is_refused() {
    for uri in ["s3://models/climbing/", "s3://models/absolute/"] {
        let ended = anonymous(uri).run();
        ended.failed(Reason::ArtifactUnpackUnsafe, &[]);
        assert!(ended.files().is_empty());
    }
}

#[test]
fn a_wrong_credential_is_told_from_a_missing_right() {
    let store = store::locked();
    let uri = "s3://models/iris/model/";
    let ended = signed_by(uri, store, &store.access_key_id, "S3CR3T").run();
    ended
        .failed(Reason::ArtifactUnauthenticated, &["does not accept the credentials"])
        .with_answer(403, Some("SignatureDoesNotMatch"));
    let ended = signed_by(uri, store, "AKIAUNKNOWN", &store.secret_access_key).run();
    ended.failed(Reason::ArtifactUnauthenticated, &[]).with_answer(403, Some("InvalidAccessKeyId"));
    let ended = signed("s3://models/both/key").run();
    ended
        .failed(Reason::ArtifactForbidden, &["s3:GetObject on arn:aws:s3:::models/both/key"])
        .with_answer(403, Some("AccessDenied"));
    let ended = Job::model("s3://private/model.pkl").environment("AWS_ENDPOINT_URL", &store::open().endpoint).run();
    ended.failed(Reason::ArtifactForbidden, &["arn:aws:s3:::private/model.pkl", "without credentials"]);
}

#[test]
fn a_secret_that_lacks_a_key_is_told_which() {
    let ended = Job::model("s3://models/iris/").secret(&[("AWS_ACCESS_KEY_ID", "AKIA")]).run();
    ended.failed(Reason::ArtifactCredentialsMissing, &["AWS_SECRET_ACCESS_KEY or secretAccessKey"]);
    let ended = Job::model("s3://models/iris/").secret(&[("password", "S3CR3T")]).run();
    ended.failed(Reason::ArtifactCredentialsMissing, &["AWS_ACCESS_KEY_ID or accessKeyId"]);
}

#[test]
fn the_plain_key_names_work_as_well() {
    let store = store::locked();
    let keys = [
        ("accessKeyId", store.access_key_id.as_str()),
        ("secretAccessKey", &store.secret_access_key),
        ("endpoint", &store.endpoint),
        ("region", "us-east-1"),
    ];
    let job = Job::model("s3://models/iris/model/MLmodel").secret(&keys).hiding(&store.secret_access_key);
    job.run().has(&[("MLmodel", b"flavors: {}\n")]);
}

#[test]
fn a_secret_can_ask_for_anonymous_access() {
    let keys = [("endpoint", store::open().endpoint.as_str()), ("anonymous", "true")];
    Job::model("s3://models/iris/model/MLmodel").secret(&keys).run().has(&[("MLmodel", b"flavors: {}\n")]);
}

#[test]
fn a_digest_of_a_folder_is_refused() {
    let ended = anonymous("s3://models/iris/model/").sha256(&"0".repeat(64)).run();
    ended.failed(Reason::ArtifactChecksumMismatch, &["single object"]);
}

fn error(status: &str, headers: &str, code: &str) -> Vec<u8> {
    let body = format!("<Error><Code>{code}</Code><Message>My words with AKIAFORGED and S3CR3T</Message></Error>");
    response(status, headers, body.as_bytes())
}

fn signed_to(web: &Web, uri: &str) -> Job {
    let keys = [("accessKeyId", "AKIAFORGED"), ("secretAccessKey", "S3CR3T"), ("endpoint", &web.url(""))];
    Job::model(uri).secret(&keys).hiding("AKIAFORGED")
}

#[test]
fn a_store_that_wants_a_pause_gets_it() {
    let slow = || error("503 Slow Down", "Retry-After: 1\r\n", "SlowDown");
    let web = Web::answering(move |_, before| if before < 2 { slow() } else { response("200 OK", "", b"model") });
    signed_to(&web, "s3://models/model.bin").run().has(&[("model.bin", b"model")]);
    let web = Web::answering(move |_, _| slow());
    let ended = signed_to(&web, "s3://models/model.bin").run();
    ended.failed(Reason::ArtifactStoreThrottled, &["SlowDown", "My words"]).with_answer(503, Some("SlowDown"));
    assert_eq!(ended.log_says("trying again in 1.0 s"), 1);
}

#[test]
fn a_store_that_fails_is_told_with_its_code() {
    let web = Web::answering(|_, _| error("500 Internal Server Error", "", "InternalError"));
    let ended = signed_to(&web, "s3://models/folder/").run();
    ended.failed(Reason::ArtifactStoreError, &["s3:ListBucket"]).with_answer(500, Some("InternalError"));
}

#[test]
fn a_bucket_in_another_region_is_found_there() {
    let web = Web::answering(|head, _| {
        if head.contains("/eu-west-1/s3/aws4_request") {
            response("200 OK", "", b"model")
        } else {
            error("400 Bad Request", "x-amz-bucket-region: eu-west-1\r\n", "AuthorizationHeaderMalformed")
        }
    });
    signed_to(&web, "s3://models/model.bin").run().has(&[("model.bin", b"model")]);
}

#[test]
fn an_object_of_another_length_than_listed_is_refused() {
    let web = Web::answering(|head, _| {
        let page = b"<ListBucketResult><Contents><Key>folder/a</Key><Size>9</Size></Contents></ListBucketResult>";
        response("200 OK", "", if head.contains("list-type=2") { page } else { b"model" })
    });
    let ended = signed_to(&web, "s3://models/folder/").run();
    ended.failed(Reason::ArtifactStoreError, &["9 bytes", "has 5 now"]);
    assert!(ended.files().is_empty());
}

#[test]
fn a_listing_that_lies_is_refused() {
    let lies = [
        ("<Contents><Key>other/a</Key><Size>1</Size></Contents>", Reason::ArtifactStoreError),
        ("<Contents><Key>folder/a&#9;/../../b</Key><Size>1</Size></Contents>", Reason::ArtifactUnpackUnsafe),
        (
            "<EncodingType>url</EncodingType><Contents><Key>folder/%00</Key><Size>1</Size></Contents>",
            Reason::ArtifactUnpackUnsafe,
        ),
        (
            "<IsTruncated>true</IsTruncated><Contents><Key>folder/a</Key><Size>1</Size></Contents>",
            Reason::ArtifactStoreError,
        ),
        (
            "<IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>",
            Reason::ArtifactStoreError,
        ),
        ("<Contents><Key>folder/a</Key><Size>-1</Size></Contents>", Reason::ArtifactStoreError),
        ("<Contents>", Reason::ArtifactStoreError),
    ];
    for (lie, reason) in lies {
        let web = Web::answering(move |_, _| {
            response("200 OK", "", format!("<ListBucketResult>{lie}</ListBucketResult>").as_bytes())
        });
        let ended = signed_to(&web, "s3://models/folder/").run();
        ended.failed(reason, &[]);
        assert!(ended.files().is_empty());
    }
}
