//! How it ended: one JSON document where Kubernetes looks for it.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::api::artifact::{Artifact, ArtifactReport, MAX_REPORT_BYTES, Outcome, VERSION};
use crate::catalogue::Code;
use crate::fetch::failure::Failure;
use crate::fetch::{Placed, PlanError, uri};

/// Where Kubernetes reads a container's termination message.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// Longest uri in a report, in bytes.
const LONGEST_URI: usize = 1024;

/// Everything is in place.
#[must_use]
pub fn succeeded(placed: Placed, took: Duration) -> ArtifactReport {
    ArtifactReport {
        version: VERSION,
        outcome: Outcome::Succeeded,
        reason: None,
        artifact: None,
        uri: None,
        http_status: None,
        provider_code: None,
        detail: String::new(),
        bytes: placed.bytes,
        seconds: took.as_secs_f64(),
        files: placed.files,
    }
}

/// `artifact` is not in place; `placed` came before it.
#[must_use]
pub fn failed(artifact: &Artifact, failure: &Failure, placed: Placed, took: Duration) -> ArtifactReport {
    ArtifactReport {
        outcome: Outcome::Failed,
        reason: Some(failure.reason),
        artifact: Some(artifact.kind),
        uri: Some(cut(&uri::redact(&artifact.uri), LONGEST_URI).to_owned()),
        http_status: failure.http_status,
        provider_code: failure.provider_code.clone(),
        detail: failure.sentence(),
        ..succeeded(placed, took)
    }
}

/// There is no plan to follow.
#[must_use]
pub fn without_plan(error: &PlanError) -> ArtifactReport {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    ArtifactReport {
        outcome: Outcome::Failed,
        detail: format!("{error}{cause}"),
        ..succeeded(Placed::default(), Duration::ZERO)
    }
}

/// `report` as JSON of at most [`MAX_REPORT_BYTES`]; a long detail loses its end.
///
/// # Errors
///
/// When a value can't be written as JSON.
pub fn to_json(report: &ArtifactReport) -> Result<String, serde_json::Error> {
    let mut report = report.clone();
    loop {
        let json = serde_json::to_string(&report)?;
        let excess = json.len().saturating_sub(MAX_REPORT_BYTES);
        if excess == 0 || report.detail.is_empty() {
            return Ok(json);
        }
        // A character can take more bytes in JSON than in the text, so one cut may be too long, never too short.
        let kept = cut(&report.detail, report.detail.len().saturating_sub(excess)).len();
        report.detail.truncate(kept);
    }
}

/// Writes `report` to `path`, or, without one, to [`TERMINATION_LOG`] where that exists.
///
/// # Errors
///
/// When the file can't be written.
pub fn write(report: &ArtifactReport, path: Option<&Path>) -> io::Result<()> {
    let json = to_json(report).map_err(io::Error::other)?;
    match path {
        Some(path) => std::fs::write(path, json),
        None if Path::new(TERMINATION_LOG).exists() => std::fs::write(TERMINATION_LOG, json),
        None => Ok(()),
    }
}

/// Logs how it ended.
pub fn tell(report: &ArtifactReport) {
    match (report.outcome, report.reason) {
        (Outcome::Succeeded, _) => {}
        (Outcome::Failed, None) => tracing::error!("{}", report.detail),
        (Outcome::Failed, Some(reason)) => {
            let what = report.artifact.map_or("artifact", crate::api::artifact::ArtifactKind::as_str);
            let uri = report.uri.as_deref().unwrap_or_default();
            tracing::error!("{}: the {what} {uri} is not in place: {}", reason.as_str(), report.detail);
            tracing::error!("{}", reason.next_step());
        }
    }
}

/// The exit code: 0, or the first two digits of the failed stage's code (`ERR_1300` → 13), or 2 without a plan.
#[must_use]
pub const fn exit_code(report: &ArtifactReport) -> u8 {
    match (report.outcome, report.reason) {
        (Outcome::Succeeded, _) => 0,
        (Outcome::Failed, None) => 2,
        (Outcome::Failed, Some(reason)) => match reason.code() {
            Code::Err1100 => 11,
            Code::Err1200 => 12,
            Code::Err1300 => 13,
            Code::Err2100 => 21,
            Code::Err2200 => 22,
            Code::Err5000 => 50,
        },
    }
}

/// The longest start of `text` with at most `most` bytes and whole characters.
fn cut(text: &str, most: usize) -> &str {
    text.split_at_checked(text.floor_char_boundary(most)).map_or(text, |(start, _)| start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::artifact::{ArtifactKind, Delivery};
    use crate::catalogue::Reason;

    fn failed_report(uri: &str, detail: &str) -> ArtifactReport {
        let artifact = Artifact {
            kind: ArtifactKind::Model,
            uri: uri.into(),
            delivery: Delivery::Mounted { path: "/m".into() },
            sha256: None,
            unpack: false,
            credentials_directory: None,
            required_file: None,
        };
        let failure = Failure::new(Reason::ArtifactNotFound, detail);
        failed(&artifact, &failure, Placed::default(), Duration::from_secs(1))
    }

    #[test]
    fn a_report_ends_as_its_stage() {
        assert_eq!(exit_code(&failed_report("s3://b/k", "x")), 13);
        assert_eq!(exit_code(&succeeded(Placed::default(), Duration::ZERO)), 0);
        let error = crate::fetch::read_plan("").unwrap_err();
        assert_eq!(exit_code(&without_plan(&error)), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_report_always_fits(detail in "(\\PC|\"|\n|\u{1}){0,3000}", path in "[a-zé\"]{0,3000}") {
            let json = to_json(&failed_report(&format!("s3://b/{path}"), &detail)).unwrap();
            prop_assert!(json.len() <= MAX_REPORT_BYTES);
            let report: ArtifactReport = serde_json::from_str(&json).unwrap();
            prop_assert!(detail.starts_with(&report.detail));
        }
    }
}
