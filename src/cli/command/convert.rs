//! What a file becomes, without a cluster.

use serde_json::json;

use crate::cli::arguments::convert::Convert;
use crate::cli::arguments::output::Document;
use crate::cli::documents::{self, Given};
use crate::cli::{CliError, print};

pub(super) fn convert(asked: &Convert) -> Result<(), CliError> {
    let names = (asked.endpoint_name.as_deref(), asked.name.as_deref());
    let found = documents::read(&asked.file, Given::deployment(names, &asked.set, &asked.azure, None))?;
    let all = found.manifests;
    match asked.output {
        Document::Json => print::document(Document::Json, &json!({"apiVersion": "v1", "kind": "List", "items": all})),
        Document::Yaml => {
            let texts: Result<Vec<String>, _> = all.iter().map(serde_saphyr::to_string).collect();
            print::text(&texts.map_err(|error| CliError::Form(error.into()))?.join("---\n"))
        }
    }
}
