//! Whether the bytes that arrived are the right ones.

use sha2::{Digest, Sha256};

use crate::catalogue::Reason;
use crate::fetch::failure::{Failure, Retry};

/// Sees every byte of one object and judges them at the end.
#[derive(Debug)]
pub struct Verifier {
    length: Option<u64>,
    sha256: Option<(Sha256, String)>,
    seen: u64,
}

impl Verifier {
    /// Expects `length` bytes and the digest `sha256` (hexadecimal), each when given.
    #[must_use]
    pub fn new(length: Option<u64>, sha256: Option<&str>) -> Self {
        Self { length, sha256: sha256.map(|expected| (Sha256::new(), expected.to_ascii_lowercase())), seen: 0 }
    }

    /// Sees the next bytes.
    pub fn see(&mut self, bytes: &[u8]) {
        self.seen += bytes.len() as u64;
        if let Some((digest, _)) = &mut self.sha256 {
            digest.update(bytes);
        }
    }

    /// Bytes seen so far.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// Judges `object` after its last byte.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactStoreError`] when the length is not the store's own, [`Reason::ArtifactChecksumMismatch`]
    /// when the digest is another.
    pub fn judge(self, object: &str) -> Result<(), Failure> {
        if let Some(length) = self.length.filter(|length| *length != self.seen) {
            let act = format!("{object} has {length} bytes by the store's own account, but {} arrived", self.seen);
            return Err(Failure::new(Reason::ArtifactStoreError, act).with_retry(Retry::Soon));
        }
        let Some((digest, expected)) = self.sha256 else { return Ok(()) };
        let found = hexadecimal(&digest.finalize());
        if found == expected {
            return Ok(());
        }
        let act = format!("{object} has the SHA-256 {found}, but {expected} is expected");
        Err(Failure::new(Reason::ArtifactChecksumMismatch, act))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";

    fn judged(length: Option<u64>, sha256: Option<&str>, bytes: &[u8]) -> Result<(), Failure> {
        let mut verifier = Verifier::new(length, sha256);
        bytes.chunks(2).for_each(|chunk| verifier.see(chunk));
        verifier.judge("the object")
    }

    #[test]
    fn the_right_bytes_pass() {
        judged(Some(3), Some(ABC), b"abc").unwrap();
        judged(None, None, b"").unwrap();
    }

    #[test]
    fn one_wrong_bit_is_found() {
        assert_eq!(judged(Some(3), Some(ABC), b"abb").unwrap_err().reason, Reason::ArtifactChecksumMismatch);
    }

    #[test]
    fn another_length_than_the_stores_is_found() {
        assert_eq!(judged(Some(4), None, b"abc").unwrap_err().reason, Reason::ArtifactStoreError);
        assert_eq!(judged(Some(2), None, b"abc").unwrap_err().reason, Reason::ArtifactStoreError);
    }
}
