//! Zip archives: stored and deflated files, also larger than 4 GiB.
//!
//! The directory at the end of the archive is read twice, an entry at a time, so that memory does not grow with it: once
//! to look at all of it before the first byte is written, and once to unpack.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use ::zip::CompressionMethod;
use ::zip::read::{ArchiveOffset, Config, ZipFileEntry, ZipReadOptions};
use ::zip::result::ZipError;
use ::zip::unstable::read::ZipIterable;

use crate::catalogue::Reason;
use crate::fetch::failure::Failure;
use crate::fetch::unpack::damaged;
use crate::fetch::unpack::name::{self, LONGEST_PATH, refused, shown};
use crate::fetch::unpack::tree::{Tree, is_target};

/// Bytes of the file that are read at once; there is a seek for each entry, after which they are read anew.
const CHUNK: usize = 32 << 10;

/// Shortest header in front of a file, without its name, in bytes; source: APPNOTE.TXT 4.3.7.
const SHORTEST_HEADER: u64 = 30;

/// Kinds of files in the mode of Unix; source: `sys/stat.h`.
const KIND: u32 = 0o170_000;
const IS_FILE: u32 = 0o100_000;
const IS_FOLDER: u32 = 0o040_000;
const IS_LINK: u32 = 0o120_000;

/// Unpacks the zip archive `archive` into `tree`.
///
/// # Errors
///
/// When the archive can't be read, contradicts itself, or an entry can't be placed.
pub fn unpack(archive: &Path, tree: &mut Tree<'_>) -> Result<(), Failure> {
    let open = || {
        let file = File::open(archive).map_err(|error| Failure::local(error, "read", archive))?;
        Ok(BufReader::with_capacity(CHUNK, file))
    };
    // The archive begins with the file, by its first bytes; what another program may find inside it is not meant.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut directory = ZipIterable::try_new(open()?, config)
        .map_err(|error| unreadable(error, "the directory of the archive"))?
        .enforce_header_consistency(true);
    look(&mut directory, tree)?;
    directory = directory.enforce_header_consistency(false);
    let mut files = directory
        .files_with_reader(open()?, ZipReadOptions::new())
        .map_err(|error| unreadable(error, "the directory of the archive"))?;
    while let Some(file) = files.next() {
        let mut file = file.map_err(|error| unreadable(error, "an entry"))?;
        let name = name_of(&file.entry())?;
        let path = tree.place(&name)?;
        let (size, mode) = (file.size(), file.unix_mode().unwrap_or_default());
        match mode & KIND {
            IS_LINK => {
                let target = text(&mut file, &name)?;
                let target = name::link_target(&name, &path, &target)?;
                tree.link(&name, path, target)?;
            }
            kind if kind == IS_FOLDER || name.ends_with(b"/") => tree.folder(&name, &path)?,
            _ => tree.file(&name, &path, mode & 0o100 != 0, size, &mut file)?,
        }
    }
    Ok(())
}

/// Looks at every entry before the first is unpacked.
fn look(directory: &mut ZipIterable<BufReader<File>>, tree: &Tree<'_>) -> Result<(), Failure> {
    tree.count(directory.len() as u64)?;
    let (mut spans, mut end) = (Vec::with_capacity(directory.len()), u64::MAX);
    let (mut size, mut last) = (0_u64, "the first entry".to_owned());
    let entries = directory.files().map_err(|error| unreadable(error, "the directory of the archive"))?;
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(error, &last))?;
        let name = name_of(&entry)?;
        last = format!("what follows the entry {} in the directory", shown(&name));
        if let Some(why) = unfit(&entry, &name) {
            return Err(refused(&name, &why));
        }
        size = size.saturating_add(entry.size());
        tree.reserve(size)?;
        // Without the extra fields of the header, which only the header itself tells.
        let header = SHORTEST_HEADER + entry.name_raw().len() as u64;
        let begin = entry.header_start();
        spans.push((begin, begin.saturating_add(header).saturating_add(entry.compressed_size())));
        end = end.min(entry.central_header_start());
    }
    spans.sort_unstable();
    // Many entries over one piece of data are the bomb that needs no nesting: D. Fifield, "A better zip bomb", 2019.
    let share = spans.iter().zip(spans.iter().skip(1)).any(|(one, next)| one.1 > next.0);
    if share || spans.last().is_some_and(|last| last.1 > end) {
        let act = "it has entries that lie over each other or over its directory";
        return Err(Failure::new(Reason::ArtifactUnpackUnsafe, act));
    }
    Ok(())
}

/// Why `entry` can't be unpacked, whatever its path is.
fn unfit(entry: &ZipFileEntry<'_>, name: &[u8]) -> Option<String> {
    let is_folder = name.ends_with(b"/");
    let kind = entry.unix_mode().unwrap_or_default() & KIND;
    if entry.encrypted() {
        return Some("is encrypted".to_owned());
    }
    if name.contains(&b'\\') {
        return Some("has a backslash in its path; pack it with / between the names".to_owned());
    }
    match entry.compression() {
        CompressionMethod::Stored if entry.size() != entry.compressed_size() => {
            Some("is stored as it is, but in another size".to_owned())
        }
        CompressionMethod::Stored | CompressionMethod::Deflated => match kind {
            0 | IS_FILE | IS_FOLDER if (is_folder || kind == IS_FOLDER) && entry.size() > 0 => {
                Some("is a folder with content".to_owned())
            }
            0 | IS_FILE | IS_FOLDER => None,
            IS_LINK if !is_folder => None,
            _ => Some(format!("has the mode {kind:o}, which is none of a file, folder or link")),
        },
        other => Some(format!("is packed by the method {other:?}; only stored and deflated files can be unpacked")),
    }
}

/// The name of `entry`, which old archives have in the code page 437.
fn name_of(entry: &ZipFileEntry<'_>) -> Result<Vec<u8>, Failure> {
    let name = entry.name().map_err(|error| unreadable(error, "the name of an entry"))?;
    Ok(name.into_owned().into_bytes())
}

/// The target of the link `name`, which is its content.
fn text(file: &mut impl Read, name: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut target = Vec::new();
    file.take(LONGEST_PATH as u64 + 1)
        .read_to_end(&mut target)
        .map_err(|error| damaged(error, &format!("the entry {}", shown(name))))?;
    if is_target(&target) { Ok(target) } else { Err(refused(name, "is a link to nothing")) }
}

fn unreadable(error: ZipError, what: &str) -> Failure {
    match error {
        ZipError::Io(error) => damaged(error, what),
        ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) => {
            Failure::new(Reason::ArtifactUnpackUnsafe, format!("{what} can't be unpacked")).caused_by(error)
        }
        // Two places of the archive say different things: damaged, or made for programs that look at one only.
        error => {
            Failure::new(Reason::ArtifactChecksumMismatch, format!("{what} is damaged or cut off")).caused_by(error)
        }
    }
}
