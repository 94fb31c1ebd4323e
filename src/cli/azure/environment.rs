//! `environment`.

use serde_json::{Map, Value, json};

use super::Converted;
use super::deployment::Asked;
use super::endpoint::put;
use super::image::{Conda, ImageSource, NeedsImage, dockerfile};
use super::limits;
use super::model::Flavor;
use super::place;
use super::reading::{Field, Fields, Report};
use super::reference;

/// Longest name of an image, as the schema has it.
const LONGEST_IMAGE: usize = 1024;
/// Longest path of a route, as the schema has it.
const LONGEST_ROUTE: usize = 1024;

/// What is said where an image on the command line wins.
const OVERRIDDEN: &str = "is not used: the command line names the image";

/// The image of a deployment.
enum Image {
    /// It is there.
    Ready(String),
    /// It has to be built first.
    Build {
        /// The path that asks for it.
        field: String,
        /// What it is built from.
        from: From,
    },
}

enum From {
    Conda { base: String, conda: Conda },
    Folder { folder: String, dockerfile: String },
}

/// Reads the environment.
pub(super) fn read(
    fields: &mut Fields<'_>,
    flavor: Option<Flavor>,
    asked: &Asked<'_>,
    spec: &mut Map<String, Value>,
    report: &mut Report,
    outcome: &mut Converted,
) {
    let mut environment = Map::new();
    let path = fields.path_of("environment");
    let image = match fields.take_any(&["environment", "environment_id"], report) {
        Some(field) if field.value().is_object() => inline(field, asked, &mut environment, report),
        Some(field) => text(field, asked, report).map(Image::Ready),
        None => absent(&path, flavor, asked, report).map(Image::Ready),
    };
    let is_custom = environment.contains_key("inferenceConfig");
    let image = match image {
        None => return,
        Some(Image::Ready(image)) => image,
        Some(Image::Build { field, from }) => {
            let tag = format!("{}:{}", asked.endpoint, asked.deployment).to_ascii_lowercase();
            let source = match from {
                From::Conda { base, conda } => {
                    let dockerfile = dockerfile(&base, &conda, is_custom);
                    ImageSource::Conda { conda, dockerfile }
                }
                From::Folder { folder, dockerfile } => ImageSource::Folder { folder, dockerfile },
            };
            outcome.needs_image.push(NeedsImage { deployment: asked.object.clone(), field, tag: tag.clone(), source });
            tag
        }
    };
    environment.insert("image".to_owned(), image.into());
    put(spec, "environment", Some(environment));
}

/// Azure has servers of its own for some models; here an image has to be named.
fn absent(path: &str, flavor: Option<Flavor>, asked: &Asked<'_>, report: &mut Report) -> Option<String> {
    if let Some(image) = asked.context.image {
        return named(image, path, report);
    }
    let why = match flavor {
        Some(Flavor::Mlflow) => {
            "is missing: Azure makes the server of an MLflow model itself, and a cluster does not; build its image (mlflow \
             models build-docker --model-uri FOLDER --name REGISTRY/NAME:TAG, and docker push), and write environment: {image: \
             REGISTRY/NAME:TAG, inference_config: {liveness_route: {port: 8080, path: /ping}, readiness_route: {port: 8080, \
             path: /ping}, scoring_route: {port: 8080, path: /invocations}}}"
        }
        Some(Flavor::Triton) => {
            "is missing: Azure starts Triton itself, and a cluster does not; write environment with an image that starts \
             tritonserver --model-repository on the model's folder, and inference_config: {liveness_route: {port: 8000, path: \
             /v2/health/live}, readiness_route: {port: 8000, path: /v2/health/ready}, scoring_route: {port: 8000, path: /}}"
        }
        Some(Flavor::Custom) | None => "is missing; write environment: {image: REGISTRY/NAME:TAG}, or give --image",
    };
    report.refuse(path, why);
    None
}

/// The name of an image, as far as a line of a Dockerfile and the schema take it.
fn named(image: &str, path: &str, report: &mut Report) -> Option<String> {
    if image.is_empty() || image.len() > LONGEST_IMAGE || image.contains(char::is_whitespace) {
        let why =
            format!("is {image:?}; it must be an image as REGISTRY/NAME:TAG, of at most {LONGEST_IMAGE} characters");
        report.refuse(path, why);
        return None;
    }
    Some(image.to_owned())
}

/// A reference to an environment.
fn text(field: Field<'_>, asked: &Asked<'_>, report: &mut Report) -> Option<String> {
    let path = field.path().to_owned();
    if let Some(image) = asked.context.image {
        field.note(report, OVERRIDDEN);
        return named(image, &path, report);
    }
    let text = field.text(report)?;
    let Some(reference) = reference::parse(&text) else {
        if let Some(found) = asked.context.assets.get(&format!("azureml:{text}")) {
            return named(found, &path, report);
        }
        report.refuse(&path, format!("is {text:?}; for an image write environment: {{image: {text}}}"));
        return None;
    };
    if let Some(found) = reference.find(asked.context.assets) {
        return named(found, &path, report);
    }
    report.refuse(&path, of_workspace(&text));
    None
}

fn of_workspace(text: &str) -> String {
    format!(
        "{text:?} names an environment of an Azure ML workspace, which this cluster does not have; write the image itself, as \
         environment: {{image: REGISTRY/NAME:TAG}}, or give --asset {text}=REGISTRY/NAME:TAG; the workspace shows the one that \
         it built for the environment"
    )
}

fn inline(
    field: Field<'_>,
    asked: &Asked<'_>,
    environment: &mut Map<String, Value>,
    report: &mut Report,
) -> Option<Image> {
    field.fields(report, |fields, report| {
        for key in ["name", "version", "description", "tags", "properties", "id", "creation_context", "auto_rebuild"] {
            if let Some(field) = fields.take(key) {
                field.note(report, "is left out: it describes the environment in a workspace; here it is an image");
            }
        }
        if let Some(field) = fields.take("path") {
            field.note(report, "is left out: conda_file and build say where their files are");
        }
        if let Some(field) = fields.take("os_type") {
            let path = field.path().to_owned();
            if field.choice(report, &[("linux", true), ("windows", false)]) == Some(false) {
                report.refuse(&path, "must be linux: the model is fetched by a Linux container of the same pod");
            }
        }
        if let Some(field) = fields.take("inference_config") {
            put(environment, "inferenceConfig", inference_config(field, report));
        }
        image(fields, asked, report)
    })?
}

fn image(fields: &mut Fields<'_>, asked: &Asked<'_>, report: &mut Report) -> Option<Image> {
    let own_path = fields.path_of("image");
    let build_path = fields.path_of("build");
    let conda_path = fields.path_of("conda_file");
    let of_2021 = fields.take("docker");
    let (image, build, conda) = (fields.take("image"), fields.take("build"), fields.take("conda_file"));
    if let Some(given) = asked.context.image {
        for field in [of_2021, image, build, conda].into_iter().flatten() {
            field.note(report, OVERRIDDEN);
        }
        return named(given, &own_path, report).map(Image::Ready);
    }
    let (inner_image, inner_build) = of_2021.map_or((None, None), |field| docker(field, report));
    let image = first(image, inner_image, report);
    let build = first(build, inner_build, report);
    let has_image = image.is_some();
    let image = image.map(|field| base(field, asked, report));
    let conda = conda.map(|field| conda_file(field, asked, report));
    if let Some(field) = build {
        if has_image {
            report.refuse(field.path(), "goes without image: an environment is either an image or built from a folder");
        }
        if conda.is_some() {
            report.refuse(&conda_path, "goes without build: let the Dockerfile make the conda environment");
        }
        let path = field.path().to_owned();
        return self::build(field, asked, report).map(|from| Image::Build { field: path, from });
    }
    match (image, conda) {
        (Some(image), None) => image.map(Image::Ready),
        (Some(image), Some(conda)) => {
            let from = From::Conda { base: image?, conda: conda? };
            Some(Image::Build { field: conda_path, from })
        }
        (None, Some(_)) => {
            report.refuse(&own_path, "is missing: write the image that the conda environment goes on top of");
            None
        }
        (None, None) => {
            let why = format!(
                "is missing; write the image as REGISTRY/NAME:TAG, or {build_path} with the folder of a Dockerfile"
            );
            report.refuse(&own_path, why);
            None
        }
    }
}

/// One of two fields; both are too many.
fn first<'a>(one: Option<Field<'a>>, other: Option<Field<'a>>, report: &mut Report) -> Option<Field<'a>> {
    match (one, other) {
        (Some(one), Some(other)) => {
            let why = format!("says the same as {}; leave one of them out", one.path());
            other.refuse(report, why);
            Some(one)
        }
        (one, other) => one.or(other),
    }
}

/// The image and the build as they were written in 2021: one key deeper.
fn docker<'a>(field: Field<'a>, report: &mut Report) -> (Option<Field<'a>>, Option<Field<'a>>) {
    field.fields(report, |fields, _| (fields.take("image"), fields.take("build"))).unwrap_or_default()
}

fn base(field: Field<'_>, asked: &Asked<'_>, report: &mut Report) -> Option<String> {
    let path = field.path().to_owned();
    let text = field.text(report)?;
    let Some(reference) = reference::parse(&text) else { return named(&text, &path, report) };
    if let Some(found) = reference.find(asked.context.assets) {
        return named(found, &path, report);
    }
    report.refuse(&path, of_workspace(&text));
    None
}

/// A path, or the specification itself: as a mapping or as text of several lines.
fn conda_file(field: Field<'_>, asked: &Asked<'_>, report: &mut Report) -> Option<Conda> {
    let path = field.path().to_owned();
    if field.value().is_object() {
        return match serde_saphyr::to_string(field.value()) {
            Ok(text) => Some(Conda::Text(text)),
            Err(error) => {
                report.refuse(&path, format!("can't be written as YAML: {error}"));
                None
            }
        };
    }
    let text = field.text(report)?;
    if text.contains('\n') {
        return Some(Conda::Text(text));
    }
    let found = place::find(&text, asked.context.folder);
    match found.map(|place| place.path) {
        Ok(Some(local)) if !local.ends_with('/') => Some(Conda::File(local)),
        Ok(_) => {
            report
                .refuse(&path, format!("is {text:?}; it must be a file of this machine, or the specification itself"));
            None
        }
        Err(why) => {
            report.refuse(&path, why);
            None
        }
    }
}

fn build(field: Field<'_>, asked: &Asked<'_>, report: &mut Report) -> Option<From> {
    field.fields(report, |fields, report| {
        let dockerfile = fields.take("dockerfile_path").map_or(Some("Dockerfile".to_owned()), |field| field.text(report));
        let Some(field) = fields.take_any(&["path", "context_uri"], report) else {
            fields.missing("path", report, "write the folder with the Dockerfile");
            return None;
        };
        let path = field.path().to_owned();
        let text = field.text(report)?;
        if reference::parse(&text).is_some() {
            let why = format!(
                "{text:?} names something in an Azure ML workspace, which this cluster does not have; write the folder with the \
                 Dockerfile"
            );
            report.refuse(&path, why);
            return None;
        }
        // Builds understand addresses of archives and of Git.
        if text.starts_with("https://") || text.starts_with("git://") {
            return Some(From::Folder { folder: text, dockerfile: dockerfile? });
        }
        match place::find(&text, asked.context.folder).map(|place| place.path) {
            Ok(Some(folder)) => Some(From::Folder { folder, dockerfile: dockerfile? }),
            Ok(None) => {
                report.refuse(&path, format!("is {text:?}; it must be a folder of this machine, or an https:// address"));
                None
            }
            Err(why) => {
                report.refuse(&path, why);
                None
            }
        }
    })?
}

fn inference_config(field: Field<'_>, report: &mut Report) -> Option<Value> {
    field.fields(report, |fields, report| {
        let mut routes = Map::new();
        for (key, name) in [
            ("liveness_route", "livenessRoute"),
            ("readiness_route", "readinessRoute"),
            ("scoring_route", "scoringRoute"),
        ] {
            match fields.take(key) {
                Some(field) => put(&mut routes, name, route(field, report)),
                None => fields.missing(key, report, "write all three routes, each with port and path"),
            }
        }
        if let Some(field) = fields.take("startup_route") {
            field.note(report, "is not used: the startup probe asks the liveness route");
        }
        Value::Object(routes)
    })
}

fn route(field: Field<'_>, report: &mut Report) -> Option<Value> {
    field.fields(report, |fields, report| {
        for key in ["port", "path"] {
            if !fields.has(key) {
                fields.missing(key, report, "a route has port and path");
            }
        }
        let port = fields
            .take("port")
            .and_then(|field| field.whole(report, &limits::of("environment.inferenceConfig.scoringRoute.port")));
        let path = fields.take("path").and_then(|field| {
            let shape = "a path with a leading '/' and without spaces, of at most 1024 characters";
            field.text_like(report, shape, |text| {
                text.starts_with('/') && text.len() <= LONGEST_ROUTE && !text.contains(char::is_whitespace)
            })
        });
        Some(json!({"port": port?, "path": path?}))
    })?
}
