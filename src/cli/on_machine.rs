//! What documents name on this machine, for local mode: files are mounted where they are, images are built.

use std::path::Path;

use serde_json::Value;
use url::Url;

use super::azure::{Conda, Converted, ImageSource, NeedsImage};
use crate::api::artifact::ArtifactKind;
use crate::api::deployment::CodeSource;
use crate::local::annotation::{BUILD_CONTEXT, DOCKERFILE};
use crate::local::folder::{self, EndpointFolder};
use crate::plan::change::digest;

/// The fields that may hold a path in place of an address.
const PLACES: [&str; 2] = ["/spec/model/uri", "/spec/codeConfiguration/code/uri"];

/// Makes addresses of the paths of one of our documents, which count from the folder of its file.
pub(super) fn resolve(manifest: &mut Value, folder: &Path) {
    for place in PLACES {
        if let Some(Value::String(text)) = manifest.pointer_mut(place)
            && ["./", "../", "/"].iter().any(|start| text.starts_with(start))
            && let Ok(url) = Url::from_file_path(folder.join(&*text))
        {
            *text = url.into();
        }
    }
    let annotations = manifest.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(Value::String(context)) = annotations.and_then(|all| all.get_mut(BUILD_CONTEXT)) {
        *context = folder.join(&*context).display().to_string();
    }
}

/// Gives a converted document what it names on this machine.
pub(super) fn place(converted: &mut Converted, state: &Path) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    for local in std::mem::take(&mut converted.local_paths) {
        let Some(deployment) = converted.deployments.iter_mut().find(|one| one.name() == local.deployment) else {
            continue;
        };
        let Some(url) = Url::from_file_path(&local.path).ok().filter(|_| Path::new(&local.path).exists()) else {
            problems.push(format!("{}: there is no {} on this machine", local.field, local.path));
            continue;
        };
        match local.kind {
            ArtifactKind::Model => deployment.set_model_uri(url.as_str()),
            ArtifactKind::Code => {
                let code = CodeSource { uri: Some(url.into()), ..CodeSource::default() };
                deployment.set_code(code).map_err(|error| vec![error.to_string()])?;
            }
        }
    }
    for needs in std::mem::take(&mut converted.needs_image) {
        let Some(deployment) = converted.deployments.iter_mut().find(|one| one.name() == needs.deployment) else {
            continue;
        };
        let endpoint = &deployment.object().spec.endpoint_name;
        match context(&needs, &EndpointFolder::new(state, endpoint)) {
            Ok((context, dockerfile)) => {
                deployment.set_image(&needs.tag.to_lowercase());
                deployment.annotate(BUILD_CONTEXT, &context);
                deployment.annotate(DOCKERFILE, &dockerfile);
            }
            Err(problem) => problems.push(format!("{}: {problem}", needs.field)),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// The folder and the Dockerfile that an image is built from.
fn context(needs: &NeedsImage, place: &EndpointFolder) -> Result<(String, String), String> {
    let (conda, dockerfile) = match &needs.source {
        ImageSource::Folder { folder, .. } if folder.contains("://") => {
            return Err(format!("{folder} is not on this machine; fetch it, and write its path here"));
        }
        ImageSource::Folder { folder, dockerfile } => return Ok((folder.clone(), dockerfile.clone())),
        ImageSource::Conda { conda, dockerfile } => (conda, dockerfile),
    };
    let specification = match conda {
        Conda::File(path) => std::fs::read(path).map_err(|error| format!("{path} can't be read: {error}"))?,
        Conda::Text(text) => text.clone().into_bytes(),
    };
    let name = digest(&(dockerfile, conda.file_name(), &specification));
    let folder = place.build(&name);
    for (name, content) in [(conda.file_name(), specification.as_slice()), ("Dockerfile", dockerfile.as_bytes())] {
        folder::write_bytes(&folder.join(name), content, 0o644).map_err(|error| error.to_string())?;
    }
    Ok((folder.display().to_string(), "Dockerfile".to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_of_our_documents_count_from_their_file_and_addresses_stay() {
        let mut manifest = json!({
            "metadata": {"annotations": {BUILD_CONTEXT: "image"}},
            "spec": {"model": {"uri": "./my model"}, "codeConfiguration": {"code": {"uri": "s3://code/score.zip"}}},
        });
        resolve(&mut manifest, Path::new("/home/me"));
        assert_eq!(manifest["spec"]["model"]["uri"], "file:///home/me/my%20model");
        assert_eq!(manifest["spec"]["codeConfiguration"]["code"]["uri"], "s3://code/score.zip");
        assert_eq!(manifest["metadata"]["annotations"][BUILD_CONTEXT], "/home/me/image");
    }

    #[test]
    fn a_conda_environment_gets_a_folder_to_be_built_in() {
        let state = tempfile::tempdir().unwrap();
        let place = EndpointFolder::new(state.path(), "iris");
        let source = ImageSource::Conda { conda: Conda::Text("name: a".to_owned()), dockerfile: "FROM b".to_owned() };
        let needs = NeedsImage { deployment: String::new(), field: String::new(), tag: String::new(), source };
        let (folder, dockerfile) = context(&needs, &place).unwrap();
        let read = |name: &str| std::fs::read_to_string(Path::new(&folder).join(name)).unwrap();
        assert_eq!((read(&dockerfile).as_str(), read("conda.yml").as_str()), ("FROM b", "name: a"));
    }
}
