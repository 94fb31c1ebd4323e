//! `hf://ORG/REPO[@REVISION][/PATH]`: a repository of a Hugging Face hub, or a file or folder of it.
//!
//! | what | keys of the Secret | without |
//! |---|---|---|
//! | token | `HF_TOKEN`, `token` | anonymous |
//! | endpoint | `HF_ENDPOINT`, `endpoint`; else the environment variable | `https://huggingface.co` |

pub mod document;

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RANGE};
use reqwest::{Client, Response};
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;
use url::Url;

use crate::catalogue::Reason;
use crate::fetch::Patience;
use crate::fetch::client::{host, read_at_most, retry_after, send};
use crate::fetch::credentials::{Folder, missing};
use crate::fetch::download::{Download, Span, Told, has_bytes};
use crate::fetch::failure::Failure;
use crate::fetch::redirect::{self, Route, Shortcuts};
use crate::fetch::retry::persist;
use crate::fetch::settings::{self, Settings};
use crate::fetch::source::{Content, Entry, MOST_ENTRIES, Object, too_many};
use crate::fetch::uri::hf::{Address, Kind};
use document::{Item, Revision};

const TOKEN: &[&str] = &["HF_TOKEN", "token"];
const ENDPOINT: &[&str] = &["HF_ENDPOINT", "endpoint"];
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const ENCODED_IN_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// Longest answer that is read: a page of a listing has 1,000 items of some 300 bytes and a path each.
const LONGEST_PAGE: usize = 16 << 20;

/// Longest words of a hub that a message repeats.
const LONGEST_WORDS: usize = 200;

/// What a hub says of a token that is none; only by this it differs from a repository that is not to be seen.
/// Source: `huggingface_hub`, `hf_raise_for_status`.
const WRONG_TOKEN: &str = "Invalid credentials in Authorization header";

/// A repository of a hub.
pub struct Hf {
    client: Client,
    endpoint: Url,
    token: Option<HeaderValue>,
    address: Address,
    patience: Patience,
    /// The commit that the revision stands for, so that all files are of one.
    commit: OnceCell<String>,
    shortcuts: Shortcuts,
}

impl Hf {
    /// The repository at `address`, with the credentials of `folder`.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactCredentialsMissing`] when the Secret has none of the keys, or a token that can't be one.
    pub async fn open(
        client: Client,
        address: Address,
        folder: Option<&Folder>,
        patience: Patience,
    ) -> Result<Self, Failure> {
        let token = match folder {
            Some(folder) if folder.value(ENDPOINT).await?.is_some() => folder.value(TOKEN).await?,
            Some(folder) => Some(folder.needed(TOKEN).await?),
            None => None,
        };
        let named = Settings { secret: folder }.value(ENDPOINT).await?;
        let endpoint = settings::endpoint("Hugging Face", named.as_deref().unwrap_or(DEFAULT_ENDPOINT), None)?;
        let token = token.map(|token| bearer(token.trim())).transpose()?;
        let (commit, shortcuts) = (OnceCell::new(), Shortcuts::default());
        Ok(Self { client, endpoint, token, address, patience, commit, shortcuts })
    }

    /// Finds out whether the path is a file or a folder.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactNotFound`] when it is neither, [`Reason::ArtifactEmpty`] when there is no file.
    pub async fn look(&self) -> Result<Content, Failure> {
        let (path, name) = (self.address.path.as_str(), self.address.name().to_owned());
        if let Some((parent, _)) = path.rsplit_once('/').or((!path.is_empty()).then_some(("", path))) {
            let items = self.list(parent, false).await?;
            match items.into_iter().find(|item| item.path == path) {
                Some(item) if item.is_file() => return Ok(Content::Object { name, object: item.into() }),
                Some(_) => {}
                None => return Err(Failure::new(Reason::ArtifactNotFound, self.absent(path))),
            }
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut entries = Vec::new();
        for item in self.list(path, true).await?.into_iter().filter(Item::is_file) {
            let Some(below) = item.path.strip_prefix(&prefix).map(str::to_owned) else {
                let act = format!("the hub listed {:?}, which is not below {prefix:?}", item.path);
                return Err(Failure::new(Reason::ArtifactStoreError, act));
            };
            entries.push(Entry { path: below, object: Some(item.into()) });
        }
        if entries.is_empty() {
            return Err(Failure::new(Reason::ArtifactEmpty, format!("{} holds no file", self.place())));
        }
        Ok(Content::Folder { name, entries })
    }

    /// Where it is served.
    #[must_use]
    pub fn service(&self) -> String {
        self.endpoint.to_string()
    }

    /// Asks once for the bytes of `object`, all of them or those of `span`.
    ///
    /// # Errors
    ///
    /// When the hub, or the place that it redirects to, does not give them.
    pub async fn read(&self, object: &Object, span: Option<Span>) -> Result<Download, Failure> {
        if let Some(response) = self.shortcuts.ask(&self.client, &object.key, span).await? {
            return Download::new(response, object, span, Told::default());
        }
        let commit = self.commit().await?;
        let prefix = if self.address.kind == Kind::Dataset { "datasets/" } else { "" };
        let path = utf8_percent_encode(&object.key, ENCODED_IN_PATH);
        let url = self.url(&format!("{prefix}{}/resolve/{commit}/{path}", self.address.repository))?;
        let (response, route) = self.ask(url, span, &object.key).await?;
        self.shortcuts.learn(&object.key, &route);
        Download::new(response, object, span, Told::default())
    }

    /// Looks whether ranges are given, and how large `object` is.
    ///
    /// # Errors
    ///
    /// When the hub does not tell.
    pub async fn describe(&self, object: &Object) -> Result<Told, Failure> {
        let download = self.read(object, Some(Span { start: 0, end: 1 })).await?;
        Ok(download.told().clone())
    }

    async fn commit(&self) -> Result<&str, Failure> {
        let ask = || async {
            let revision = utf8_percent_encode(&self.address.revision, ENCODED);
            let (_, Revision { sha }) = self.document(&format!("{}/revision/{revision}", self.api()), "").await?;
            if sha.is_empty() || !sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let act = format!("{} names {sha:?} as a commit", host(&self.endpoint));
                return Err(Failure::new(Reason::ArtifactStoreError, act));
            }
            Ok(sha)
        };
        self.commit.get_or_try_init(|| persist(self.patience.attempts, ask)).await.map(String::as_str)
    }

    /// What is in the folder `path`, with its sub folders when `recursive`.
    async fn list(&self, path: &str, recursive: bool) -> Result<Vec<Item>, Failure> {
        let commit = self.commit().await?;
        let slash = if path.is_empty() { "" } else { "/" };
        let tree = format!("{}/tree/{commit}{slash}{}", self.api(), utf8_percent_encode(path, ENCODED_IN_PATH));
        let mut query = format!("recursive={recursive}");
        let mut items: Vec<Item> = Vec::new();
        loop {
            let page = format!("{tree}?{query}");
            let ask = || self.document::<Vec<Item>>(&page, path);
            let (headers, more) = persist(self.patience.attempts, ask).await?;
            items.extend(more);
            if items.len() > MOST_ENTRIES {
                return Err(too_many(path));
            }
            match document::next_page(&headers) {
                // Only its query, so that a mirror that repeats the links of the hub stays the one that is asked.
                Some(next) if next != query => query = next,
                Some(_) => return Err(Failure::new(Reason::ArtifactStoreError, "the hub's listing never ends")),
                None => return Ok(items),
            }
        }
    }

    /// Asks once for a JSON document at `path` below the endpoint.
    async fn document<Document: DeserializeOwned>(
        &self,
        path: &str,
        file: &str,
    ) -> Result<(HeaderMap, Document), Failure> {
        let (response, _) = self.ask(self.url(path)?, None, file).await?;
        let headers = response.headers().clone();
        let unreadable =
            Failure::new(Reason::ArtifactStoreError, format!("the answer of {} can't be read", host(response.url())));
        let (body, whole) = read_at_most(response, LONGEST_PAGE).await?;
        if !whole {
            return Err(unreadable);
        }
        serde_json::from_slice(&body).map(|document| (headers, document)).map_err(|error| unreadable.caused_by(error))
    }

    /// Asks once for `url`, which has to do with `file`, and follows redirects.
    async fn ask(&self, url: Url, span: Option<Span>, file: &str) -> Result<(Response, Route), Failure> {
        let mut route = Route::from(url);
        loop {
            let mut request = self.client.get(route.url().clone());
            if let Some(span) = span {
                request = request.header(RANGE, span.header());
            }
            if let Some(token) = self.token.as_ref().filter(|_| route.is_home()) {
                request = request.header(AUTHORIZATION, token);
            }
            let response = send(request).await?;
            if route.follow(&response)? {
                continue;
            }
            return if has_bytes(&response) {
                Ok((response, route))
            } else {
                Err(self.refusal(&response, &route, file))
            };
        }
    }

    /// Why the hub, or the place that it redirects to, did not give what has to do with `file`.
    fn refusal(&self, response: &Response, route: &Route, file: &str) -> Failure {
        let (status, pause) = (response.status(), retry_after(response));
        let hub = host(&self.endpoint);
        if !route.is_home() {
            return redirect::refusal(response, &hub);
        }
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let is_code = |code: &&str| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let code = header("x-error-code").filter(is_code);
        let words = header("x-error-message").map(|words| self.without_token(words));
        let Address { repository, revision, .. } = &self.address;
        let anonymous = self.token.is_none();

        let mut failure = Failure::status(status, pause, String::new());
        let (reason, act) = match (code, status.as_u16()) {
            _ if words.as_deref() == Some(WRONG_TOKEN) => {
                (Reason::ArtifactUnauthenticated, format!("{hub} does not accept the token"))
            }
            (Some("GatedRepo"), _) if anonymous => (
                Reason::ArtifactForbidden,
                format!(
                    "{repository} is gated: accept its licence at {hub}, and put a token of that account into the \
                     Secret as HF_TOKEN"
                ),
            ),
            (Some("GatedRepo"), _) => (
                Reason::ArtifactForbidden,
                format!("{repository} is gated: accept its licence at {hub} with the account of this token"),
            ),
            (Some("RepoNotFound"), _) | (None, 401) if anonymous => (
                Reason::ArtifactNotFound,
                format!("{hub} has no repository {repository}; a private one can be seen only with a token"),
            ),
            (Some("RepoNotFound"), _) => (
                Reason::ArtifactNotFound,
                format!("{hub} has no repository {repository} that the account of this token may see"),
            ),
            (Some("RevisionNotFound"), _) => {
                (Reason::ArtifactNotFound, format!("{repository} has no revision {revision}"))
            }
            (_, 401) => (Reason::ArtifactUnauthenticated, format!("{hub} does not accept the token")),
            (_, 403) => (
                Reason::ArtifactForbidden,
                format!("{hub} does not allow this token to read the contents of {repository}"),
            ),
            (_, 404) => (Reason::ArtifactNotFound, self.absent(file)),
            _ => (failure.reason, format!("{hub} answered {status} for {}", self.place())),
        };
        let told = match (code, words) {
            (Some(code), Some(words)) => format!(" ({code}: {words})"),
            (Some(only), None) => format!(" ({only})"),
            (None, Some(only)) => format!(" ({only})"),
            (None, None) => String::new(),
        };
        failure.reason = reason;
        failure.with_answer(status, code.map(str::to_owned)).with_act(format!("{act}{told}"))
    }

    /// What a hub says, short and without our token, should it repeat it.
    fn without_token(&self, words: &str) -> String {
        let token = self.token.as_ref().and_then(|token| token.to_str().ok()?.strip_prefix(BEARER));
        let words = token.map_or_else(|| words.to_owned(), |token| words.replace(token, "…"));
        words.chars().take(LONGEST_WORDS).collect()
    }

    fn absent(&self, path: &str) -> String {
        let Address { repository, revision, .. } = &self.address;
        format!("{repository} has no file or folder {path:?} at the revision {revision}")
    }

    /// What the uri means, for people.
    fn place(&self) -> String {
        let Address { repository, revision, path, .. } = &self.address;
        let slash = if path.is_empty() { "" } else { "/" };
        format!("{repository}@{revision}{slash}{path}")
    }

    fn api(&self) -> String {
        let kind = match self.address.kind {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        };
        format!("api/{kind}/{}", self.address.repository)
    }

    fn url(&self, path: &str) -> Result<Url, Failure> {
        let text = format!("{}/{path}", self.endpoint.as_str().trim_end_matches('/'));
        Url::parse(&text)
            .map_err(|error| Failure::new(Reason::ArtifactUriInvalid, format!("{text} is no url")).caused_by(error))
    }
}

impl fmt::Display for Hf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.token.is_some() { "with a token" } else { "anonymous" };
        write!(formatter, "{}, {who}", host(&self.endpoint))
    }
}

const BEARER: &str = "Bearer ";

/// The header of a token, which no log shows. The cause of a failure is left out, because it could quote the token.
fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::try_from(format!("{BEARER}{token}"))
        .map_err(|_| missing(format!("the key {} of the Secret can't be in a header", TOKEN.join(" or "))))?;
    value.set_sensitive(true);
    Ok(value)
}
