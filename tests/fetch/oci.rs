//! `oci://`, from real registries and from some that behave badly.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mooring_operator::catalogue::Reason;
use sha2::{Digest, Sha256};

use crate::program::Job;
use crate::shelf::{self, How, What, iris};
use crate::store::registry;
use crate::web::{Answer, Web, response};

const READER: &[(&str, &str)] = &[("username", "reader"), ("password", "S3CR3T")];

fn model(registry: &str, name: &str) -> Job {
    Job::model(format!("oci://{registry}/models/{name}"))
}

fn pickle() -> Vec<u8> {
    b"pickle".repeat(1000)
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

#[test]
fn every_kind_of_question_has_its_answer() {
    let registry = &registry().token;
    let files = |what| match what {
        What::Object => vec![("model.pkl".to_owned(), pickle())],
        What::Prefix => iris("iris/"),
        What::Archive(_) => shelf::packed(),
    };
    shelf::ask(&[What::Object, What::Prefix], Reason::ArtifactNotFound, files, |what, how| {
        let name = match what {
            What::Object => "single".to_owned(),
            What::Prefix => "iris".to_owned(),
            What::Archive(kind) => format!("archive.{kind}"),
        };
        let wrong = [("username", "reader"), ("password", "S3CR3T-wrong")];
        match how {
            How::Rightly => model(registry, &format!("{name}:1")).secret(READER),
            How::Missing => model(registry, &format!("absent-{name}:1")).secret(READER),
            How::Forbidden => model(registry, &format!("private-{name}:1")).secret(READER),
            How::Unknown => model(registry, &format!("{name}:1")).secret(&wrong),
        }
    });
}

#[test]
fn an_artifact_of_many_files_becomes_a_sub_folder() {
    let registry = registry();
    let digest = &registry.digests["models/iris"];
    for reference in [":1", &format!("@{digest}"), &format!(":gone@{digest}")] {
        model(&registry.endpoint, &format!("iris{reference}")).run().has_files(&iris("iris/"));
    }
    model(&registry.endpoint, "iris:1").run_twice().has_files(&iris("iris/"));
    model(&registry.basic, "iris:1").secret(READER).run().has_files(&iris("iris/"));
    model(&registry.token, "iris:1").secret(READER).run().has_files(&iris("iris/"));
}

#[test]
fn an_artifact_of_one_file_lies_directly_in_the_directory() {
    let registry = registry();
    let digest = sha256(&pickle());
    let job = model(&registry.endpoint, "single:1").sha256(digest.strip_prefix("sha256:").unwrap());
    job.run().has(&[("model.pkl", &pickle())]);
    model(&registry.basic, "single:1").secret(READER).run().has(&[("model.pkl", &pickle())]);
    model(&registry.token, "single:1").secret(READER).run().has(&[("model.pkl", &pickle())]);
    model(&registry.token, "single:1").run().has(&[("model.pkl", &pickle())]);
    model(&registry.endpoint, "nested:1").run().has(&[("nested/sub/model.pkl", b"nested")]);
    model(&registry.endpoint, "pack:1").run().has(&[("pack/weights/model.bin", b"weights")]);
    let job = Job::code(format!("oci://{}/models/iris:1", registry.endpoint), "absent.py");
    job.run().failed(Reason::ScoringScriptMissing, &["absent.py", "MLmodel"]);
}

#[test]
fn a_large_layer_comes_in_parts() {
    let registry = registry();
    let bytes: Vec<u8> = (0..251).cycle().take(251 * (20 << 20 >> 8)).collect();
    model(&registry.token, "big:1").secret(READER).run().has(&[("model.bin", &bytes)]);
}

#[test]
fn an_index_gives_what_is_for_this_machine() {
    let registry = registry();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let reference = format!("platforms@{}", registry.digests["models/platforms"]);
    for reference in ["platforms:1", &reference] {
        model(&registry.endpoint, reference).run().has(&[("model.so", architecture.as_bytes())]);
    }
    let ended = model(&registry.endpoint, "foreign:1").run();
    ended.failed(Reason::ArtifactNotFound, &["nothing for linux/", "windows/amd64", "windows/arm64"]);
}

#[test]
fn what_is_not_there_is_named() {
    let registry = registry();
    let absent = format!("iris@sha256:{}", "0".repeat(64));
    for (name, code) in [("iris:9", "MANIFEST_UNKNOWN"), (&absent, "MANIFEST_UNKNOWN"), ("gone:1", "MANIFEST_UNKNOWN")]
    {
        for (address, keys) in
            [(&registry.endpoint, None), (&registry.basic, Some(READER)), (&registry.token, Some(READER))]
        {
            let job = model(address, name);
            let ended = keys.map_or_else(|| model(address, name), |keys| job.secret(keys)).run();
            ended.failed(Reason::ArtifactNotFound, &[&format!("models/{name}"), address]).with_answer(404, Some(code));
        }
    }
    model(&registry.endpoint, "hollow:1").run().failed(Reason::ArtifactEmpty, &["models/hollow:1"]);
}

#[test]
fn what_can_not_be_files_is_refused() {
    let registry = registry();
    let ended = model(&registry.endpoint, "climbing:1").run();
    ended.failed(Reason::ArtifactUnpackUnsafe, &["../escape"]);
    assert!(ended.files().is_empty());
    for name in ["packed-climbing", "image-climbing", "image-linked", "image-whiteout", "image-device"] {
        let ended = model(&registry.endpoint, &format!("{name}:1")).run();
        ended.failed(Reason::ArtifactUnpackUnsafe, &[]);
        assert!(ended.files().is_empty());
    }
}

#[test]
fn a_packed_folder_is_unpacked_among_the_files() {
    let expected: [(&str, &[u8]); 5] = [
        ("packed/folder/a.txt", b"a"),
        ("packed/folder/sub/b.txt", b"b"),
        ("packed/folder/.wh.a.txt", b"a name"),
        ("packed/folder/c.txt", b"c"),
        ("packed/README.md", b"d"),
    ];
    model(&registry().endpoint, "packed:1").run_twice().has(&expected);
    model(&registry().endpoint, "pack-tar:1").run().has(&[("pack-tar/weights/model.bin", b"weights")]);
}

#[test]
fn of_an_image_the_folder_models_is_taken() {
    let registry = registry();
    let expected: [(&str, &[u8]); 5] = [
        ("image/model.pkl", b"new"),
        ("image/kept.txt", b"kept"),
        ("image/link.txt", b"kept"),
        ("image/absolute.txt", b"kept"),
        ("image/sub/c.txt", b"c"),
    ];
    let ended = model(&registry.token, "image:1").secret(READER).run_twice();
    ended.has(&expected);
    let left: Vec<_> = std::fs::read_dir(&ended.scratch).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "unpacked.json" || name == "lock"), "{left:?}");
    model(&registry.endpoint, "image-anew:1").run().has(&[("image-anew/b.txt", b"b")]);
    let code = Job::code(format!("oci://{}/models/image:1", registry.endpoint), "kept.txt");
    code.run().has(&expected.map(|(path, bytes)| (path.strip_prefix("image/").unwrap(), bytes)));
    let ended = model(&registry.endpoint, "image-hollow:1").run();
    ended.failed(Reason::ArtifactEmpty, &["image-hollow", "no file below /models"]);
}

#[test]
fn a_layer_in_zstd_is_a_layer() {
    let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    tar.append_data(&mut header, "models/model.bin", b"model".as_slice()).unwrap();
    let layer = tar.into_inner().unwrap().finish().unwrap();
    let manifest = format!(
        r#"{{"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd","digest":"{}","size":{}}}]}}"#,
        sha256(&layer),
        layer.len()
    );
    let web = Web::start(move |head, _| {
        let body = if head.contains("/manifests/") { manifest.as_bytes() } else { &layer };
        Answer::Bytes(response("200 OK", "", body))
    });
    model(&web.address(), "iris:1").run().has(&[("iris/model.bin", b"model")]);
}

#[test]
fn a_wrong_credential_is_told_from_a_missing_right() {
    let registry = registry();
    let wrong = [("username", "reader"), ("password", "S3CR3T-wrong")];
    for name in ["single:1", "iris:1", "private:1", "gone:1"] {
        for address in [&registry.basic, &registry.token] {
            let ended = model(address, name).secret(&wrong).run();
            ended
                .failed(Reason::ArtifactUnauthenticated, &["does not accept the credentials"])
                .with_answer(401, Some("UNAUTHORIZED"));
        }
    }
    for (address, name) in [(&registry.basic, "iris"), (&registry.token, "iris"), (&registry.token, "gone")] {
        let ended = model(address, &format!("{name}:1")).run();
        ended
            .failed(Reason::ArtifactUnauthenticated, &[&format!("pull on models/{name} without credentials")])
            .with_answer(401, Some("UNAUTHORIZED"));
    }
    let ended = model(&registry.token, "private:1").secret(READER).run();
    ended
        .failed(Reason::ArtifactForbidden, &["does not allow pull on models/private"])
        .with_answer(401, Some("UNAUTHORIZED"));
    let denied = Web::start(|_, _| {
        let body = br#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#;
        Answer::Bytes(response("403 Forbidden", "", body))
    });
    let ended = model(&denied.address(), "iris:1").run();
    ended
        .failed(Reason::ArtifactForbidden, &["pull on models/iris", "requested access"])
        .with_answer(403, Some("DENIED"));
}

#[test]
fn a_docker_config_has_the_credentials_of_the_registry() {
    let registry = registry();
    let auth = STANDARD.encode("reader:S3CR3T");
    let entries = [
        format!(r#"{{"auth":"{auth}"}}"#),
        r#"{"username":"reader","password":"S3CR3T"}"#.to_owned(),
        r#"{"auth":"MDAwMDo=","identitytoken":"S3CR3T-identity"}"#.to_owned(),
    ];
    for key in [".dockerconfigjson", "config.json"] {
        for (entry, address) in
            [(&entries[0], &registry.basic), (&entries[1], &registry.token), (&entries[2], &registry.token)]
        {
            let config = format!(r#"{{"auths":{{"other.io":{{"auth":"x"}},"http://{address}/v2/":{entry}}}}}"#);
            let job = model(address, "iris:1").secret(&[(key, &config)]).hiding(&auth);
            job.run().has_files(&iris("iris/"));
        }
    }
    let address = &registry.token;
    let config = format!(r#"{{"auths":{{"{address}":{{"identitytoken":"S3CR3T-old"}}}}}}"#);
    let ended = model(address, "iris:1").secret(&[(".dockerconfigjson", &config)]).run();
    ended.failed(Reason::ArtifactUnauthenticated, &["does not accept"]).with_answer(401, Some("UNAUTHORIZED"));
    let config = format!(r#"{{"auths":{{"other.io":{{"auth":"{auth}"}}}}}}"#);
    let job = model(address, "iris:1").secret(&[(".dockerconfigjson", &config)]).hiding(&auth);
    job.run().failed(Reason::ArtifactCredentialsMissing, &["no entry for", address, "other.io"]);
    let job = model(address, "iris:1").secret(&[(".dockerconfigjson", "{S3CR3T")]);
    job.run().failed(Reason::ArtifactCredentialsMissing, &["no docker config"]);
    let job = model(address, "iris:1").secret(&[("username", "reader")]);
    job.run().failed(Reason::ArtifactCredentialsMissing, &["password"]);
    let job = model(address, "iris:1").secret(&[("token", "S3CR3T")]);
    job.run().failed(Reason::ArtifactCredentialsMissing, &[".dockerconfigjson", "username"]);
}

#[test]
fn plain_http_can_be_forbidden() {
    let web = forged(|_, _| Answer::Bytes(response("200 OK", "", b"model")));
    let ended = model(&web.address(), "iris:1").environment("OCI_ALLOW_HTTP", "false").run();
    ended.failed(Reason::ArtifactStoreUnreachable, &[&web.address(), "tls"]);
    assert!(web.requests().is_empty());
    let ended = model(&web.address(), "iris:1").secret(&[("allowHttp", "S3CR3T")]).run();
    ended.failed(Reason::ArtifactCredentialsMissing, &["OCI_ALLOW_HTTP or allowHttp is neither true nor false"]);
}

/// A registry with one artifact `models/iris:1` of one file, whose bytes `blob` answers with, and that wants nothing to
/// be shown.
fn forged(blob: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Web {
    Web::start(move |head, before| {
        if head.contains("/manifests/") {
            Answer::Bytes(response("200 OK", "", &manifest()))
        } else {
            blob(head, before)
        }
    })
}

fn manifest() -> Vec<u8> {
    let digest = sha256(b"model");
    format!(
        r#"{{"schemaVersion":2,"layers":[{{"mediaType":"x/y","digest":"{digest}","size":5,
        "annotations":{{"org.opencontainers.image.title":"model.bin"}}}}]}}"#
    )
    .into_bytes()
}

#[test]
fn other_bytes_than_the_digest_names_are_refused() {
    let web = forged(|_, _| Answer::Bytes(response("200 OK", "", b"nodel")));
    let ended = model(&web.address(), "iris:1").run();
    let digest = sha256(b"model");
    ended.failed(Reason::ArtifactChecksumMismatch, &["model.bin", digest.strip_prefix("sha256:").unwrap()]);
    assert!(ended.files().is_empty());
    let web = forged(|_, _| Answer::Bytes(response("200 OK", "", b"model!")));
    model(&web.address(), "iris:1").run().failed(Reason::ArtifactStoreError, &["5 bytes", "6"]);
    let web = forged(|_, _| Answer::Bytes(response("200 OK", "", b"model")));
    let pinned = format!("iris@{}", sha256(&manifest()));
    model(&web.address(), &pinned).run().has(&[("model.bin", b"model")]);
    let other = format!("iris@{}", sha256(b"other"));
    model(&web.address(), &other).run().failed(Reason::ArtifactChecksumMismatch, &["the manifest of models/iris@"]);
    let header = format!("Docker-Content-Digest: {}\r\n", sha256(b"other"));
    let web = Web::start(move |_, _| Answer::Bytes(response("200 OK", &header, &manifest())));
    model(&web.address(), "iris:1").run().failed(Reason::ArtifactChecksumMismatch, &["the manifest of models/iris:1"]);
}

#[test]
fn a_manifest_that_lies_is_refused() {
    let lies = [
        (String::from_utf8(manifest()).unwrap().replace("sha256:", "sha512:"), Reason::ArtifactStoreError),
        (String::from_utf8(manifest()).unwrap().replace("sha256:", "sha256:../../"), Reason::ArtifactStoreError),
        (String::from_utf8(manifest()).unwrap().replace("model.bin", "/etc/passwd"), Reason::ArtifactUnpackUnsafe),
        (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), Reason::ArtifactUriInvalid),
        ("{".to_owned(), Reason::ArtifactStoreError),
        (r#"{"manifests":[]}"#.to_owned(), Reason::ArtifactNotFound),
    ];
    for (lie, reason) in lies {
        let web = Web::start(move |_, _| Answer::Bytes(response("200 OK", "", lie.as_bytes())));
        let ended = model(&web.address(), "iris:1").run();
        ended.failed(reason, &[]);
        assert!(ended.files().is_empty());
    }
}

#[test]
fn a_registry_that_wants_a_pause_gets_it() {
    let busy = || {
        let body = br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
        Answer::Bytes(response("429 Too Many Requests", "Retry-After: 1\r\n", body))
    };
    let web =
        forged(move |_, before| if before < 2 { busy() } else { Answer::Bytes(response("200 OK", "", b"model")) });
    model(&web.address(), "iris:1").run().has(&[("model.bin", b"model")]);
    let web = Web::start(move |_, _| busy());
    let ended = model(&web.address(), "iris:1").run();
    ended.failed(Reason::ArtifactStoreThrottled, &["pull rate limit"]).with_answer(429, Some("TOOMANYREQUESTS"));
    assert_eq!(ended.log_says("trying again in 1.0 s"), 1);
}

/// What a registry answers to who shows nothing.
fn wants(challenge: &str) -> Answer {
    let header = format!("WWW-Authenticate: {challenge}\r\n");
    Answer::Bytes(response("401 Unauthorized", &header, br#"{"errors":[{"code":"UNAUTHORIZED"}]}"#))
}

#[test]
fn no_credential_goes_where_a_registry_redirects_to() {
    let cdn = Web::fixed("200 OK", "", b"model");
    let away = format!("Location: {}\r\n", cdn.url("/blob?sig=S3CR3T"));
    let web = Web::start(move |head, _| {
        if !head.contains("authorization: Basic cmVhZGVyOlMzQ1IzVA==") {
            wants("Basic realm=\"tests\"")
        } else if head.contains("/manifests/") {
            Answer::Bytes(response("200 OK", "", &manifest()))
        } else {
            Answer::Bytes(response("307 Temporary Redirect", &away, b""))
        }
    });
    model(&web.address(), "iris:1").secret(READER).run().has(&[("model.bin", b"model")]);
    assert_eq!(cdn.requests().len(), 1);
    assert!(!cdn.requests()[0].contains("authorization"), "{:?}", cdn.requests());
    assert_eq!(web.requests().len(), 3, "the challenge is answered once");
}

#[test]
fn a_token_that_is_too_old_is_renewed() {
    static REALM: OnceLock<String> = OnceLock::new();
    let tokens = Web::start(|_, before| {
        Answer::Bytes(response("200 OK", "", format!(r#"{{"token":"S3CR3T{before}","expires_in":60}}"#).as_bytes()))
    });
    REALM.set(tokens.url("/token")).unwrap();
    let web = Web::start(|head, _| {
        let shown = |token: &str| head.contains(&format!("authorization: Bearer {token}\r\n"));
        match head.contains("/manifests/") {
            true if shown("S3CR3T0") => Answer::Bytes(response("200 OK", "", &manifest())),
            false if shown("S3CR3T1") => Answer::Bytes(response("200 OK", "", b"model")),
            _ => wants(&format!("Bearer realm=\"{}\",service=\"a, b\",error=\"invalid_token\"", REALM.get().unwrap())),
        }
    });
    model(&web.address(), "iris:1").run().has(&[("model.bin", b"model")]);
    let asked = tokens.requests();
    assert_eq!(asked.len(), 2);
    assert!(
        asked.iter().all(|head| head.contains("service=a%2c+b&scope=repository%3amodels%2firis%3apull")),
        "{asked:?}"
    );
}

#[test]
fn a_registry_does_not_choose_what_is_asked_for_a_token() {
    for (realm, reason) in [
        ("http://169.254.169.254/latest/meta-data", Reason::ArtifactUriInvalid),
        ("http://[::ffff:169.254.169.254]/", Reason::ArtifactUriInvalid),
        ("file:///etc/passwd", Reason::ArtifactStoreError),
    ] {
        let web = Web::start(move |_, _| wants(&format!("Bearer realm=\"{realm}\"")));
        model(&web.address(), "iris:1").secret(READER).run().failed(reason, &[]);
    }
    let broken = Web::fixed("200 OK", "", br#"{"token":""}"#);
    let realm = broken.url("/");
    let web = Web::start(move |_, _| wants(&format!("Bearer realm=\"{realm}\"")));
    model(&web.address(), "iris:1").run().failed(Reason::ArtifactStoreError, &[&broken.address(), "no token"]);
    let busy = Web::fixed("429 Too Many Requests", "Retry-After: 1\r\n", b"");
    let realm = busy.url("/");
    let web = Web::start(move |_, _| wants(&format!("Bearer realm=\"{realm}\"")));
    let ended = model(&web.address(), "iris:1").run();
    ended.failed(Reason::ArtifactStoreThrottled, &[&busy.address()]).with_answer(429, None);
}
