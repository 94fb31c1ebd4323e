//! Unpacks an archive that lies on disk, whole and verified, into a folder of its own.
//!
//! Nothing in an archive is believed. `name` lets only plain paths below the folder through, `tree` writes files and
//! folders and nothing else, so no symbolic link is ever there that a later entry could be written through, and
//! [`Limits`] end what would fill the disk. Upper and lower case are different names, as Linux has them.

mod meter;
mod name;
pub mod overlay;
mod tar;
mod tree;
mod zip;

use std::error::Error;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder;

use crate::catalogue::Reason;
use crate::fetch::Placed;
use crate::fetch::failure::Failure;
use crate::fetch::unpack::meter::TooLong;
use crate::fetch::unpack::tree::Tree;

/// What can be unpacked, for people.
const KNOWN: &str = "tar, tar.gz, tar.zst and zip";

/// Formats that are told by name when they are refused; source: their own descriptions, as `file` knows them.
const OTHERS: [(&[u8], &str); 6] = [
    (b"\xFD7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"7z\xBC\xAF\x27\x1C", "7z"),
    (b"Rar!\x1A\x07", "rar"),
    (b"LZIP", "lzip"),
    (b"\x04\x22\x4D\x18", "lz4"),
];

/// Bytes that a decompressor reads at once.
const CHUNK: usize = 128 << 10;

/// Largest window of a zstd stream, as a power of two: what zstd itself takes without being asked for more
/// (`ZSTD_WINDOWLOG_LIMIT_DEFAULT`), 128 MiB. All levels up to 19 need 8 MiB.
const LARGEST_WINDOW: u32 = 27;

/// What an archive may at most come to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all files: what the disk has.
    pub bytes: u64,
    /// Entries of any kind; each costs an inode.
    pub entries: u64,
    /// Names in a path.
    pub depth: usize,
    /// How many times as large as the archive its files may be, once they have [`Self::ratio_from`] bytes.
    pub ratio: u64,
    /// Bytes from which on the ratio counts.
    pub ratio_from: u64,
}

impl Limits {
    /// The limits on a disk with `bytes` to spare.
    ///
    /// Weights and text shrink by less than 20 times. Deflate can't do more than 1,032 times (zlib's technical details),
    /// which only one repeated byte comes near to; such files are small unless somebody wants to fill a disk.
    #[must_use]
    pub const fn of_space(bytes: u64) -> Self {
        Self { bytes, entries: 1_000_000, depth: 64, ratio: 1_000, ratio_from: 256 << 20 }
    }
}

/// Unpacks `archive` into the new folder `into` and tells `seen` the bytes that were written since its last call. What
/// the archive is follows from its first bytes; `name` is only for messages. After a failure `into` is not there.
/// Everything is on disk when this returns. Blocks for as long as it takes.
///
/// # Errors
///
/// [`Reason::ArtifactUnpackUnsafe`] when it is no archive of a known format, or an entry leaves the folder or can't be a
/// file in it, [`Reason::ArtifactChecksumMismatch`] when it is damaged or cut off: its own checksums, sizes and marks
/// are not those of its content, [`Reason::ArtifactDiskFull`] when the files need more than [`Limits::bytes`],
/// [`Reason::ArtifactEmpty`] when it holds no file.
pub fn unpack(
    archive: &Path,
    name: &str,
    into: &Path,
    limits: &Limits,
    seen: &mut dyn FnMut(u64),
) -> Result<Placed, Failure> {
    unpack_below(archive, name, "", into, limits, seen)
}

/// As [`unpack`], but only what lies in the folder `below` of a tar archive, and without that folder; of a container's
/// filesystem, where there may be nothing of it. What would remove all of it is the whiteout of everything.
///
/// # Errors
///
/// As [`unpack`], except that what is outside of `below` is not looked at.
pub fn unpack_below(
    archive: &Path,
    name: &str,
    below: &'static str,
    into: &Path,
    limits: &Limits,
    seen: &mut dyn FnMut(u64),
) -> Result<Placed, Failure> {
    DirBuilder::new().mode(0o755).create(into).map_err(|error| Failure::local(error, "make the folder", into))?;
    let placed = unpack_into(archive, below, into, limits, seen);
    if placed.is_err() {
        // The failure says what is wrong; what is left lies in scratch, which the next run empties.
        let _ = fs::remove_dir_all(into);
    }
    placed.map_err(|failure| {
        let act = format!("{name}: {failure}");
        failure.with_act(act)
    })
}

fn unpack_into(
    archive: &Path,
    below: &'static str,
    into: &Path,
    limits: &Limits,
    seen: &mut dyn FnMut(u64),
) -> Result<Placed, Failure> {
    let unreadable = |error| Failure::local(error, "read", archive);
    let mut file = File::open(archive).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let head = head(&mut file).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let mut tree = Tree::new(into, below, *limits, size, seen);
    match Format::of(&head) {
        Some(Format::Tar) => tar::unpack(BufReader::with_capacity(CHUNK, file), &mut tree)?,
        Some(Format::Gzip) => {
            unpack_compressed(MultiGzDecoder::new(BufReader::with_capacity(CHUNK, file)), "gzip", &mut tree)?;
        }
        Some(Format::Zstd) => {
            let mut stream = Decoder::new(file).map_err(|error| damaged(error, "the archive"))?;
            stream.window_log_max(LARGEST_WINDOW).map_err(|error| damaged(error, "the archive"))?;
            unpack_compressed(stream, "zstd", &mut tree)?;
        }
        Some(Format::Zip) if below.is_empty() => zip::unpack(archive, &mut tree)?,
        _ => return Err(unknown(&head)),
    }
    tree.finish()
}

fn unpack_compressed(mut stream: impl Read, how: &str, tree: &mut Tree<'_>) -> Result<(), Failure> {
    let head = head(&mut stream).map_err(|error| damaged(error, "the archive"))?;
    if Format::of(&head) != Some(Format::Tar) {
        let act = format!("it is a file in {how} and no tar archive; {KNOWN} can be unpacked");
        return Err(Failure::new(Reason::ArtifactUnpackUnsafe, act));
    }
    tar::unpack(head.as_slice().chain(stream), tree)
}

/// The first block of `stream`, or all of it when there is less.
fn head(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    stream.take(tar::BLOCK as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Tar,
    Gzip,
    Zstd,
    Zip,
}

impl Format {
    /// Tells the format by the first block.
    ///
    /// Source: RFC 1952 (gzip), RFC 8878 (zstd, where a skippable frame may come first), APPNOTE.TXT 4.3.7 and 4.3.16
    /// (zip, without and with files).
    fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1F, 0x8B, ..] => Some(Self::Gzip),
            [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Some(Self::Zstd),
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Zip),
            head if tar::is_header(head) => Some(Self::Tar),
            _ => None,
        }
    }
}

fn unknown(head: &[u8]) -> Failure {
    let other = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| format!("it is {name}"));
    let what = other.unwrap_or_else(|| "it is no archive".to_owned());
    Failure::new(Reason::ArtifactUnpackUnsafe, format!("{what}; {KNOWN} can be unpacked"))
}

/// A part of the archive, `what`, that can't be read. Its bytes are the store's own, so they are wrong there already:
/// what the archive says of its content is a checksum that does not fit.
fn damaged(error: io::Error, what: &str) -> Failure {
    if error.raw_os_error().is_some() {
        return Failure::local(error, "read", Path::new("the archive"));
    }
    if error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<TooLong>) {
        return Failure::new(Reason::ArtifactUnpackUnsafe, format!("the headers of {what} are too long"))
            .caused_by(error);
    }
    let act = format!("{what} is damaged or cut off");
    Failure::new(Reason::ArtifactChecksumMismatch, act).caused_by(error)
}
