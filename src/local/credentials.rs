//! The credentials for a registry, where the docker command keeps them.

use std::path::PathBuf;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Docker Hub's name in the file.
const HUB: &str = "https://index.docker.io/v1/";

/// `~/.docker/config.json`, as far as it matters.
#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: std::collections::BTreeMap<String, Entry>,
    cred_helpers: std::collections::BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    identitytoken: Option<String>,
}

/// The answer of a credential helper.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// The credentials for the registry of an image; `None` when there are none, or they can't be read.
pub async fn for_image(image: &str) -> Option<DockerCredentials> {
    let registry = registry(image);
    let file = file()?;
    let helper = file.cred_helpers.get(registry).or(file.creds_store.as_ref());
    if let Some(helper) = helper
        && let Some(found) = ask(helper, registry).await
    {
        return Some(found);
    }
    let entry = file.auths.iter().find(|(key, _)| is_of(key, registry)).map(|(_, entry)| entry)?;
    of_entry(entry, registry)
}

fn file() -> Option<File> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")))?;
    let text = std::fs::read_to_string(folder.join("config.json")).ok()?;
    match serde_json::from_str(&text) {
        Ok(file) => Some(file),
        Err(error) => {
            tracing::warn!("{}/config.json can't be understood, so no credentials are used: {error}", folder.display());
            None
        }
    }
}

fn of_entry(entry: &Entry, registry: &str) -> Option<DockerCredentials> {
    let decoded = STANDARD.decode(entry.auth.as_deref()?.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (username, password) = text.trim_end_matches('\0').split_once(':')?;
    Some(DockerCredentials {
        username: Some(username.to_owned()),
        password: Some(password.to_owned()),
        identitytoken: entry.identitytoken.clone(),
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    })
}

/// Asks `docker-credential-HELPER`, which gets the registry on its standard input.
async fn ask(helper: &str, registry: &str) -> Option<DockerCredentials> {
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(registry.as_bytes()).await.ok()?;
    let output = tokio::time::timeout(std::time::Duration::from_secs(30), child.wait_with_output()).await.ok()?.ok()?;
    let answer: Answer = serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success())?;
    let is_token = answer.username == "<token>";
    Some(DockerCredentials {
        username: Some(answer.username).filter(|_| !is_token),
        password: Some(answer.secret.clone()).filter(|_| !is_token),
        identitytoken: Some(answer.secret).filter(|_| is_token),
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    })
}

/// The registry of an image: what stands before the first slash, when it looks like a host.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => match host {
            "docker.io" | "index.docker.io" => HUB,
            host => host,
        },
        _ => HUB,
    }
}

/// Whether a key of the file means a registry: a host, or a url as older programs wrote it.
fn is_of(key: &str, registry: &str) -> bool {
    let host = |text: &str| {
        let text = text.trim_start_matches("https://").trim_start_matches("http://");
        text.split('/').next().unwrap_or(text).to_owned()
    };
    key == registry || host(key) == host(registry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_what_looks_like_a_host() {
        assert_eq!(registry("python:3.11"), HUB);
        assert_eq!(registry("library/python"), HUB);
        assert_eq!(registry("docker.io/me/x"), HUB);
        assert_eq!(registry("ghcr.io/me/x:1"), "ghcr.io");
        assert_eq!(registry("127.0.0.1:5000/x@sha256:0"), "127.0.0.1:5000");
        assert!(
            is_of("https://ghcr.io/v2/", "ghcr.io") && is_of(HUB, HUB) && !is_of("ghcr.io", "ghcr.io.evil.example")
        );
    }

    #[test]
    fn a_name_and_a_password_are_read() {
        let file: File =
            serde_json::from_str(r#"{"auths": {"r.example": {"auth": "bWU6cGFzczp3b3Jk"}}, "other": 1}"#).unwrap();
        let found = of_entry(&file.auths["r.example"], "r.example").unwrap();
        assert_eq!((found.username.as_deref(), found.password.as_deref()), (Some("me"), Some("pass:word")));
    }
}
