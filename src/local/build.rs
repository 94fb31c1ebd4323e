//! An image from a Dockerfile.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bollard::body_try_stream;
use bollard::query_parameters::BuildImageOptionsBuilder;
use futures::StreamExt;
use hyper::body::Bytes;
use regex::Regex;
use tokio::io::AsyncReadExt;

use super::engine::{self, Engine};

/// Bytes that are sent at once.
const CHUNK: usize = 64 << 10;
/// Lines of the build that an error shows.
const SHOWN: usize = 20;

/// What is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The folder that the Dockerfile may copy from.
    pub context: PathBuf,
    /// The Dockerfile, relative to it.
    pub dockerfile: String,
    /// The name that the image gets.
    pub image: String,
}

/// Builds an image.
///
/// # Errors
/// What the engine said, with the last lines of the build.
pub async fn build(engine: &Engine, order: &Order) -> Result<(), String> {
    let context = order.context.clone();
    let packed = tokio::task::spawn_blocking(move || pack(&context)).await;
    let shown = order.context.display();
    let unreadable = |error: &dyn std::fmt::Display| format!("the build context {shown} can't be read: {error}");
    let file = packed.map_err(|error| unreadable(&error))?.map_err(|error| unreadable(&error))?;
    let file = tokio::fs::File::from_std(file);
    let chunks = futures::stream::try_unfold(file, |mut file| async move {
        let mut chunk = vec![0; CHUNK];
        let read = file.read(&mut chunk).await?;
        chunk.truncate(read);
        Ok::<_, std::io::Error>((read > 0).then(|| (Bytes::from(chunk), file)))
    });
    let options = BuildImageOptionsBuilder::default()
        .dockerfile(&order.dockerfile)
        .t(&order.image)
        .rm(true)
        .forcerm(true)
        .build();
    let mut answers = std::pin::pin!(engine.api.build_image(options, None, Some(body_try_stream(chunks))));
    let mut lines: Vec<String> = Vec::new();
    while let Some(answer) = answers.next().await {
        let failed = |words: &str, lines: &[String]| {
            let last = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default();
            if last.is_empty() { words.to_owned() } else { format!("{words}\n{}", last.join("\n")) }
        };
        match answer {
            Err(error) => return Err(failed(&engine::words(&error), &lines)),
            Ok(info) => {
                if let Some(detail) = info.error_detail {
                    return Err(failed(detail.message.as_deref().unwrap_or("the build failed"), &lines));
                }
                for line in info.stream.iter().flat_map(|text| text.lines()).filter(|line| !line.trim().is_empty()) {
                    tracing::info!("build: {line}");
                    lines.push(line.to_owned());
                }
            }
        }
    }
    Ok(())
}

/// The folder as a tar archive in a file without a name.
fn pack(context: &Path) -> std::io::Result<File> {
    let ignored =
        std::fs::read_to_string(context.join(".dockerignore")).map(|text| Ignored::of(&text)).unwrap_or_default();
    let directory = tempfile()?;
    let mut archive = tar::Builder::new(directory);
    archive.follow_symlinks(false);
    add(&mut archive, context, Path::new(""), &ignored)?;
    let mut file = archive.into_inner()?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// A file that is gone when it is closed.
fn tempfile() -> std::io::Result<File> {
    let name = format!("mooring-build-{}-{:08x}", std::process::id(), getrandom::u32().unwrap_or_default());
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn add(archive: &mut tar::Builder<File>, context: &Path, below: &Path, ignored: &Ignored) -> std::io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(context.join(below))?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = below.join(entry.file_name());
        let is_folder = entry.file_type()?.is_dir();
        let is_ignored = ignored.has(&path.display().to_string());
        if !is_ignored {
            archive.append_path_with_name(entry.path(), &path)?;
        }
        // An exception may be below a folder that is left out.
        if is_folder && (!is_ignored || ignored.has_exceptions) {
            add(archive, context, &path, ignored)?;
        }
    }
    Ok(())
}

/// What `.dockerignore` leaves out (docs.docker.com/build/concepts/context, "Syntax"): the last pattern that fits decides.
#[derive(Debug, Default)]
struct Ignored {
    rules: Vec<(bool, Regex)>,
    has_exceptions: bool,
}

impl Ignored {
    fn of(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rules: Vec<(bool, Regex)> = lines
            .filter_map(|line| {
                let (excepts, pattern) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
                Some((excepts, expression(pattern.trim_matches('/'))?))
            })
            .collect();
        Self { has_exceptions: rules.iter().any(|(excepts, _)| *excepts), rules }
    }

    /// The Dockerfile itself and this file are sent in any case, as by the docker command.
    fn has(&self, path: &str) -> bool {
        if matches!(path, "Dockerfile" | ".dockerignore") {
            return false;
        }
        self.rules.iter().rev().find(|(_, rule)| rule.is_match(path)).is_some_and(|(excepts, _)| !excepts)
    }
}

/// A pattern of Go's `filepath.Match`, with `**` for any folders; what is below a match matches too.
fn expression(pattern: &str) -> Option<Regex> {
    let mut out = String::from("^");
    let mut rest = pattern.strip_prefix("./").unwrap_or(pattern);
    if rest.is_empty() {
        return None;
    }
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**/") {
            out.push_str("(.*/)?");
            rest = after;
            continue;
        }
        if let Some(after) = rest.strip_prefix("**") {
            out.push_str(".*");
            rest = after;
            continue;
        }
        match first {
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' | ']' | '-' => out.push(first),
            other => out.push_str(&regex::escape(&other.to_string())),
        }
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    out.push_str("(/.*)?$");
    Regex::new(&out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_left_out_and_exceptions_are_not() {
        let ignored = Ignored::of("# comment\n*.log\n**/__pycache__\n/data/\n!data/keep.txt\n");
        for path in ["a.log", "x/__pycache__", "__pycache__/a.pyc", "data", "data/big.bin"] {
            assert!(ignored.has(path), "{path}");
        }
        for path in ["score.py", "x/a.log", "data/keep.txt", "Dockerfile", "database"] {
            assert!(!ignored.has(path), "{path}");
        }
    }

    #[test]
    fn a_folder_is_packed_without_what_is_ignored() {
        let context = tempfile::tempdir().unwrap();
        for (path, text) in [("Dockerfile", "FROM scratch"), (".dockerignore", "big"), ("src/a", "1"), ("big/b", "2")] {
            let path = context.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut archive = tar::Archive::new(pack(context.path()).unwrap());
        let entries = archive.entries().unwrap();
        let mut names: Vec<String> = entries.map(|it| it.unwrap().path().unwrap().display().to_string()).collect();
        names.sort_unstable();
        assert_eq!(names, [".dockerignore", "Dockerfile", "src", "src/a"]);
    }
}
