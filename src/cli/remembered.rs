//! What was said once and counts from then on: the store of each context of the kubeconfig.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::Cause;
use super::store::{self, Store};
use super::talk::say;
use crate::fetch::settings::environment;

/// What the file begins with.
const HEAD: &str =
    "# Where mooring uploads models and code to, for each context of the kubeconfig. It holds no secret.\n";

/// The file.
#[derive(Serialize, Deserialize, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stores {
    #[serde(default)]
    artifact_stores: BTreeMap<String, String>,
}

/// The store that is to be used, and how it is known.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) store: Option<Store>,
    /// Whether the command line names it.
    is_given: bool,
    context: Option<String>,
}

impl Chosen {
    /// The store that was given, else the one that is remembered for the context.
    pub(super) fn of(given: Option<&Store>, context: Option<&str>) -> Self {
        let context = context.map(str::to_owned);
        let store = match (given, &context, file()) {
            (Some(given), _, _) => Some(given.clone()),
            (None, Some(context), Some(file)) => recall(&file, context).unwrap_or_else(|error| {
                // Who needs a store is then asked for one.
                let file = file.display();
                say!("{file} can't be used, so that no store is remembered; correct or remove it: {error}");
                None
            }),
            _ => None,
        };
        Self { store, is_given: given.is_some(), context }
    }

    /// Says which store it is when nobody has named it today.
    pub(super) fn tell(&self) {
        if let (Some(store), false, Some(context)) = (&self.store, self.is_given, &self.context) {
            say!(
                "the store {store} is used, as --artifact-store said before for context {context:?}; name another one with it"
            );
        }
    }

    /// Remembers the store that was given. The work is done by then, so that it does not fail for this.
    pub(super) fn remember(&self) {
        let (Some(store), true, Some(context), Some(file)) = (&self.store, self.is_given, &self.context, file()) else {
            return;
        };
        match keep(&file, context, store) {
            Ok(true) => say!("the store {store} is remembered for context {context:?}, in {}", file.display()),
            Ok(false) => {}
            Err(error) => say!(
                "the store {store} can't be remembered in {}, so that --artifact-store is needed again: {error}",
                file.display()
            ),
        }
    }
}

/// Source: XDG Base Directory Specification 0.8; a relative path in the variable counts for nothing.
fn file() -> Option<PathBuf> {
    let absolute = |name| environment(&[name]).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(folder.join("mooring/artifact-stores.yaml"))
}

fn recall(file: &Path, context: &str) -> Result<Option<Store>, Cause> {
    let stores = read(file)?;
    let Some(text) = stores.artifact_stores.get(context) else { return Ok(None) };
    Ok(Some(store::parse(text)?))
}

fn read(file: &Path) -> Result<Stores, Cause> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(serde_saphyr::from_str(&text)?),
        // A home of /dev/null is how many services have none.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Stores::default())
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes the file anew, as a whole. Whether that was needed.
fn keep(file: &Path, context: &str, store: &Store) -> Result<bool, Cause> {
    let mut stores = read(file)?;
    let store = store.to_string();
    if stores.artifact_stores.get(context) == Some(&store) {
        return Ok(false);
    }
    stores.artifact_stores.insert(context.to_owned(), store);
    let folder = file.parent().ok_or("it is in no folder")?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let part = file.with_extension(format!("yaml.{}", std::process::id()));
    let mut options = OpenOptions::new();
    let mut written = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    let text = format!("{HEAD}{}", serde_saphyr::to_string(&stores)?);
    let renamed =
        written.write_all(text.as_bytes()).and_then(|()| written.sync_all()).and_then(|()| fs::rename(&part, file));
    if renamed.is_err() {
        // The error that matters is told.
        let _ = fs::remove_file(&part);
    }
    renamed?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_context_has_its_own_store_and_nobody_else_may_read_them() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("config/mooring/artifact-stores.yaml");
        let store = |text| store::parse(text).unwrap();
        assert_eq!(recall(&file, "one").unwrap(), None);
        assert_eq!(recall(Path::new("/dev/null/mooring/artifact-stores.yaml"), "one").unwrap(), None);
        assert!(keep(&file, "one", &store("s3://models/team")).unwrap());
        assert!(keep(&file, "arn:aws:eks:x/two", &store("oci://reg/models")).unwrap());
        assert!(!keep(&file, "one", &store("s3://models/team")).unwrap());
        assert!(keep(&file, "one", &store("s3://other")).unwrap());
        assert_eq!(recall(&file, "one").unwrap(), Some(store("s3://other")));
        assert_eq!(recall(&file, "arn:aws:eks:x/two").unwrap(), Some(store("oci://reg/models")));
        assert_eq!(recall(&file, "three").unwrap(), None);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        insta::assert_snapshot!(fs::read_to_string(&file).unwrap(), @r#"
        # Where mooring uploads models and code to, for each context of the kubeconfig. It holds no secret.
        artifactStores:
          "arn:aws:eks:x/two": oci://reg/models
          one: s3://other
        "#);
    }

    #[test]
    fn a_file_that_can_not_be_understood_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("artifact-stores.yaml");
        for text in ["artifactStores: [", "other: 1", "artifactStores: {one: ftp://x}"] {
            fs::write(&file, text).unwrap();
            assert!(recall(&file, "one").is_err(), "{text}");
        }
        fs::write(&file, "other: 1").unwrap();
        assert!(keep(&file, "one", &store::parse("s3://models").unwrap()).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "other: 1");
    }
}
