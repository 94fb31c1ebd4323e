//! Runs mooring-fetch on one artifact and looks at all that it leaves.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mooring_operator::api::artifact::{
    Artifact, ArtifactKind, ArtifactPlan, ArtifactReport, CachePlace, Delivery, FolderPlacement, MAX_REPORT_BYTES,
    Outcome, PLAN_VARIABLE, VERSION,
};
use mooring_operator::catalogue::Reason;
use tempfile::TempDir;

/// In every planted secret; must never come out.
pub const SECRET: &str = "S3CR3T";

/// One artifact to fetch into a directory of its own.
pub struct Job {
    root: TempDir,
    artifact: Artifact,
    environment: BTreeMap<&'static str, String>,
    arguments: Vec<&'static str>,
    secrets: Vec<String>,
    cache: Option<CachePlace>,
}

/// What a run left.
pub struct Ended {
    pub code: i32,
    pub report: ArtifactReport,
    pub log: String,
    pub directory: PathBuf,
    pub scratch: PathBuf,
    _root: TempDir,
}

impl Job {
    /// Fetches the model at `uri`.
    pub fn model(uri: impl Into<String>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("target").display().to_string();
        let scratch = Some(root.path().join("scratch").display().to_string());
        let artifact = Artifact {
            kind: ArtifactKind::Model,
            uri: uri.into(),
            delivery: Delivery::Download { directory, folder: FolderPlacement::SubFolder, scratch },
            sha256: None,
            unpack: false,
            credentials_directory: None,
            required_file: None,
        };
        // Patient enough for a slow machine, impatient enough for a test.
        let arguments = vec!["--attempts", "2", "--stall-seconds", "5"];
        Self { root, artifact, environment: BTreeMap::new(), arguments, secrets: vec![SECRET.into()], cache: None }
    }

    /// Fetches the code at `uri`, which lies directly in the directory and must have `script`.
    pub fn code(uri: impl Into<String>, script: &str) -> Self {
        let mut job = Self::model(uri);
        job.artifact.kind = ArtifactKind::Code;
        job.artifact.required_file = Some(script.into());
        if let Delivery::Download { folder, .. } = &mut job.artifact.delivery {
            *folder = FolderPlacement::Direct;
        }
        job
    }

    /// Only looks at `path`.
    pub fn mounted(path: &Path) -> Self {
        let mut job = Self::model("pvc://claim/model");
        job.artifact.delivery = Delivery::Mounted { path: path.display().to_string() };
        job
    }

    /// Files on their way lie in the directory itself.
    pub fn without_scratch(mut self) -> Self {
        if let Delivery::Download { scratch, .. } = &mut self.artifact.delivery {
            *scratch = None;
        }
        self
    }

    /// Where files on their way lie.
    pub fn scratch(&self) -> PathBuf {
        self.root.path().join("scratch")
    }

    pub fn required(mut self, file: &str) -> Self {
        self.artifact.required_file = Some(file.into());
        self
    }

    /// The artifact is an archive.
    pub fn unpacked(mut self) -> Self {
        self.artifact.unpack = true;
        self
    }

    /// Goes through the cache in `directory`, which may hold so many bytes.
    pub fn through(mut self, directory: &Path, max_bytes: Option<u64>) -> Self {
        self.cache = Some(CachePlace { directory: directory.display().to_string(), max_bytes });
        self
    }

    /// Asks for the same by another uri.
    pub fn by(mut self, uri: impl Into<String>) -> Self {
        self.artifact.uri = uri.into();
        self
    }

    pub fn sha256(mut self, digest: &str) -> Self {
        self.artifact.sha256 = Some(digest.into());
        self
    }

    /// Mounts a Secret with these keys.
    pub fn secret(mut self, keys: &[(&str, &str)]) -> Self {
        let folder = self.root.path().join("credentials");
        fs::create_dir(&folder).unwrap();
        for (name, value) in keys {
            fs::write(folder.join(name), format!("{value}\n")).unwrap();
        }
        self.artifact.credentials_directory = Some(folder.display().to_string());
        self
    }

    /// Says that `value` must not come out either.
    pub fn hiding(mut self, value: &str) -> Self {
        self.secrets.push(value.into());
        self
    }

    pub fn environment(mut self, name: &'static str, value: &str) -> Self {
        self.environment.insert(name, value.into());
        self
    }

    /// Trusts the authority with this certificate, and no other.
    pub fn trusting(self, certificate: &str) -> Self {
        let file = self.root.path().join("authority.pem");
        fs::write(&file, certificate).unwrap();
        self.environment("SSL_CERT_FILE", file.to_str().unwrap())
    }

    pub fn arguments(mut self, arguments: &[&'static str]) -> Self {
        self.arguments = arguments.to_vec();
        self
    }

    /// The directory of the artifact.
    pub fn directory(&self) -> PathBuf {
        self.root.path().join("target")
    }

    pub fn run(self) -> Ended {
        let (code, report, log) = self.run_once(&[env!("CARGO_BIN_EXE_mooring-fetch")]);
        Ended { code, report, log, directory: self.directory(), scratch: self.scratch(), _root: self.root }
    }

    pub fn run_twice(self) -> Ended {
        self.run_once(&[env!("CARGO_BIN_EXE_mooring-fetch")]);
        self.run()
    }

    /// Runs the program where the directory has only `kibibytes` of room: on a filesystem of its own.
    pub fn run_with_room_for(self, kibibytes: u32) -> Ended {
        let directory = self.directory();
        fs::create_dir(&directory).unwrap();
        let mount = format!("mount -t tmpfs -o size={kibibytes}k none '{}' && exec \"$@\"", directory.display());
        let program = env!("CARGO_BIN_EXE_mooring-fetch");
        let command = ["unshare", "--map-root-user", "--mount", "sh", "-c", &mount, "sh", program];
        let (code, report, log) = self.run_once(&command);
        Ended { code, report, log, directory, scratch: self.scratch(), _root: self.root }
    }

    /// Starts the program and kills it when `is_time`, as the kernel does when memory is short. Whether it came to that.
    pub fn run_until(&self, is_time: impl Fn() -> bool) -> bool {
        let mut process = self
            .command(&[env!("CARGO_BIN_EXE_mooring-fetch")])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !is_time() {
            if process.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        process.kill().unwrap();
        process.wait().unwrap();
        true
    }

    /// Starts the program and hands over its log.
    pub fn start(&self) -> (Child, impl Iterator<Item = String> + use<>) {
        let mut command = self.command(&[env!("CARGO_BIN_EXE_mooring-fetch")]);
        let mut process = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        (process, log.lines().map(Result::unwrap))
    }

    /// Runs it, so that it can run again.
    pub fn run_here(&self) -> (i32, ArtifactReport, String) {
        self.run_once(&[env!("CARGO_BIN_EXE_mooring-fetch")])
    }

    fn command(&self, command: &[&str]) -> Command {
        let plan = ArtifactPlan { version: VERSION, artifacts: vec![self.artifact.clone()], cache: self.cache.clone() };
        let (program, before) = command.split_first().unwrap();
        let mut command = Command::new(program);
        command
            .args(before)
            .args(&self.arguments)
            // The most talkative log, so that a secret has every chance to come out.
            .args(["--log", "trace", "--termination-log"])
            .arg(self.root.path().join("termination-log"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env(PLAN_VARIABLE, serde_json::to_string(&plan).unwrap())
            .envs(&self.environment);
        command
    }

    fn run_once(&self, command: &[&str]) -> (i32, ArtifactReport, String) {
        let termination_log = self.root.path().join("termination-log");
        let output = self.command(command).output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(output.stdout.is_empty(), "standard output is for data");
        let json = fs::read_to_string(&termination_log).unwrap_or_else(|error| panic!("no report: {error}\n{log}"));
        assert!(json.len() <= MAX_REPORT_BYTES);
        for secret in &self.secrets {
            assert!(!log.contains(secret), "the log shows a secret:\n{log}");
            assert!(!json.contains(secret), "the report shows a secret: {json}");
        }
        (output.status.code().unwrap(), serde_json::from_str(&json).unwrap(), log)
    }
}

impl Ended {
    /// Everything is in place, and nothing else.
    pub fn has(&self, files: &[(&str, &[u8])]) {
        assert_eq!(self.report.outcome, Outcome::Succeeded, "{}", self.log);
        assert_eq!(self.code, 0);
        let wanted: BTreeMap<String, Vec<u8>> =
            files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
        let found = self.files();
        assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
        assert!(found == wanted, "a file has other bytes");
        assert_eq!(self.report.files, wanted.len() as u64);
        assert_eq!(self.report.bytes, wanted.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    }

    /// As [`Ended::has`].
    pub fn has_files(&self, files: &[(String, Vec<u8>)]) {
        let borrowed: Vec<(&str, &[u8])> =
            files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
        self.has(&borrowed);
    }

    /// It failed for `reason`, left nothing behind, and the detail says `words`.
    pub fn failed(&self, reason: Reason, words: &[&str]) -> &Self {
        assert_eq!(self.report.outcome, Outcome::Failed, "{}", self.log);
        assert_eq!(self.report.reason, Some(reason), "{}", self.report.detail);
        assert_eq!(self.code, 13);
        for word in words {
            assert!(self.report.detail.contains(word), "{:?} does not say {word:?}", self.report.detail);
        }
        assert!(self.log.contains(reason.as_str()) && self.log.contains(reason.next_step()), "{}", self.log);
        assert!(!self.files().keys().any(|path| path.contains("partial")), "a part of a file is left");
        self
    }

    /// The store's status and own code are in the report.
    pub fn with_answer(&self, status: u16, provider_code: Option<&str>) -> &Self {
        assert_eq!(self.report.http_status, Some(status));
        assert_eq!(self.report.provider_code.as_deref(), provider_code);
        self
    }

    /// The most memory that it had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let (_, rest) = self.log.split_once("peak memory: ").expect("it says how much memory it had");
        rest.split(' ').next().unwrap().parse::<u64>().unwrap() * 1024
    }

    /// How often the log says `words`.
    pub fn log_says(&self, words: &str) -> usize {
        self.log.matches(words).count()
    }

    /// Every file below the directory.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        fn walk(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(root, &path, files);
                } else {
                    let name = path.strip_prefix(root).unwrap().display().to_string();
                    files.insert(name, fs::read(&path).unwrap());
                }
            }
        }
        let mut files = BTreeMap::new();
        walk(&self.directory, &self.directory, &mut files);
        files
    }
}

mod tests {
    use super::*;
    use crate::web::{Answer, Web};

    fn program(arguments: &[&str]) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_mooring-fetch")).args(arguments).env_remove(PLAN_VARIABLE).output().unwrap()
    }

    #[test]
    fn help_shows_an_example() {
        let output = program(&["--help"]);
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("mooring-fetch --plan -"));
    }

    #[test]
    fn no_plan_is_a_usage_error() {
        assert_eq!(program(&[]).status.code(), Some(2));
    }

    #[test]
    fn an_unreadable_plan_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let (plan, log) = (folder.path().join("plan"), folder.path().join("log"));
        fs::write(&plan, "{}").unwrap();
        let arguments = ["--plan", plan.to_str().unwrap(), "--termination-log", log.to_str().unwrap()];
        assert_eq!(program(&arguments).status.code(), Some(2));
        let report: ArtifactReport = serde_json::from_str(&fs::read_to_string(log).unwrap()).unwrap();
        assert_eq!(report.outcome, Outcome::Failed);
        assert!(report.detail.contains("missing field"), "{}", report.detail);
    }

    #[test]
    fn a_plan_that_is_not_there_is_named() {
        let output = program(&["--plan", "/absent/plan"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8(output.stderr).unwrap().contains("/absent/plan"));
    }

    #[test]
    fn sigterm_ends_it_without_blaming_anything() {
        let web = Web::start(|_, _| Answer::Stall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nmod".to_vec()));
        let job = Job::model(web.url("/model.bin"));
        let plan = ArtifactPlan { version: VERSION, artifacts: vec![job.artifact.clone()], cache: None };
        let log = job.root.path().join("log");
        let mut process = Command::new(env!("CARGO_BIN_EXE_mooring-fetch"))
            .arg("--termination-log")
            .arg(&log)
            .env(PLAN_VARIABLE, serde_json::to_string(&plan).unwrap())
            .spawn()
            .unwrap();
        // It is in the middle of its work once it has asked for the object.
        while web.requests().is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let kill = Command::new("kill").arg(process.id().to_string()).status().unwrap();
        assert!(kill.success());
        assert_eq!(process.wait().unwrap().code(), Some(143));
        assert!(!log.exists());
    }

    #[test]
    fn an_uri_that_nothing_can_fetch_is_told_what_can_be() {
        for uri in ["ftp://host/file", "models", "gopher://host/file"] {
            Job::model(uri).run().failed(Reason::ArtifactUriInvalid, &["http://", "s3://"]);
        }
    }

    #[test]
    fn a_credentials_folder_that_is_not_there_is_named() {
        let mut job = Job::model("https://127.0.0.1:1/model.bin");
        job.artifact.credentials_directory = Some("/absent/credentials".into());
        job.run().failed(Reason::ArtifactCredentialsMissing, &["/absent/credentials"]);
    }

    #[test]
    fn a_directory_that_can_not_be_written_is_named() {
        let job = Job::model(format!("{}/model.bin", crate::store::tls().endpoint));
        fs::write(job.directory(), "a file is here").unwrap();
        job.run().failed(Reason::ArtifactVolumeUnavailable, &["target"]);
    }

    #[test]
    fn the_first_artifact_that_fails_ends_the_plan() {
        let first = Job::mounted(Path::new("/absent/model"));
        let second = Job::model("ftp://host/file");
        let plan = ArtifactPlan {
            version: VERSION,
            artifacts: vec![first.artifact.clone(), second.artifact.clone()],
            cache: None,
        };
        let folder = tempfile::tempdir().unwrap();
        let (file, log) = (folder.path().join("plan"), folder.path().join("log"));
        fs::write(&file, serde_json::to_string(&plan).unwrap()).unwrap();
        let arguments = ["--plan", file.to_str().unwrap(), "--termination-log", log.to_str().unwrap()];
        assert_eq!(program(&arguments).status.code(), Some(13));
        let report: ArtifactReport = serde_json::from_str(&fs::read_to_string(log).unwrap()).unwrap();
        assert_eq!(report.uri.as_deref(), Some("pvc://claim/model"));
        assert_eq!(report.reason, Some(Reason::ArtifactNotFound));
    }
}
