//! Where the registry is and who we are to it.
//!
//! | what | keys of the Secret | without |
//! |---|---|---|
//! | docker's configuration, as `kubectl create secret docker-registry` writes it | `.dockerconfigjson`, `config.json` | |
//! | user name and password | `username` and `password` | anonymous |
//! | plain HTTP | `OCI_ALLOW_HTTP`, `allowHttp`: `true`; else the environment variable `OCI_ALLOW_HTTP` | loopback only |

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use url::{Host, Url};

use crate::catalogue::Reason;
use crate::fetch::credentials::{Folder, missing};
use crate::fetch::failure::Failure;
use crate::fetch::settings::Settings;
use crate::fetch::uri::oci::{Address, DOCKER_HUB};

const DOCKER_CONFIG: &[&str] = &[".dockerconfigjson", "config.json"];
const USER: &[&str] = &["username"];
const PASSWORD: &[&str] = &["password"];
const ALLOW_HTTP: &[&str] = &["OCI_ALLOW_HTTP", "allowHttp"];

/// Where the registry is and who we are to it.
pub struct Access {
    /// Where every request begins.
    pub base: Url,
    /// Who we are.
    pub login: Login,
}

/// Who we are to a registry.
#[derive(PartialEq, Eq)]
pub enum Login {
    /// Nobody.
    Anonymous,
    /// Somebody with a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// Somebody whom the registry has given a token that others are made from.
    Identity(String),
}

/// Docker's configuration.
#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl Access {
    /// Reads the Secret at `folder` and the environment.
    ///
    /// # Errors
    ///
    /// [`Reason::ArtifactCredentialsMissing`] when the Secret has none of the keys, or nothing for this registry.
    pub async fn find(folder: Option<&Folder>, address: &Address) -> Result<Self, Failure> {
        let allowed = Settings { secret: folder }.flag(ALLOW_HTTP).await?;
        let login = match folder {
            Some(folder) => login(folder, address).await?,
            None => Login::Anonymous,
        };
        let unreadable = |error| Failure::new(Reason::ArtifactUriInvalid, "the registry is no host").caused_by(error);
        let base = Url::parse(&format!("https://{}/v2/", address.registry)).map_err(unreadable)?;
        if allowed.unwrap_or_else(|| is_loopback(&base)) {
            let base = Url::parse(&format!("http://{}/v2/", address.registry)).map_err(unreadable)?;
            return Ok(Self { base, login });
        }
        Ok(Self { base, login })
    }

    /// `text` without our secrets, should a registry repeat them.
    #[must_use]
    pub fn without_secrets(&self, text: &str) -> String {
        match &self.login {
            Login::Anonymous => text.to_owned(),
            Login::Password { password: secret, .. } | Login::Identity(secret) => text.replace(secret.as_str(), "…"),
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    }
}

async fn login(folder: &Folder, address: &Address) -> Result<Login, Failure> {
    if let Some(text) = folder.value(DOCKER_CONFIG).await? {
        // The cause is left out, because it could quote a password.
        let config: DockerConfig = serde_json::from_str(&text).map_err(|_| {
            missing(format!("the key {} of the Secret is no docker config", DOCKER_CONFIG.join(" or ")))
        })?;
        return of_config(config, address);
    }
    if let Some(user) = folder.value(USER).await? {
        return Ok(Login::Password { user, password: folder.needed(PASSWORD).await? });
    }
    if folder.value(ALLOW_HTTP).await?.is_some() {
        return Ok(Login::Anonymous);
    }
    Err(missing("the Secret has none of the keys .dockerconfigjson, config.json, username and password"))
}

/// The entry with the longest name that is the registry, or a part of the repository's path in it, as Kubernetes reads
/// it.
fn of_config(config: DockerConfig, address: &Address) -> Result<Login, Failure> {
    let Address { registry, repository, .. } = address;
    let names: Vec<String> = config.auths.keys().cloned().collect();
    let whole = format!("{registry}/{repository}/");
    let fits = |name: &str| whole.starts_with(&format!("{}/", place(name)));
    let best = config.auths.into_iter().filter(|(name, _)| fits(name)).max_by_key(|(name, _)| place(name).len());
    let Some((name, entry)) = best else {
        let act = format!("the docker config in the Secret has no entry for {registry}, only for {}", names.join(", "));
        return Err(missing(act));
    };
    let incomplete = || missing(format!("the entry {name} of the docker config in the Secret has no credentials"));
    if let Some(token) = entry.identitytoken.filter(|token| !token.is_empty()) {
        return Ok(Login::Identity(token));
    }
    if let (Some(user), Some(password)) = (entry.username, entry.password)
        && !user.is_empty()
    {
        return Ok(Login::Password { user, password });
    }
    let decoded = entry.auth.and_then(|auth| String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok());
    let (user, password) = decoded.as_deref().and_then(|pair| pair.split_once(':')).ok_or_else(incomplete)?;
    Ok(Login::Password { user: user.to_owned(), password: password.to_owned() })
}

/// The registry, and what else of a path is in the name of an entry: `https://index.docker.io/v1/` is Docker Hub.
fn place(name: &str) -> String {
    let name = name.split_once("://").map_or(name, |(_, rest)| rest).trim_end_matches('/');
    let (registry, path) = name.split_once('/').unwrap_or((name, ""));
    let registry = registry.to_ascii_lowercase();
    let registry = if DOCKER_HUB.contains(&registry.as_str()) { DOCKER_HUB[2] } else { &registry };
    match path {
        "" | "v1" | "v2" => registry.to_owned(),
        path => format!("{registry}/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::uri::{self, Location};

    fn login_of(config: &str, uri: &str) -> Result<Login, Failure> {
        let Location::Oci(address) = uri::parse(uri).unwrap() else { unreachable!() };
        of_config(serde_json::from_str(config).unwrap(), &address)
    }

    fn password(user: &str, password: &str) -> Login {
        Login::Password { user: user.into(), password: password.into() }
    }

    #[test]
    fn the_entry_of_the_registry_is_taken() {
        let config = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOmE6Yg=="},
            "reg.io": {"username": "all", "password": "p"},
            "reg.io/team": {"username": "team", "password": "p"},
            "acr.io": {"auth": "MDAwMDo=", "identitytoken": "token"},
            "void.io": {}
        }}"#;
        let taken = |uri| login_of(config, uri);
        assert!(taken("oci://docker.io/iris").unwrap() == password("hub", "a:b"));
        assert!(taken("oci://reg.io/teams/iris").unwrap() == password("all", "p"));
        assert!(taken("oci://reg.io/team/iris").unwrap() == password("team", "p"));
        assert!(taken("oci://acr.io/iris").unwrap() == Login::Identity("token".into()));
        for uri in ["oci://void.io/iris", "oci://reg.io.evil/iris", "oci://reg.io:5000/iris"] {
            let failure = taken(uri).err().unwrap();
            assert_eq!(failure.reason, Reason::ArtifactCredentialsMissing, "{uri}");
        }
        assert!(taken("oci://other/iris").err().unwrap().to_string().contains("reg.io/team"));
    }

    #[tokio::test]
    async fn plain_http_is_for_loopback_and_who_asks_for_it() {
        let base = async |registry: &str, folder: Option<&Folder>| {
            let Location::Oci(address) = uri::parse(&format!("oci://{registry}/iris")).unwrap() else { unreachable!() };
            Access::find(folder, &address).await.unwrap().base.to_string()
        };
        for registry in ["localhost:5000", "127.0.0.2", "[::1]:5000"] {
            assert_eq!(base(registry, None).await, format!("http://{registry}/v2/"));
        }
        for registry in ["localhost.example.com", "10.0.0.1:5000", "reg.io"] {
            assert_eq!(base(registry, None).await, format!("https://{registry}/v2/"));
        }
        let secret = tempfile::tempdir().unwrap();
        std::fs::write(secret.path().join("OCI_ALLOW_HTTP"), "true").unwrap();
        let folder = Folder::open(secret.path()).await.unwrap();
        assert_eq!(base("reg.io", Some(&folder)).await, "http://reg.io/v2/");
    }
}
