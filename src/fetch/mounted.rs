//! Artifacts that Kubernetes has mounted already (`pvc://`, `ConfigMap`): looked at, never copied.

use std::io;
use std::path::Path;

use crate::catalogue::Reason;
use crate::fetch::failure::Failure;
use crate::fetch::place;

/// Looks that something is at `path`, and the file `required` in it.
///
/// # Errors
///
/// [`Reason::ArtifactNotFound`] when nothing is there, [`Reason::ArtifactEmpty`] when it is a folder without files,
/// [`Reason::ScoringScriptMissing`] when only the required file is absent.
pub async fn look(path: &Path, required: Option<&str>) -> Result<(), Failure> {
    let metadata = tokio::fs::metadata(path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            let act = format!("the volume has nothing at {}", path.display());
            Failure::new(Reason::ArtifactNotFound, act).caused_by(error)
        }
        _ => Failure::local(error, "look at", path),
    })?;
    if !metadata.is_dir() {
        let name = path.file_name().map(|name| name.display().to_string()).unwrap_or_default();
        return match required {
            Some(required) if required != name => {
                let act = format!("there is no file {required:?}; there is {name}");
                Err(Failure::new(Reason::ScoringScriptMissing, act))
            }
            _ => Ok(()),
        };
    }
    if place::files(path, 1).await?.is_empty() {
        return Err(Failure::new(Reason::ArtifactEmpty, format!("no file is below {}", path.display())));
    }
    match required {
        Some(required) => place::require(path, required).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_mounted_is_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("model");
        assert_eq!(look(&folder, None).await.unwrap_err().reason, Reason::ArtifactNotFound);
        std::fs::create_dir_all(folder.join("empty")).unwrap();
        assert_eq!(look(&folder, None).await.unwrap_err().reason, Reason::ArtifactEmpty);
        std::fs::write(folder.join("model.pkl"), "").unwrap();
        look(&folder, None).await.unwrap();
        look(&folder.join("model.pkl"), None).await.unwrap();
        look(&folder.join("model.pkl"), Some("model.pkl")).await.unwrap();
        let failure = look(&folder.join("model.pkl"), Some("score.py")).await.unwrap_err();
        assert_eq!(failure.reason, Reason::ScoringScriptMissing);
        let failure = look(&folder.join("model.pkl/x"), None).await.unwrap_err();
        assert_eq!(failure.reason, Reason::ArtifactNotFound);
    }

    #[tokio::test]
    async fn a_config_map_is_read_through_its_links() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("..2026_01_01");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("score.py"), "").unwrap();
        std::os::unix::fs::symlink("..2026_01_01", root.path().join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/score.py", root.path().join("score.py")).unwrap();
        look(root.path(), Some("score.py")).await.unwrap();
        let failure = look(root.path(), Some("main.py")).await.unwrap_err();
        assert_eq!(failure.to_string(), r#"there is no file "main.py"; there are score.py"#);
    }
}
