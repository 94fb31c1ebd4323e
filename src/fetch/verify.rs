//! Whether the bytes that arrived are the right ones.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::Md5;
use reqwest::header::{CONTENT_RANGE, HeaderMap};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::catalogue::Reason;
use crate::fetch::failure::{Failure, Retry};

/// What an object must add up to.
#[derive(Clone, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    digest: Vec<u8>,
}

/// How bytes are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-1 of a file of so many bytes as Git names it, with `blob SIZE` and NUL before its content. Not proof against
    /// who wants to deceive, as nothing with SHA-1 is.
    GitBlob(u64),
    /// MD5, as Azure, Google and S3 keep it of objects that came in one piece.
    Md5,
    /// CRC-32C (Castagnoli), as Google keeps it.
    Crc32c,
    /// CRC-32 of zip and gzip.
    Crc32,
    /// CRC-64/NVME, as S3 keeps it by itself.
    Crc64Nvme,
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::GitBlob(_) => "Git object name",
            Self::Md5 => "MD5",
            Self::Crc32c => "CRC-32C",
            Self::Crc32 => "CRC-32",
            Self::Crc64Nvme => "CRC-64/NVME",
        }
    }

    /// Bytes of a digest.
    const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::GitBlob(_) => 20,
            Self::Md5 => 16,
            Self::Crc64Nvme => 8,
            Self::Crc32c | Self::Crc32 => 4,
        }
    }
}

impl Checksum {
    /// A digest in hexadecimal; `None` when it is none of this algorithm.
    #[must_use]
    pub fn from_hexadecimal(algorithm: Algorithm, text: &str) -> Option<Self> {
        let nibble = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
        let digest: Option<Vec<u8>> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| match pair {
                [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
                _ => None,
            })
            .collect();
        Self::of(algorithm, digest?)
    }

    /// A digest in base64, big-endian where it is a number; `None` when it is none of this algorithm.
    #[must_use]
    pub fn from_base64(algorithm: Algorithm, text: &str) -> Option<Self> {
        Self::of(algorithm, STANDARD.decode(text).ok()?)
    }

    fn of(algorithm: Algorithm, digest: Vec<u8>) -> Option<Self> {
        (digest.len() == algorithm.length()).then_some(Self { algorithm, digest })
    }

    /// The MD5 that S3 gives as the entity tag of what was put in one piece; `None` for another kind of tag.
    #[must_use]
    pub fn md5_in_etag(etag: &str) -> Option<Self> {
        Self::from_hexadecimal(Algorithm::Md5, etag.trim_matches('"'))
    }

    /// The digests of the whole object in an answer's headers. In the answer with a part of it many are of that part,
    /// and are left out.
    ///
    /// Source: RFC 9530 (`Repr-Digest`), Google's `x-goog-hash`, Microsoft's `x-ms-blob-content-md5`,
    /// Amazon's `x-amz-checksum-*`, RFC 1864 (`Content-MD5`).
    #[must_use]
    pub fn in_headers(headers: &HeaderMap) -> Vec<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let goog = headers.get_all("x-goog-hash").iter().filter_map(|value| value.to_str().ok());
        let mut found: Vec<Self> = goog
            .flat_map(|value| value.split(','))
            .filter_map(|pair| match pair.trim().split_once('=')? {
                ("crc32c", digest) => Self::from_base64(Algorithm::Crc32c, digest),
                ("md5", digest) => Self::from_base64(Algorithm::Md5, digest),
                _ => None,
            })
            .collect();
        found.extend(text("x-ms-blob-content-md5").and_then(|digest| Self::from_base64(Algorithm::Md5, digest)));
        found.extend(text("repr-digest").into_iter().flat_map(|value| value.split(',')).filter_map(|pair| {
            let digest = pair.trim().strip_prefix("sha-256=:")?.strip_suffix(':')?;
            Self::from_base64(Algorithm::Sha256, digest)
        }));
        if headers.contains_key(CONTENT_RANGE) {
            return found;
        }
        found.extend(
            [
                ("content-md5", Algorithm::Md5),
                ("x-amz-checksum-sha256", Algorithm::Sha256),
                ("x-amz-checksum-crc64nvme", Algorithm::Crc64Nvme),
                ("x-amz-checksum-crc32c", Algorithm::Crc32c),
                ("x-amz-checksum-crc32", Algorithm::Crc32),
            ]
            // One of a composite kind has a number behind it and is no base64.
            .iter()
            .filter_map(|(name, algorithm)| Self::from_base64(*algorithm, text(name)?)),
        );
        found
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.algorithm.name(), hexadecimal(&self.digest))
    }
}

enum Hasher {
    Sha256(Sha256),
    Sha1(Sha1),
    Md5(Md5),
    Crc(crc_fast::Digest),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        let crc = |algorithm| Self::Crc(crc_fast::Digest::new(algorithm));
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::GitBlob(size) => Self::Sha1(Sha1::new_with_prefix(format!("blob {size}\0"))),
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
            Algorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            Algorithm::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
        }
    }

    fn see(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Md5(hasher) => hasher.update(bytes),
            Self::Crc(hasher) => hasher.update(bytes),
        }
    }

    fn end(self, length: usize) -> Vec<u8> {
        match self {
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
            Self::Sha1(hasher) => hasher.finalize().to_vec(),
            Self::Md5(hasher) => hasher.finalize().to_vec(),
            Self::Crc(hasher) => {
                let all = hasher.finalize().to_be_bytes();
                all.split_at_checked(all.len() - length).map_or_else(Vec::new, |(_, low)| low.to_vec())
            }
        }
    }
}

/// Sees every byte of one object, in order, and judges them at the end.
pub struct Verifier {
    expected: Vec<(Checksum, Hasher)>,
}

impl Verifier {
    /// Expects an object that adds up to all of `checksums`.
    #[must_use]
    pub fn new(checksums: &[Checksum]) -> Self {
        let mut expected: Vec<(Checksum, Hasher)> = Vec::new();
        for checksum in checksums {
            if expected.iter().all(|(known, _)| known != checksum) {
                expected.push((checksum.clone(), Hasher::new(checksum.algorithm)));
            }
        }
        Self { expected }
    }

    /// Whether there is anything to look at.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        !self.expected.is_empty()
    }

    /// Sees the next bytes.
    pub fn see(&mut self, bytes: &[u8]) {
        self.expected.iter_mut().for_each(|(_, hasher)| hasher.see(bytes));
    }

    /// Judges `object` after its last byte.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactChecksumMismatch`] when a digest is another.
    pub fn judge(self, object: &str) -> Result<(), Failure> {
        for (checksum, hasher) in self.expected {
            let found = hasher.end(checksum.algorithm.length());
            if found != checksum.digest {
                let (name, found) = (checksum.algorithm.name(), hexadecimal(&found));
                let expected = hexadecimal(&checksum.digest);
                let act = format!("{object} has the {name} {found}, but {expected} is expected");
                // Bits that turned on the way are right the next time.
                return Err(Failure::new(Reason::ArtifactChecksumMismatch, act).with_retry(Retry::Soon));
            }
        }
        Ok(())
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    const SHA256: &str = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";

    /// Known answers for `123456789`, the check value of every CRC; source: the `RevEng` catalogue, and `git hash-object`.
    const NINE: [(Algorithm, &str); 5] = [
        (Algorithm::GitBlob(9), "e2e107ac61ac259b87c544f6e7a4eb03422c6c21"),
        (Algorithm::Crc32c, "e3069283"),
        (Algorithm::Crc32, "cbf43926"),
        (Algorithm::Crc64Nvme, "ae8b14860a799888"),
        (Algorithm::Md5, "25f9e794323b453885f5181f1b624d0b"),
    ];

    fn judged(checksums: &[Checksum], bytes: &[u8]) -> Result<(), Failure> {
        let mut verifier = Verifier::new(checksums);
        bytes.chunks(2).for_each(|chunk| verifier.see(chunk));
        verifier.judge("the object")
    }

    #[test]
    fn the_right_bytes_pass() {
        judged(&[Checksum::from_hexadecimal(Algorithm::Sha256, SHA256).unwrap()], b"abc").unwrap();
        judged(&[], b"").unwrap();
        let all = NINE.map(|(algorithm, digest)| Checksum::from_hexadecimal(algorithm, digest).unwrap());
        judged(&all, b"123456789").unwrap();
    }

    #[test]
    fn one_wrong_bit_is_found_by_each() {
        for (algorithm, digest) in NINE {
            let checksum = Checksum::from_hexadecimal(algorithm, digest).unwrap();
            let failure = judged(&[checksum], b"123456788").unwrap_err();
            assert_eq!(failure.reason, Reason::ArtifactChecksumMismatch);
        }
    }

    #[test]
    fn what_is_no_digest_is_none() {
        assert_eq!(Checksum::from_hexadecimal(Algorithm::Md5, "25f9"), None);
        assert_eq!(Checksum::from_hexadecimal(Algorithm::Crc32, "e306928"), None);
        assert_eq!(Checksum::from_hexadecimal(Algorithm::Crc32, "+3069283"), None);
        assert_eq!(Checksum::md5_in_etag("\"25f9e794323b453885f5181f1b624d0b-12\""), None);
        assert!(Checksum::md5_in_etag("\"25f9e794323b453885f5181f1b624d0b\"").is_some());
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn digests_of_a_part_are_not_taken_for_those_of_the_whole() {
        let whole = [
            ("x-goog-hash", "crc32c=4waSgw==,md5=JfnnlDI7RTiF9RgfG2JNCw=="),
            ("x-amz-checksum-crc32", "y/Q5Jg=="),
            ("x-amz-checksum-crc32c", "4waSgw==-3"),
        ];
        let found = Checksum::in_headers(&headers(&whole));
        assert_eq!(found.len(), 3, "{found:?}");
        judged(&found, b"123456789").unwrap();
        let part = [whole.as_slice(), &[("content-range", "bytes 0-1/9")]].concat();
        assert_eq!(Checksum::in_headers(&headers(&part)).len(), 2);
    }
}
