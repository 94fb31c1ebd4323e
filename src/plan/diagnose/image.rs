//! What container runtimes say of a failed pull.

use super::segment;
use crate::catalogue::Reason;

/// The waiting reason of local mode for an image that can't be built; no kubelet builds images.
pub const BUILD_FAILED: &str = "ErrImageBuild";

/// Whether a waiting reason of the kubelet speaks of the image.
#[must_use]
pub fn is_pull_failure(waiting: &str) -> bool {
    matches!(
        waiting,
        "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "RegistryUnavailable"
            | "ImageInspectError"
            | "SignatureValidationFailed"
            | BUILD_FAILED
    )
}

/// Whether a message tells only that a pull has failed, not why; older kubelets say no more while they back off.
#[must_use]
pub fn is_bare_back_off(message: &str) -> bool {
    message.starts_with("Back-off pulling image ") && !message.contains("\": ")
}

/// The cause of a failed pull and its text, without the kubelet's varying words around it, so that `ErrImagePull`
/// and the `ImagePullBackOff` after it read the same. `missing_secrets` are named for the pull and do not exist.
#[must_use]
pub fn cause(waiting: &str, message: &str, missing_secrets: &[String]) -> (Reason, String) {
    let text = message.split_once("\": ErrImagePull: ").map_or(message, |(_, error)| error);
    let text = text.find("rpc error: ").map_or(text, |start| text.get(start..).unwrap_or(text)).trim();
    let reason = match waiting {
        "InvalidImageName" => Reason::ImageNameInvalid,
        "ErrImageNeverPull" => Reason::ImageNeverPull,
        BUILD_FAILED => Reason::ImageBuildFailed,
        "SignatureValidationFailed" | "ImageInspectError" => Reason::ImagePullFailed,
        "RegistryUnavailable" => match classify(text) {
            Reason::ImagePullFailed => Reason::ImageRegistryUnreachable,
            known => known,
        },
        _ => classify(text),
    };
    if reason == Reason::ImagePullUnauthorized && !missing_secrets.is_empty() {
        return (Reason::ImagePullSecretMissing, format!("{} ({text})", missing_secrets.join(", ")));
    }
    (reason, text.to_owned())
}

/// How a phrase is compared with a part of the text.
#[derive(Clone, Copy)]
enum Is {
    /// The whole part.
    All(&'static str),
    /// Its beginning.
    Start(&'static str),
    /// Its end.
    End(&'static str),
    /// Its beginning and its end, around a name.
    Around(&'static str, &'static str),
}

/// Fixed phrases of containerd, CRI-O, Docker and of registries, in the order in which they decide: what one of them
/// names is wrapped by others that say less.
const PHRASES: &[(Reason, &[Is])] = &[
    (
        Reason::ImagePlatformMismatch,
        &[
            Is::Start("no match for platform in manifest"),
            Is::Start("no image found in image index for architecture"),
            Is::Start("no image found in manifest list for architecture"),
            Is::Start("no matching manifest for "),
            Is::End("does not match the specified platform"),
        ],
    ),
    (Reason::ImageDiskFull, &[Is::All("no space left on device"), Is::All("disk quota exceeded")]),
    (
        Reason::ImagePullRateLimited,
        &[Is::Start("toomanyrequests"), Is::Start("TOOMANYREQUESTS"), Is::All("too many requests to registry")],
    ),
    (
        Reason::ImageRegistryTls,
        &[Is::All("x509"), Is::All("tls"), Is::All("server gave HTTP response to HTTPS client")],
    ),
    (
        Reason::ImageRegistryUnreachable,
        &[
            Is::All("no such host"),
            Is::All("connection refused"),
            Is::All("i/o timeout"),
            Is::All("no route to host"),
            Is::All("network is unreachable"),
            Is::All("host is down"),
            Is::All("connection timed out"),
            Is::All("connection reset by peer"),
            Is::All("server misbehaving"),
            Is::All("Temporary failure in name resolution"),
            Is::All("TLS handshake timeout"),
            Is::End("context deadline exceeded"),
            Is::End("Client.Timeout exceeded while awaiting headers"),
            Is::All("EOF"),
        ],
    ),
    (
        Reason::ImagePullUnauthorized,
        &[
            Is::All("unauthorized"),
            Is::All("UNAUTHORIZED"),
            Is::All("denied"),
            Is::All("DENIED"),
            Is::All("access denied"),
            Is::Start("pull access denied"),
            Is::All("insufficient_scope"),
            Is::All("authorization failed"),
            Is::Start("authentication required"),
            Is::All("no basic auth credentials"),
            Is::All("requested access to the resource is denied"),
            Is::All("access to the requested resource is not authorized"),
            Is::Start("invalid username/password"),
            Is::Start("unable to retrieve auth token"),
            Is::Start("Your authorization token has expired"),
        ],
    ),
    (
        Reason::ImageNotFound,
        &[
            Is::Start("code = NotFound "),
            Is::All("not found"),
            Is::Start("manifest unknown"),
            Is::Start("name unknown"),
            Is::All("MANIFEST_UNKNOWN"),
            Is::All("NAME_UNKNOWN"),
            Is::Start("repository name not known to registry"),
            Is::Start("Requested entity was not found"),
            // Harbor.
            Is::Around("artifact ", " not found"),
        ],
    ),
];

/// Answers that end in a phrase of their own; a registry may say anything beside them.
const STATUSES: [(u16, Reason); 4] = [
    (401, Reason::ImagePullUnauthorized),
    (403, Reason::ImagePullUnauthorized),
    (404, Reason::ImageNotFound),
    (429, Reason::ImagePullRateLimited),
];

fn classify(text: &str) -> Reason {
    let parts = segment::of(text);
    if let Some(status) = parts.iter().find_map(|part| http_status(part)) {
        let known = STATUSES.iter().find(|(known, _)| *known == status);
        return known.map_or(Reason::ImagePullFailed, |(_, reason)| *reason);
    }
    let says = |phrase: &Is| {
        parts.iter().map(|part| part.trim_end_matches(')')).any(|part| match phrase {
            Is::All(words) => part == *words,
            Is::Start(words) => part.starts_with(words),
            Is::End(words) => part.ends_with(words),
            Is::Around(before, after) => part.starts_with(before) && part.ends_with(after),
        })
    };
    PHRASES.iter().find(|(_, phrases)| phrases.iter().any(says)).map_or(Reason::ImagePullFailed, |(reason, _)| *reason)
}

/// `404 Not Found`, `404, …`, `invalid status code from registry 403 (Forbidden)`.
fn http_status(part: &str) -> Option<u16> {
    let part = part.strip_prefix("invalid status code from registry ").unwrap_or(part);
    let digits = part.get(..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let mut rest = part.get(3..)?.chars();
    let fits = match rest.next() {
        None | Some(',') => true,
        Some(' ') => rest.next().is_some_and(|next| next.is_ascii_uppercase() || next == '('),
        Some(_) => false,
    };
    digits.parse().ok().filter(|status| fits && (400..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_back_off_reads_as_the_error_before_it() {
        let error = "rpc error: code = NotFound desc = failed to pull and unpack image \"x\": x: not found";
        let back_off = format!("Back-off pulling image \"x\": ErrImagePull: {error}");
        assert_eq!(cause("ImagePullBackOff", &back_off, &[]), cause("ErrImagePull", error, &[]));
        let docker = "Error response from daemon: manifest for x:1 not found: manifest unknown: manifest unknown";
        let back_off = format!("Back-off pulling image \"x\": ErrImagePull: {docker}");
        assert_eq!(cause("ImagePullBackOff", &back_off, &[]), cause("ErrImagePull", docker, &[]));
    }

    #[test]
    fn an_engine_asked_without_a_kubelet_is_understood() {
        for (words, reason) in [
            ("manifest for host:5000/x:1 not found: manifest unknown: manifest unknown", Reason::ImageNotFound),
            (
                "pull access denied for x, repository does not exist or may require 'docker login': denied: requested access \
                 to the resource is denied",
                Reason::ImagePullUnauthorized,
            ),
            (
                "Head \"https://host/v2/x/manifests/1\": unauthorized: authentication required",
                Reason::ImagePullUnauthorized,
            ),
            (
                "Get \"https://host/v2/\": dial tcp: lookup host on 1.1.1.1:53: no such host",
                Reason::ImageRegistryUnreachable,
            ),
            (
                "Get \"https://host/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                Reason::ImageRegistryUnreachable,
            ),
            ("Get \"https://host/v2/\": x509: certificate signed by unknown authority", Reason::ImageRegistryTls),
            ("Get \"https://host/v2/\": http: server gave HTTP response to HTTPS client", Reason::ImageRegistryTls),
            ("no matching manifest for linux/amd64 in the manifest list entries", Reason::ImagePlatformMismatch),
            ("toomanyrequests: You have reached your pull rate limit.", Reason::ImagePullRateLimited),
            // Podman.
            (
                "initializing source docker://host/x:1: reading manifest 1 in host/x: manifest unknown",
                Reason::ImageNotFound,
            ),
            (
                "initializing source docker://host/x:1: pinging container registry host: Get \"https://host/v2/\": dial tcp \
                 127.0.0.1:1: connect: connection refused",
                Reason::ImageRegistryUnreachable,
            ),
        ] {
            assert_eq!(cause("ErrImagePull", words, &[]), (reason, words.to_owned()));
        }
        let failed = "The command '/bin/sh -c false' returned a non-zero code: 1";
        assert_eq!(cause(BUILD_FAILED, failed, &[]), (Reason::ImageBuildFailed, failed.to_owned()));
    }

    #[test]
    fn a_bare_back_off_says_no_cause() {
        assert!(is_bare_back_off("Back-off pulling image \"x\""));
        assert!(!is_bare_back_off("Back-off pulling image \"x\": ErrImagePull: y"));
    }

    #[test]
    fn a_refusal_without_the_named_secret_is_the_secrets() {
        let (reason, text) = cause("ErrImagePull", "unauthorized", &["regcred".to_owned()]);
        assert_eq!((reason, text.as_str()), (Reason::ImagePullSecretMissing, "regcred (unauthorized)"));
    }
}
