//! Documents of deployments.

use serde_json::{Map, Value, json};

use super::endpoint::{finish, put};
use super::kind::{Form, is_of_endpoints};
use super::metadata::{self, Metadata};
use super::reading::{Field, Fields, Report};
use super::{Context, Converted, code, environment, limits, model, name, probe, requests, resources, scale, variables};
use crate::api::instance_type;

/// Whose deployment is read, and the place for what is found beside its spec.
pub(super) struct Asked<'a> {
    /// What the command line knows.
    pub(super) context: &'a Context<'a>,
    /// Name of the endpoint, in lower case.
    pub(super) endpoint: String,
    /// Azure's name of the deployment.
    pub(super) deployment: String,
    /// Name of the object.
    pub(super) object: String,
}

/// Which of Azure's two kinds a deployment is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Managed,
    Kubernetes,
}

/// Reads a document of a deployment.
pub(super) fn read(root: Field<'_>, form: Form, context: &Context<'_>, report: &mut Report, outcome: &mut Converted) {
    one(root, form, None, context, report, outcome);
}

/// Reads the deployments in a document of an endpoint, as they were written in 2021.
pub(super) fn read_all(
    field: Field<'_>,
    endpoint: &str,
    context: &Context<'_>,
    report: &mut Report,
    outcome: &mut Converted,
) {
    let path = field.path().to_owned();
    let items = field.items(report);
    if items.len() > 1 && context.deployment.is_some() {
        report.refuse(&path, "the command line names one deployment, and the document has several");
    }
    for item in items {
        one(item, Form::Yaml, Some(endpoint), context, report, outcome);
    }
    for (at, deployment) in outcome.deployments.iter().enumerate() {
        let name = deployment.name();
        if outcome.deployments.iter().take(at).any(|other| other.name() == name) {
            report.refuse(
                &path,
                format!("has two deployments that become {name:?}; upper and lower case are the same name"),
            );
        }
    }
}

fn one(
    field: Field<'_>,
    form: Form,
    endpoint: Option<&str>,
    context: &Context<'_>,
    report: &mut Report,
    outcome: &mut Converted,
) {
    field.fields(report, |fields, report| {
        if form == Form::Rest {
            fields.absorb("properties", report);
        }
        let asked = names(fields, endpoint, context, report);
        let mut metadata = Metadata::default();
        let spec = spec(fields, form, &asked, &mut metadata, report, outcome);
        let manifest = json!({
            "apiVersion": "mooring.dev/v1alpha1",
            "kind": "OnlineDeployment",
            "metadata": metadata.named(&asked.object),
            "spec": spec,
        });
        finish(manifest, report, &mut outcome.deployments);
    });
}

/// Names that are missing are refused; the rest is read all the same, so that every mistake is told at once.
fn names<'a>(
    fields: &mut Fields<'_>,
    endpoint: Option<&str>,
    context: &'a Context<'a>,
    report: &mut Report,
) -> Asked<'a> {
    let template = fields.look("name").and_then(Value::as_str).unwrap_or_default();
    let (parents, own) = template.rsplit_once('/').unwrap_or(("", ""));
    let of_template = |text: &str| text.rsplit('/').next().filter(|part| !part.is_empty()).map(str::to_owned);
    let (parent, own) = (of_template(parents).or_else(|| parent_in_id(fields)), of_template(own));
    let (endpoint_path, path) = (fields.path_of("endpoint_name"), fields.path_of("name"));
    let endpoint = match endpoint {
        Some(endpoint) => {
            if let Some(field) = fields.take("endpoint_name") {
                field
                    .note(report, format!("is not needed: the deployment is in the document of endpoint {endpoint:?}"));
            }
            Some(endpoint.to_owned())
        }
        None => name::settle(fields, "endpoint_name", context.endpoint, parent, report)
            .map(|name| name::lower(&name, &endpoint_path, report)),
    };
    let endpoint = endpoint.unwrap_or_default();
    let deployment = name::settle(fields, "name", context.deployment, own, report).unwrap_or_default();
    name::check_together(&endpoint, &deployment, &path, report);
    let object = name::object(&endpoint, &deployment);
    if deployment.bytes().any(|byte| byte.is_ascii_uppercase()) {
        report.note(
            &path,
            format!(
                "names in Kubernetes are lower case: the object is {object:?}, its deploymentName stays {deployment:?}"
            ),
        );
    }
    Asked { context, endpoint, deployment, object }
}

/// The endpoint's name in an id such as `/subscriptions/…/onlineEndpoints/iris/deployments/blue`.
fn parent_in_id(fields: &Fields<'_>) -> Option<String> {
    let mut parts = fields.look("id")?.as_str()?.split('/');
    parts.find(|part| part.eq_ignore_ascii_case("onlineEndpoints"))?;
    parts.next().map(str::to_owned)
}

fn spec(
    fields: &mut Fields<'_>,
    form: Form,
    asked: &Asked<'_>,
    metadata: &mut Metadata,
    report: &mut Report,
    outcome: &mut Converted,
) -> Map<String, Value> {
    let mut spec = Map::new();
    put(&mut spec, "endpointName", Some(asked.endpoint.as_str()));
    put(&mut spec, "deploymentName", Some(asked.deployment.as_str()));
    // What Azure answers has variables in it that it wrote itself.
    let is_answer = fields.has("provisioning_state") || fields.has("id");
    if let Some(field) = fields.take("$schema") {
        field.understood();
    }
    let host = host(fields, form, report);
    if let Some(field) = fields.take("description") {
        metadata.describe(field, report);
    }
    if let Some(field) = fields.take("tags") {
        metadata.tags(field, report);
    }
    let kind = model::read(fields, asked, &mut spec, report, outcome);
    code::read(fields, asked, &mut spec, report, outcome);
    environment::read(fields, kind, asked, &mut spec, report, outcome);
    if let Some(field) = fields.take("environment_variables") {
        put(&mut spec, "environmentVariables", Some(variables::read(field, is_answer, report)));
    }
    if let Some(field) = fields.take("instance_type") {
        put(&mut spec, "instanceType", machine(field, report));
    }
    let counts = [
        fields.take("instance_count").and_then(|field| count(field, report)),
        fields.take("sku").and_then(|field| capacity(field, report)),
        scale::read(fields, host, &mut spec, report),
    ];
    put(&mut spec, "instanceCount", agreed(counts, report));
    resources::read(fields, &mut spec, report);
    requests::read(fields, &mut spec, report);
    probe::read(fields, &mut spec, report);
    without_counterpart(fields, report);
    if let Some(field) = fields.take("properties") {
        metadata::properties(field, report);
    }
    if form == Form::Rest {
        metadata::of_template(fields, report);
    }
    metadata::of_answer(fields, report);
    for (_, field) in fields.take_where(is_of_endpoints) {
        field.refuse(report, "belongs to the endpoint: write it into the endpoint's file");
    }
    spec
}

/// Managed or Kubernetes: here they are one.
fn host(fields: &mut Fields<'_>, form: Form, report: &mut Report) -> Option<Host> {
    if form == Form::Rest
        && let Some(field) = fields.take("type")
    {
        field.understood();
    }
    let field = fields.take_any(&["type", "endpoint_compute_type"], report)?;
    let path = field.path().to_owned();
    let words = [("managed", Host::Managed), ("kubernetes", Host::Kubernetes), ("k8s", Host::Kubernetes)];
    let host = field.choice(report, &words)?;
    let happens = match host {
        Host::Managed => "is the same here as kubernetes: instances are pods of this cluster",
        Host::Kubernetes => "is the same here as managed: instances are pods of this cluster",
    };
    report.note(&path, happens);
    Some(host)
}

fn machine(field: Field<'_>, report: &mut Report) -> Option<String> {
    let path = field.path().to_owned();
    let machine = field.text_like(report, "1 to 253 characters", |text| (1..=253).contains(&text.len()))?;
    if instance_type::built_in(&machine).is_none() {
        let happens =
            format!("{machine:?} is not one of the built-in sizes: the cluster needs an InstanceType of this name");
        report.note(&path, happens);
    }
    Some(machine)
}

/// A number of instances, with its place.
pub(super) type Count = (String, i64);

pub(super) fn count(field: Field<'_>, report: &mut Report) -> Option<Count> {
    let path = field.path().to_owned();
    Some((path, field.whole(report, &limits::of("instanceCount"))?))
}

/// REST writes the number of instances as the capacity of a made-up SKU.
fn capacity(field: Field<'_>, report: &mut Report) -> Option<Count> {
    field.fields(report, |fields, report| {
        for key in ["name", "tier", "size", "family"] {
            if let Some(field) = fields.take(key) {
                field.note(report, "is left out: instance_type says which machine it is");
            }
        }
        fields.take("capacity").and_then(|field| count(field, report))
    })?
}

/// The one number that all places say.
fn agreed(counts: [Option<Count>; 3], report: &mut Report) -> Option<i64> {
    let mut counts = counts.into_iter().flatten();
    let (first_path, first) = counts.next()?;
    for (path, count) in counts {
        if count != first {
            report
                .refuse(&path, format!("is {count}, and {first_path} is {first}; write the number of instances once"));
        }
    }
    Some(first)
}

/// What Azure has and Kubernetes has otherwise.
fn without_counterpart(fields: &mut Fields<'_>, report: &mut Report) {
    if let Some(field) = fields.take("app_insights_enabled") {
        let path = field.path().to_owned();
        if field.flag(report) == Some(true) {
            report.note(
                &path,
                "nothing is sent to Application Insights: requests, latencies and failures are on the gateway's /metrics, and \
                 the container's output in mooring deployment get-logs",
            );
        }
    }
    if let Some(field) = fields.take("data_collector") {
        field.note(
            report,
            "nothing is collected: no request or answer is kept, and a Collector in score.py writes nowhere; log what you \
             need in score.py, or mirror the traffic to a deployment that keeps it",
        );
    }
    if let Some(field) = fields.take("egress_public_network_access") {
        let path = field.path().to_owned();
        if field.choice(report, &[("enabled", true), ("disabled", false)]) == Some(false) {
            let happens = "nothing is cut off: write a NetworkPolicy that keeps the instances from leaving the cluster";
            report.note(&path, happens);
        }
    }
    if let Some(field) = fields.take("private_network_connection") {
        let path = field.path().to_owned();
        if field.flag(report) == Some(true) {
            report.note(&path, "nothing is to be done: instances are in the cluster's own network");
        }
    }
    if let Some(field) = fields.take("package_model") {
        let path = field.path().to_owned();
        if field.flag(report) == Some(true) {
            report.note(&path, "no package is built: each instance fetches model and code when it starts");
        }
    }
}
