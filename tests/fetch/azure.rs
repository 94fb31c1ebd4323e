//! Azure Storage.

use mooring_operator::catalogue::Reason;

use crate::program::Job;
use crate::shelf::{self, How, What, iris};
use crate::store;
use crate::web::{Answer, Web, response};

/// Of the account `acct`, wherever that is, with the Secret `keys`.
fn secret(uri: &str, keys: &[(&str, &str)]) -> Job {
    let store = store::azure();
    Job::model(uri).environment("AZURE_STORAGE_ENDPOINT", &store.endpoint).secret(keys).hiding(&store.key)
}

fn by_key(uri: &str) -> Job {
    secret(uri, &[("AZURE_STORAGE_ACCOUNT_KEY", &store::azure().key)])
}

/// A metadata service that is not there is not waited for.
const NOWHERE: &str = "http://127.0.0.1:1/token";

fn anonymous(uri: &str) -> Job {
    let job = Job::model(uri).environment("AZURE_STORAGE_ENDPOINT", &store::azure().endpoint);
    job.environment("IDENTITY_ENDPOINT", NOWHERE)
}

#[test]
fn every_kind_of_question_has_its_answer() {
    let store = store::azure();
    let entra = authority(|_| true, "S3CR3T.no.token");
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "S3CR3T.of.pod").unwrap();
    shelf::ask(&[What::Object, What::Prefix], Reason::ArtifactEmpty, What::files, |what, how| {
        let uri = format!("azure://acct/models/{}", what.path(how));
        match how {
            How::Rightly | How::Missing => by_key(&uri),
            How::Forbidden => secret(&uri, &[("sasToken", &store.sas_to_write)]).hiding(signature(&store.sas_to_write)),
            // Azurite calls a wrong key a missing right, but knows a wrong token.
            How::Unknown => federated(with_tokens(&uri), &entra, token.path().to_str().unwrap()),
        }
    });
}

#[test]
fn a_prefix_becomes_a_sub_folder() {
    for uri in [
        "azure://acct/models/iris/model/",
        "azure://acct/models/iris/model",
        "abfss://models@acct.dfs.core.windows.net/iris/model",
        "https://acct.blob.core.windows.net/models/iris/model/",
    ] {
        let ended = by_key(uri).run();
        ended.has_files(&iris("model/"));
        assert!(ended.directory.join("model/marker").is_dir(), "the folder of a marker is missing");
    }
}

#[test]
fn a_prefix_never_matches_half_a_segment() {
    by_key("azure://acct/models/iris/mod").run().failed(Reason::ArtifactNotFound, &["iris/mod"]);
}

#[test]
fn a_blob_wins_over_a_prefix_of_the_same_name() {
    by_key("azure://acct/models/both/key").run().has(&[("key", b"the object\n")]);
    by_key("azure://acct/models/both/key/").run().has(&[("key/below", b"below the key\n")]);
}

#[test]
fn a_single_blob_lies_directly_in_the_directory() {
    by_key("azure://acct/models/iris/model/MLmodel").run().has(&[("MLmodel", b"flavors: {}\n")]);
    let ended = by_key("azure://acct/models/iris/model/a%20b+c%2520d.txt").run();
    ended.has(&[("a b+c%20d.txt", b"space, plus, percent\n")]);
    by_key("azure://acct/models/iris/model/empty.txt").run_twice().has(&[("empty.txt", b"")]);
}

#[test]
fn the_marks_of_hadoop_are_folders() {
    let ended = by_key("azure://acct/models/hadoop").run();
    ended.has(&[("hadoop/inner/model.pkl", b"model"), ("hadoop/zero.txt", b"")]);
    assert!(ended.directory.join("hadoop/hollow").is_dir());
    by_key("azure://acct/models/barren").run().failed(Reason::ArtifactEmpty, &["barren/", "models"]);
}

#[test]
fn a_large_blob_is_fetched_in_chunks() {
    let weights: Vec<u8> = (0..251).cycle().take(251 << 17).collect();
    for (uri, path) in
        [("azure://acct/models/vast/", "vast/weights.bin"), ("azure://acct/models/vast/weights.bin", "weights.bin")]
    {
        by_key(uri).run().has(&[(path, &weights)]);
    }
}

#[test]
fn what_was_uploaded_compressed_arrives_as_it_is_stored() {
    by_key("azure://acct/models/packed/words.gz").run().has(&[("words.gz", b"\x1f\x8bnot really")]);
}

#[test]
fn nothing_is_told_from_nothing_there() {
    by_key("azure://acct/models/absent/").run().failed(Reason::ArtifactEmpty, &["absent/"]);
    by_key("azure://acct/models/markers").run().failed(Reason::ArtifactEmpty, &["markers/"]);
    by_key("azure://acct/hollow").run().failed(Reason::ArtifactEmpty, &["hollow"]);
    let ended = by_key("azure://acct/models/absent").run();
    ended.failed(Reason::ArtifactNotFound, &["no blob \"absent\"", "models"]).with_answer(404, Some("BlobNotFound"));
    for uri in ["azure://acct/no-such/model", "azure://acct/no-such/model/"] {
        let ended = by_key(uri).run();
        ended.failed(Reason::ArtifactNotFound, &["no-such"]).with_answer(404, Some("ContainerNotFound"));
    }
}

#[test]
fn every_kind_of_secret_works() {
    let store = store::azure();
    let connection = format!(
        "DefaultEndpointsProtocol=http;AccountName=acct;AccountKey={};BlobEndpoint={}/acct;",
        store.key, store.endpoint
    );
    let uri = "azure://acct/models/code/score.py";
    let job = Job::model(uri).secret(&[("connectionString", &connection)]).hiding(&store.key);
    job.run().has(&[("score.py", b"def init(): pass\n")]);
    for keys in [
        [("accountKey", store.key.as_str())],
        [("AZURE_STORAGE_SAS_TOKEN", &store.sas)],
        [("sasToken", &format!("?{}", store.sas))],
    ] {
        secret(uri, &keys).hiding(signature(&store.sas)).run().has(&[("score.py", b"def init(): pass\n")]);
    }
    secret("azure://acct/models/iris/model", &[("sasToken", &store.sas)]).run().has_files(&iris("model/"));
    let public = secret("azure://acct/public/code/score.py", &[("anonymous", "true")]);
    public.run().has(&[("score.py", b"def init(): pass\n")]);
}

fn signature(sas: &str) -> &str {
    sas.split_once("sig=").unwrap().1
}

#[test]
fn a_signature_in_the_uri_works_and_is_never_shown() {
    let sas = &store::azure().sas;
    let job = |uri: &str| anonymous(uri).hiding(signature(sas));
    for form in ["https://acct.blob.core.windows.net/models", "azure://acct/models"] {
        job(&format!("{form}/code/score.py?{sas}")).run().has(&[("score.py", b"def init(): pass\n")]);
        job(&format!("{form}/iris/model?{sas}")).run().has_files(&iris("model/"));
    }
    // Azurite calls a wrong signature a missing right, in words that say what it is; see the next test but one.
    let wrong = sas.replace("sig=", "sig=S3CR3T");
    let ended = anonymous(&format!("azure://acct/models/code/score.py?{wrong}")).run();
    ended.failed(Reason::ArtifactForbidden, &["the shared access signature", "Server failed to authenticate"]);
}

#[test]
fn a_signature_that_does_not_suffice_is_told_why() {
    let store = store::azure();
    let ended = secret("azure://acct/models/iris/model/", &[("sasToken", &store.sas_without_list)]).run();
    ended.failed(Reason::ArtifactForbidden, &["listing the container models", "permission l"]);
    ended.with_answer(403, Some("AuthorizationPermissionMismatch"));
    let ended = secret("azure://acct/models/code/score.py", &[("sasToken", &store.sas_without_list)]).run();
    ended.has(&[("score.py", b"def init(): pass\n")]);
    let ended = secret("azure://acct/models/code/score.py", &[("sasToken", &store.sas_over)]).run();
    ended.failed(Reason::ArtifactForbidden, &["the shared access signature", "Server failed to authenticate"]);
}

#[test]
fn a_wrong_key_or_signature_is_told_from_a_missing_right() {
    let wrong = "c2VjcmV0LXRoYXQtaXMtbm90LXRoZS1hY2NvdW50cw==";
    let ended = secret("azure://acct/models/iris/", &[("accountKey", wrong)]).hiding(wrong).run();
    ended.failed(Reason::ArtifactForbidden, &["the account key", "Server failed to authenticate"]);

    // Source: Azure Storage, "AuthenticationFailed" in the troubleshooting of client errors; a SAS that is over.
    let failed = |detail: &'static str| {
        Web::answering(move |_, _| {
            let message = "Server failed to authenticate the request. Make sure the value of Authorization header is \
                           formed correctly including the signature.\nRequestId:1";
            let body = format!(
                "<Error><Code>AuthenticationFailed</Code><Message>{message}</Message>\
                 <AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail></Error>"
            );
            response("403 Forbidden", "x-ms-error-code: AuthenticationFailed\r\n", body.as_bytes())
        })
    };
    let over = "Signature not valid in the specified time frame: Start [Thu, 01 Jan 2026 00:00:00 GMT] - Expiry [Fri]";
    for uri in ["azure://acct/models/iris/", "azure://acct/models/model.bin"] {
        let ended = to(&failed(over), uri).run();
        ended.failed(Reason::ArtifactUnauthenticated, &["does not accept the shared access signature", over]);
        ended.with_answer(403, Some("AuthenticationFailed"));
    }
    let wrong = "The MAC signature found in the HTTP request 'S3CR3T' is not the same as any computed signature.";
    let ended = to(&failed(wrong), "azure://acct/models/iris/").run();
    ended.failed(Reason::ArtifactUnauthenticated, &["Server failed to authenticate"]);
}

#[test]
fn a_secret_that_lacks_a_key_is_told_which() {
    let ended = secret("azure://acct/models/iris/", &[("accountKey", "S3CR3T!")]).run();
    ended.failed(Reason::ArtifactCredentialsMissing, &["accountKey", "base64"]);
    let ended = secret("azure://acct/models/iris/", &[("password", "S3CR3T")]).run();
    ended.failed(Reason::ArtifactCredentialsMissing, &["AZURE_STORAGE_ACCOUNT_KEY", "sasToken", "AZURE_CLIENT_SECRET"]);
    let ended = secret("azure://acct/models/iris/", &[("clientSecret", "S3CR3T"), ("clientId", "1")]).run();
    ended.failed(Reason::ArtifactCredentialsMissing, &["AZURE_TENANT_ID or tenantId"]);
}

#[test]
fn what_is_public_needs_no_credentials() {
    anonymous("azure://acct/public/iris/model").run().has_files(&iris("model/"));
    let ended = anonymous("azure://acct/models/iris/model").run();
    ended.failed(
        Reason::ArtifactForbidden,
        &["without credentials", "Storage Blob Data Reader on acct/models", "no Secret"],
    );
}

#[test]
fn an_account_that_does_not_exist_is_suspected() {
    let job = Job::model("azure://nosuchaccount/models/iris").secret(&[("accountKey", "a2V5")]);
    let ended = job.arguments(&["--attempts", "1"]).run();
    ended.failed(Reason::ArtifactStoreUnreachable, &["nosuchaccount.blob.core.windows.net", "may not exist"]);
}

/// Microsoft Entra or a metadata service: gives `token` to who asks rightly.
fn authority(is_right: impl Fn(&str) -> bool + Send + Sync + 'static, token: &'static str) -> Web {
    Web::start(move |request, _| {
        assert!(is_right(request), "not the right request: {request}");
        let body = format!(r#"{{"token_type": "Bearer", "expires_in": 3599, "access_token": "{token}"}}"#);
        Answer::Bytes(response("200 OK", "Content-Type: application/json\r\n", body.as_bytes()))
    })
}

/// The store that knows tokens.
fn with_tokens(uri: &str) -> Job {
    let store = store::azure_tokens();
    let job = Job::model(uri).environment("AZURE_STORAGE_ENDPOINT", &store.endpoint);
    job.trusting(&store.certificate).hiding(&store.token)
}

const CODE: &[(&str, &[u8])] = &[("code/helper.py", b""), ("code/score.py", b"def init(): pass\n")];

#[test]
fn a_service_principal_gets_a_token_and_uses_it() {
    let store = store::azure_tokens();
    let is_right = |request: &str| {
        request.starts_with("POST /tenant-1/oauth2/v2.0/token ")
            && ["client_id=client-1", "client_secret=S3CR3T", "grant_type=client_credentials"]
                .iter()
                .all(|part| request.contains(part))
            && request.contains("scope=https%3A%2F%2Fstorage.azure.com%2F.default")
    };
    let entra = authority(is_right, &store.token);
    let keys = [
        ("AZURE_TENANT_ID", "tenant-1"),
        ("AZURE_CLIENT_ID", "client-1"),
        ("AZURE_CLIENT_SECRET", "S3CR3T"),
        ("AZURE_AUTHORITY_HOST", &entra.url("/")),
    ];
    let job = with_tokens("azure://acct/models/code");
    job.secret(&keys).run().has(CODE);
    assert_eq!(entra.requests().len(), 1, "one token does for all");
}

#[test]
fn a_workload_identity_shows_its_token_file() {
    let store = store::azure_tokens();
    let is_right = |request: &str| {
        request.starts_with("POST /tenant-1/oauth2/v2.0/token ")
            && [
                "client_id=client-1",
                "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer",
                "client_assertion=S3CR3T.of.pod",
                "grant_type=client_credentials",
            ]
            .iter()
            .all(|part| request.contains(part))
    };
    let entra = authority(is_right, &store.token);
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "S3CR3T.of.pod").unwrap();
    let job = with_tokens("azure://acct/models/code/");
    federated(job, &entra, token.path().to_str().unwrap()).run().has(CODE);
}

fn federated(job: Job, entra: &Web, file: &str) -> Job {
    job.environment("AZURE_FEDERATED_TOKEN_FILE", file)
        .environment("AZURE_CLIENT_ID", "client-1")
        .environment("AZURE_TENANT_ID", "tenant-1")
        .environment("AZURE_AUTHORITY_HOST", &entra.url(""))
}

#[test]
fn the_identity_of_the_node_is_only_asked_for_when_the_store_wants_one() {
    let imds = || {
        Web::start(|request, _| {
            let is_right = request.starts_with("GET /token?")
                && request.to_lowercase().contains("metadata: true")
                && request.contains("resource=https%3A%2F%2Fstorage.azure.com")
                && request.contains("client_id=client-1");
            assert!(is_right, "not the right request: {request}");
            // Source: "how to use managed identities on a VM to get a token", sample response.
            let body = format!(
                r#"{{"access_token": "{}", "expires_on": "4102444800", "resource": "x", "token_type": "Bearer"}}"#,
                store::azure_tokens().token
            );
            Answer::Bytes(response("200 OK", "", body.as_bytes()))
        })
    };
    let node = imds();
    let as_node = |uri| {
        with_tokens(uri)
            .environment("IDENTITY_ENDPOINT", &node.url("/token"))
            .environment("AZURE_CLIENT_ID", "client-1")
    };
    let job = as_node("azure://acct/public/code/");
    job.run().has(CODE);
    assert!(node.requests().is_empty(), "the node was asked for nothing: {:?}", node.requests());
    let job = as_node("azure://acct/models/code/");
    let ended = job.run();
    ended.has(CODE);
    assert_eq!(ended.log_says("the node has some"), 1);
}

#[test]
fn an_identity_service_that_refuses_is_told_with_its_code() {
    // Source: Microsoft Entra, "authentication and authorization error codes".
    let entra = Web::fixed(
        "400 Bad Request",
        "",
        br#"{"error": "unauthorized_client", "error_description": "AADSTS700016: Application with identifier 'client-1' was not found in the directory.\r\nTrace ID: 1", "error_codes": [700016]}"#,
    );
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "S3CR3T.of.pod").unwrap();
    let ended = federated(anonymous("azure://acct/models/code/"), &entra, token.path().to_str().unwrap()).run();
    ended.failed(Reason::ArtifactUnauthenticated, &["was not found in the directory", &entra.address()]);
    ended.with_answer(400, Some("AADSTS700016"));
    assert_eq!(entra.requests().len(), 1, "a final answer is not asked for twice");

    let busy = Web::fixed("503 Service Unavailable", "Retry-After: 1\r\n", b"");
    let ended = federated(anonymous("azure://acct/models/code/"), &busy, token.path().to_str().unwrap()).run();
    ended.failed(Reason::ArtifactStoreError, &["503", &busy.address()]);
    assert_eq!(busy.requests().len(), 2);

    let job = with_tokens("azure://acct/models/code/");
    let entra = authority(|_| true, "S3CR3T.no.token");
    let ended = federated(job, &entra, token.path().to_str().unwrap()).run();
    ended.failed(Reason::ArtifactUnauthenticated, &["does not accept the workload identity"]);
}

#[test]
fn no_more_of_an_identity_service_is_read_than_any_answer_has() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "S3CR3T.of.pod").unwrap();
    let ended = |status: &str| {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: 1000000000\r\n\r\n");
        let much = [head.as_bytes(), &vec![b'x'; 128 << 10]].concat();
        // Who waits for the rest is told that it stalls.
        let entra = Web::start(move |_, _| Answer::Stall(much.clone()));
        federated(anonymous("azure://acct/models/code/"), &entra, token.path().to_str().unwrap()).run()
    };
    ended("403 Forbidden").failed(Reason::ArtifactUnauthenticated, &["403"]).with_answer(403, None);
    ended("200 OK").failed(Reason::ArtifactUnauthenticated, &["no credentials that can be read"]);
}

#[test]
fn no_identity_is_asked_for_at_an_address_of_the_machine() {
    let keys = [
        ("tenantId", "tenant-1"),
        ("clientId", "client-1"),
        ("clientSecret", "S3CR3T"),
        ("authorityHost", "http://169.254.169.254"),
    ];
    secret("azure://acct/models/code", &keys).run().failed(Reason::ArtifactUriInvalid, &["169.254.169.254"]);
}

#[test]
fn an_identity_that_is_not_whole_is_told_what_is_missing() {
    let entra = Web::fixed("200 OK", "", b"");
    let ended = federated(anonymous("azure://acct/models/code/"), &entra, "/absent/token").run();
    ended.failed(Reason::ArtifactCredentialsMissing, &["/absent/token"]);
    let job = anonymous("azure://acct/models/code/").environment("AZURE_FEDERATED_TOKEN_FILE", "/absent/token");
    job.run().failed(Reason::ArtifactCredentialsMissing, &["AZURE_CLIENT_ID", "azure.workload.identity/client-id"]);
    let job = anonymous("azure://acct/models/code/").environment("AZURE_FEDERATED_TOKEN_FILE", "/absent/token");
    let ended = job.environment("AZURE_CLIENT_ID", "client-1").run();
    ended.failed(Reason::ArtifactCredentialsMissing, &["AZURE_TENANT_ID", "azure.workload.identity/tenant-id"]);
    let nonsense = Web::fixed("200 OK", "", b"S3CR3T");
    let token = tempfile::NamedTempFile::new().unwrap();
    let ended = federated(anonymous("azure://acct/models/code/"), &nonsense, token.path().to_str().unwrap()).run();
    ended.failed(Reason::ArtifactUnauthenticated, &["no credentials that can be read"]);
}

#[test]
fn a_node_without_an_identity_leaves_the_refusal_as_it_is() {
    // Source: "how to use managed identities on a VM to get a token", error handling.
    let imds = Web::fixed(
        "400 Bad Request",
        "",
        br#"{"error": "invalid_request", "error_description": "Identity not found"}"#,
    );
    let job = Job::model("azure://acct/models/iris/").environment("AZURE_STORAGE_ENDPOINT", &store::azure().endpoint);
    let ended = job.environment("IDENTITY_ENDPOINT", &imds.url("/token")).run();
    ended.failed(Reason::ArtifactForbidden, &["without credentials", "Identity not found"]);
}

fn error(status: &str, code: &str) -> Vec<u8> {
    let body = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>My words with S3CR3T\n\
         RequestId:1\nTime:2026-01-01T00:00:00Z</Message></Error>"
    );
    response(status, &format!("x-ms-error-code: {code}\r\n"), body.as_bytes())
}

fn to(web: &Web, uri: &str) -> Job {
    let job = Job::model(uri).secret(&[("sasToken", "sv=1&sig=S3CR3T"), ("endpoint", &web.url(""))]);
    job.environment("IDENTITY_ENDPOINT", NOWHERE)
}

#[test]
fn each_code_has_its_reason() {
    // Source: Azure Storage, "common REST API error codes" and "blob service error codes".
    let codes = [
        ("403 Forbidden", "AuthorizationFailure", Reason::ArtifactForbidden),
        ("403 Forbidden", "AuthorizationPermissionMismatch", Reason::ArtifactForbidden),
        ("403 Forbidden", "KeyBasedAuthenticationNotPermitted", Reason::ArtifactForbidden),
        ("403 Forbidden", "AccountIsDisabled", Reason::ArtifactForbidden),
        ("409 Conflict", "PublicAccessNotPermitted", Reason::ArtifactForbidden),
        ("409 Conflict", "BlobArchived", Reason::ArtifactForbidden),
        ("403 Forbidden", "AuthenticationFailed", Reason::ArtifactUnauthenticated),
        ("401 Unauthorized", "InvalidAuthenticationInfo", Reason::ArtifactUnauthenticated),
        ("404 Not Found", "ContainerNotFound", Reason::ArtifactNotFound),
        ("400 Bad Request", "InvalidResourceName", Reason::ArtifactUriInvalid),
        ("503 Server Busy", "ServerBusy", Reason::ArtifactStoreThrottled),
        ("500 Internal Server Error", "InternalError", Reason::ArtifactStoreError),
    ];
    shelf::refuse(&codes, ["azure://acct/models/iris/", "azure://acct/models/model.bin"], error, to);
}

#[test]
fn an_account_that_is_not_public_is_told_so() {
    let words = b"<Error><Code>PublicAccessNotPermitted</Code><Message>Public access is not permitted on this \
                  storage account.</Message></Error>";
    let web = Web::answering(|_, _| response("409 Conflict", "x-ms-error-code: PublicAccessNotPermitted\r\n", words));
    let job = Job::model("azure://acct/models/iris/").environment("AZURE_STORAGE_ENDPOINT", &web.url(""));
    let ended = job.environment("IDENTITY_ENDPOINT", NOWHERE).run();
    ended.failed(Reason::ArtifactForbidden, &["without credentials", "PublicAccessNotPermitted", "no Secret"]);
}

fn page(blobs: &str, next: &str) -> Vec<u8> {
    let text = format!(
        "<?xml version=\"1.0\"?><EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"
    );
    response("200 OK", "", text.as_bytes())
}

fn blob(name: &str, size: usize) -> String {
    format!(
        "<Blob><Name>{name}</Name><Properties><Etag>0x1</Etag><Content-Length>{size}</Content-Length></Properties></Blob>"
    )
}

#[test]
fn a_listing_of_many_pages_is_read_to_its_end() {
    let ended = by_key("azure://acct/models/many").run();
    assert_eq!(ended.code, 0, "{}", ended.report.detail);
    assert_eq!(ended.report.files, 1205);
    assert_eq!(ended.files()["many/1204.txt"], b"1204");
    let web = Web::answering(|head, _| match head {
        head if head.contains("marker=next%2B1") => page(&blob("many/2.txt", 5), ""),
        head if head.contains("comp=list") => page(&blob("many/1.txt", 5), "next+1"),
        _ => response("200 OK", "ETag: \"0x1\"\r\n", b"model"),
    });
    to(&web, "azure://acct/models/many/").run().has(&[("many/1.txt", b"model"), ("many/2.txt", b"model")]);
    let requests = web.requests();
    let bytes = requests.iter().filter(|request| !request.contains("comp=list"));
    assert!(bytes.clone().count() == 2 && bytes.clone().all(|request| request.contains("if-match: \"0x1\"")));
}

#[test]
fn a_blob_that_changes_meanwhile_is_not_taken() {
    let web = Web::answering(|head, _| match head {
        head if head.contains("comp=list") => page(&blob("many/1.txt", 5), ""),
        _ => error("412 The condition specified was not met", "ConditionNotMet"),
    });
    let ended = to(&web, "azure://acct/models/many/").run();
    ended.failed(Reason::ArtifactStoreError, &["many/1.txt"]).with_answer(412, Some("ConditionNotMet"));
    let web = Web::answering(|head, _| match head {
        head if head.contains("comp=list") => page(&blob("many/1.txt", 5), ""),
        _ => response("200 OK", "ETag: \"0x2\"\r\n", b"model"),
    });
    to(&web, "azure://acct/models/many/").run().failed(Reason::ArtifactStoreError, &["another version"]);
}

#[test]
fn bytes_that_turned_are_found_by_the_digest_of_the_store() {
    let web = Web::answering(|_, _| {
        // The MD5 of `model` is another.
        response("200 OK", "x-ms-blob-content-md5: JfnnlDI7RTiF9RgfG2JNCw==\r\n", b"model")
    });
    to(&web, "azure://acct/models/model.bin").run().failed(Reason::ArtifactChecksumMismatch, &["MD5"]);
}

#[test]
fn a_listing_that_lies_is_refused() {
    for (lie, next, reason) in [
        (blob("other/a", 1), "", Reason::ArtifactStoreError),
        (blob("many/a/../../b", 1), "", Reason::ArtifactUnpackUnsafe),
        (String::new(), "again", Reason::ArtifactStoreError),
        ("<Blob>".to_owned(), "", Reason::ArtifactStoreError),
    ] {
        let web = Web::answering(move |_, _| page(&lie, next));
        to(&web, "azure://acct/models/many/").run().failed(reason, &[]);
    }
}

#[test]
fn a_token_that_expires_meanwhile_is_renewed() {
    // Each token is over as soon as it is given, and the account only takes the newest.
    let given = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&given);
    let entra = Web::start(move |_, _| {
        let number = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        let body = format!(r#"{{"expires_in": 0, "access_token": "S3CR3T-{number}"}}"#);
        Answer::Bytes(response("200 OK", "", body.as_bytes()))
    });
    let web = Web::answering(move |head, _| {
        let newest = format!("bearer s3cr3t-{}", given.load(std::sync::atomic::Ordering::SeqCst));
        match head.to_lowercase() {
            head if !head.contains(&newest) => error("401 Unauthorized", "InvalidAuthenticationInfo"),
            head if head.contains("comp=list") => page(&blob("many/1.txt", 5), ""),
            _ => response("200 OK", "ETag: \"0x1\"\r\n", b"model"),
        }
    });
    let token = tempfile::NamedTempFile::new().unwrap();
    let job = Job::model("azure://acct/models/many/").environment("AZURE_STORAGE_ENDPOINT", &web.url(""));
    federated(job, &entra, token.path().to_str().unwrap()).run().has(&[("many/1.txt", b"model")]);
    assert_eq!(entra.requests().len(), 2);
}
