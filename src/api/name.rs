//! Every name that is derived from another.

/// Longest DNS label.
const MAX_LABEL: usize = 63;

/// The Secret that holds the keys of an endpoint when the user brings none.
#[must_use]
pub fn keys_secret(endpoint: &str) -> String {
    child(endpoint, "-keys")
}

/// The service account of an endpoint with a `SystemAssigned` identity.
#[must_use]
pub fn service_account(endpoint: &str) -> String {
    child(endpoint, "-identity")
}

/// The headless Service of a deployment's instances. Its suffix keeps it apart from the Service of an endpoint
/// with the deployment's name.
#[must_use]
pub fn instances_service(online_deployment: &str) -> String {
    child(online_deployment, "-instances")
}

/// `base` + `suffix`; a base that is too long is cut and told apart by a digest.
fn child(base: &str, suffix: &str) -> String {
    if base.len() + suffix.len() <= MAX_LABEL {
        return format!("{base}{suffix}");
    }
    let keep = MAX_LABEL - suffix.len() - 9;
    let head: String = base.chars().take(keep).collect();
    format!("{head}-{:08x}{suffix}", fnv1a(base.as_bytes()))
}

/// 32-bit FNV-1a: short, stable between versions, and no secret hangs on it.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The last segment of a uri's path: `model` for `s3://models/iris/model/`. Query and fragment don't count.
#[must_use]
pub fn last_segment(uri: &str) -> &str {
    let path = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or(path);
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

/// A name for what a uri holds: its last segment without the extension; of a repository its name without the revision.
#[must_use]
pub fn from_uri(uri: &str) -> String {
    let segment = last_segment(uri);
    let stem = match repository(uri) {
        Some(name) => name,
        None => segment.split_once('.').map_or(segment, |(stem, _)| stem),
    };
    let name: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).collect();
    let name = name.trim_matches(['-', '_']);
    if name.is_empty() { "artifact".to_owned() } else { name.to_owned() }
}

/// The name of the repository that `uri` is as a whole; `None` when it is something else. A dot in it begins no
/// extension: `Llama-3.1-8B`.
fn repository(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once("://")?;
    match scheme.to_ascii_lowercase().as_str() {
        "hf" => {
            let rest = rest.strip_prefix("datasets/").unwrap_or(rest);
            let (_, name) = rest.trim_end_matches('/').split_once('/')?;
            (!name.contains('/')).then(|| name.split('@').next().unwrap_or(name))
        }
        "oci" => last_segment(uri).split([':', '@']).next(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_model_is_named_by_the_last_segment_without_its_extension() {
        for (uri, name) in [
            ("s3://models/iris/model/", "model"),
            ("https://host/a/GaussianNB.pkl?sv=1&sig=x", "GaussianNB"),
            ("https://host/model.tar.gz", "model"),
            ("pvc://claim", "claim"),
            ("https://host/.hidden", "artifact"),
        ] {
            assert_eq!(from_uri(uri), name, "{uri}");
        }
    }

    #[test]
    fn a_repository_is_named_without_its_revision() {
        for (uri, name) in [
            ("hf://org/repo", "repo"),
            ("hf://org/repo@refs%2Fpr%2F1/", "repo"),
            ("hf://org/Llama-3.1-8B@v1.0", "Llama-3-1-8B"),
            ("hf://datasets/org/data@main", "data"),
            ("hf://org/repo@main/onnx/model.onnx", "model"),
            ("oci://reg:5000/path/repo", "repo"),
            ("oci://reg/path/repo:v1.0", "repo"),
            ("oci://reg/llama3.1:8b@sha256:0a0b", "llama3-1"),
        ] {
            assert_eq!(from_uri(uri), name, "{uri}");
        }
    }

    #[test]
    fn two_long_names_that_begin_alike_get_different_children() {
        let (left, right) = ("a".repeat(62) + "b", "a".repeat(62) + "c");
        assert_ne!(instances_service(&left), instances_service(&right));
    }

    proptest! {
        #[test]
        fn every_child_name_is_a_dns_label(base in "[a-z][-a-z0-9]{1,61}[a-z0-9]") {
            for name in [keys_secret(&base), service_account(&base), instances_service(&base)] {
                prop_assert!(name.len() <= MAX_LABEL);
                prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            }
        }
    }
}
