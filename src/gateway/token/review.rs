//! The two questions to the API server: whose token is it, and may that user score?

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::refused::Refused;
use super::{Scope, Token, Word};
use crate::process::cause;

/// The longest that both questions together may take. Shorter than callers' patience, so that they hear of it.
const LONGEST: Duration = Duration::from_secs(4);

/// Why a token could not be judged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The gateway lacks a right.
    #[error("the gateway's service account may not create {0}")]
    Forbidden(&'static str),
    /// The API server can't be reached, or fails.
    #[error("{0}")]
    Failed(String),
    /// The API server is silent.
    #[error("the API server did not answer within {} seconds", LONGEST.as_secs())]
    Silent,
}

/// Has the API server judge a token.
///
/// # Errors
/// When it can't or does not.
pub async fn review(client: &Client, token: &Token, scope: &Scope) -> Result<Word, Fault> {
    let judged = async {
        let Some(user) = user(client, token, &scope.audience).await? else {
            return Ok(Word::Refused(Refused::NotGenuine));
        };
        Ok(if may_score(client, user, scope).await? { Word::Admitted } else { Word::Refused(Refused::MayNotScore) })
    };
    tokio::time::timeout(LONGEST, judged).await.unwrap_or(Err(Fault::Silent))
}

/// Whose token it is, when it is genuine and for this audience.
async fn user(client: &Client, token: &Token, audience: &str) -> Result<Option<UserInfo>, Fault> {
    let spec = TokenReviewSpec { audiences: Some(vec![audience.to_owned()]), token: Some(token.0.clone()) };
    let review = TokenReview { spec, ..TokenReview::default() };
    let review = create(client, &review, "tokenreviews.authentication.k8s.io").await?;
    let status = review.status.unwrap_or_default();
    // An API server that knows nothing of audiences names none, and its yes is worth nothing here.
    let ours = status.audiences.iter().flatten().any(|named| named == audience);
    if let Some(error) = status.error {
        tracing::debug!(error, "the API server does not accept a token");
    }
    Ok(status.user.filter(|_| ours && status.authenticated == Some(true)))
}

async fn may_score(client: &Client, user: UserInfo, scope: &Scope) -> Result<bool, Fault> {
    let attributes = ResourceAttributes {
        group: Some("mooring.dev".to_owned()),
        resource: Some("onlineendpoints".to_owned()),
        verb: Some("score".to_owned()),
        namespace: Some(scope.namespace.clone()),
        name: Some(scope.endpoint.clone()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: user.username,
        groups: user.groups,
        uid: user.uid,
        extra: user.extra.map(|extra| extra.into_iter().collect::<BTreeMap<_, _>>()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let review = create(client, &review, "subjectaccessreviews.authorization.k8s.io").await?;
    Ok(review.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
}

async fn create<K>(client: &Client, review: &K, what: &'static str) -> Result<K, Fault>
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let created = Api::<K>::all(client.clone()).create(&PostParams::default(), review).await;
    created.map_err(|error| match &error {
        kube::Error::Api(status) if status.code == 403 => Fault::Forbidden(what),
        kube::Error::Api(status) => Fault::Failed(status.message.clone()),
        _ => Fault::Failed(cause::root(&error).to_string()),
    })
}
