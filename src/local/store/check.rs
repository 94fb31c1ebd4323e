//! What a cluster would refuse before it stores an object.

use super::StoreError;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::{AuthMode, OnlineEndpoint};
use crate::local::host_path;

/// Names become folders and parts of containers' names.
pub(super) fn name(field: &'static str, name: &str) -> Result<(), StoreError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let starts = name.starts_with(|letter: char| letter.is_ascii_alphabetic());
    if (3..=32).contains(&name.len()) && starts && !name.ends_with('-') && name.chars().all(fits) {
        return Ok(());
    }
    let why = format!(
        "{name:?} must be 3 to 32 letters, digits and '-', starting with a letter and ending with a letter or digit"
    );
    Err(StoreError::Invalid { field, why })
}

/// What the schema's rules say in a cluster and matters here.
pub(super) fn endpoint(object: &OnlineEndpoint) -> Result<(), StoreError> {
    let invalid = |field, why: &str| Err(StoreError::Invalid { field, why: why.to_owned() });
    let spec = &object.spec;
    let sum: i64 = spec.traffic.values().map(|percent| i64::from(percent.0)).sum();
    if !matches!(sum, 0 | 100) || spec.traffic.values().any(|percent| !(0..=100).contains(&percent.0)) {
        return invalid("spec.traffic", "the percentages must sum to 100, or to 0 to switch traffic off");
    }
    if spec.mirror_traffic.len() > 1 || spec.mirror_traffic.values().any(|percent| !(0..=50).contains(&percent.0)) {
        return invalid("spec.mirrorTraffic", "at most 50 percent can be mirrored, to one deployment");
    }
    if spec.auth_mode == AuthMode::AmlToken {
        return invalid("spec.authMode", "AMLToken needs a cluster that gives tokens; use Key");
    }
    Ok(())
}

/// The same of a deployment.
pub(super) fn deployment(object: &OnlineDeployment) -> Result<(), StoreError> {
    let spec = &object.spec;
    let invalid = |field, why: &str| Err(StoreError::Invalid { field, why: why.to_owned() });
    if !(0..=50).contains(&spec.instance_count) {
        return invalid("spec.instanceCount", "must be 0 to 50");
    }
    if spec.rollout.max_surge <= 0 && spec.rollout.max_unavailable <= 0 {
        return invalid("spec.rollout", "maxSurge and maxUnavailable must not both be 0");
    }
    let unpacks = "unpack goes with a uri that is downloaded; a path of this machine is mounted as it is";
    if spec.model.as_ref().is_some_and(|model| model.unpack && host_path::path(&model.uri).is_some()) {
        return invalid("spec.model.unpack", unpacks);
    }
    let model = spec.model.as_ref().map(|model| ("spec.model.uri", &model.uri));
    let code = spec.code_configuration.as_ref().and_then(|code| code.code.uri.as_ref());
    let code = code.map(|uri| ("spec.codeConfiguration.code.uri", uri));
    for (field, uri) in model.into_iter().chain(code) {
        if host_path::path(uri).is_some_and(|path| path.trim_matches('/').is_empty()) {
            return invalid(field, "is the whole of this machine; name the folder");
        }
    }
    if let Some(code) = &spec.code_configuration {
        let source = &code.code;
        if source.uri.is_some() == source.config_map_name.is_some() {
            return invalid("spec.codeConfiguration.code", "needs either uri or configMapName");
        }
        if source.unpack && source.uri.as_deref().and_then(host_path::path).is_some() {
            return invalid("spec.codeConfiguration.code.unpack", unpacks);
        }
        let script = &code.scoring_script;
        if script.starts_with('/') || script.split('/').any(|part| part == "..") {
            return invalid("spec.codeConfiguration.scoringScript", "must be relative and must not hold '..'");
        }
    }
    Ok(())
}
