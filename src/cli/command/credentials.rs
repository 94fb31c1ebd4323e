//! What proves to a gateway who is calling, got with the caller's own rights: the keys of an endpoint, or a token for it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest, TokenRequestSpec, TokenRequestStatus};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, PostParams};
use serde::Serialize;

use crate::api::endpoint::{AuthMode, OnlineEndpoint};
use crate::api::endpoint_route::token_audience;
use crate::cli::CliError;
use crate::cli::arguments::endpoint::Caller;
use crate::cli::connect::Connection;
use crate::cli::target::Target;

/// The shortest life that an API server gives to a token, in seconds; enough for one request.
pub(super) const ONE_REQUEST: i64 = 600;
/// An hour, as long as `kubectl create token` asks for.
pub(super) const AN_HOUR: i64 = 3600;
/// How much of its life a token has had when a new one is to be fetched, in percent; the kubelet does it then.
const STALE_PERCENT: i64 = 80;
/// How the API server names service accounts.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// What proves who is calling.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Credentials {
    Keys(Keys),
    Token(Token),
}

impl Credentials {
    /// What follows `Bearer` in a request.
    pub(super) fn bearer(&self) -> &str {
        match self {
            Self::Keys(keys) => &keys.primary_key,
            Self::Token(token) => &token.access_token,
        }
    }

    /// Who is calling, where the API server says whether that one may.
    pub(super) fn account(&self) -> Option<&Account> {
        match self {
            Self::Keys(_) => None,
            Self::Token(token) => Some(&token.account),
        }
    }
}

/// Both keys of an endpoint.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Keys {
    primary_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secondary_key: Option<String>,
}

/// A token for an endpoint, in Azure's words.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Token {
    access_token: String,
    token_type: &'static str,
    /// Seconds since 1970.
    expiry_time_utc: i64,
    /// Seconds since 1970.
    refresh_after_time_utc: i64,
    #[serde(skip)]
    account: Account,
}

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Account {
    /// The one that a user of the API server is.
    fn of_user(user: &str) -> Option<Self> {
        let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
        Some(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// As the API server names it.
    pub(super) fn user(&self) -> String {
        format!("{SERVICE_ACCOUNT}{}:{}", self.namespace, self.name)
    }
}

/// What an endpoint takes; a token lives for `seconds`.
pub(super) async fn of(target: &Target, name: &str, caller: &Caller, seconds: i64) -> Result<Credentials, CliError> {
    let connection = match target {
        Target::Cluster(connection) => connection,
        Target::Local(machine) => {
            let keys = machine.store.keys(name)?;
            let keys = Keys { primary_key: keys.primary_key, secondary_key: Some(keys.secondary_key) };
            return Ok(Credentials::Keys(keys));
        }
    };
    let endpoint = endpoint_of(connection, name).await?;
    match endpoint.spec.auth_mode {
        AuthMode::Key => keys(connection, name, endpoint).await.map(Credentials::Keys),
        AuthMode::AmlToken => token(connection, name, caller, seconds).await.map(Credentials::Token),
    }
}

/// The name of the Secret that the endpoint's status names.
pub(super) async fn secret_of(connection: &Connection, name: &str) -> Result<String, CliError> {
    secret_name(endpoint_of(connection, name).await?, name)
}

async fn endpoint_of(connection: &Connection, name: &str) -> Result<OnlineEndpoint, CliError> {
    let endpoint: Option<OnlineEndpoint> = connection.get(name).await?;
    endpoint.ok_or_else(|| connection.not_found("endpoint", name))
}

fn secret_name(endpoint: OnlineEndpoint, name: &str) -> Result<String, CliError> {
    let missing = |why: &str| CliError::NoKeys { endpoint: name.to_owned(), why: why.to_owned() };
    if endpoint.spec.auth_mode != AuthMode::Key {
        return Err(missing("its authMode is AMLToken; `mooring endpoint get-credentials` makes a token for it"));
    }
    let secret_name = endpoint.status.and_then(|status| status.keys_secret_name);
    secret_name.ok_or_else(|| missing("the operator has not made them yet"))
}

/// The keys in that Secret.
async fn keys(connection: &Connection, name: &str, endpoint: OnlineEndpoint) -> Result<Keys, CliError> {
    let missing = |why: String| CliError::NoKeys { endpoint: name.to_owned(), why };
    let secret_name = secret_name(endpoint, name)?;
    let secret: Option<Secret> = connection.get(&secret_name).await?;
    let secret = secret.ok_or_else(|| missing(format!("Secret {secret_name:?} does not exist")))?;
    let data = secret.data.unwrap_or_default();
    let key = |name: &str| {
        let key = data.get(name).map(|key| String::from_utf8_lossy(&key.0).trim().to_owned());
        key.filter(|key| !key.is_empty())
    };
    let primary_key = key("primaryKey");
    let primary_key = primary_key.ok_or_else(|| missing(format!("Secret {secret_name:?} has no primaryKey")))?;
    Ok(Keys { primary_key, secondary_key: key("secondaryKey") })
}

/// A token that the API server makes for this endpoint alone.
async fn token(connection: &Connection, endpoint: &str, caller: &Caller, seconds: i64) -> Result<Token, CliError> {
    let audience = token_audience(&connection.namespace, endpoint);
    let account = match &caller.service_account {
        Some((namespace, name)) => {
            Account { namespace: namespace.clone().unwrap_or_else(|| connection.namespace.clone()), name: name.clone() }
        }
        None => oneself(connection, endpoint, &audience).await?,
    };
    let spec = TokenRequestSpec {
        audiences: vec![audience],
        expiration_seconds: Some(seconds),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let accounts: Api<ServiceAccount> = Api::namespaced(connection.client.clone(), &account.namespace);
    let act = format!("making a token of service account {:?} in namespace {:?}", account.name, account.namespace);
    let parameters = PostParams::default();
    let answer = accounts.create_token_request(&account.name, &parameters, &request);
    let made = connection.ask(act.clone(), answer).await?.status.ok_or(CliError::NoAnswerInIt { act })?;
    Ok(taken(made, account, Timestamp::now()))
}

fn taken(made: TokenRequestStatus, account: Account, now: Timestamp) -> Token {
    let expires = made.expiration_timestamp.0;
    let life = expires.duration_since(now).max(SignedDuration::ZERO).as_secs();
    Token {
        access_token: made.token,
        token_type: "Bearer",
        expiry_time_utc: expires.as_second(),
        refresh_after_time_utc: now.as_second() + life * STALE_PERCENT / 100,
        account,
    }
}

/// The service account that is asking. People and certificates have no tokens that are for one endpoint.
async fn oneself(connection: &Connection, endpoint: &str, audience: &str) -> Result<Account, CliError> {
    let reviews: Api<SelfSubjectReview> = Api::all(connection.client.clone());
    let review = SelfSubjectReview::default();
    let answer = connection.ask("asking who is calling", reviews.create(&PostParams::default(), &review)).await?;
    let user = answer.status.and_then(|status| status.user_info?.username).unwrap_or_default();
    Account::of_user(&user).ok_or_else(|| CliError::NoToken {
        endpoint: endpoint.to_owned(),
        user,
        audience: audience.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn a_service_account_is_known_by_its_user_and_nobody_else_is() {
        let web = Account { namespace: "shop".to_owned(), name: "web".to_owned() };
        assert_eq!(Account::of_user(&web.user()), Some(web));
        for user in ["", "admin", "system:node:a", "system:serviceaccount:shop"] {
            assert_eq!(Account::of_user(user), None, "{user}");
        }
    }

    #[test]
    fn a_token_is_stale_after_four_fifths_of_its_life() {
        let now: Timestamp = "2026-01-02T03:00:00Z".parse().unwrap();
        let account = Account { namespace: "shop".to_owned(), name: "web".to_owned() };
        let expiration_timestamp = Time(now + SignedDuration::from_secs(1000));
        let token = taken(TokenRequestStatus { expiration_timestamp, token: "t".to_owned() }, account, now);
        assert_eq!(token.refresh_after_time_utc, now.as_second() + 800);
        assert_eq!(token.expiry_time_utc, now.as_second() + 1000);
        assert_eq!(
            serde_json::to_string(&token).unwrap(),
            r#"{"accessToken":"t","tokenType":"Bearer","expiryTimeUtc":1767323800,"refreshAfterTimeUtc":1767323600}"#
        );
    }
}
