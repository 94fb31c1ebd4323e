//! What a token says about itself. Unverified: enough to refuse it, never to admit it.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::refused::Refused;

/// Bytes of the longest token that is looked at. Those of service accounts have about one thousand.
const LONGEST: usize = 16 << 10;

/// RFC 7519, section 4.1.
#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "aud")]
    audiences: Option<Audiences>,
    /// Seconds since 1970, perhaps with a fraction.
    #[serde(rename = "exp")]
    expires: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Several(Vec<String>),
}

impl Audiences {
    fn have(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Several(several) => several.iter().any(|one| one == audience),
        }
    }
}

/// When `token` expires by its own claim.
///
/// # Errors
/// When it is no token, is for another audience, or has expired at `now`.
pub fn expiry(token: &[u8], audience: &str, now: SystemTime) -> Result<SystemTime, Refused> {
    let claims = read(token).ok_or(Refused::NoToken)?;
    if !claims.audiences.is_some_and(|audiences| audiences.have(audience)) {
        return Err(Refused::OtherAudience);
    }
    let seconds = claims.expires.ok_or(Refused::Endless)?;
    // Before 1970 is over, too; after the end of time is endless.
    let since_1970 = Duration::try_from_secs_f64(seconds.max(0.0)).map_err(|_| Refused::Endless)?;
    let expires = SystemTime::UNIX_EPOCH.checked_add(since_1970).ok_or(Refused::Endless)?;
    if expires <= now { Err(Refused::Expired) } else { Ok(expires) }
}

fn read(token: &[u8]) -> Option<Claims> {
    if token.len() > LONGEST {
        return None;
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(_header), Some(claims), Some(_signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A token with these claims and a signature of nobody.
    pub(in crate::gateway::token) fn token(claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part(r#"{"alg":"RS256"}"#), part(claims), part("signature"))
    }

    fn expiry_at(claims: &str, now: u64) -> Result<u64, Refused> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        let expires = expiry(token(claims).as_bytes(), "ours", now)?;
        Ok(expires.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn a_token_with_our_audience_tells_its_end() {
        assert_eq!(expiry_at(r#"{"aud":"ours","exp":1000}"#, 999), Ok(1000));
        assert_eq!(expiry_at(r#"{"aud":["theirs","ours"],"exp":1000.5,"iss":"x"}"#, 999), Ok(1000));
    }

    #[test]
    fn what_its_own_words_rule_out_is_refused() {
        for (claims, refused) in [
            (r#"{"aud":"ours","exp":1000}"#, Refused::Expired),
            (r#"{"aud":"ours","exp":-1}"#, Refused::Expired),
            (r#"{"aud":"ours","exp":1e300}"#, Refused::Endless),
            (r#"{"aud":"ours"}"#, Refused::Endless),
            (r#"{"aud":"ours2","exp":2000}"#, Refused::OtherAudience),
            (r#"{"aud":["theirs"],"exp":2000}"#, Refused::OtherAudience),
            (r#"{"aud":[],"exp":2000}"#, Refused::OtherAudience),
            (r#"{"exp":2000}"#, Refused::OtherAudience),
            (r#"{"aud":"ours","aud":"ours","exp":2000}"#, Refused::NoToken),
            (r#"{"aud":1,"exp":2000}"#, Refused::NoToken),
            (r#"{"aud":"ours","exp":"2000"}"#, Refused::NoToken),
            ("[]", Refused::NoToken),
        ] {
            assert_eq!(expiry_at(claims, 1000), Err(refused), "{claims}");
        }
    }

    #[test]
    fn what_is_no_token_is_none() {
        let long = token(&format!(r#"{{"aud":"ours","exp":2000,"x":"{}"}}"#, "x".repeat(LONGEST)));
        for text in ["", "key", "a.b", "a.b.c", "a.b.c.d", "a.%%.c", &long] {
            assert_eq!(expiry(text.as_bytes(), "ours", SystemTime::UNIX_EPOCH), Err(Refused::NoToken), "{text:.20}");
        }
    }
}
