//! An image that no node has pulled yet, of layers that the cluster's own registry has.

use std::fmt::Write;

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::support::server::{Body, whole};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub struct Image {
    pub repository: String,
    tag: String,
    manifest: Document,
    /// The same for machines of a kind that this one is not.
    elsewhere: Document,
}

struct Document {
    kind: &'static str,
    digest: String,
    bytes: Bytes,
}

impl Image {
    /// The image `repository@digest` of the registry `upstream` with a mark in its manifest, and so with a new digest:
    /// who knew the manifest would not ask for it.
    pub async fn fresh(client: &reqwest::Client, upstream: &str, image: &str) -> Self {
        let (repository, digest) = image.split_once('@').unwrap();
        let url = format!("http://{upstream}/v2/{repository}/manifests/{digest}");
        let answer = client.get(&url).header("accept", MANIFEST).send().await.unwrap().error_for_status().unwrap();
        let mut manifest: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let tag = Uuid::new_v4().simple().to_string();
        manifest["annotations"]["dev.mooring.test"] = json!(tag);
        let manifest = Document::new(MANIFEST, &manifest);
        let elsewhere = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [{
                "mediaType": MANIFEST,
                "digest": manifest.digest,
                "size": manifest.bytes.len(),
                "platform": {"os": "linux", "architecture": "s390x"},
            }],
        });
        Self { repository: repository.to_owned(), tag, manifest, elsewhere: Document::new(INDEX, &elsewhere) }
    }

    /// Its name in the registry at `address`.
    pub fn at(&self, address: &str) -> String {
        format!("{address}/{}:{}", self.repository, self.tag)
    }

    /// The answer when `path` asks for it, `elsewhere` if for other machines only.
    pub fn answer(&self, path: &str, elsewhere: bool) -> Option<Response<Body>> {
        let reference = path.strip_prefix(&format!("/v2/{}/manifests/", self.repository))?;
        let tagged = if elsewhere { &self.elsewhere } else { &self.manifest };
        let document = match reference {
            tag if *tag == self.tag => tagged,
            digest => [&self.manifest, &self.elsewhere].into_iter().find(|document| document.digest == digest)?,
        };
        let answer = Response::builder()
            .header("content-type", document.kind)
            .header("docker-content-digest", &document.digest)
            .body(whole(document.bytes.clone()));
        Some(answer.unwrap())
    }
}

impl Document {
    fn new(kind: &'static str, document: &Value) -> Self {
        let bytes = Bytes::from(document.to_string());
        let mut digest = "sha256:".to_owned();
        for byte in Sha256::digest(&bytes) {
            write!(digest, "{byte:02x}").unwrap();
        }
        Self { kind, digest, bytes }
    }
}
