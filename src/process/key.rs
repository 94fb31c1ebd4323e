//! Keys that callers prove themselves with.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Random bytes of a key.
const BYTES: usize = 32;

/// A new key: 43 letters of base64 without padding, safe in a URL and in a header.
///
/// # Errors
/// When the system gives no random bytes.
pub fn fresh() -> Result<String, getrandom::Error> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_like_another() {
        let (one, other) = (fresh().unwrap(), fresh().unwrap());
        assert_eq!((one.len(), other.len()), (43, 43));
        assert_ne!(one, other);
    }
}
