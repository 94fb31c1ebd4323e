//! Which chunks of a file are on disk, and what each adds up to: a small file beside it.
//!
//! A record is written after its chunk. When this program is killed, both are kept by the system in that order; when the
//! machine itself stops, any of them may be lost, and the sums tell which chunks are still what they were.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crc_fast::{CrcAlgorithm, Digest, checksum};

use super::chunk;

/// Bytes of a record: the sum and its complement, so that no stray bytes are taken for one.
const RECORD: usize = 16;

/// The sum of a chunk: CRC-64/NVME, which costs next to nothing on today's processors.
#[must_use]
pub fn summer() -> Digest {
    Digest::new(CrcAlgorithm::Crc64Nvme)
}

/// The records of one file.
#[derive(Debug)]
pub struct Parts {
    file: File,
}

impl Parts {
    /// Opens the records at `path`, which may be new, of a file with `count` chunks: the sums of those that are on disk.
    ///
    /// # Errors
    ///
    /// When the file can't be opened or read.
    pub fn open(path: &Path, count: usize) -> io::Result<(Self, Vec<Option<u64>>)> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut records = Vec::new();
        file.read_to_end(&mut records)?;
        let (records, _) = records.as_chunks::<RECORD>();
        let mut sums: Vec<Option<u64>> = records.iter().map(read).collect();
        sums.resize(count, None);
        Ok((Self { file }, sums))
    }

    /// Remembers that chunk `index` is on disk.
    ///
    /// # Errors
    ///
    /// When the record can't be written.
    pub fn mark(&self, index: usize, sum: u64) -> io::Result<()> {
        let mut record = [0; RECORD];
        let (low, high) = record.split_at_mut(RECORD / 2);
        low.copy_from_slice(&sum.to_le_bytes());
        high.copy_from_slice(&(!sum).to_le_bytes());
        self.file.write_all_at(&record, (index * RECORD) as u64)
    }

    /// Forgets all chunks but those of `sums`.
    ///
    /// # Errors
    ///
    /// When the records can't be written.
    pub fn keep(&self, sums: &[Option<u64>]) -> io::Result<()> {
        for (index, _) in sums.iter().enumerate().filter(|(_, sum)| sum.is_none()) {
            // A sum and its complement are never both zero.
            self.file.write_all_at(&[0; RECORD], (index * RECORD) as u64)?;
        }
        Ok(())
    }

    /// Forgets all chunks.
    ///
    /// # Errors
    ///
    /// When the file can't be cut.
    pub fn forget(&self) -> io::Result<()> {
        self.file.set_len(0)
    }
}

fn read(record: &[u8; RECORD]) -> Option<u64> {
    let (low, high) = record.split_at(RECORD / 2);
    let sum = u64::from_le_bytes(low.try_into().ok()?);
    (!sum == u64::from_le_bytes(high.try_into().ok()?)).then_some(sum)
}

/// Forgets the `sums` of chunks that are not in `file` as they were, of `size` bytes.
///
/// # Errors
///
/// When the file can't be read.
pub fn recheck(file: &File, size: u64, sums: &mut [Option<u64>]) -> io::Result<()> {
    let mut buffer = Vec::new();
    for (index, sum) in sums.iter_mut().enumerate() {
        let span = chunk::span(index, size);
        buffer.resize(usize::try_from(span.end - span.start).unwrap_or(usize::MAX), 0);
        let is_there = match (&sum, file.read_exact_at(&mut buffer, span.start)) {
            (None, _) => continue,
            (Some(sum), Ok(())) => checksum(CrcAlgorithm::Crc64Nvme, &buffer) == *sum,
            (Some(_), Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            (Some(_), Err(error)) => return Err(error),
        };
        if !is_there {
            *sum = None;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn records_outlive_their_program_and_half_a_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parts");
        let (parts, sums) = Parts::open(&path, 3).unwrap();
        assert_eq!(sums, [None; 3]);
        parts.mark(2, 7).unwrap();
        parts.mark(0, 0).unwrap();
        let (parts, sums) = Parts::open(&path, 3).unwrap();
        assert_eq!(sums, [Some(0), None, Some(7)]);
        parts.file.write_all_at(&[1; 8], 32).unwrap();
        let (parts, sums) = Parts::open(&path, 4).unwrap();
        assert_eq!(sums, [Some(0), None, None, None]);
        parts.forget().unwrap();
        assert_eq!(Parts::open(&path, 1).unwrap().1, [None]);
    }

    #[test]
    fn a_chunk_that_is_not_what_it_was_is_found() {
        let mut file = tempfile::tempfile().unwrap();
        let size = 2 * chunk::CHUNK + 5;
        let bytes: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        file.write_all(&bytes).unwrap();
        let whole = |range: std::ops::Range<usize>| Some(checksum(CrcAlgorithm::Crc64Nvme, &bytes[range]));
        let chunk = usize::try_from(chunk::CHUNK).unwrap();
        let sums = [whole(0..chunk), whole(chunk..2 * chunk), whole(2 * chunk..bytes.len())];
        let mut seen = sums;
        recheck(&file, size, &mut seen).unwrap();
        assert_eq!(seen, sums);
        file.write_all_at(&[0], chunk::CHUNK + 1).unwrap();
        file.set_len(size - 1).unwrap();
        recheck(&file, size, &mut seen).unwrap();
        assert_eq!(seen, [sums[0], None, None]);
    }
}
