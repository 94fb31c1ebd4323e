//! Files of `az ml online-endpoint` and `az ml online-deployment`, unchanged, as resources of ours.
//!
//! Pure: documents in, resources out. Paths are text and are resolved by their letters alone; whether something is
//! there, and whether it is a file or a folder, the caller finds out.
//!
//! Every key of a document ends in one of three ways: it is converted, it is a [`Note`] that says what happens
//! instead, or it is a [`Refusal`] that says what to write. The module `reading` makes sure of that: what nobody took is
//! refused.

mod code;
mod deployment;
mod endpoint;
mod environment;
mod image;
mod kind;
mod limits;
mod manifest;
mod metadata;
mod model;
mod name;
mod place;
mod probe;
mod reading;
mod reference;
mod requests;
mod resources;
mod scale;
mod variables;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::api::artifact::ArtifactKind;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;

pub use image::{Conda, ImageSource, NeedsImage};
pub use kind::is_azure;
pub use manifest::Manifest;

use kind::Kind;
use reading::{Field, Report};

/// What the command line knows beside the document.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The absolute folder that the document's relative paths count from: the folder of its file.
    pub folder: &'a str,
    /// The endpoint's name on the command line, which wins over that in the document.
    pub endpoint: Option<&'a str>,
    /// The deployment's name on the command line, which wins over that in the document.
    pub deployment: Option<&'a str>,
    /// The image on the command line, which wins over the document's environment.
    pub image: Option<&'a str>,
    /// What references to a workspace stand for: `azureml:iris:1` → `s3://models/iris/`, and of an environment → its
    /// image. A key is the reference as the document writes it, or its short form `azureml:NAME:VERSION`.
    pub assets: &'a BTreeMap<String, String>,
}

/// What has become of a document.
#[derive(Clone, Debug, Default)]
pub struct Converted {
    /// Its endpoints.
    pub endpoints: Vec<Manifest<OnlineEndpoint>>,
    /// Its deployments.
    pub deployments: Vec<Manifest<OnlineDeployment>>,
    /// Files and folders of this machine that deployments name. In a cluster they have to be uploaded or mounted first.
    pub local_paths: Vec<LocalPath>,
    /// Images that Azure would build. Until somebody has, these deployments can't run.
    pub needs_image: Vec<NeedsImage>,
    /// What is otherwise than the document says.
    pub notes: Vec<Note>,
}

/// A key of the document that has no counterpart, or not the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its path in the document, such as `data_collector`.
    pub field: String,
    /// What happens instead.
    pub happens: String,
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.happens)
    }
}

/// Why a document can't be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Refusal {
    /// The path in the document, such as `model.path`.
    pub field: String,
    /// What is wrong with it and what to write instead.
    pub why: String,
}

/// A file or folder of this machine that a deployment names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPath {
    /// Name of the `OnlineDeployment` object.
    pub deployment: String,
    /// What it is: its place is `spec.model.uri` or `spec.codeConfiguration.code.uri`.
    pub kind: ArtifactKind,
    /// The path in the document that names it.
    pub field: String,
    /// The absolute path, with a trailing slash where the document has one.
    pub path: String,
}

/// Converts one document.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn convert(document: &Value, context: &Context<'_>) -> Result<Converted, Vec<Refusal>> {
    let mut report = Report::default();
    let mut outcome = Converted::default();
    match kind::of(document, context) {
        Ok(kind) => {
            let root = Field::document(document);
            let form = kind::form(document);
            match kind {
                Kind::Endpoint => endpoint::read(root, form, context, &mut report, &mut outcome),
                Kind::Deployment => deployment::read(root, form, context, &mut report, &mut outcome),
            }
        }
        Err(refusal) => report.refuse(&refusal.field, refusal.why),
    }
    outcome.notes = report.finish()?;
    Ok(outcome)
}
