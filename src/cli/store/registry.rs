//! A container registry: an artifact of one layer, as ORAS writes it, with the digest of its content as the tag.
//!
//! Source: OCI distribution specification 1.1, "Push"; image specification 1.1, "Guidelines for Artifact Usage".

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use futures::StreamExt;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Body, Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::Pieces;
use crate::cli::error::Cause;
use crate::cli::parcel::{Parcel, hexadecimal};
use crate::fetch::Patience;
use crate::fetch::client::{self, host, read_at_most, send};
use crate::fetch::settings::environment;
use crate::fetch::source::oci::access::{Access, Login};
use crate::fetch::source::oci::document::Refusal;
use crate::fetch::source::oci::token::Challenge;
use crate::fetch::uri::oci::{Address, DOCKER_HUB};
use crate::process::build;

/// Longest wait for a connection, and for an answer to a small request.
const CONNECT: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_mins(1);
/// Longest time in which no byte is taken, and for the answer after the last.
const SILENCE: Duration = Duration::from_mins(3);
/// Longest refusal that is read.
const LONGEST_REFUSAL: usize = 64 << 10;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const ARTIFACT: &str = "application/vnd.mooring.artifact.v1";
/// The configuration of what has none.
const EMPTY: &[u8] = b"{}";
const OF_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// By what name the docker command keeps the credentials of Docker Hub.
const HUB: &str = "https://index.docker.io/v1/";

/// A repository of a registry.
pub(crate) struct Registry {
    client: Client,
    /// Without a limit to the time until the answer, which comes after all bytes.
    sender: Client,
    access: Access,
    repository: String,
    /// What the registry was last content with.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Registry {
    pub(super) async fn open(address: &Address) -> Result<Self, Cause> {
        let client = client::build(Patience { attempts: 1, connect: CONNECT, stall: ANSWER })?;
        let sender = Client::builder()
            .user_agent(build::CLI)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .http1_only()
            .build()?;
        let mut access = Access::find(None, address).await?;
        let name = if DOCKER_HUB.contains(&address.registry.as_str()) { HUB } else { &address.registry }.to_owned();
        // A credential helper is a program that is waited for.
        access.login = tokio::task::spawn_blocking(move || login(&name)).await??;
        Ok(Self { client, sender, access, repository: address.repository.clone(), authorization: Mutex::default() })
    }

    pub(super) async fn has(&self, parcel: &Parcel) -> Result<bool, Cause> {
        let url = self.url(&format!("manifests/{}", parcel.sha256))?;
        let response = self.ask(|| self.client.head(url.clone()).header(ACCEPT, MANIFEST)).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refusal(response, "look for what is there").await),
        }
    }

    pub(super) async fn put(&self, parcel: &Parcel, pieces: Pieces) -> Result<(), Cause> {
        let digest = format!("sha256:{}", parcel.sha256);
        if !self.has_blob(&digest).await? {
            let sent = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&sent);
            let mut pieces = pieces;
            let stream = futures::stream::poll_fn(move |context| pieces.poll_recv(context)).inspect(move |piece| {
                let bytes = piece.as_ref().map_or(0, Bytes::len);
                counted.fetch_add(u64::try_from(bytes).unwrap_or_default(), Ordering::Relaxed);
            });
            let put = self.put_blob(&digest, parcel.bytes, Body::wrap_stream(stream));
            tokio::select! {
                end = put => end?,
                () = silence(&sent) => {
                    let words = format!("{} took nothing for {} s", host(&self.access.base), SILENCE.as_secs());
                    return Err(words.into());
                }
            }
        }
        let empty = format!("sha256:{}", hexadecimal(&Sha256::digest(EMPTY)));
        if !self.has_blob(&empty).await? {
            self.put_blob(&empty, u64::try_from(EMPTY.len())?, Body::from(EMPTY)).await?;
        }
        let media_type = match parcel.name.rsplit_once('.') {
            Some((_, "zst")) if parcel.is_archive() => "application/vnd.oci.image.layer.v1.tar+zstd",
            _ if parcel.is_archive() => "application/vnd.oci.image.layer.v1.tar",
            _ => "application/octet-stream",
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ARTIFACT,
            "config": {"mediaType": OF_EMPTY, "digest": empty, "size": EMPTY.len()},
            "layers": [{
                "mediaType": media_type, "digest": digest, "size": parcel.bytes,
                "annotations": {"org.opencontainers.image.title": parcel.name},
            }],
        });
        let url = self.url(&format!("manifests/{}", parcel.sha256))?;
        let response =
            self.ask(|| self.client.put(url.clone()).header(CONTENT_TYPE, MANIFEST).body(manifest.to_string())).await?;
        if response.status() == StatusCode::CREATED {
            Ok(())
        } else {
            Err(self.refusal(response, "take the manifest").await)
        }
    }

    async fn has_blob(&self, digest: &str) -> Result<bool, Cause> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let response = self.ask(|| self.client.head(url.clone())).await?;
        // Some send to where it is kept.
        Ok(response.status().is_success() || response.status().is_redirection())
    }

    async fn put_blob(&self, digest: &str, bytes: u64, body: Body) -> Result<(), Cause> {
        let url = self.url("blobs/uploads/")?;
        let response = self.ask(|| self.client.post(url.clone()).header(CONTENT_LENGTH, 0)).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(self.refusal(response, "begin an upload").await);
        }
        let place = response.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        let mut place = place
            .and_then(|place| response.url().join(place).ok())
            .ok_or_else(|| format!("{} does not say where the upload goes", host(response.url())))?;
        place.query_pairs_mut().append_pair("digest", digest);
        let request = self
            .sender
            .request(Method::PUT, place.clone())
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, bytes)
            .body(body);
        let request =
            if place.origin() == self.access.base.origin() { self.authorized(request).await } else { request };
        let response = send(request).await?;
        if response.status() == StatusCode::CREATED {
            Ok(())
        } else {
            Err(self.refusal(response, "take the content").await)
        }
    }

    fn url(&self, rest: &str) -> Result<Url, Cause> {
        Ok(self.access.base.join(&format!("{}/{rest}", self.repository))?)
    }

    async fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match self.authorization.lock().await.clone() {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    /// Sends a request, and once more with what the registry wants to be shown.
    async fn ask(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, Cause> {
        let response = send(self.authorized(request()).await).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(challenge) = Challenge::of(&response) else { return Ok(response) };
        let answer = challenge
            .answer(&self.client, &self.access.login, &self.access.base, &self.repository, "pull,push")
            .await?;
        let Some(answer) = answer else { return Ok(response) };
        *self.authorization.lock().await = Some(answer);
        Ok(send(self.authorized(request()).await).await?)
    }

    /// Why the registry did not do what was asked.
    async fn refusal(&self, response: Response, act: &str) -> Cause {
        let (status, place) = (response.status(), host(response.url()));
        let body = read_at_most(response, LONGEST_REFUSAL).await.map(|(body, _)| body).unwrap_or_default();
        let words = Refusal::read(&body).map(|(code, message)| format!(" ({code}: {message})")).unwrap_or_default();
        self.access.without_secrets(&format!("{place} answered {status} when asked to {act}{words}")).into()
    }
}

/// Ends when no byte was taken for too long.
async fn silence(sent: &AtomicU64) {
    let mut last = None;
    loop {
        let now = sent.load(Ordering::Relaxed);
        if last == Some(now) {
            return;
        }
        last = Some(now);
        tokio::time::sleep(SILENCE).await;
    }
}

/// Who the docker command says that we are to a registry; nobody where nobody has signed in to any.
fn login(registry: &str) -> Result<Login, Cause> {
    let home = || Some(PathBuf::from(environment(&["HOME"])?).join(".docker"));
    let folder = environment(&["DOCKER_CONFIG"]).map(PathBuf::from).or_else(home);
    if !folder.is_some_and(|folder| folder.join("config.json").exists()) {
        return Ok(Login::Anonymous);
    }
    match docker_credential::get_credential(registry) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(Login::Password { user, password }),
        Ok(DockerCredential::IdentityToken(token)) => Ok(Login::Identity(token)),
        Err(CredentialRetrievalError::ConfigNotFound | CredentialRetrievalError::NoCredentialConfigured) => {
            Ok(Login::Anonymous)
        }
        // Helpers say so in their own words, each.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => {
            Ok(Login::Anonymous)
        }
        // What a helper has printed may hold a secret.
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
            Err(format!("the credential helper {helper:?} of the docker config gives none for {registry}").into())
        }
        Err(error) => Err(format!("the docker config gives no credentials for {registry}: {error}").into()),
    }
}
