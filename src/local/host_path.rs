//! `file://`: a path of this machine, mounted as it is.
//!
//! A cluster knows no such thing, and [`crate::plan`] refuses it. For the plan it is a path of a claim, which is mounted at
//! the same places; the claim stands for the root of this machine's files.

use std::path::PathBuf;

use url::Url;

use crate::api::deployment::OnlineDeployment;

/// The claim that stands for this machine's files. No claim of a cluster has such a name.
pub const CLAIM: &str = "this:machine";

/// The deployment as it is planned: every `file://` is a path of the claim.
#[must_use]
pub fn as_claim(mut object: OnlineDeployment) -> OnlineDeployment {
    let model = object.spec.model.as_mut().map(|model| &mut model.uri);
    let code = object.spec.code_configuration.as_mut().and_then(|code| code.code.uri.as_mut());
    for uri in model.into_iter().chain(code) {
        if let Some(path) = path(uri) {
            *uri = format!("pvc://{CLAIM}{path}");
        }
    }
    object
}

/// The path that a `file://` uri names.
#[must_use]
pub fn path(uri: &str) -> Option<String> {
    let url = Url::parse(uri).ok().filter(|url| url.scheme() == "file")?;
    url.to_file_path().ok()?.into_os_string().into_string().ok()
}

/// The path of this machine that a path of the claim stands for.
#[must_use]
pub fn of_claim(sub_path: &str) -> PathBuf {
    PathBuf::from(format!("/{sub_path}"))
}

/// The path of this machine that the uri of a planned artifact stands for.
#[must_use]
pub fn of_planned(uri: &str) -> Option<PathBuf> {
    let rest = uri.strip_prefix("pvc://")?.strip_prefix(CLAIM)?;
    Some(of_claim(rest.trim_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_this_machine_is_planned_as_one_of_a_claim_and_found_again() {
        let object = serde_json::json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineDeployment", "metadata": {"name": "blue"},
            "spec": {
                "endpointName": "iris", "environment": {"image": "i"},
                "model": {"uri": "file:///home/me/my%20model/"},
                "codeConfiguration": {"code": {"uri": "https://host/code.zip"}, "scoringScript": "score.py"},
            },
        });
        let planned = as_claim(serde_json::from_value(object).unwrap());
        let uri = planned.spec.model.unwrap().uri;
        assert_eq!(of_planned(&uri), Some(PathBuf::from("/home/me/my model")));
        assert_eq!(planned.spec.code_configuration.unwrap().code.uri.as_deref(), Some("https://host/code.zip"));
        assert_eq!(of_planned("pvc://models/iris"), None);
    }
}
