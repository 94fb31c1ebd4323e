//! What container runtimes say of a failed pull.

use super::segment;
use crate::catalogue::Reason;

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
        "SignatureValidationFailed" => Reason::ImagePullFailed,
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
    /// An HTTP status, as `404 Not Found` or `404, …`.
    Status(u16),
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
    (Reason::ImageDiskFull, &[Is::End("no space left on device"), Is::End("disk quota exceeded")]),
    (Reason::ImagePullRateLimited, &[Is::Status(429), Is::Start("toomanyrequests"), Is::Start("TOOMANYREQUESTS")]),
    (
        Reason::ImageRegistryTls,
        &[Is::All("x509"), Is::All("tls"), Is::All("server gave HTTP response to HTTPS client")],
    ),
    (
        Reason::ImageRegistryUnreachable,
        &[
            Is::End("no such host"),
            Is::End("connection refused"),
            Is::End("i/o timeout"),
            Is::End("no route to host"),
            Is::End("network is unreachable"),
            Is::End("host is down"),
            Is::End("connection timed out"),
            Is::End("connection reset by peer"),
            Is::End("server misbehaving"),
            Is::End("Temporary failure in name resolution"),
            Is::End("TLS handshake timeout"),
            Is::End("deadline exceeded"),
            Is::End("(Client.Timeout exceeded while awaiting headers)"),
            Is::End("Client.Timeout exceeded while awaiting headers"),
            Is::All("EOF"),
        ],
    ),
    (
        Reason::ImagePullUnauthorized,
        &[
            Is::Status(401),
            Is::Status(403),
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
            Is::Status(404),
            Is::All("not found"),
            Is::Start("manifest unknown"),
            Is::Start("name unknown"),
            Is::All("MANIFEST_UNKNOWN"),
            Is::All("NAME_UNKNOWN"),
            Is::Start("repository name not known to registry"),
            Is::Start("Requested entity was not found"),
        ],
    ),
];

fn classify(text: &str) -> Reason {
    let parts = segment::of(text);
    let says = |phrase: &Is| {
        parts.iter().any(|part| match phrase {
            Is::All(words) => part == words,
            Is::Start(words) => part.starts_with(words),
            Is::End(words) => part.ends_with(words),
            Is::Status(status) => {
                let digits = part.split([' ', ',']).next().unwrap_or_default();
                digits.len() == 3 && digits.parse() == Ok(*status)
            }
        })
    };
    PHRASES.iter().find(|(_, phrases)| phrases.iter().any(says)).map_or(Reason::ImagePullFailed, |(reason, _)| *reason)
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
