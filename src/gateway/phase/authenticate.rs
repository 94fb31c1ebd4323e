//! Whether the caller may ask this endpoint.

use hyper::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::answer::Refusal;
use crate::gateway::table::Auth;
use crate::gateway::token::Tokens;

/// Lets the caller pass when it has a key of the endpoint, or a token that `tokens` find good. Its credential goes no
/// further.
///
/// # Errors
/// When it has none, or a wrong one, or when nobody can tell.
pub async fn authenticate(auth: &Auth, tokens: Option<&Tokens>, headers: &mut HeaderMap) -> Result<(), Refusal> {
    let credential = headers.remove(AUTHORIZATION);
    let credential = credential.ok_or(Refusal::Unauthorized("the request has no Authorization header"))?;
    let credential = bearer(credential.as_bytes())
        .ok_or(Refusal::Unauthorized("the Authorization header is not of the form Bearer CREDENTIAL"))?;
    match auth {
        Auth::Keys(digests) if is_one_of(credential, digests) => Ok(()),
        Auth::Keys(_) => Err(Refusal::Unauthorized("the key is not one of this endpoint's")),
        Auth::Tokens(scope) => {
            let tokens = tokens.ok_or(Refusal::Unauthorized(
                "this endpoint wants tokens (authMode AMLToken), which a gateway without a cluster can't check",
            ))?;
            tokens.check(credential, scope).await.map_err(Refusal::Token)
        }
    }
}

fn bearer(credential: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = credential.split_at_checked("Bearer ".len())?;
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !key.trim_ascii().is_empty()).then_some(key.trim_ascii())
}

/// Looks at all digests, whichever fits, so that time tells nothing.
fn is_one_of(key: &[u8], digests: &[[u8; 32]]) -> bool {
    let digest = Sha256::digest(key);
    let equal = digests.iter().fold(Choice::from(0), |equal, accepted| equal | digest.as_slice().ct_eq(accepted));
    equal.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use hyper::header::HeaderValue;

    fn keys(keys: &[&str]) -> Auth {
        Auth::Keys(keys.iter().map(|key| Sha256::digest(key).into()).collect())
    }

    fn passes(auth: &Auth, credential: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(credential) = credential {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(credential).unwrap());
        }
        let passes = authenticate(auth, None, &mut headers).now_or_never().unwrap().is_ok();
        assert!(headers.is_empty(), "the credential stays here");
        passes
    }

    #[test]
    fn each_key_of_the_endpoint_opens_and_nothing_else() {
        let auth = keys(&["first", "second"]);
        for good in ["Bearer first", "bearer second", "BEARER  first"] {
            assert!(passes(&auth, Some(good)), "{good}");
        }
        for bad in ["Bearer third", "Bearer ", "Bearer", "Basic first", "first", "Bearerfirst", ""] {
            assert!(!passes(&auth, Some(bad)), "{bad}");
        }
        assert!(!passes(&auth, None));
    }

    #[test]
    fn nobody_gets_in_while_there_is_no_key() {
        assert!(!passes(&keys(&[]), Some("Bearer first")));
    }

    #[test]
    fn a_key_does_not_open_an_endpoint_that_wants_tokens() {
        assert!(!passes(&Auth::Tokens(std::sync::Arc::default()), Some("Bearer first")));
    }
}
