//! The custom resource definitions as files.

use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::CustomResourceExt;
use serde_json::json;

use crate::api::compute_quota::ComputeQuota;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::api::endpoint_route::EndpointRoute;
use crate::api::instance_type::InstanceType;

/// Client-side `kubectl apply` keeps a second copy in an annotation of at most 262,144 bytes; we stay far below.
pub const MAX_BYTES: usize = 120 * 1024;

/// Why the definitions could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CrdsError {
    /// A definition could not be turned into YAML.
    #[error("writing the definition of {kind} as YAML failed")]
    Yaml {
        /// The kind.
        kind: String,
        /// What the writer said.
        source: serde_saphyr::ser::Error,
    },
    /// A file could not be written.
    #[error("writing {path} failed")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The definitions of all our kinds.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut all = vec![
        OnlineEndpoint::crd(),
        OnlineDeployment::crd(),
        InstanceType::crd(),
        ComputeQuota::crd(),
        EndpointRoute::crd(),
    ];
    all.iter_mut().for_each(say_that_nothing_is_observed_yet);
    all
}

/// Gives new objects a status of no generation, where the kind has conditions: kstatus takes an object without any
/// status for one that is as it should be.
fn say_that_nothing_is_observed_yet(crd: &mut CustomResourceDefinition) {
    let schemas =
        crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    for status in schemas.filter_map(|schema| schema.properties.as_mut()?.get_mut("status")) {
        if status.properties.as_ref().is_some_and(|fields| fields.contains_key("conditions")) {
            status.default = Some(JSON(json!({"observedGeneration": -1})));
        }
    }
}

/// The YAML documents, as (file name, content).
///
/// # Errors
/// [`CrdsError::Yaml`].
pub fn documents() -> Result<Vec<(String, String)>, CrdsError> {
    all()
        .into_iter()
        .map(|crd| {
            let yaml = serde_saphyr::to_string(&crd)
                .map_err(|source| CrdsError::Yaml { kind: crd.spec.names.kind.clone(), source })?;
            let header = "# Made by `mooring-operator crds --write crds`; do not edit.\n";
            Ok((format!("{}.yaml", crd.spec.names.plural), format!("{header}{yaml}")))
        })
        .collect()
}

/// Writes one file for each kind into `folder`.
///
/// # Errors
/// [`CrdsError`].
pub fn write(folder: &Path) -> Result<Vec<PathBuf>, CrdsError> {
    let failed = |path: &Path, source| CrdsError::Write { path: path.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    documents()?
        .into_iter()
        .map(|(name, content)| {
            let path = folder.join(name);
            std::fs::write(&path, content).map_err(|source| failed(&path, source))?;
            Ok(path)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_in_crds_are_what_the_types_say() {
        for (name, content) in documents().unwrap() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds").join(&name);
            let file = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                file == content,
                "crds/{name} has drifted; run `cargo run --bin mooring-operator crds --write crds`"
            );
        }
    }

    #[test]
    fn every_file_is_small_enough_for_kubectl_apply() {
        for (name, content) in documents().unwrap() {
            assert!(content.len() <= MAX_BYTES, "{name} has {} bytes", content.len());
        }
    }

    #[test]
    fn every_field_is_explained() {
        fn walk(path: &str, schema: &serde_json::Value, missing: &mut Vec<String>) {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}.{name}");
                if property["description"].as_str().unwrap_or_default().is_empty() {
                    missing.push(path.clone());
                }
                walk(&path, property, missing);
                walk(&path, &property["items"], missing);
            }
        }
        let mut missing = Vec::new();
        for crd in all() {
            let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
            walk(&crd.spec.names.kind, &schema["openAPIV3Schema"], &mut missing);
        }
        missing.retain(|path| path.matches('.').count() > 1);
        assert!(missing.is_empty(), "no description: {missing:#?}");
    }
}
