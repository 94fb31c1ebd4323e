//! What the container runtime says of a failed pull.

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
    )
}

/// The cause of a failed pull and its text, without the kubelet's varying words around it, so that `ErrImagePull`
/// and the `ImagePullBackOff` after it read the same.
#[must_use]
pub fn cause(waiting: &str, message: &str) -> (Reason, String) {
    let text = message.find("rpc error: ").map_or(message, |start| &message[start..]).trim();
    let reason = if waiting == "InvalidImageName" { Reason::ImageNameInvalid } else { classify(text) };
    (reason, text.to_owned())
}

/// Classifies by the gRPC code and by the fixed text after the last `": "`; what users choose (names, tags, hosts)
/// stands before it.
fn classify(text: &str) -> Reason {
    let grpc_code = text.strip_prefix("rpc error: code = ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let tail = text.rsplit(": ").next().unwrap_or(text);
    let tail_is = |endings: &[&str]| endings.iter().any(|ending| tail.ends_with(ending));
    if tail_is(&["401 Unauthorized", "403 Forbidden", "authorization failed", "no basic auth credentials"])
        || text.contains(": pull access denied, ")
        || text.contains(": insufficient_scope: ")
    {
        Reason::ImagePullUnauthorized
    } else if grpc_code == "NotFound" || tail_is(&["not found", "manifest unknown", "name unknown"]) {
        Reason::ImageNotFound
    } else if tail_is(&[
        "connection refused",
        "no such host",
        "i/o timeout",
        "no route to host",
        "network is unreachable",
        "server misbehaving",
        "deadline exceeded",
    ]) {
        Reason::ImageRegistryUnreachable
    } else {
        Reason::ImagePullFailed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_containerd_are_told_apart() {
        let pull = "failed to pull and unpack image \"host/team/auth-timeout-not-found:1\": ";
        let resolve = "failed to resolve reference \"host/team/auth-timeout-not-found:1\": ";
        for (code, tail, reason) in [
            ("NotFound", "host/team/auth-timeout-not-found:1: not found", Reason::ImageNotFound),
            (
                "Unknown",
                "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized",
                Reason::ImagePullUnauthorized,
            ),
            (
                "Unknown",
                "pulling from host host failed with status code [manifests 1]: 403 Forbidden",
                Reason::ImagePullUnauthorized,
            ),
            (
                "Unknown",
                "failed to do request: Head \"http://127.0.0.1:1/v2/x/manifests/1\": dial tcp 127.0.0.1:1: connect: connection refused",
                Reason::ImageRegistryUnreachable,
            ),
            (
                "Unknown",
                "failed to do request: Head \"https://nope.invalid/v2/x/manifests/1\": dial tcp: lookup nope.invalid: no such host",
                Reason::ImageRegistryUnreachable,
            ),
            ("Unknown", "unexpected media type text/html", Reason::ImagePullFailed),
        ] {
            let message = format!("rpc error: code = {code} desc = {pull}{resolve}{tail}");
            assert_eq!(cause("ErrImagePull", &message).0, reason, "{message}");
        }
    }

    #[test]
    fn a_back_off_reads_as_the_error_before_it() {
        let error = "rpc error: code = NotFound desc = failed to pull and unpack image \"x\": x: not found";
        let back_off = format!("Back-off pulling image \"x\": ErrImagePull: {error}");
        assert_eq!(cause("ImagePullBackOff", &back_off), cause("ErrImagePull", error));
    }
}
