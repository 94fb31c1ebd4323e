//! Who asks a store, where that is more than a key: identities that a cloud gives to a pod or to its node.
//!
//! `object_store` asks the identity services, keeps what they give and asks anew before it expires. The connection under
//! it is ours, because its own errors hide the service's code.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientOptions, CredentialProvider, RetryConfig, StaticCredentialProvider};
use reqwest::Client;
use reqwest::redirect::Policy;
use serde::Deserialize;
use tokio::sync::OnceCell;
use url::Url;

use crate::catalogue::Reason;
use crate::fetch::address;
use crate::fetch::client::{in_time, pause, short};
use crate::fetch::credentials::missing;
use crate::fetch::failure::{Failure, Retry};
use crate::process::build;

/// Longest wait for a connection to a node's metadata service, which is one hop away or not there at all.
const METADATA_CONNECT: Duration = Duration::from_secs(1);

/// Longest wait for its answer. Azure's may take some seconds for a first token.
const METADATA_ANSWER: Duration = Duration::from_secs(10);

/// Longest answer that is read: tokens and errors have some KiB.
const LONGEST_ANSWER: usize = 64 << 10;

/// Gives credentials and renews them.
pub type Provider<Credential> = Arc<dyn CredentialProvider<Credential = Credential>>;

/// Who asks a store.
pub enum Identity<Credential> {
    /// Somebody.
    Known {
        /// Who it is, for people: `the account key`.
        name: &'static str,
        /// What the requests go with.
        provider: Provider<Credential>,
        /// The token that the cloud has put into the pod, where it is by this that the provider knows us.
        token_file: Option<PathBuf>,
    },
    /// Nobody, until the store wants to know.
    Unsaid {
        /// The identity of the node.
        node: Provider<Credential>,
        /// Whether it has one; nothing while nobody has asked.
        answer: OnceCell<Result<(), Failure>>,
    },
    /// Nobody at all.
    Nobody {
        /// Why not.
        why: &'static str,
    },
}

impl<Credential: fmt::Debug + Send + Sync + 'static> Identity<Credential> {
    /// Somebody whose `credential` never expires.
    pub fn fixed(name: &'static str, credential: Credential) -> Self {
        Self::Known { name, provider: Arc::new(StaticCredentialProvider::new(credential)), token_file: None }
    }

    /// Nobody, or the `node` once the store wants to know.
    #[must_use]
    pub fn anonymous(node: Provider<Credential>) -> Self {
        Self::Unsaid { node, answer: OnceCell::new() }
    }

    /// What the next request goes with; `None` when it is anonymous.
    ///
    /// # Errors
    ///
    /// When the identity service gives nothing.
    pub async fn credential(&self) -> Result<Option<Arc<Credential>>, Failure> {
        let provider = match self {
            Self::Known { provider, .. } => provider,
            Self::Unsaid { node, answer } if matches!(answer.get(), Some(Ok(()))) => node,
            Self::Unsaid { .. } | Self::Nobody { .. } => return Ok(None),
        };
        match provider.get_credential().await {
            Ok(credential) => Ok(Some(credential)),
            Err(error) => Err(self.failure(&error).await),
        }
    }

    /// What to do about a refusal: to ask again, as the node, when it was for want of credentials and the node has some.
    ///
    /// # Errors
    ///
    /// The refusal, when asking again is of no use.
    pub async fn after(&self, failure: Failure, was_anonymous: bool) -> Result<(), Failure> {
        let is_denied = matches!(failure.reason, Reason::ArtifactForbidden | Reason::ArtifactUnauthenticated);
        if !is_denied || !was_anonymous {
            return Err(failure);
        }
        if self.turns_to_node().await { Ok(()) } else { Err(failure.and(&self.absence())) }
    }

    /// Whether the node has an identity to ask again with, after the store has refused an anonymous request.
    async fn turns_to_node(&self) -> bool {
        let Self::Unsaid { node, answer } = self else { return false };
        let ask = async || match node.get_credential().await {
            Ok(_) => {
                tracing::info!("the store wants credentials, and the node has some");
                Ok(())
            }
            Err(error) => Err(self.failure(&error).await),
        };
        answer.get_or_init(ask).await.is_ok()
    }

    /// Why an anonymous request stays anonymous, for the end of a sentence.
    #[must_use]
    fn absence(&self) -> String {
        let why = match self {
            Self::Nobody { why } => (*why).to_owned(),
            Self::Unsaid { answer, .. } => match answer.get() {
                Some(Err(failure)) if failure.http_status.is_some() => {
                    format!("no Secret, no identity of the pod, and {}", failure.sentence())
                }
                _ => "no Secret, no identity of the pod or the node".to_owned(),
            },
            Self::Known { name, .. } => format!("{name} is of no use here"),
        };
        format!("and there are none: {why}")
    }

    /// Who it is, for people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Known { name, .. } => name,
            Self::Unsaid { answer, .. } if matches!(answer.get(), Some(Ok(()))) => "the node's identity",
            Self::Unsaid { .. } | Self::Nobody { .. } => "no credentials",
        }
    }

    async fn failure(&self, error: &object_store::Error) -> Failure {
        if let Some(failure) = told(error) {
            return failure;
        }
        if let Self::Known { token_file: Some(file), .. } = self
            && let Err(error) = tokio::fs::read(file).await
        {
            return missing(format!("the token file {} can't be read", file.display())).caused_by(error);
        }
        // Its text may quote what the service answered, tokens too.
        let who = if matches!(self, Self::Unsaid { .. }) { "the node's identity" } else { self.name() };
        Failure::new(Reason::ArtifactUnauthenticated, format!("{who} gives no credentials that can be read"))
    }
}

/// The failure at the bottom of `error`, when it came over our connection.
fn told(error: &object_store::Error) -> Option<Failure> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return Some(failure.clone());
        }
        next = error.source();
    }
    None
}

/// Tries once: trying again is done above.
#[must_use]
pub fn once() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// Connects `object_store` to identity services.
#[derive(Clone, Debug)]
pub struct Connection {
    client: Client,
    /// Whether it may lead to the addresses of this machine's own services.
    is_to_node: bool,
}

impl Connection {
    /// By `client`, to a service anywhere.
    #[must_use]
    pub const fn by(client: Client) -> Self {
        Self { client, is_to_node: false }
    }

    /// To what the node gives its pods: near, never behind a proxy, and possibly not there.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactStoreTls`] when the machine's certificate authorities can't be loaded.
    pub fn to_node() -> Result<Self, Failure> {
        let client = Client::builder()
            .user_agent(build::FETCH)
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(METADATA_CONNECT)
            .timeout(METADATA_ANSWER)
            .build()
            .map_err(|error| {
                Failure::new(Reason::ArtifactStoreTls, "the certificate authorities of this machine can't be loaded")
                    .caused_by(error)
            })?;
        Ok(Self { client, is_to_node: true })
    }
}

impl HttpConnector for Connection {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connection {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let failed = |failure: Failure| HttpError::new(HttpErrorKind::Unknown, failure);
        let broken = |error: HttpError| {
            let inner = error.source().and_then(|source| source.downcast_ref::<reqwest::Error>());
            let (is_connect, is_timeout) = inner.map_or((false, false), |it| (it.is_connect(), it.is_timeout()));
            Failure::broken(error, is_connect, is_timeout, &host)
        };
        if !self.is_to_node
            && let Ok(url) = Url::parse(&request.uri().to_string())
        {
            address::check(&url).map_err(failed)?;
        }
        let response = self.client.call(request).await.map_err(|error| failed(broken(error)))?;
        let (head, body) = response.into_parts();
        let start = async { start(body).await.map_err(broken) };
        let body = in_time(&host, start).await.map_err(failed)?;
        if head.status.is_success() {
            return Ok(HttpResponse::from_parts(head, body.into()));
        }
        let (status, answer) = (head.status, Answer::read(&body));
        let mut failure = Failure::status(status, pause(&head.headers), String::new());
        if failure.retry == Retry::Never {
            failure.reason = Reason::ArtifactUnauthenticated;
        }
        let act = format!("the identity service {host} answered {status}{}", answer.words());
        Err(failed(failure.with_answer(status, answer.code).with_act(act)))
    }
}

/// The start of `body`, or all of it when it is no longer than any answer.
async fn start(body: HttpResponseBody) -> Result<Vec<u8>, HttpError> {
    let (mut start, mut pieces) = (Vec::new(), body.bytes_stream());
    while start.len() < LONGEST_ANSWER
        && let Some(piece) = pieces.next().await
    {
        let piece = piece?;
        start.extend_from_slice(piece.get(..LONGEST_ANSWER - start.len()).unwrap_or(&piece));
    }
    Ok(start)
}

/// Why an identity service gives nothing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    code: Option<String>,
    message: Option<String>,
}

impl Answer {
    /// Reads the document of Microsoft Entra and Google (RFC 6749, section 5.2), of Amazon's STS, or of Amazon's agents.
    fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct OAuth {
            error: serde_json::Value,
            error_description: Option<String>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Sts {
            error: StsError,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct StsError {
            code: Option<String>,
            message: Option<String>,
        }
        #[derive(Deserialize)]
        struct Agent {
            #[serde(alias = "Code")]
            code: Option<String>,
            #[serde(alias = "Message")]
            message: Option<String>,
        }
        let text = |value: serde_json::Value| value.as_str().map(str::to_owned);
        if let Ok(OAuth { error, error_description }) = serde_json::from_slice(body) {
            // Microsoft's own number says more than the code of the standard.
            let number = error_description.as_deref().and_then(|words| words.split_once(':')).map(|(start, _)| start);
            let number = number.filter(|start| start.starts_with("AADSTS") && is_code(start)).map(str::to_owned);
            let code = number.or_else(|| text(error)).filter(|code| is_code(code));
            return Self { code, message: error_description };
        }
        if let Ok(Sts { error: StsError { code, message } }) = quick_xml::de::from_reader(body) {
            return Self { code: code.filter(|code| is_code(code)), message };
        }
        match serde_json::from_slice(body) {
            Ok(Agent { code, message }) => Self { code: code.filter(|code| is_code(code)), message },
            Err(_) => Self::default(),
        }
    }

    /// Code and first line of the message, in brackets.
    fn words(&self) -> String {
        let line = self.message.as_deref().map(short).unwrap_or_default();
        match self.code.as_deref() {
            Some(code) if line.starts_with(code) => format!(" ({line})"),
            Some(code) if line.is_empty() => format!(" ({code})"),
            Some(code) => format!(" ({code}: {line})"),
            None if line.is_empty() => String::new(),
            None => format!(" ({line})"),
        }
    }
}

/// Whether `text` can be a service's own code.
#[must_use]
pub fn is_code(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> (Option<String>, String) {
        let answer = Answer::read(body.as_bytes());
        let words = answer.words();
        (answer.code, words)
    }

    #[test]
    fn each_service_is_understood() {
        // Source: Microsoft Entra, "authentication and authorization error codes".
        let entra = r#"{"error": "invalid_client", "error_description":
            "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1", "error_codes": [7000215]}"#;
        let words = " (AADSTS7000215: Invalid client secret provided.)";
        assert_eq!(read(&entra.replace("\n            ", "")), (Some("AADSTS7000215".into()), words.into()));
        let imds = r#"{"error": "invalid_request", "error_description": "Identity not found"}"#;
        assert_eq!(read(imds), (Some("invalid_request".into()), " (invalid_request: Identity not found)".into()));
        // Source: AWS STS API reference, AssumeRoleWithWebIdentity.
        let sts = r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
            <Code>AccessDenied</Code><Message>Not authorized</Message></Error><RequestId>1</RequestId></ErrorResponse>"#;
        assert_eq!(read(sts), (Some("AccessDenied".into()), " (AccessDenied: Not authorized)".into()));
        assert_eq!(read(r#"{"Code": "AssumeRoleUnauthorizedAccess"}"#).0.unwrap(), "AssumeRoleUnauthorizedAccess");
        for other in ["", "<html><title>404</title></html>", r#"{"error": {"a": 1}}"#] {
            assert_eq!(read(other), (None, String::new()), "{other}");
        }
    }
}
