//! The catalogue as a page for people and as JSON for programs.

use std::fmt::{self, Write};

use serde::Serialize;

use super::{Code, Reason, Stage, answer};

/// The whole catalogue, as programs read it.
#[derive(Serialize)]
struct Document {
    failures: Vec<Row>,
    answers: Vec<AnswerRow>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    code: Code,
    reason: Reason,
    stage: Stage,
    title: &'static str,
    r#final: bool,
    message: &'static str,
    next_step: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerRow {
    status: u16,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    phrase: Option<&'static str>,
    next_step: &'static str,
}

/// The catalogue as indented JSON: `failures` and `answers`.
///
/// # Errors
/// When a value can't be written as JSON.
pub fn json() -> Result<String, serde_json::Error> {
    let failures = Reason::ALL
        .iter()
        .map(|&reason| Row {
            code: reason.code(),
            reason,
            stage: reason.code().stage(),
            title: reason.code().title(),
            r#final: reason.is_final(),
            message: reason.template(),
            next_step: reason.next_step(),
        })
        .collect();
    let answers = answer::ALL
        .iter()
        .map(|row| AnswerRow { status: row.status, code: row.name, phrase: row.phrase, next_step: row.next_step })
        .collect();
    serde_json::to_string_pretty(&Document { failures, answers }).map(|text| text + "\n")
}

/// The catalogue as a page in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::new();
    // Writing to a String can't fail.
    let _ = write(&mut page);
    page
}

fn write(page: &mut String) -> fmt::Result {
    page.write_str(
        "<!-- Written by `mooring-operator catalogue --markdown`; change src/catalogue.rs. -->\n\
         # Errors\n\n\
         When a stage of provisioning fails, `status.error` of the OnlineDeployment has the code of the stage, the reason, \
         a message with the facts, and the next step; the conditions `Ready` and that of the stage say the same, and so do \
         a Warning event and the metric `mooring_deployment_error`. Codes and reasons are never reused or renamed.\n\n\
         A *final* error stays until somebody changes something (`Stalled`); any other is tried again until \
         `rollout.provisioningTimeoutSeconds` (`Reconciling`). Both heal by themselves once the cause is gone, and are kept \
         in `status.recentErrors`.\n",
    )?;
    for &code in Code::ALL {
        write!(page, "\n## {}: {}\n\n", code.as_str(), code.title())?;
        page.write_str("| reason | final | message | next step |\n|---|---|---|---|\n")?;
        for reason in Reason::ALL.iter().filter(|reason| reason.code() == code) {
            let last = if reason.is_final() { "yes" } else { "no" };
            let message = match reason.template() {
                "{}" => "the facts".to_owned(),
                template => template.replacen("{}", "*the facts*", 1),
            };
            writeln!(page, "| `{}` | {last} | {message} | {} |", reason.as_str(), reason.next_step())?;
        }
    }
    page.write_str(
        "\n## Answers of the scoring path\n\n\
         What the gateway answers itself; everything else is the model's own. An answer of the model other than 200 \
         becomes 424 with the reason phrase `Model Error; original-code=N`.\n\n\
         | status | code in the body | reason phrase | next step |\n|---|---|---|---|\n",
    )?;
    for row in answer::ALL {
        let phrase = row.phrase.unwrap_or("the usual one");
        writeln!(page, "| {} | `{}` | {phrase} | {} |", row.status, row.name, row.next_step)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_that_is_checked_in_is_the_catalogue() {
        assert!(
            include_str!("../../docs/errors.md") == markdown(),
            "docs/errors.md is out of date: run mooring-operator catalogue --markdown > docs/errors.md"
        );
    }

    #[test]
    fn the_json_has_every_row() {
        let document: serde_json::Value = serde_json::from_str(&json().unwrap()).unwrap();
        assert_eq!(document["failures"].as_array().unwrap().len(), Reason::ALL.len());
        assert_eq!(document["failures"][0]["code"], "ERR_1100");
        assert_eq!(document["answers"].as_array().unwrap().len(), answer::ALL.len());
    }
}
