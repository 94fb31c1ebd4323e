//! What a registry says: manifests, and why not.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What a manifest can be, as it is asked for. Sources: OCI image specification 1.1; Docker image manifest version 2,
/// schema 2; OCI artifact manifest, which older ORAS wrote.
pub const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.artifact.manifest.v1+json";

/// Longest words of a registry that a message repeats.
const LONGEST_WORDS: usize = 200;

/// Any manifest: one with `manifests` is an index of others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// What an artifact or an image is made of.
    #[serde(alias = "blobs")]
    pub layers: Option<Vec<Descriptor>>,
    /// One manifest for each platform.
    pub manifests: Option<Vec<Descriptor>>,
}

/// What points to a blob or a manifest.
#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it points to.
    #[serde(default)]
    pub media_type: String,
    /// `ALGORITHM:HEXADECIMAL`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// What people and tools have written to it.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Of a manifest in an index: what it is for.
    pub platform: Option<Platform>,
}

/// What an image runs on.
#[derive(Deserialize, Clone)]
pub struct Platform {
    /// The processor, as Go calls it.
    pub architecture: String,
    /// The operating system, as Go calls it.
    pub os: String,
}

impl Descriptor {
    /// The path of the file that it is, where it says one. Sources: ORAS, "Artifact"; `ModelPack` specification,
    /// "Annotations".
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        let names = ["org.opencontainers.image.title", "org.cncf.model.filepath"];
        names.iter().find_map(|name| self.annotations.get(*name)).map(String::as_str)
    }

    /// Whether it is a folder in a tar archive. Sources: the same.
    #[must_use]
    pub fn is_archive(&self) -> bool {
        let marked = self.annotations.get("io.deis.oras.content.unpack").is_some_and(|value| value == "true");
        let of_model_pack = self.media_type.starts_with("application/vnd.cncf.model.");
        marked || (of_model_pack && self.media_type.contains(".tar"))
    }

    /// Whether it is a part of a container's filesystem.
    #[must_use]
    pub fn is_image_layer(&self) -> bool {
        self.media_type.starts_with("application/vnd.oci.image.layer.")
            || self.media_type.starts_with("application/vnd.docker.image.rootfs.")
    }
}

/// Why a registry does not give what it was asked for.
#[derive(Deserialize)]
pub struct Refusal {
    errors: Vec<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    code: String,
    #[serde(default)]
    message: String,
}

impl Refusal {
    /// The code and the words of the first cause in `body`; `None` when it has none.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<(String, String)> {
        let Self { errors } = serde_json::from_slice(body).ok()?;
        let Cause { code, message } = errors.into_iter().next()?;
        let is_code =
            code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        is_code.then(|| (code, message.chars().take(LONGEST_WORDS).collect()))
    }
}

/// How Go calls the processor of this machine.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}
