//! Why a token opens nothing, in words for its holder.

use super::Scope;

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is no JSON Web Token.
    NoToken,
    /// It says that it is for somebody else.
    OtherAudience,
    /// It says that its time is over.
    Expired,
    /// It does not say how long it is good.
    Endless,
    /// The API server does not take it for genuine.
    NotGenuine,
    /// It is genuine, and its user lacks the right.
    MayNotScore,
}

impl Refused {
    /// Why, and what helps.
    #[must_use]
    pub fn why(self, scope: &Scope) -> String {
        let Scope { namespace, endpoint, audience } = scope;
        match self {
            Self::NoToken => format!("the credential is no Kubernetes token; make one for the audience {audience}"),
            Self::OtherAudience => format!("the token has another audience; make one for {audience}"),
            Self::Expired => "the token has expired; make a new one".to_owned(),
            Self::Endless => format!("the token has no expiry (exp); make a short-lived one for {audience}"),
            Self::NotGenuine => "the cluster does not accept the token; make a new one".to_owned(),
            Self::MayNotScore => {
                format!("the token's user needs verb score on onlineendpoints/{endpoint} in namespace {namespace}")
            }
        }
    }
}
