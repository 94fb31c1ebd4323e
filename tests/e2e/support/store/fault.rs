//! What goes wrong with a store.

use hyper::Response;

use super::answers::refuse;
use crate::support::server::{Body, whole};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 401, as a web server that wants a password.
    Unauthenticated,
    /// 403 `AccessDenied`: the credential is right and may not.
    Forbidden,
    /// 403 `InvalidAccessKeyId`: the credential is wrong.
    WrongKey,
    /// 404 `NoSuchKey`, also for an object that is there.
    NotFound,
    /// 500.
    Broken,
    /// 503 `SlowDown`, with the wish for a pause of a second.
    Throttled,
    /// Half of the object, and then nothing more on this connection.
    Stalled,
    /// Other bytes than the object's, as many.
    Corrupt,
}

impl Fault {
    /// What is answered instead of what was asked for, if anything.
    pub fn refusal(self) -> Option<Response<Body>> {
        Some(match self {
            Self::Unauthenticated => Response::builder()
                .status(401)
                .header("www-authenticate", "Basic realm=\"models\"")
                .body(whole("who are you?"))
                .unwrap(),
            Self::Forbidden => refuse(403, None, "AccessDenied", "Access Denied."),
            Self::WrongKey => refuse(
                403,
                None,
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.",
            ),
            Self::NotFound => super::answers::no_such_key(),
            Self::Broken => refuse(500, None, "InternalError", "We encountered an internal error. Please try again."),
            Self::Throttled => refuse(503, Some(("retry-after", "1")), "SlowDown", "Please reduce your request rate."),
            Self::Stalled | Self::Corrupt => return None,
        })
    }
}
