//! `code_configuration`.

use serde_json::{Map, Value, json};

use super::Converted;
use super::deployment::Asked;
use super::endpoint::put;
use super::model::artifact;
use super::reading::{Field, Fields, Report};
use super::reference;
use crate::api::artifact::ArtifactKind;

/// Longest path of an entry script, as the schema has it.
const LONGEST_SCRIPT: usize = 512;

/// Reads the code and its entry.
pub(super) fn read(
    fields: &mut Fields<'_>,
    asked: &Asked<'_>,
    spec: &mut Map<String, Value>,
    report: &mut Report,
    outcome: &mut Converted,
) {
    let Some(field) = fields.take("code_configuration") else { return };
    let read = field.fields(report, |fields, report| {
        let source = fields.take_any(&["code", "code_id"], report);
        let script = fields.take("scoring_script");
        if source.is_none() {
            fields.missing("code", report, "write the folder with the scoring script");
        }
        if script.is_none() {
            fields.missing("scoring_script", report, "write the path of the entry script in the code's folder");
        }
        let uri = source.and_then(|field| place(field, asked, report, outcome));
        let script = script.and_then(|field| {
            let shape = "a path in the code's folder, without '..', of at most 512 characters";
            field.text_like(report, shape, |text| {
                (1..=LONGEST_SCRIPT).contains(&text.len())
                    && !text.starts_with('/')
                    && !text.split('/').any(|part| part == "..")
            })
        });
        Some(json!({"code": {"uri": uri?}, "scoringScript": script?}))
    });
    put(spec, "codeConfiguration", read.flatten());
}

/// A path or an address; in 2021 it was one key deeper.
fn place(field: Field<'_>, asked: &Asked<'_>, report: &mut Report, outcome: &mut Converted) -> Option<String> {
    if field.value().is_object() {
        return field.fields(report, |fields, report| {
            for key in ["name", "version"] {
                if let Some(field) = fields.take(key) {
                    field.note(report, "is left out: it names the code in a workspace");
                }
            }
            let Some(field) = fields.take_any(&["path", "local_path"], report) else {
                fields.missing("path", report, "write the folder with the scoring script");
                return None;
            };
            place(field, asked, report, outcome)
        })?;
    }
    let path = field.path().to_owned();
    let text = field.text(report)?;
    let Some(reference) = reference::parse(&text) else {
        return artifact(ArtifactKind::Code, &text, &path, asked, report, outcome);
    };
    if let Some(found) = reference.find(asked.context.assets) {
        return artifact(ArtifactKind::Code, found, &path, asked, report, outcome);
    }
    let why = format!(
        "{text:?} names something in an Azure ML workspace, which this cluster does not have; write the folder with the \
         scoring script, or its address such as azure://ACCOUNT/CONTAINER/PATH, or give --asset {text}=ADDRESS"
    );
    report.refuse(&path, why);
    None
}
