//! Models and code: what is deployed where. There is no registry beside the deployments; they name what they use.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde::Serialize;

use crate::api::artifact::{ArtifactKind, ArtifactReport, Outcome};
use crate::api::deployment::OnlineDeployment;
use crate::api::size::size;
use crate::api::{label, name};
use crate::cli::arguments::catalogue::{Artifact, ShowArtifact};
use crate::cli::arguments::output::Output;
use crate::cli::table::table;
use crate::cli::target::Target;
use crate::cli::{CliError, print};

/// One model or one piece of code, in one version.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Used {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    uri: String,
    /// SHA-256 that the deployment asks for, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// Where it is used.
    deployments: Vec<Place>,
}

/// A deployment that uses it.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Place {
    endpoint: String,
    deployment: String,
    /// What the storage initializer of an instance has put in place: model and code together.
    #[serde(skip_serializing_if = "Option::is_none")]
    downloaded: Option<Downloaded>,
}

/// What a report says.
#[derive(Serialize, Clone, Debug, PartialEq)]
struct Downloaded {
    files: u64,
    bytes: u64,
    seconds: f64,
}

pub(super) async fn run(target: &Target, kind: ArtifactKind, verb: &Artifact) -> Result<(), CliError> {
    let deployments = target.deployments(None).await?;
    let pods: Vec<Pod> = match target {
        Target::Cluster(connection) => {
            connection.list(&ListParams::default().labels(&label::managed_selector())).await?
        }
        Target::Local(machine) => machine.pods(&deployments)?,
    };
    let mut found = used(kind, &deployments, &pods);
    let output = match verb {
        Artifact::List(list) => list.output,
        Artifact::Show(show) => {
            found.retain(|one| is_meant(one, show));
            if found.is_empty() {
                return Err(not_found(target, kind, show));
            }
            show.output
        }
    };
    print::items(output, &found, |one| &one.name, || lines(&found, output == Output::Wide))
}

fn is_meant(one: &Used, show: &ShowArtifact) -> bool {
    one.name == show.name && show.version.as_ref().is_none_or(|version| one.version.as_ref() == Some(version))
}

fn not_found(target: &Target, kind: ArtifactKind, show: &ShowArtifact) -> CliError {
    let version = show.version.as_ref().map(|version| format!(":{version}")).unwrap_or_default();
    target.not_found(kind.as_str(), &format!("{}{version}", show.name))
}

/// Everything of a kind, each version and uri once.
fn used(kind: ArtifactKind, deployments: &[OnlineDeployment], pods: &[Pod]) -> Vec<Used> {
    let mut all: BTreeMap<_, Vec<Place>> = BTreeMap::new();
    for deployment in deployments {
        let key = match kind {
            ArtifactKind::Model => deployment.spec.model.as_ref().map(|model| {
                let name = model.name.clone().unwrap_or_else(|| name::from_uri(&model.uri));
                (name, Some(model.version.clone()), model.uri.clone(), model.sha256.clone())
            }),
            ArtifactKind::Code => deployment.spec.code_configuration.as_ref().and_then(|configuration| {
                let code = &configuration.code;
                let of_uri = || code.uri.as_ref().map(|uri| (name::from_uri(uri), None, uri.clone(), None));
                let of_map = |map: &String| (map.clone(), None, format!("configmap://{map}"), None);
                code.config_map_name.as_ref().map(of_map).or_else(of_uri)
            }),
        };
        if let Some(key) = key {
            all.entry(key).or_default().push(Place {
                endpoint: deployment.spec.endpoint_name.clone(),
                deployment: deployment.deployment_name().to_owned(),
                downloaded: downloaded(&deployment.name_any(), pods),
            });
        }
    }
    all.into_iter()
        .map(|((name, version, uri, sha256), deployments)| Used { name, version, uri, sha256, deployments })
        .collect()
}

/// What the newest instance with a report has fetched.
fn downloaded(online_deployment: &str, pods: &[Pod]) -> Option<Downloaded> {
    let of_it = pods
        .iter()
        .filter(|pod| pod.labels().get(label::ONLINE_DEPLOYMENT).map(String::as_str) == Some(online_deployment));
    let reports = of_it.filter_map(|pod| Some((pod.creation_timestamp(), report(pod)?)));
    let (_, report) = reports.max_by(|left, right| left.0.cmp(&right.0))?;
    let ArtifactReport { files, bytes, seconds, .. } = report;
    Some(Downloaded { files, bytes, seconds })
}

fn report(pod: &Pod) -> Option<ArtifactReport> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    let ended = statuses.iter().find_map(|status| status.state.as_ref()?.terminated.as_ref())?;
    let report: ArtifactReport = serde_json::from_str(ended.message.as_deref()?).ok()?;
    // What is mounted has not been counted.
    (report.outcome == Outcome::Succeeded && report.files > 0).then_some(report)
}

fn lines(found: &[Used], wide: bool) -> String {
    let mut head = vec!["NAME", "VERSION", "ENDPOINT", "DEPLOYMENT", "SIZE", "URI"];
    head.extend(wide.then_some("SHA256"));
    let rows: Vec<Vec<String>> = found
        .iter()
        .flat_map(|one| one.deployments.iter().map(move |place| (one, place)))
        .map(|(one, place)| {
            let size = place.downloaded.as_ref().map(|it| size(it.bytes));
            let mut row = vec![
                one.name.clone(),
                one.version.clone().unwrap_or_default(),
                place.endpoint.clone(),
                place.deployment.clone(),
                size.unwrap_or_default(),
                one.uri.clone(),
            ];
            row.extend(wide.then(|| one.sha256.clone().unwrap_or_default()));
            row
        })
        .collect();
    table(&head, &rows)
}
