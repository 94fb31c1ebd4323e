//! Tar archives: ustar, GNU and PAX.

use std::io::{self, Read};
use std::path::Path;

use ::tar::{Archive, Entry, EntryType, Header};

use crate::catalogue::Reason;
use crate::fetch::failure::Failure;
use crate::fetch::unpack::damaged;
use crate::fetch::unpack::meter::{Gauge, Meter};
use crate::fetch::unpack::name::{self, refused, shown};
use crate::fetch::unpack::tree::{Tree, is_target};

/// Bytes of a block; all of a tar archive is made of them.
pub const BLOCK: usize = 512;

/// Longest headers of one entry, in bytes, with long names and extended attributes. Linux lets all attributes of a file
/// have 64 KiB (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`), and a path 4 KiB.
const LONGEST_HEADERS: u64 = 1 << 20;

/// Longest end of an archive, in bytes: zeros up to a whole record, which GNU tar makes 10 KiB long, or what `-b` says.
const LONGEST_END: u64 = 16 << 20;

/// Extended headers that say where an entry is and how long; each of them once.
const OF_PLACE: [&[u8]; 3] = [b"path", b"linkpath", b"size"];

/// Whether `block` is the first of a tar archive: a header that adds up, or the mark of the end.
#[must_use]
pub fn is_header(block: &[u8]) -> bool {
    let Ok(bytes) = <&[u8; BLOCK]>::try_from(block) else { return false };
    if is_zero(bytes) {
        return true;
    }
    // The checksum itself counts as eight spaces.
    let sum: u32 =
        bytes.iter().enumerate().map(|(at, byte)| u32::from(if (148..156).contains(&at) { b' ' } else { *byte })).sum();
    Header::from_byte_slice(bytes).cksum().is_ok_and(|checksum| checksum == sum)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Unpacks the tar archive `stream` into `tree`.
///
/// # Errors
///
/// When an entry can't be placed, or the archive can't be read up to its end.
pub fn unpack(stream: impl Read, tree: &mut Tree<'_>) -> Result<(), Failure> {
    let gauge = Gauge::default();
    let mut archive = Archive::new(Meter::new(stream, &gauge));
    let mut where_at = "the archive".to_owned();
    let mut entries = archive.entries().map_err(|error| damaged(error, &where_at))?;
    loop {
        gauge.allow(LONGEST_HEADERS);
        let Some(entry) = entries.next() else { break };
        let entry = entry.map_err(|error| damaged(error, &where_at))?;
        gauge.allow(u64::MAX);
        where_at = format!("what follows the entry {}", shown(&entry.path_bytes()));
        place(entry, tree)?;
    }
    // Without its mark the end may be that of a part.
    if gauge.is_at_end() {
        let act = format!("{where_at} is cut off: the archive ends without its end mark");
        return Err(Failure::new(Reason::ArtifactChecksumMismatch, act));
    }
    gauge.allow(LONGEST_END);
    see_end(&mut archive.into_inner())
}

/// Reads up to the end, which a compressed stream has its checksum behind.
fn see_end(rest: &mut impl Read) -> Result<(), Failure> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match rest.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) if is_zero(buffer.get(..read).unwrap_or_default()) => {}
            // Some programs would read on, others not; a second archive must not be lost unseen.
            Ok(_) => return Err(Failure::new(Reason::ArtifactUnpackUnsafe, "there is more after the archive's end")),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(damaged(error, "the end of the archive")),
        }
    }
}

fn place(mut entry: Entry<'_, impl Read>, tree: &mut Tree<'_>) -> Result<(), Failure> {
    let name = entry.path_bytes().into_owned();
    let kind = entry.header().entry_type();
    let size = entry.size();
    // Such a header is read into memory.
    if kind == EntryType::XGlobalHeader && size > LONGEST_HEADERS {
        return Err(refused(&name, "is a header that is too long"));
    }
    look_at_extensions(&mut entry, &name)?;
    let has_content = matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse);
    if !has_content && kind != EntryType::XGlobalHeader && size > 0 {
        return Err(refused(&name, &format!("is no file but says that it has {size} bytes")));
    }
    if kind == EntryType::XGlobalHeader {
        return Ok(());
    }
    let Some(name) = tree.own(&name) else { return tree.skip() };
    match kind {
        EntryType::Directory => folder(&name, tree),
        // Archives from before 1988 have no other folders.
        EntryType::Regular if name.ends_with(b"/") && size == 0 => folder(&name, tree),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            if name.ends_with(b"/") {
                return Err(refused(&name, "is a file with the name of a folder"));
            }
            let path = tree.place(&name)?;
            let is_executable = entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
            tree.file(&name, &path, is_executable, size, &mut entry)
        }
        EntryType::Link | EntryType::Symlink => {
            let path = tree.place(&name)?;
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            if !is_target(&target) {
                return Err(refused(&name, "is a link to nothing"));
            }
            // A hard link is told from the top of the archive, a symbolic one from where it is, unless that top is the
            // root of a filesystem.
            let is_from_top = kind == EntryType::Link || (tree.is_partial() && target.starts_with(b"/"));
            let seen_from = if is_from_top { Path::new("") } else { &path };
            let inner = if is_from_top { tree.own(&target) } else { Some(target) };
            let inner = inner.ok_or_else(|| refused(&name, "is a link to what is not fetched"))?;
            let target = name::link_target(&name, seen_from, &inner)?;
            tree.link(&name, path, target)
        }
        EntryType::Char | EntryType::Block => Err(refused(&name, "is a device")),
        EntryType::Fifo => Err(refused(&name, "is a named pipe")),
        other => {
            let kind = shown(&[other.as_byte()]);
            Err(refused(&name, &format!("is of the kind {kind}; only files, folders and links can be unpacked")))
        }
    }
}

fn folder(name: &[u8], tree: &mut Tree<'_>) -> Result<(), Failure> {
    let path = tree.place(name)?;
    tree.folder(name, &path)
}

/// Looks at the extended headers, which programs understand differently where they are odd: which of two counts, what
/// one is worth that is in front of all entries, where one ends.
fn look_at_extensions(entry: &mut Entry<'_, impl Read>, name: &[u8]) -> Result<(), Failure> {
    let is_global = entry.header().entry_type() == EntryType::XGlobalHeader;
    let Some(records) = entry.pax_extensions().map_err(|error| damaged(error, "an extended header"))? else {
        return Ok(());
    };
    let (mut found, mut is_torn) = ([false; OF_PLACE.len()], false);
    for record in records {
        let Ok(record) = record else {
            // The value of an attribute may hold any byte, a line feed too, which the reader takes for the record's end.
            is_torn = true;
            continue;
        };
        let key = record.key_bytes();
        if key.starts_with(b"GNU.sparse.") {
            return Err(refused(name, "is sparse in a way that can't be unpacked; pack it without --sparse"));
        }
        let Some(seen) =
            OF_PLACE.iter().zip(&mut found).find_map(|(of_place, seen)| (key == *of_place).then_some(seen))
        else {
            continue;
        };
        let key = String::from_utf8_lossy(key);
        if is_global {
            return Err(refused(name, &format!("gives all entries the same {key}")));
        }
        if std::mem::replace(seen, true) {
            return Err(refused(name, &format!("has two headers {key}")));
        }
        let is_number = record
            .value()
            .is_ok_and(|value| value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<u64>().is_ok());
        if key == "size" && !is_number {
            return Err(refused(name, "has a header size that is no number"));
        }
    }
    let [_, _, has_size] = found;
    if is_torn && has_size {
        return Err(refused(name, "has extended headers that can't be read"));
    }
    Ok(())
}
