//! What a registry wants to be shown: user name and password, or a token that another service gives for them.
//!
//! Source: distribution, "Token Authentication Specification" and "Token Authentication with `OAuth2`".

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, Response};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use super::access::Login;
use super::document::Refusal;
use crate::catalogue::Reason;
use crate::fetch::client::{host, read_at_most, retry_after, send};
use crate::fetch::credentials::missing;
use crate::fetch::failure::Failure;

/// Longest answer that is read; tokens with many rights have some kilobytes.
const LONGEST_ANSWER: usize = 1 << 20;

/// How a registry wants to know who asks.
pub enum Challenge {
    /// By user name and password.
    Basic,
    /// By a token.
    Bearer {
        /// Who gives tokens.
        realm: Url,
        /// For whom the token is.
        service: Option<String>,
        /// Whether the token that was shown is good, but not for this.
        is_insufficient: bool,
    },
}

impl Challenge {
    /// What the registry asks for in `response`; `None` when nothing that is known here.
    #[must_use]
    pub fn of(response: &Response) -> Option<Self> {
        let texts = response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<_> = texts.flat_map(|text| http_auth::parse_challenges(text).unwrap_or_default()).collect();
        let bearer = challenges.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case("bearer"));
        if let Some(bearer) = bearer {
            let parameter = |name: &str| {
                let found = bearer.params.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            let realm = response.url().join(&parameter("realm")?).ok()?;
            let is_insufficient = parameter("error").as_deref() == Some("insufficient_scope");
            return Some(Self::Bearer { realm, service: parameter("service"), is_insufficient });
        }
        challenges.iter().any(|challenge| challenge.scheme.eq_ignore_ascii_case("basic")).then_some(Self::Basic)
    }

    /// The header that answers it, with the right to `actions` (as `pull`); `None` when that takes a password and we have
    /// none.
    ///
    /// # Errors
    ///
    /// When no token is given.
    pub async fn answer(
        &self,
        client: &Client,
        login: &Login,
        registry: &Url,
        repository: &str,
        actions: &str,
    ) -> Result<Option<HeaderValue>, Failure> {
        match (self, login) {
            (Self::Basic, Login::Password { user, password }) => basic(user, password).map(Some),
            (Self::Basic, _) => Ok(None),
            (Self::Bearer { realm, service, .. }, _) => {
                if realm.scheme() != "https" && (registry.scheme(), realm.scheme()) != ("http", "http") {
                    let act = format!("{} wants its tokens asked for at {}:", host(registry), realm.scheme());
                    return Err(Failure::new(Reason::ArtifactStoreError, act));
                }
                let scope = format!("repository:{repository}:{actions}");
                let token = token(client, realm, login, service.as_deref(), &scope).await?;
                header(&format!("Bearer {token}"), "the registry's token can't be in a header").map(Some)
            }
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

async fn token(
    client: &Client,
    realm: &Url,
    login: &Login,
    service: Option<&str>,
    scope: &str,
) -> Result<String, Failure> {
    let service = service.map(|service| ("service", service));
    let request = if let Login::Identity(identity) = login {
        let form = [("grant_type", "refresh_token"), ("client_id", "mooring-fetch"), ("refresh_token", identity)];
        let form = form.into_iter().chain(service).chain([("scope", scope)]);
        let body = Serializer::new(String::new()).extend_pairs(form).finish();
        client.post(realm.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
    } else {
        let mut url = realm.clone();
        url.query_pairs_mut().extend_pairs(service.into_iter().chain([("scope", scope)]));
        client.get(url)
    };
    let request = match login {
        Login::Password { user, password } => request.basic_auth(user, Some(password)),
        _ => request,
    };
    let response = send(request).await?;
    let (status, pause, place) = (response.status(), retry_after(&response), host(response.url()));
    let (body, whole) = read_at_most(response, LONGEST_ANSWER).await?;
    if status.is_success() {
        // The cause is left out, because it could quote a token.
        let answer: Option<Answer> = serde_json::from_slice(&body).ok().filter(|_| whole);
        let token = answer.and_then(|answer| answer.token.or(answer.access_token)).filter(|token| !token.is_empty());
        let none = || Failure::new(Reason::ArtifactStoreError, format!("the answer of {place} holds no token"));
        return token.ok_or_else(none);
    }
    let code = Refusal::read(&body).map(|(code, _)| code);
    let act = match status.as_u16() {
        400 | 401 => format!("{place} does not accept the credentials"),
        403 => format!("{place} gives no token for {scope}"),
        _ => format!("{place} answered {status} to the question for a token"),
    };
    let mut failure = Failure::status(status, pause, act);
    if status.as_u16() == 400 && *login != Login::Anonymous {
        // OAuth2 says so of a token that has expired or was never given.
        failure.reason = Reason::ArtifactUnauthenticated;
    }
    Err(failure.with_answer(status, code))
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, Failure> {
    let pair = STANDARD.encode(format!("{user}:{password}"));
    header(&format!("Basic {pair}"), "user name and password can't be in a header")
}

/// A header value that no log shows.
fn header(value: &str, otherwise: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::try_from(value).map_err(|_| missing(otherwise))?;
    value.set_sensitive(true);
    Ok(value)
}
