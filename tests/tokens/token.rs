//! Tokens as an API server has made them, and some that it has not.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use serde_json::json;

use crate::place::Place;

/// The shortest life that an API server gives to a token, in seconds.
const LIFE: i64 = 600;

/// A token of a service account for `audience`.
pub async fn of(place: &Place, account: &str, audience: &str) -> String {
    let spec = TokenRequestSpec {
        audiences: vec![audience.to_owned()],
        expiration_seconds: Some(LIFE),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let accounts = place.api::<ServiceAccount>();
    let made = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
    made.status.unwrap().token
}

pub fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token that says everything right, and that nobody has signed.
pub fn forged(audience: &str, expires: u64, number: usize) -> String {
    let part = |text: &[u8]| URL_SAFE_NO_PAD.encode(text);
    let claims = json!({
        "iss": "https://kubernetes.default.svc.cluster.local", "sub": format!("system:serviceaccount:default:{number}"),
        "aud": [audience], "exp": expires, "iat": expires - 600,
    });
    format!("{}.{}.{}", part(br#"{"alg":"RS256","typ":"JWT"}"#), part(claims.to_string().as_bytes()), part(&[7; 256]))
}
