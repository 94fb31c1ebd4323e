//! The disk that files are written to.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, OFlags, StatVfs, fallocate, statvfs};
use rustix::io::Errno;

use crate::api::size::size;
use crate::catalogue::Reason;
use crate::fetch::failure::Failure;

/// Looks that `needed` more bytes fit below `folder`, before the first of them is asked for.
///
/// # Errors
///
/// [`Reason::ArtifactDiskFull`] when they don't.
pub fn has_room(folder: &Path, needed: u64) -> Result<(), Failure> {
    fits(folder, needed, free(folder)?, "left")
}

/// Bytes that may still be written below `folder`.
///
/// # Errors
///
/// When the system does not tell.
pub fn free(folder: &Path) -> Result<u64, Failure> {
    let told = look(folder)?;
    Ok(told.f_bavail.saturating_mul(told.f_frsize))
}

/// Looks that `bytes` fit below `folder` if all else goes: of a size that is a lie, not even the chunks are counted.
///
/// # Errors
///
/// [`Reason::ArtifactDiskFull`] when they don't.
pub fn is_large_enough(folder: &Path, bytes: u64) -> Result<(), Failure> {
    let told = look(folder)?;
    fits(folder, bytes, told.f_blocks.saturating_mul(told.f_frsize), "in all")
}

fn look(folder: &Path) -> Result<StatVfs, Failure> {
    statvfs(folder).map_err(|error| Failure::local(error.into(), "look at the disk of", folder))
}

fn fits(folder: &Path, needed: u64, there: u64, which: &str) -> Result<(), Failure> {
    if needed <= there {
        return Ok(());
    }
    let act = format!("{} are needed in {}, but its disk has {} {which}", size(needed), folder.display(), size(there));
    Err(Failure::new(Reason::ArtifactDiskFull, act))
}

/// Opens the file at `path`, made when it is new, with room for `length` bytes.
///
/// # Errors
///
/// When it can't be opened or the disk is too small.
pub fn open(path: &Path, length: u64) -> io::Result<File> {
    // A link is nothing that we have made.
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let file = options.open(path)?;
    if length > 0 {
        let taken = fallocate(&file, FallocateFlags::empty(), 0, length);
        // Where a filesystem does not know it, the room is taken as the bytes come.
        if let Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO)) = taken {
            return Err(error.into());
        }
    }
    file.set_len(length)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_known_before() {
        let folder = tempfile::tempdir().unwrap();
        has_room(folder.path(), 1).unwrap();
        let failure = has_room(folder.path(), u64::MAX).unwrap_err();
        assert_eq!(failure.reason, Reason::ArtifactDiskFull);
        assert!(failure.to_string().contains("are needed in"), "{failure}");
    }
}
