//! `hf://`, from a server with the routes, headers and redirects of the hub.

use std::fmt::Write;
use std::sync::Arc;

use mooring_operator::catalogue::Reason;
use percent_encoding::percent_decode_str;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::program::Job;
use crate::shelf::{self, How, What};
use crate::unpack::make;
use crate::web::{Answer, Web, response};

const COMMIT: &str = "5d0f2e8a7ad5f1a3b1a1c0b9f5f6f7a8b9c0d1e2";

/// Tokens: of a member of every repository, of a stranger, and one that nobody gave out.
const MEMBER: &str = "hf_S3CR3T_member";
const STRANGER: &str = "hf_S3CR3T_stranger";
const UNKNOWN: &str = "hf_S3CR3T_unknown";

/// Files of every repository: path, content, and whether Git itself holds it not.
fn files() -> Vec<(&'static str, Vec<u8>, bool)> {
    let tar = make::tar(shelf::packed().iter().map(|(name, bytes)| make::file(name, bytes)));
    let zip = make::zip(shelf::packed().iter().map(|(name, bytes)| make::Zipped::deflated(name, bytes)));
    vec![
        ("archives/model.tar", tar.clone(), true),
        ("archives/model.tar.gz", make::gzip(&tar), true),
        ("archives/model.tar.zst", make::zstd(&tar), false),
        ("archives/model.zip", zip, true),
        (".gitattributes", b"*.bin filter=lfs\n".to_vec(), false),
        ("config.json", b"{}".to_vec(), false),
        ("empty.txt", Vec::new(), false),
        ("model.bin", b"weights".repeat(1000), true),
        ("onnx/model.bin", (0..=255).cycle().take(256 * 64).collect(), true),
        ("onnx/sub/a b+c%20d.txt", b"space, plus, percent\n".to_vec(), false),
        ("onnx-2/other.txt", b"of another folder\n".to_vec(), false),
        ("\u{fc}n\u{ef}.txt", b"not ASCII\n".to_vec(), false),
    ]
}

fn below(folder: &str, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let found = files()
        .into_iter()
        .filter_map(|(path, bytes, _)| path.strip_prefix(folder).map(|path| (format!("{prefix}{path}"), bytes)));
    found.collect()
}

/// How many of them are large.
fn large() -> usize {
    files().iter().filter(|(.., is_large)| *is_large).count()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// As `git hash-object` says.
fn git_name(bytes: &[u8]) -> String {
    let head = format!("blob {}\0", bytes.len());
    let digest = Sha1::digest([head.as_bytes(), bytes].concat());
    digest.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The bytes, or the range of them that is asked for.
fn bytes(head: &str, content: &[u8]) -> Vec<u8> {
    let range = head.lines().find_map(|line| line.strip_prefix("range: bytes="));
    let Some((first, last)) = range.and_then(|range| range.trim().split_once('-')) else {
        return response("200 OK", "", content);
    };
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    let size = content.len();
    if first >= size {
        return response("416 Range Not Satisfiable", &format!("Content-Range: bytes */{size}\r\n"), b"");
    }
    let end = size.min(last + 1);
    let header = format!("Content-Range: bytes {first}-{}/{size}\r\n", end - 1);
    response("206 Partial Content", &header, &content[first..end])
}

/// Where large files lie; only who has a signature gets them.
fn cdn() -> Web {
    Web::start(|head, _| {
        let target = head.split(' ').nth(1).unwrap();
        let found = files().into_iter().find(|(_, content, _)| target == format!("/{}?sig=S3CR3T", sha256(content)));
        Answer::Bytes(found.map_or_else(|| response("403 Forbidden", "", b""), |(_, content, _)| bytes(head, &content)))
    })
}

fn refusal(status: &str, code: &str, words: &str) -> Vec<u8> {
    let code = if code.is_empty() { String::new() } else { format!("X-Error-Code: {code}\r\n") };
    response(status, &format!("{code}X-Error-Message: {words}\r\n"), b"{\"error\":\"words that must not decide\"}")
}

/// Lists what is in `folder` at `at`, two items a page.
fn tree(target: &str, at: &str, folder: &str, query: &str) -> Vec<u8> {
    let mut items: Vec<String> = Vec::new();
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    for (path, content, is_large) in files() {
        let Some(rest) = path.strip_prefix(&prefix) else { continue };
        let item = match rest.split_once('/') {
            Some((sub, _)) if query.contains("recursive=false") => {
                format!(r#"{{"type":"directory","oid":"{}","size":0,"path":"{prefix}{sub}"}}"#, "d".repeat(40))
            }
            _ => {
                let (size, digest) = (content.len(), sha256(&content));
                let oid = git_name(&content);
                let large =
                    format!(r#","lfs":{{"oid":"{digest}","size":{size},"pointerSize":134}},"xetHash":"{digest}""#);
                let large = if is_large { large } else { String::new() };
                format!(r#"{{"type":"file","oid":"{oid}","size":{size},"path":"{path}"{large}}}"#)
            }
        };
        if !items.contains(&item) {
            items.push(item);
        }
    }
    if items.is_empty() {
        return refusal("404 Not Found", "EntryNotFound", &format!("{folder} does not exist on \"{at}\""));
    }
    let page: usize = query.split_once("cursor=").map_or(0, |(_, cursor)| cursor.parse().unwrap());
    let next = format!("{}?recursive={}&limit=2&cursor={}", target, query.contains("recursive=true"), page + 1);
    let link = if items.len() > (page + 1) * 2 {
        format!("Link: <https://hub.invalid{next}>; rel=\"next\"\r\n")
    } else {
        String::new()
    };
    let items: Vec<String> = items.into_iter().skip(page * 2).take(2).collect();
    response("200 OK", &link, format!("[{}]", items.join(",")).as_bytes())
}

/// The hub. Repositories: `org/model` is open, `org/private` and `org/gated` are what they are called, `org/old` has
/// been renamed to `org/model`; `org/hollow` has no file.
fn hub(cdn: &Web) -> Web {
    let cdn = cdn.url("");
    Web::start(move |head, _| Answer::Bytes(answer(head, &cdn)))
}

fn answer(head: &str, cdn: &str) -> Vec<u8> {
    let target = head.split(' ').nth(1).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
    let token = header.map(str::trim);
    if token.is_some_and(|token| token != MEMBER && token != STRANGER) {
        return refusal("401 Unauthorized", "", "Invalid credentials in Authorization header");
    }
    let is_member = token == Some(MEMBER);
    if let Some(path) = path.strip_prefix("/api/resolve-cache/") {
        let path = percent_decode_str(path).decode_utf8().unwrap();
        let (_, content, _) = files().into_iter().find(|(name, ..)| *name == path).unwrap();
        return bytes(head, &content);
    }
    let (is_api, rest) = match path.strip_prefix("/api/models/").or(path.strip_prefix("/api/datasets/")) {
        Some(rest) => (true, rest),
        None => (false, path.strip_prefix("/datasets/").or(path.strip_prefix('/')).unwrap()),
    };
    let mut segments = rest.splitn(4, '/');
    let mut next = || segments.next().unwrap_or_default();
    let (organization, name, verb, rest) = (next(), next(), next(), next());
    match name {
        "old" => {
            let moved = target.replacen("org/old", "org/model", 1);
            return response("307 Temporary Redirect", &format!("Location: {moved}\r\n"), b"");
        }
        "private" if token.is_none() => return refusal("401 Unauthorized", "RepoNotFound", "Repository not found"),
        "private" if !is_member => return refusal("404 Not Found", "RepoNotFound", "Repository not found"),
        "gated" if !is_api && token.is_none() => {
            return refusal("401 Unauthorized", "GatedRepo", "Access to model org/gated is restricted.");
        }
        "gated" if !is_api && !is_member => {
            return refusal("403 Forbidden", "GatedRepo", "Access to model org/gated is restricted.");
        }
        "forbidden" => return refusal("403 Forbidden", "", "Your token lacks a right"),
        "model" | "private" | "gated" | "hollow" if organization == "org" => {}
        _ if token.is_none() => return refusal("401 Unauthorized", "RepoNotFound", "Repository not found"),
        _ => return refusal("404 Not Found", "RepoNotFound", "Repository not found"),
    }
    match (verb, rest) {
        ("revision", "main" | "refs%2Fpr%2F1") => {
            response("200 OK", "", format!(r#"{{"id":"{organization}/{name}","sha":"{COMMIT}"}}"#).as_bytes())
        }
        ("revision", _) => refusal("404 Not Found", "RevisionNotFound", "Invalid rev id"),
        ("tree", _) if name == "hollow" => response("200 OK", "", b"[]"),
        ("tree", rest) => {
            let folder = rest.strip_prefix(COMMIT).unwrap().trim_start_matches('/');
            tree(path, COMMIT, &percent_decode_str(folder).decode_utf8().unwrap(), query)
        }
        ("resolve", rest) => {
            let path = rest.strip_prefix(COMMIT).unwrap().trim_start_matches('/');
            let decoded = percent_decode_str(path).decode_utf8().unwrap();
            let (_, content, is_large) = files().into_iter().find(|(name, ..)| *name == decoded).unwrap();
            if is_large {
                let location = format!("Location: {cdn}/{}?sig=S3CR3T\r\n", sha256(&content));
                response("302 Found", &location, b"")
            } else {
                response("307 Temporary Redirect", &format!("Location: /api/resolve-cache/{path}\r\n"), b"")
            }
        }
        _ => panic!("nobody asks a hub for {target}"),
    }
}

fn anonymous(hub: &Web, uri: &str) -> Job {
    Job::model(uri).environment("HF_ENDPOINT", &hub.url(""))
}

fn with_token(hub: &Web, uri: &str, token: &str) -> Job {
    Job::model(uri).secret(&[("HF_TOKEN", token), ("HF_ENDPOINT", &hub.url("/"))])
}

#[test]
fn every_kind_of_question_has_its_answer() {
    let cdn = cdn();
    let hub = hub(&cdn);
    let files = |what| match what {
        What::Object => vec![("config.json".to_owned(), b"{}".to_vec())],
        What::Prefix => below("onnx/", "onnx/"),
        What::Archive(_) => shelf::packed(),
    };
    shelf::ask(&[What::Object, What::Prefix], Reason::ArtifactNotFound, files, |what, how| {
        let path = match what {
            What::Object => "config.json".to_owned(),
            What::Prefix => "onnx/".to_owned(),
            What::Archive(kind) => format!("archives/model.{kind}"),
        };
        match how {
            How::Rightly => with_token(&hub, &format!("hf://org/private/{path}"), MEMBER),
            How::Missing => with_token(&hub, &format!("hf://org/private/absent-{path}"), MEMBER),
            How::Forbidden => with_token(&hub, &format!("hf://org/forbidden/{path}"), STRANGER),
            How::Unknown => with_token(&hub, &format!("hf://org/private/{path}"), UNKNOWN),
        }
    });
}

#[test]
fn a_repository_becomes_a_sub_folder_of_one_commit() {
    let cdn = cdn();
    for uri in ["hf://org/model", "hf://org/model@refs%2Fpr%2F1/", "hf://datasets/org/model@main"] {
        let hub = hub(&cdn);
        anonymous(&hub, uri).run().has_files(&below("", "model/"));
        let requests = hub.requests();
        let by_name = requests.iter().filter(|request| !request.contains(COMMIT) && !request.contains("resolve-cache"));
        assert_eq!(by_name.count(), 1, "only one question follows a name that may move: {requests:?}");
    }
}

#[test]
fn a_folder_of_a_repository_never_matches_half_a_segment() {
    let (cdn, token) = (cdn(), MEMBER);
    let hub = hub(&cdn);
    for uri in ["hf://org/model/onnx", "hf://org/model@main/onnx/"] {
        with_token(&hub, uri, token).run().has_files(&below("onnx/", "onnx/"));
    }
    let ended = with_token(&hub, "hf://org/model/onn", token).run();
    ended.failed(Reason::ArtifactNotFound, &["\"onn\"", "org/model", "revision main"]);
}

#[test]
fn a_single_file_lies_directly_in_the_directory() {
    let cdn = cdn();
    let hub = hub(&cdn);
    let file = |path: &str| files().into_iter().find(|(name, ..)| *name == path).unwrap().1;
    for path in ["config.json", "model.bin", "onnx/model.bin", "empty.txt"] {
        let name = path.rsplit('/').next().unwrap();
        anonymous(&hub, &format!("hf://org/model/{path}")).run().has(&[(name, &file(path))]);
    }
    let uri = "hf://org/model/onnx/sub/a%20b+c%2520d.txt";
    anonymous(&hub, uri).run().has(&[("a b+c%20d.txt", b"space, plus, percent\n")]);
    let model = file("model.bin");
    anonymous(&hub, "hf://org/model/model.bin").sha256(&sha256(&model)).run().has(&[("model.bin", &model)]);
}

#[test]
fn a_second_run_leaves_the_same() {
    let cdn = cdn();
    let hub = hub(&cdn);
    anonymous(&hub, "hf://org/model").run_twice().has_files(&below("", "model/"));
    assert_eq!(cdn.requests().len(), large(), "a large file was fetched twice");
}

#[test]
fn a_token_goes_to_the_hub_and_nowhere_else() {
    let cdn = cdn();
    let hub = hub(&cdn);
    with_token(&hub, "hf://org/private", MEMBER).run().has_files(&below("", "private/"));
    assert!(hub.requests().iter().all(|request| request.contains("authorization: bearer hf_s3cr3t_member")));
    assert_eq!(cdn.requests().len(), large());
    assert!(cdn.requests().iter().all(|request| !request.contains("authorization")), "{:?}", cdn.requests());
}

#[test]
fn a_renamed_repository_is_found() {
    let cdn = cdn();
    with_token(&hub(&cdn), "hf://org/old", MEMBER).run().has_files(&below("", "old/"));
    anonymous(&hub(&cdn), "hf://org/old/config.json").run().has(&[("config.json", b"{}")]);
}

#[test]
fn what_is_not_there_is_named() {
    let cdn = cdn();
    let hub = hub(&cdn);
    for path in ["", "/model.bin", "/onnx"] {
        let ended = anonymous(&hub, &format!("hf://org/absent{path}")).run();
        ended
            .failed(Reason::ArtifactNotFound, &["no repository org/absent", "only with a token"])
            .with_answer(401, Some("RepoNotFound"));
        let ended = with_token(&hub, &format!("hf://org/absent{path}"), STRANGER).run();
        ended
            .failed(Reason::ArtifactNotFound, &["no repository org/absent", "account of this token"])
            .with_answer(404, Some("RepoNotFound"));
        let ended = anonymous(&hub, &format!("hf://org/model@v9{path}")).run();
        ended
            .failed(Reason::ArtifactNotFound, &["org/model has no revision v9"])
            .with_answer(404, Some("RevisionNotFound"));
    }
    let ended = anonymous(&hub, "hf://org/model/absent/model.bin").run();
    ended.failed(Reason::ArtifactNotFound, &["\"absent\"", "main"]).with_answer(404, Some("EntryNotFound"));
    let ended = anonymous(&hub, "hf://org/model/absent.bin").run();
    ended.failed(Reason::ArtifactNotFound, &["no file or folder \"absent.bin\"", "main"]);
    let ended = anonymous(&hub, "hf://org/hollow").run();
    ended.failed(Reason::ArtifactEmpty, &["org/hollow@main"]);
}

#[test]
fn a_wrong_token_is_told_from_a_missing_right() {
    let cdn = cdn();
    let hub = hub(&cdn);
    for path in ["", "/model.bin", "/onnx"] {
        for name in ["model", "private", "gated", "absent"] {
            let ended = with_token(&hub, &format!("hf://org/{name}{path}"), UNKNOWN).run();
            ended.failed(Reason::ArtifactUnauthenticated, &["does not accept the token"]).with_answer(401, None);
        }
        let ended = anonymous(&hub, &format!("hf://org/private{path}")).run();
        ended.failed(Reason::ArtifactNotFound, &["private one"]).with_answer(401, Some("RepoNotFound"));
        let ended = with_token(&hub, &format!("hf://org/private{path}"), STRANGER).run();
        ended.failed(Reason::ArtifactNotFound, &["may see"]).with_answer(404, Some("RepoNotFound"));
        let ended = with_token(&hub, &format!("hf://org/forbidden{path}"), STRANGER).run();
        ended
            .failed(Reason::ArtifactForbidden, &["read the contents of org/forbidden", "lacks a right"])
            .with_answer(403, None);
        let ended = anonymous(&hub, &format!("hf://org/gated{path}")).run();
        ended
            .failed(Reason::ArtifactForbidden, &["accept its licence", "HF_TOKEN"])
            .with_answer(401, Some("GatedRepo"));
        let ended = with_token(&hub, &format!("hf://org/gated{path}"), STRANGER).run();
        ended
            .failed(Reason::ArtifactForbidden, &["accept its licence", "account of this token"])
            .with_answer(403, Some("GatedRepo"));
    }
    with_token(&hub, "hf://org/gated/config.json", MEMBER).run().has(&[("config.json", b"{}")]);
    assert!(cdn.requests().is_empty());
}

#[test]
fn a_secret_needs_a_token_or_an_endpoint() {
    let cdn = cdn();
    let hub = hub(&cdn);
    let job = anonymous(&hub, "hf://org/model").secret(&[("password", "S3CR3T")]);
    job.run().failed(Reason::ArtifactCredentialsMissing, &["HF_TOKEN or token"]);
    let keys = [("token", MEMBER), ("endpoint", &hub.url(""))];
    Job::model("hf://org/private/config.json").secret(&keys).run().has(&[("config.json", b"{}")]);
    let job = Job::model("hf://org/model/config.json").secret(&[("endpoint", &hub.url(""))]);
    job.run().has(&[("config.json", b"{}")]);
    let job = anonymous(&hub, "hf://org/model").secret(&[("HF_TOKEN", "S3CR3T\u{7f}")]);
    job.run().failed(Reason::ArtifactCredentialsMissing, &["can't be in a header"]);
}

#[test]
fn a_hub_that_wants_a_pause_gets_it() {
    let cdn = Arc::new(cdn());
    for header in ["Retry-After: 1\r\n", "RateLimit: \"resolvers\";r=0;t=1\r\n"] {
        let away = cdn.url("");
        let web = Web::start(move |head, before| {
            let again = before % 2 == 0;
            Answer::Bytes(if again { response("429 Too Many Requests", header, b"") } else { answer(head, &away) })
        });
        let ended = anonymous(&web, "hf://org/model/model.bin").run();
        ended.has(&[("model.bin", &b"weights".repeat(1000))]);
        assert!(ended.log_says("trying again in 1.0 s") >= 3, "{}", ended.log);
        let web = Web::start(move |_, _| Answer::Bytes(response("429 Too Many Requests", header, b"")));
        let ended = anonymous(&web, "hf://org/model/model.bin").run();
        ended.failed(Reason::ArtifactStoreThrottled, &["429"]).with_answer(429, None);
        assert_eq!(ended.log_says("trying again in 1.0 s"), 1);
    }
}

/// A place for large files that goes wrong as `how` says, by the number of the request.
fn failing_cdn(how: impl Fn(&str, &[u8], usize) -> Vec<u8> + Send + Sync + 'static) -> Web {
    Web::start(move |head, before| Answer::Bytes(how(head, &b"weights".repeat(1000), before)))
}

fn resolved(hub: &Web) -> usize {
    hub.requests().iter().filter(|request| request.contains("/resolve/")).count()
}

#[test]
fn the_hub_is_asked_once_for_the_url_of_a_file_until_that_is_too_old() {
    let weights = b"weights".repeat(1000);
    let half = |head: &str, content: &[u8]| {
        let mut bytes = bytes(head, content);
        bytes.truncate(bytes.len() - 10);
        bytes
    };
    let cdn =
        failing_cdn(move |head, content, before| if before == 0 { half(head, content) } else { bytes(head, content) });
    let first = hub(&cdn);
    anonymous(&first, "hf://org/model/model.bin").run().has(&[("model.bin", &weights)]);
    assert_eq!((resolved(&first), cdn.requests().len()), (1, 2));

    let cdn = failing_cdn(move |head, content, before| match before {
        0 => half(head, content),
        1 => response("403 Forbidden", "", b"Request has expired"),
        _ => bytes(head, content),
    });
    let second = hub(&cdn);
    anonymous(&second, "hf://org/model/model.bin").run().has(&[("model.bin", &weights)]);
    assert_eq!((resolved(&second), cdn.requests().len()), (2, 3));
}

#[test]
fn a_place_that_refuses_the_urls_of_the_hub_is_named() {
    let cdn = failing_cdn(|_, _, _| response("403 Forbidden", "", b"<Code>AccessDenied</Code>"));
    let ended = anonymous(&hub(&cdn), "hf://org/model/model.bin").run();
    ended.failed(Reason::ArtifactStoreError, &[&cdn.address(), "403", "to the url that"]).with_answer(403, None);
}

#[test]
fn other_bytes_than_the_hub_names_are_refused() {
    let cdn = failing_cdn(|head, content, _| bytes(head, &[b"W", &content[1..]].concat()));
    let ended = anonymous(&hub(&cdn), "hf://org/model/model.bin").run();
    ended.failed(Reason::ArtifactChecksumMismatch, &["model.bin", &sha256(&b"weights".repeat(1000))]);
    let cdn = failing_cdn(|head, content, _| bytes(head, &content[1..]));
    let ended = anonymous(&hub(&cdn), "hf://org/model/model.bin").run();
    ended.failed(Reason::ArtifactStoreError, &["7000 bytes", "6999"]);
    assert!(ended.files().is_empty());
}

#[test]
fn other_bytes_than_git_names_are_refused() {
    let cdn = cdn();
    let away = cdn.url("");
    let web = Web::start(move |head, _| {
        let is_content = head.contains("/api/resolve-cache/");
        Answer::Bytes(if is_content { response("200 OK", "", b"[]") } else { answer(head, &away) })
    });
    let ended = anonymous(&web, "hf://org/model/config.json").run();
    ended.failed(Reason::ArtifactChecksumMismatch, &["config.json", &git_name(b"{}"), &git_name(b"[]")]);
    assert!(ended.files().is_empty());
}

#[test]
fn a_listing_that_lies_is_refused() {
    let item = |path: &str| format!(r#"[{{"type":"file","oid":"{}","size":1,"path":"{path}"}}]"#, "a".repeat(40));
    let lies = [
        (item("../escape"), "", Reason::ArtifactUnpackUnsafe),
        (item("/etc/passwd"), "", Reason::ArtifactUnpackUnsafe),
        (item("a/../../b"), "", Reason::ArtifactUnpackUnsafe),
        (item("a"), "Link: </x?recursive=true>; rel=\"next\"\r\n", Reason::ArtifactStoreError),
        ("{}".into(), "", Reason::ArtifactStoreError),
        ("[".into(), "", Reason::ArtifactStoreError),
    ];
    for (page, link, reason) in lies {
        let web = Web::start(move |head, _| {
            let commit = format!(r#"{{"sha":"{COMMIT}"}}"#);
            let body = if head.contains("/tree/") { &page } else { &commit };
            Answer::Bytes(response("200 OK", link, body.as_bytes()))
        });
        let ended = anonymous(&web, "hf://org/model").run();
        ended.failed(reason, &[]);
        assert!(ended.files().is_empty());
    }
    let web = Web::start(|_, _| Answer::Bytes(response("200 OK", "", br#"{"sha":"../../x"}"#)));
    anonymous(&web, "hf://org/model").run().failed(Reason::ArtifactStoreError, &["as a commit"]);
}
