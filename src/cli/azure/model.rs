//! `model` and `model_mount_path`.

use serde_json::{Map, Value};

use super::deployment::Asked;
use super::endpoint::put;
use super::place::{self, Place};
use super::reading::{Field, Fields, Report};
use super::reference::{self, Reference, Target};
use super::{Converted, LocalPath};
use crate::api::artifact::ArtifactKind;

/// What kind of model it is to Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavor {
    Custom,
    Mlflow,
    Triton,
}

/// Longest mount path, as the schema has it.
const LONGEST_MOUNT: usize = 512;

/// Longest name and version, as the schema has it.
const LONGEST_NAME: usize = 255;

/// What a name or a version of a model looks like, in words.
const NAME: &str = "1 to 255 letters, digits, '-', '_' and '.', starting with a letter or digit";

/// Reads the model and where it is mounted.
pub(super) fn read(
    fields: &mut Fields<'_>,
    asked: &Asked<'_>,
    spec: &mut Map<String, Value>,
    report: &mut Report,
    outcome: &mut Converted,
) -> Option<Flavor> {
    let field = fields.take("model");
    let has_model = field.is_some();
    let mut flavor = None;
    if let Some(field) = field {
        let read = if field.value().is_string() {
            text(field, asked, report, outcome)
        } else {
            inline(field, asked, &mut flavor, report, outcome)
        };
        put(spec, "model", read);
    }
    if let Some(field) = fields.take("model_mount_path") {
        if has_model {
            put(spec, "modelMountPath", mount_path(field, report));
        } else {
            field.note(report, "is left out: the deployment has no model to mount");
        }
    }
    flavor
}

fn mount_path(field: Field<'_>, report: &mut Report) -> Option<String> {
    let shape = "an absolute path of 2 to 512 characters without ':' and '..'";
    field.text_like(report, shape, |text| {
        (2..=LONGEST_MOUNT).contains(&text.len())
            && text.starts_with('/')
            && !text.contains(':')
            && !text.split('/').any(|part| part == "..")
    })
}

/// A model in one word: a reference, an address or a path.
fn text(field: Field<'_>, asked: &Asked<'_>, report: &mut Report, outcome: &mut Converted) -> Option<Value> {
    let path = field.path().to_owned();
    let text = field.text(report)?;
    if let Some(reference) = reference::parse(&text) {
        let (name, version) = names(&reference);
        let uri = referenced(&reference, &path, asked, report, outcome)?;
        return Some(model(name.map(str::to_owned), version.map(str::to_owned), uri));
    }
    if !text.contains('/') {
        // `iris:1` is a reference whose azureml: was forgotten, or a file.
        let full = format!("azureml:{text}");
        if let Some(found) = asked.context.assets.get(&full) {
            let reference = reference::parse(&full)?;
            let (name, version) = names(&reference);
            let uri = placed(found, &path, asked, report, outcome)?;
            return Some(model(name.map(str::to_owned), version.map(str::to_owned), uri));
        }
        let why = format!(
            "{text:?} is neither a reference such as azureml:NAME:VERSION nor a path; for a file beside this one write ./{text}"
        );
        report.refuse(&path, why);
        return None;
    }
    let uri = placed(&text, &path, asked, report, outcome)?;
    Some(model(None, None, uri))
}

fn model(name: Option<String>, version: Option<String>, uri: String) -> Value {
    let mut model = Map::new();
    put(&mut model, "name", name);
    put(&mut model, "version", version);
    put(&mut model, "uri", Some(uri));
    Value::Object(model)
}

/// Name and version as far as a folder can be named by them.
fn names<'a>(reference: &Reference<'a>) -> (Option<&'a str>, Option<&'a str>) {
    match reference.to {
        Target::Asset { name, version, .. } => {
            (Some(name).filter(|name| is_name(name)), version.filter(|version| is_name(version)))
        }
        Target::Datastore { .. } | Target::Job { .. } | Target::Other => (None, None),
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn inline(
    field: Field<'_>,
    asked: &Asked<'_>,
    flavor: &mut Option<Flavor>,
    report: &mut Report,
    outcome: &mut Converted,
) -> Option<Value> {
    field.fields(report, |fields, report| {
        let mut text_like = |key, report: &mut Report| {
            let field = fields.take(key)?;
            field.text_like(report, NAME, is_name)
        };
        let name = text_like("name", report);
        let version = text_like("version", report);
        if let Some(field) = fields.take("type") {
            *flavor = of_type(field, report);
        }
        for key in ["description", "tags", "properties", "flavors", "stage", "job_name", "id", "creation_context"] {
            if let Some(field) = fields.take(key) {
                field.note(
                    report,
                    "is left out: it describes the model in a workspace; here it is name, version and place",
                );
            }
        }
        let Some(field) = fields.take_any(&["path", "local_path"], report) else {
            fields.missing(
                "path",
                report,
                "write where the model's files are: a path or an address such as azure://ACCOUNT/CONTAINER/PATH",
            );
            return None;
        };
        let path = field.path().to_owned();
        let text = field.text(report)?;
        let uri = match reference::parse(&text) {
            Some(reference) => referenced(&reference, &path, asked, report, outcome)?,
            None => placed(&text, &path, asked, report, outcome)?,
        };
        Some(model(name, version, uri))
    })?
}

fn of_type(field: Field<'_>, report: &mut Report) -> Option<Flavor> {
    let path = field.path().to_owned();
    let words = [("custom_model", Flavor::Custom), ("mlflow_model", Flavor::Mlflow), ("triton_model", Flavor::Triton)];
    let flavor = field.choice(report, &words)?;
    match flavor {
        Flavor::Custom => {}
        Flavor::Mlflow => report.note(
            &path,
            "makes no server by itself: the image and its code have to load MLflow models; the files are put in place as \
             they are",
        ),
        Flavor::Triton => report.note(
            &path,
            "makes no server by itself: the image has to start Triton; the files are put in place as they are",
        ),
    }
    Some(flavor)
}

/// The place that a reference stands for, or what to write.
fn referenced(
    reference: &Reference<'_>,
    path: &str,
    asked: &Asked<'_>,
    report: &mut Report,
    outcome: &mut Converted,
) -> Option<String> {
    if let Some(found) = reference.find(asked.context.assets) {
        return placed(found, path, asked, report, outcome);
    }
    report.refuse(path, unknown(reference));
    None
}

/// What to write in place of a reference that nobody can look up.
fn unknown(reference: &Reference<'_>) -> String {
    let text = reference.text;
    match &reference.to {
        Target::Asset { name, version, .. } => {
            let version = version.unwrap_or("1");
            format!(
                "{text:?} names something in an Azure ML workspace, which this cluster does not have; write where its files \
                 are, as model: {{name: {name}, version: \"{version}\", path: azure://ACCOUNT/CONTAINER/PATH}}, s3://BUCKET/PATH, \
                 hf://OWNER/NAME or pvc://CLAIM/PATH, or give --asset {text}=ADDRESS"
            )
        }
        Target::Datastore { name, path } => format!(
            "{text:?} names a datastore of an Azure ML workspace, which this cluster does not have; write \
             azure://ACCOUNT/CONTAINER/{path} (az ml datastore show --name {name} shows account and container)"
        ),
        Target::Job { name } => format!(
            "{text:?} names what a job of an Azure ML workspace has written; download it (az ml job download --name {name} \
             --all) and write the path, or the address of the store that has it, such as azure://ACCOUNT/CONTAINER/PATH"
        ),
        Target::Other => format!(
            "{text:?} names something in an Azure ML workspace, which this cluster does not have; write where its files \
             are, such as azure://ACCOUNT/CONTAINER/PATH, s3://BUCKET/PATH, hf://OWNER/NAME or pvc://CLAIM/PATH"
        ),
    }
}

fn placed(text: &str, path: &str, asked: &Asked<'_>, report: &mut Report, outcome: &mut Converted) -> Option<String> {
    artifact(ArtifactKind::Model, text, path, asked, report, outcome)
}

/// The URI of a text that is a place; a path of this machine is written down too.
pub(super) fn artifact(
    kind: ArtifactKind,
    text: &str,
    path: &str,
    asked: &Asked<'_>,
    report: &mut Report,
    outcome: &mut Converted,
) -> Option<String> {
    let Place { uri, path: local } = match place::find(text, asked.context.folder) {
        Ok(place) => place,
        Err(why) => {
            report.refuse(path, why);
            return None;
        }
    };
    if let Some(local) = local {
        outcome.local_paths.push(LocalPath {
            deployment: asked.object.clone(),
            kind,
            field: path.to_owned(),
            path: local,
        });
    } else if uri.split_once('?').is_some_and(|(_, query)| query.split('&').any(|part| part.starts_with("sig="))) {
        report.note(
            path,
            "has a signature in it, which everybody reads who may read the object: better put the credentials into a Secret \
             and name it in credentialsSecretName",
        );
    }
    Some(uri)
}
