//! `oci://REGISTRY/REPOSITORY[:TAG|@DIGEST]`: an artifact of a container registry, whose layers are named files and
//! folders, as ORAS and `ModelPack` write them; or a container image, of which the folder `/models` is wanted. One file is
//! an object, all else a folder.
//!
//! The requests are ours: a client of the field follows redirects by rules of its own, asks any address for a token, and
//! hides why it got none.

pub mod access;
pub mod document;
pub mod token;

use std::fmt;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, RANGE};
use reqwest::{Client, Response};
use tokio::sync::Mutex;
use url::Url;

use crate::catalogue::Reason;
use crate::fetch::Patience;
use crate::fetch::client::{host, read_at_most, retry_after, send};
use crate::fetch::download::{Download, Span, Told, has_bytes};
use crate::fetch::failure::{Failure, Retry};
use crate::fetch::redirect::{self, Route, Shortcuts};
use crate::fetch::retry::persist;
use crate::fetch::source::{Content, Entry, Form, Layer, Object};
use crate::fetch::uri::oci::{Address, Reference, is_digest};
use crate::fetch::verify::{Algorithm, Checksum, Verifier};
use access::{Access, Login};
use document::{Descriptor, MANIFESTS, Manifest, Refusal, architecture};
use token::Challenge;

/// Longest manifest; source: OCI distribution specification 1.1, "Pushing manifests".
const LONGEST_MANIFEST: usize = 4 << 20;
const LONGEST_ERROR: usize = 64 << 10;

/// The folder of an image that holds the model; source: `KServe`, "Serving models with OCI images" (modelcars).
const MODELS: &str = "models";

/// The header in which a registry names the manifest that a tag stands for.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// An artifact of a registry.
pub struct Oci {
    client: Client,
    access: Access,
    address: Address,
    patience: Patience,
    /// What the registry was last content with.
    authorization: Mutex<Option<HeaderValue>>,
    shortcuts: Shortcuts,
}

/// What is asked of the registry.
#[derive(Clone, Copy)]
enum Ask<'a> {
    Manifest(&'a str),
    Blob { digest: &'a str, span: Option<Span> },
}

impl Oci {
    /// The artifact at `address`.
    #[must_use]
    pub fn new(client: Client, access: Access, address: Address, patience: Patience) -> Self {
        let (authorization, shortcuts) = (Mutex::default(), Shortcuts::default());
        Self { client, access, address, patience, authorization, shortcuts }
    }

    /// Reads the manifest. The version of each object is its digest.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactNotFound`] when there is none, or none for this platform; [`Reason::ArtifactEmpty`] when it has
    /// no file; [`Reason::ArtifactUriInvalid`] when it is neither an artifact nor an image.
    pub async fn look(&self) -> Result<Content, Failure> {
        let mut manifest = self.manifest(self.address.reference.as_str()).await?;
        if let Some(manifests) = &manifest.manifests {
            let digest = self.of_this_platform(manifests)?;
            manifest = self.manifest(digest).await?;
        }
        let Some(layers) = manifest.layers else {
            let act = format!("{} is neither an artifact nor an image nor an index of some", self.place());
            return Err(Failure::new(Reason::ArtifactUriInvalid, act));
        };
        let is_image = layers.iter().all(|layer| layer.path().is_none() && layer.is_image_layer());
        let mut parts = Vec::new();
        for layer in &layers {
            let (key, form) = match layer.path() {
                Some(path) if layer.is_archive() => (path, Form::Archive),
                Some(path) => (path, Form::File(path.to_owned())),
                None if is_image => (layer.digest.as_str(), Form::Filesystem { below: MODELS }),
                None => {
                    tracing::info!("the layer {} of {} has no name and is left out", layer.digest, self.place());
                    continue;
                }
            };
            parts.push(Layer { object: object(key, layer)?, form });
        }
        if parts.is_empty() {
            let act = format!("{} has no layer with the name of a file", self.place());
            return Err(Failure::new(Reason::ArtifactEmpty, act));
        }
        let name = self.address.name().to_owned();
        Ok(match parts.as_slice() {
            [Layer { object, form: Form::File(path) }] if !path.contains('/') => {
                Content::Object { name: path.clone(), object: object.clone() }
            }
            parts if parts.iter().all(|part| matches!(part.form, Form::File(_))) => {
                let entry = |part: &Layer| Entry { path: part.object.key.clone(), object: Some(part.object.clone()) };
                Content::Folder { name, entries: parts.iter().map(entry).collect() }
            }
            _ => Content::Layers { name, layers: parts },
        })
    }

    /// Where it is served.
    #[must_use]
    pub fn service(&self) -> String {
        self.access.base.to_string()
    }

    /// Asks once for the bytes of `object`, all of them or those of `span`.
    ///
    /// # Errors
    ///
    /// When the registry, or the place that it redirects to, does not give them.
    pub async fn read(&self, object: &Object, span: Option<Span>) -> Result<Download, Failure> {
        let digest = object.version.as_deref().unwrap_or_default();
        if let Some(response) = self.shortcuts.ask(&self.client, digest, span).await? {
            return Download::new(response, object, span, Told::default());
        }
        let (response, route) = self.ask(Ask::Blob { digest, span }).await?;
        self.shortcuts.learn(digest, &route);
        Download::new(response, object, span, Told::default())
    }

    /// The digest of the manifest that is for Linux on this processor, or the only one.
    fn of_this_platform<'a>(&self, manifests: &'a [Descriptor]) -> Result<&'a str, Failure> {
        let wanted = architecture();
        let platforms = || manifests.iter().filter_map(|one| Some((one, one.platform.as_ref()?)));
        let found = platforms().find(|(_, platform)| platform.os == "linux" && platform.architecture == wanted);
        match (found, manifests) {
            (Some((one, _)), _) => Ok(&one.digest),
            (None, [one]) if one.platform.is_none() => Ok(&one.digest),
            (None, _) => {
                let names: Vec<_> =
                    platforms().map(|(_, platform)| format!("{}/{}", platform.os, platform.architecture)).collect();
                let act = format!("{} has nothing for linux/{wanted}, only for {}", self.place(), names.join(", "));
                Err(Failure::new(Reason::ArtifactNotFound, act))
            }
        }
    }

    /// The manifest with the tag or the digest `reference`, verified.
    async fn manifest(&self, reference: &str) -> Result<Manifest, Failure> {
        persist(self.patience.attempts, || async {
            let (response, _) = self.ask(Ask::Manifest(reference)).await?;
            let told = response.headers().get(CONTENT_DIGEST).and_then(|digest| digest.to_str().ok());
            let told = told.filter(|digest| is_digest(digest)).map(str::to_owned);
            let unreadable = format!("the manifest of {} can't be read", self.place());
            let (body, whole) = read_at_most(response, LONGEST_MANIFEST).await?;
            if !whole {
                return Err(Failure::new(Reason::ArtifactStoreError, unreadable));
            }
            let asked = is_digest(reference).then_some(reference);
            if let Some(digest) = asked.or(told.as_deref()) {
                let mut verifier = Verifier::new(&[checksum(digest)?]);
                verifier.see(&body);
                verifier.judge(&format!("the manifest of {}", self.place()))?;
            }
            serde_json::from_slice(&body)
                .map_err(|error| Failure::new(Reason::ArtifactStoreError, unreadable).caused_by(error))
        })
        .await
    }

    /// Asks once, and once more when the registry wants to know who asks, or wants to know it again.
    async fn ask(&self, ask: Ask<'_>) -> Result<(Response, Route), Failure> {
        let url = self.url(ask)?;
        let mut known = self.authorization.lock().await.clone();
        let mut is_new = false;
        loop {
            let mut route = Route::from(url.clone());
            let response = loop {
                let response = self.send(&route, ask, known.as_ref()).await?;
                if !route.follow(&response)? {
                    break response;
                }
            };
            if has_bytes(&response) {
                return Ok((response, route));
            }
            if !route.is_home() {
                return Err(redirect::refusal(&response, &self.address.registry));
            }
            let challenge = Challenge::of(&response).filter(|_| response.status().as_u16() == 401);
            if let Some(challenge) = challenge.as_ref().filter(|_| !is_new)
                && let Some(answer) = self.answer(challenge, known.as_ref()).await?
            {
                (known, is_new) = (Some(answer), true);
                continue;
            }
            let is_insufficient = matches!(challenge, Some(Challenge::Bearer { is_insufficient: true, .. }));
            return Err(self.refusal(response, ask, is_insufficient).await);
        }
    }

    async fn send(
        &self,
        route: &Route,
        ask: Ask<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let mut request = self.client.get(route.url().clone());
        match ask {
            Ask::Manifest(_) => request = request.header(ACCEPT, MANIFESTS),
            Ask::Blob { span: Some(span), .. } => request = request.header(RANGE, span.header()),
            Ask::Blob { .. } => {}
        }
        if let Some(value) = authorization.filter(|_| route.is_home()) {
            request = request.header(AUTHORIZATION, value);
        }
        send(request).await
    }

    /// What answers `challenge`, after the registry was not content with `used`; `None` when there is nothing else.
    async fn answer(&self, challenge: &Challenge, used: Option<&HeaderValue>) -> Result<Option<HeaderValue>, Failure> {
        let mut known = self.authorization.lock().await;
        if known.as_ref() != used {
            // Another connection was faster.
            return Ok(known.clone());
        }
        let Access { base, login } = &self.access;
        let answer = challenge.answer(&self.client, login, base, &self.address.repository, "pull").await?;
        if answer.as_ref() == used {
            return Ok(None);
        }
        known.clone_from(&answer);
        Ok(answer)
    }

    /// Why the registry did not give what was asked.
    async fn refusal(&self, response: Response, ask: Ask<'_>, is_insufficient: bool) -> Failure {
        let (status, pause) = (response.status(), retry_after(&response));
        let Address { registry, repository, .. } = &self.address;
        let body = read_at_most(response, LONGEST_ERROR).await.map(|(body, _)| body).unwrap_or_default();
        let cause = Refusal::read(&body);
        let code = cause.as_ref().map(|(code, _)| code.as_str());

        let mut failure = Failure::status(status, pause, String::new());
        if let Some((reason, retry)) = code.and_then(meaning) {
            failure = failure.meaning(reason, retry, pause);
        }
        let is_anonymous = self.access.login == Login::Anonymous;
        if is_insufficient && !is_anonymous {
            failure.reason = Reason::ArtifactForbidden;
        }
        let act = match (failure.reason, ask) {
            (Reason::ArtifactNotFound, _) if code == Some("NAME_UNKNOWN") => {
                format!("{registry} has no repository {repository}")
            }
            (Reason::ArtifactNotFound, Ask::Manifest(_)) => format!("{registry} has no artifact {}", self.place()),
            (Reason::ArtifactNotFound, Ask::Blob { digest, .. }) => {
                format!("{registry} has no layer {digest} of {}", self.place())
            }
            (Reason::ArtifactForbidden, _) => {
                format!("{registry} does not allow pull on {repository}, or has no such repository")
            }
            (Reason::ArtifactUnauthenticated, _) if is_anonymous => {
                format!("{registry} does not allow pull on {repository} without credentials")
            }
            (Reason::ArtifactUnauthenticated, _) => format!("{registry} does not accept the credentials"),
            _ => format!("{registry} answered {status} for {}", self.place()),
        };
        let told = match &cause {
            Some((code, words)) if words.is_empty() => format!(" ({code})"),
            Some((code, words)) => format!(" ({code}: {})", self.access.without_secrets(words)),
            None => String::new(),
        };
        failure.with_act(format!("{act}{told}")).with_answer(status, cause.map(|(code, _)| code))
    }

    fn url(&self, ask: Ask<'_>) -> Result<Url, Failure> {
        let (kind, name) = match ask {
            Ask::Manifest(reference) => ("manifests", reference),
            Ask::Blob { digest, .. } => ("blobs", digest),
        };
        let path = format!("{}/{kind}/{name}", self.address.repository);
        self.access
            .base
            .join(&path)
            .map_err(|error| Failure::new(Reason::ArtifactUriInvalid, format!("{path} is no url")).caused_by(error))
    }

    /// What the uri means, for people.
    fn place(&self) -> String {
        let Address { repository, reference, .. } = &self.address;
        match reference {
            Reference::Tag(tag) => format!("{repository}:{tag}"),
            Reference::Digest(digest) => format!("{repository}@{digest}"),
        }
    }
}

fn object(key: &str, layer: &Descriptor) -> Result<Object, Failure> {
    Ok(Object {
        key: key.to_owned(),
        size: Some(layer.size),
        version: Some(layer.digest.clone()),
        checksums: vec![checksum(&layer.digest)?],
    })
}

fn checksum(digest: &str) -> Result<Checksum, Failure> {
    let hexadecimal = digest.strip_prefix("sha256:").filter(|_| is_digest(digest));
    hexadecimal.and_then(|text| Checksum::from_hexadecimal(Algorithm::Sha256, text)).ok_or_else(|| {
        let act = format!("the registry names {digest:?} by something else than its SHA-256");
        Failure::new(Reason::ArtifactStoreError, act)
    })
}

/// What the registry's own code means where the status alone does not tell.
fn meaning(code: &str) -> Option<(Reason, Retry)> {
    Some(match code {
        "UNAUTHORIZED" => (Reason::ArtifactUnauthenticated, Retry::Never),
        "DENIED" => (Reason::ArtifactForbidden, Retry::Never),
        "MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "BLOB_UNKNOWN" | "NOT_FOUND" => (Reason::ArtifactNotFound, Retry::Never),
        "TOOMANYREQUESTS" => (Reason::ArtifactStoreThrottled, Retry::Soon),
        "NAME_INVALID" | "TAG_INVALID" => (Reason::ArtifactUriInvalid, Retry::Never),
        _ => return None,
    })
}

impl fmt::Display for Oci {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.access.login == Login::Anonymous { "anonymous" } else { "with credentials" };
        write!(formatter, "{}, {who}", host(&self.access.base))
    }
}
