//! What every store of the tests has, and the table of what is asked of each: an object, a prefix and every kind of
//! archive, by who may, for what is not there, by who may not, and with wrong credentials.

use mooring_operator::catalogue::Reason;

use crate::program::Job;
use crate::web::Web;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Object,
    Prefix,
    /// One with this ending, to be unpacked.
    Archive(&'static str),
}

/// How it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Rightly,
    /// With a right to what is not there.
    Missing,
    /// By somebody who is known and may not.
    Forbidden,
    /// With credentials that the store does not know.
    Unknown,
}

/// Paths below a directory, each with its content.
pub type Files = Vec<(String, Vec<u8>)>;

/// The kinds of archives.
pub const ARCHIVES: [&str; 4] = ["tar", "tar.gz", "tar.zst", "zip"];

impl What {
    /// Its path in a store that knows paths.
    pub fn path(self, how: How) -> String {
        let name = if how == How::Missing { "absent" } else { "model" };
        match self {
            Self::Object => format!("iris/{name}/MLmodel"),
            Self::Prefix => format!("iris/{name}/"),
            Self::Archive(kind) => format!("iris/{name}.{kind}"),
        }
    }

    /// What lies in the directory once it was fetched from such a store.
    pub fn files(self) -> Files {
        match self {
            Self::Object => vec![("MLmodel".into(), b"flavors: {}\n".to_vec())],
            Self::Prefix => iris("model/"),
            Self::Archive(_) => packed(),
        }
    }
}

/// The model of the stores, as it lies below `folder`.
pub fn iris(folder: &str) -> Files {
    let files: [(&str, Vec<u8>); 6] = [
        ("model.pkl", b"pickle".repeat(1000)),
        ("MLmodel", b"flavors: {}\n".to_vec()),
        ("empty.txt", Vec::new()),
        ("sub/folder/weights.bin", (0..=255).cycle().take(256 * 64).collect()),
        ("a b+c%20d.txt", b"space, plus, percent\n".to_vec()),
        ("ünï.txt", b"not ASCII\n".to_vec()),
    ];
    files.into_iter().map(|(path, bytes)| (format!("{folder}{path}"), bytes)).collect()
}

/// What every archive of the stores holds.
pub fn packed() -> Files {
    let files: [(&str, Vec<u8>); 3] = [
        ("MLmodel", b"flavors: {}\n".to_vec()),
        ("sub/empty.txt", Vec::new()),
        ("sub/folder/weights.bin", (0..=255).cycle().take(256 * 64).collect()),
    ];
    files.into_iter().map(|(path, bytes)| (path.to_owned(), bytes)).collect()
}

/// Asks for each of `whats` in each way. What is there arrives as `files`, and the rest is told by its reason, of which
/// that of a prefix that nothing is below is `hollow`.
pub fn ask(whats: &[What], hollow: Reason, files: impl Fn(What) -> Files, job: impl Fn(What, How) -> Job) {
    let archives = ARCHIVES.map(What::Archive);
    for what in whats.iter().copied().chain(archives) {
        for how in [How::Rightly, How::Missing, How::Forbidden, How::Unknown] {
            println!("{what:?} {how:?}");
            let job = job(what, how);
            let ended = if matches!(what, What::Archive(_)) { job.unpacked().run() } else { job.run() };
            let reason = match how {
                How::Rightly => {
                    ended.has_files(&files(what));
                    continue;
                }
                How::Missing if what == What::Prefix => hollow,
                How::Missing => Reason::ArtifactNotFound,
                How::Forbidden => Reason::ArtifactForbidden,
                How::Unknown => Reason::ArtifactUnauthenticated,
            };
            ended.failed(reason, &[]);
            assert!(ended.files().is_empty(), "{:?}", ended.files().keys());
        }
    }
}

/// Asks a store for each of `uris` that answers every request with one of `codes`: a status, its own code, and the reason
/// that this means. The store's words are `My words`.
pub fn refuse(
    codes: &[(&'static str, &'static str, Reason)],
    uris: [&str; 2],
    answer: fn(&str, &str) -> Vec<u8>,
    job: fn(&Web, &str) -> Job,
) {
    for &(status, code, reason) in codes {
        let web = Web::answering(move |_, _| answer(status, code));
        for uri in uris {
            let ended = job(&web, uri).run();
            ended.failed(reason, &[code, "My words"]).with_answer(status[..3].parse().unwrap(), Some(code));
        }
    }
}
