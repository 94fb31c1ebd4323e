//! The credentials for a registry, as the docker command keeps them.

use bollard::auth::DockerCredentials;
use docker_credential::DockerCredential;

/// Docker Hub's name among them.
const HUB: &str = "https://index.docker.io/v1/";

/// The credentials for the registry of an image; `None` when there are none, or they can't be read: the registry then says
/// what it misses.
pub async fn for_image(image: &str) -> Option<DockerCredentials> {
    let registry = registry(image).to_owned();
    let asked = registry.clone();
    // A credential helper is a program that is waited for.
    let found = tokio::task::spawn_blocking(move || docker_credential::get_credential(&asked)).await.ok()?;
    let serveraddress = Some(registry.clone());
    match found {
        Ok(DockerCredential::UsernamePassword(username, password)) => Some(DockerCredentials {
            username: Some(username),
            password: Some(password),
            serveraddress,
            ..DockerCredentials::default()
        }),
        Ok(DockerCredential::IdentityToken(token)) => {
            Some(DockerCredentials { identitytoken: Some(token), serveraddress, ..DockerCredentials::default() })
        }
        Err(error) => {
            // What a helper has printed may hold a secret.
            tracing::debug!(registry, "no credentials: {}", kind(&error));
            None
        }
    }
}

const fn kind(error: &docker_credential::CredentialRetrievalError) -> &'static str {
    use docker_credential::CredentialRetrievalError as Why;
    match error {
        Why::ConfigNotFound | Why::NoCredentialConfigured => "nobody has signed in",
        Why::HelperFailure { .. } => "the credential helper gives none",
        _ => "the docker config can't be understood",
    }
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
    }
}
