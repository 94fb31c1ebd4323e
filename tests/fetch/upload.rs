//! What the command line uploads from this machine, the storage initializer fetches again, from the same real stores.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mooring_operator::catalogue::Reason;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Job, SECRET};
use crate::store;

/// A folder as people have it for Azure ML: endpoint files beside models and code.
struct Desk {
    root: TempDir,
    environment: BTreeMap<&'static str, String>,
}

/// How a run of the command line ended.
struct Converted {
    code: Option<i32>,
    data: String,
    said: String,
}

impl Desk {
    fn new(environment: &[(&'static str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let environment = environment.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { root, environment }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(path)
    }

    fn file(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Uploads what a deployment with this model and code needs, and prints what the deployment becomes.
    fn convert(&self, store: &str, model: &str, code: Option<&str>) -> Converted {
        let mut document = json!({
            "name": "blue", "endpoint_name": "iris", "model": {"path": model}, "environment": {"image": "registry/iris:1"},
        });
        if let Some(code) = code {
            document["code_configuration"] = json!({"code": code, "scoring_script": "src/score.py"});
        }
        self.file("endpoints/blue.yml", document.to_string().as_bytes());
        let output = Command::new(env!("CARGO_BIN_EXE_mooring"))
            .args(["convert", "-o", "json", "--artifact-store", store, "-f"])
            .arg(self.path("endpoints/blue.yml"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root.path())
            .envs(&self.environment)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let converted = Converted { code: output.status.code(), data: text(output.stdout), said: text(output.stderr) };
        assert!(!converted.said.contains(SECRET) && !converted.data.contains(SECRET), "{}", converted.said);
        for secret in self.environment.iter().filter(|(name, _)| name.contains("KEY") || name.contains("SAS")) {
            let is_name = *secret.0 == "AWS_ACCESS_KEY_ID";
            assert!(is_name || !converted.said.contains(secret.1), "{}", converted.said);
        }
        converted
    }
}

impl Converted {
    /// The spec of its only deployment.
    fn spec(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.said);
        let list: Value = serde_json::from_str(&self.data).unwrap();
        list["items"].as_array().unwrap().last().unwrap()["spec"].clone()
    }

    fn failed(&self, words: &[&str]) {
        assert_eq!((self.code, self.data.as_str()), (Some(1), ""), "{}", self.said);
        for words in words {
            assert!(self.said.contains(words), "{words:?} is not said:\n{}", self.said);
        }
    }
}

/// Bytes that no compressor makes smaller.
fn noise() -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        std::iter::repeat_with(next).flatten().take(20 << 20).collect()
    })
}

/// A model with everything that a folder may have; what the storage initializer is to make of it.
fn model(desk: &Desk) -> Vec<(String, Vec<u8>)> {
    let files: [(&str, Vec<u8>); 6] = [
        ("model.pkl", b"pickle".repeat(1000)),
        ("empty.txt", Vec::new()),
        // Several parts in every store.
        ("sub/folder/weights.bin", noise().to_vec()),
        ("a b+c%20d.txt", b"space, plus, percent\n".to_vec()),
        ("ünï.txt", b"not ASCII\n".to_vec()),
        (".config", b"hidden".to_vec()),
    ];
    for (path, content) in &files {
        desk.file(&format!("my models/iris/{path}"), content);
    }
    desk.file("my models/iris/.amlignore", b"*.log\n");
    desk.file("my models/iris/train.log", b"not needed");
    symlink("sub/folder/weights.bin", desk.path("my models/iris/latest.bin")).unwrap();
    let linked = ("latest.bin", noise().to_vec());
    files.into_iter().chain([linked]).map(|(path, content)| (format!("iris/{path}"), content)).collect()
}

/// Uploads a folder, a file and code, twice, and fetches each.
fn there_and_back(desk: &Desk, store: &str, fetched: impl Fn(Job) -> Job) {
    let expected = model(desk);
    desk.file("code/src/score.py", b"def init(): pass\n");
    desk.file("code/__pycache__/score.pyc", b"not needed");
    let first = desk.convert(store, "../my models/iris/", Some("../code"));
    let spec = first.spec();
    assert_eq!(first.said.matches("is uploaded,").count(), 2, "{}", first.said);
    let uri = spec["model"]["uri"].as_str().unwrap();
    let sha256 = spec["model"]["sha256"].as_str().unwrap();
    assert!(uri.starts_with(store) && uri.contains(sha256), "{uri}");
    assert_eq!((&spec["model"]["name"], &spec["model"]["unpack"]), (&json!("iris"), &json!(true)));
    fetched(Job::model(uri).unpacked().sha256(sha256)).run().has_files(&expected);
    let code = &spec["codeConfiguration"]["code"];
    assert_eq!(code["unpack"], json!(true));
    let job = Job::code(code["uri"].as_str().unwrap(), "src/score.py").unpacked();
    fetched(job).run().has(&[("src/score.py", b"def init(): pass\n")]);

    // The same content, as somebody else has it.
    fs::File::open(desk.path("my models/iris/model.pkl")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    fs::write(desk.path("my models/iris/train.log"), "other").unwrap();
    let again = desk.convert(store, "../my models/iris", Some("../code/"));
    assert_eq!(again.spec(), spec);
    assert_eq!(again.said.matches("is in the store already").count(), 2, "{}", again.said);

    let file = desk.convert(store, "../my models/iris/a b+c%20d.txt", None);
    let spec = file.spec();
    assert_eq!(spec["model"].get("unpack"), None, "{spec}");
    let job = Job::model(spec["model"]["uri"].as_str().unwrap()).sha256(spec["model"]["sha256"].as_str().unwrap());
    fetched(job).run().has(&[("a b+c%20d.txt", b"space, plus, percent\n")]);
}

#[test]
fn what_is_uploaded_to_s3_is_fetched_again() {
    let store = store::locked();
    let keys = [
        ("AWS_ACCESS_KEY_ID", store.access_key_id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", &store.secret_access_key),
        ("AWS_ENDPOINT_URL", &store.endpoint),
        ("AWS_REGION", "us-east-1"),
    ];
    there_and_back(&Desk::new(&keys), "s3://uploads/of%20team", |job| job.secret(&keys));
}

#[test]
fn what_is_uploaded_to_azure_is_fetched_again() {
    let store = store::azure();
    let environment = [("AZURE_STORAGE_ACCOUNT_KEY", store.key.as_str()), ("AZURE_STORAGE_ENDPOINT", &store.endpoint)];
    let fetched = |job: Job| {
        job.environment("AZURE_STORAGE_ENDPOINT", &store.endpoint).secret(&[("AZURE_STORAGE_ACCOUNT_KEY", &store.key)])
    };
    there_and_back(&Desk::new(&environment), "azure://acct/models/uploads", fetched);
    let environment = [("AZURE_STORAGE_KEY", store.key.as_str()), ("AZURE_STORAGE_ENDPOINT", &store.endpoint)];
    let desk = Desk::new(&environment);
    for place in
        ["abfss://models@acct.dfs.core.windows.net/uploads/", "https://acct.blob.core.windows.net/models/uploads"]
    {
        desk.file("model.pkl", place.as_bytes());
        let spec = desk.convert(place, "../model.pkl", None).spec();
        let uri = spec["model"]["uri"].as_str().unwrap();
        fetched(Job::model(uri)).run().has(&[("model.pkl", place.as_bytes())]);
    }
}

#[test]
fn what_is_uploaded_to_a_registry_is_fetched_again() {
    let registry = store::registry();
    let login = STANDARD.encode("reader:S3CR3T");
    let reader = [("username", "reader"), ("password", SECRET)];
    let uploads = |address: &str, repository: &str| format!("oci://{address}/uploads/{repository}");
    there_and_back(&Desk::new(&[]), &uploads(&registry.endpoint, "open"), |job| job);
    for (address, repository) in [(&registry.basic, "basic"), (&registry.token, "token")] {
        let desk = Desk::new(&[]);
        let config = json!({"auths": {address.as_str(): {"auth": login}}});
        desk.file(".docker/config.json", config.to_string().as_bytes());
        there_and_back(&desk, &uploads(address, repository), |job| job.secret(&reader));
    }
}

#[test]
fn a_store_that_takes_nothing_is_told_with_what_to_do() {
    let store = store::locked();
    let of_key = |secret: &'static str, bucket: &str| {
        let desk = Desk::new(&[
            ("AWS_ACCESS_KEY_ID", &store.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_ENDPOINT_URL", &store.endpoint),
            ("AWS_REGION", "us-east-1"),
        ]);
        desk.file("model.pkl", b"pickle");
        desk.convert(&format!("s3://{bucket}/x"), "../model.pkl", None)
    };
    let advice = "check that the bucket is there, and that AWS_ACCESS_KEY_ID";
    of_key("S3CR3T-wrong", "uploads").failed(&["uploading model ", " to s3://uploads/x failed", advice, "403"]);
    let azure = store::azure();
    let desk = Desk::new(&[("AZURE_STORAGE_SAS_TOKEN", &azure.sas), ("AZURE_STORAGE_ENDPOINT", &azure.endpoint)]);
    desk.file("model.pkl", b"pickle");
    desk.convert("azure://acct/models", "../model.pkl", None)
        .failed(&["container \"models\" of account \"acct\"", "403"]);
    let registry = store::registry();
    for address in [&registry.basic, &registry.token] {
        let desk = Desk::new(&[]);
        desk.file("model.pkl", b"pickle");
        let refused = desk.convert(&format!("oci://{address}/uploads/x"), "../model.pkl", None);
        refused.failed(&["you may push to uploads/x: `docker login 127.0.0.1:", "401"]);
    }
    let nowhere = Desk::new(&[]);
    nowhere.file("model.pkl", b"pickle");
    nowhere.convert("oci://127.0.0.1:1/x", "../model.pkl", None).failed(&["127.0.0.1:1 can't be reached"]);
}

#[test]
fn nothing_is_uploaded_of_a_file_that_can_not_be_used() {
    let store = store::open();
    let keys =
        [("AWS_ACCESS_KEY_ID", "any"), ("AWS_SECRET_ACCESS_KEY", "any"), ("AWS_ENDPOINT_URL", store.endpoint.as_str())];
    let desk = Desk::new(&keys);
    desk.file("model/model.pkl", b"pickle");
    desk.file("secret", SECRET.as_bytes());
    symlink(desk.path("secret"), desk.path("model/linked")).unwrap();
    let refused = desk.convert("s3://uploads/refused", "../model", Some("../absent"));
    refused.failed(&["model.path: ", "linked is a link to ", "outside of", "there is no ", "absent on this machine"]);
    let job = Job::model("s3://uploads/refused").secret(&keys);
    job.run().failed(Reason::ArtifactNotFound, &[]);
}
