//! Small scoring code as a `ConfigMap`: no store is needed for a script.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest, Sha256};

use super::parcel::{Content, hexadecimal, list};
use crate::api::artifact::ArtifactKind;

/// The most that a `ConfigMap` takes, in bytes (API server: 1 MiB for all of its values), with room for the names.
const MOST: usize = 1_000_000;
/// Bytes of the digest in its name.
const DIGEST: usize = 5;
/// Longest name of the deployment in the name: with the rest a DNS label.
const NAME: usize = 45;

/// The files of a folder as a `ConfigMap`, without what its `.amlignore` names. Its name has a digest of them, so that other code is another revision, and the
/// one before it can still be gone back to.
///
/// # Errors
/// Why they can't be one, in words.
pub(super) fn of(deployment: &str, folder: &Path) -> Result<ConfigMap, String> {
    let mut files = BTreeMap::new();
    let shown = folder.display();
    for entry in list(folder, ArtifactKind::Code)? {
        let name = entry.path.to_string_lossy().into_owned();
        let Content::File { bytes, .. } = entry.content else {
            return Err(format!("{shown} has the folder {name}, which no ConfigMap can hold"));
        };
        if !name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter)) {
            return Err(format!("{shown} has a file {name:?}, whose name no ConfigMap can hold"));
        }
        // What can't be held need not be read.
        let most = u64::try_from(MOST).unwrap_or(u64::MAX);
        if bytes > most {
            return Err(format!("{shown}/{name} has {bytes} bytes, and a ConfigMap takes {MOST}"));
        }
        let content = std::fs::read(&entry.from).map_err(|error| format!("{shown}/{name} can't be read: {error}"))?;
        files.insert(name, content);
    }
    let size: usize = files.values().map(Vec::len).sum();
    if size > MOST {
        return Err(format!("{shown} has {size} bytes, and a ConfigMap takes {MOST}"));
    }
    let name = name(deployment, &files);
    let (mut data, mut binary) = (BTreeMap::new(), BTreeMap::new());
    for (file, content) in files {
        match String::from_utf8(content) {
            Ok(text) => drop(data.insert(file, text)),
            Err(error) => drop(binary.insert(file, ByteString(error.into_bytes()))),
        }
    }
    Ok(ConfigMap {
        metadata: ObjectMeta { name: Some(name), ..ObjectMeta::default() },
        data: (!data.is_empty()).then_some(data),
        binary_data: (!binary.is_empty()).then_some(binary),
        ..ConfigMap::default()
    })
}

fn name(deployment: &str, files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut digest = Sha256::new();
    for (name, content) in files {
        for part in [name.as_bytes(), content] {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
    }
    let head: String = deployment.chars().take(NAME).collect();
    let digest = digest.finalize();
    let digest = digest.get(..DIGEST).unwrap_or(&digest);
    format!("{}-code-{}", head.trim_end_matches('-'), hexadecimal(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_code_has_another_name_and_what_is_no_code_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
        write("score.py", b"def init(): pass");
        write(".env", b"SECRET=1");
        std::fs::create_dir(folder.path().join("__pycache__")).unwrap();
        let first = of("iris-blue", folder.path()).unwrap();
        assert_eq!(first.data.unwrap().keys().collect::<Vec<_>>(), ["score.py"]);
        let again = of("iris-blue", folder.path()).unwrap().metadata.name;
        assert_eq!(first.metadata.name, again);
        write("weights.bin", &[0xff, 0xfe]);
        let second = of("iris-blue", folder.path()).unwrap();
        assert_ne!(second.metadata.name, again);
        assert_eq!(second.binary_data.unwrap()["weights.bin"].0, [0xff, 0xfe]);
    }

    #[test]
    fn what_no_config_map_can_hold_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        assert!(of("a", folder.path()).unwrap_err().contains("has the folder src"));
        std::fs::remove_dir(folder.path().join("src")).unwrap();
        std::fs::write(folder.path().join("large"), vec![0; MOST + 1]).unwrap();
        assert!(of("a", folder.path()).unwrap_err().contains("a ConfigMap takes"));
        std::fs::write(folder.path().join("a b"), "").unwrap();
        assert!(of("a", folder.path()).unwrap_err().contains("\"a b\""));
    }
}
