//! What a person hands over: a file, or `-` for standard input.

use std::io::Read;
use std::path::Path;

use super::CliError;

/// The bytes, and the name by which they are spoken of; `flag` is the one that named them.
pub(super) fn read(path: &Path, flag: &'static str) -> Result<(String, Vec<u8>), CliError> {
    let (name, read) = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        ("standard input".to_owned(), std::io::stdin().read_to_end(&mut bytes).map(|_| bytes))
    } else {
        (path.display().to_string(), std::fs::read(path))
    };
    match read {
        Ok(bytes) => Ok((name, bytes)),
        Err(source) => Err(CliError::Read { path: name, flag, source }),
    }
}
