//! Looks at everything that has to be right for an endpoint to serve, and says what is not.

use std::path::Path;
use std::process::Stdio;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, PostParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::json;
use tokio::process::Command;

use super::super::arguments::doctor::Doctor;
use super::super::arguments::output::{Diagnosis, Document};
use super::super::connect::{Connection, PATIENCE};
use super::super::machine::Machine;
use super::super::table::table;
use super::super::{CliError, print, wire};
use crate::api::compute_quota::ComputeQuota;
use crate::api::condition;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::api::endpoint_route::EndpointRoute;
use crate::api::instance_type::InstanceType;
use crate::catalogue::Code;
use crate::local::engine::Engine;
use crate::process::tree::typed;

/// The oldest minor of Kubernetes that the chart installs on.
const OLDEST_MINOR: u32 = 31;
/// An operator renews its Lease every few seconds; the rest is for clocks that differ.
const LEASE_IS_STALE: SignedDuration = SignedDuration::from_secs(60);
/// A name that no instance type has.
const NO_INSTANCE_TYPE: &str = "mooring-doctor-asks-for-none";

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Verdict {
    /// As it should be.
    Ok,
    /// Serving goes on, and somebody will miss something.
    Warning,
    /// Something does not work.
    Failed,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// What a check found. Numbers are never used again for another check.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    number: &'static str,
    check: &'static str,
    verdict: Verdict,
    message: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    next_step: &'static str,
}

/// What a check has to say: the facts, and what to do where they are wrong.
type Said = (Verdict, String, &'static str);

fn ok(message: impl Into<String>) -> Said {
    (Verdict::Ok, message.into(), "")
}

fn failed(message: impl Into<String>, next_step: &'static str) -> Said {
    (Verdict::Failed, message.into(), next_step)
}

fn warning(message: impl Into<String>, next_step: &'static str) -> Said {
    (Verdict::Warning, message.into(), next_step)
}

/// An answer that did not come, as a finding.
fn unanswered(error: &CliError, next_step: &'static str) -> Said {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    failed(format!("{error}{cause}"), next_step)
}

/// Runs every check and prints what each found.
pub(super) async fn run(connection: &Connection, doctor: &Doctor) -> Result<(), CliError> {
    let mut findings = Vec::new();
    let mut find = |number, check, (verdict, message, next_step): Said| {
        if !doctor.skip.iter().any(|skipped| skipped == number) {
            findings.push(Finding { number, check, verdict, message, next_step });
        }
    };
    let system = doctor.system_namespace.as_str();
    let server = api_server(connection).await;
    let is_reached = server.0 != Verdict::Failed;
    find("M001", "Kubernetes", server);
    // Without an API server every other check would say the same.
    if is_reached {
        find("M002", "definitions", definitions(connection).await);
        find("M003", "operator", pods(connection, system, "operator").await);
        find("M004", "leader", leader(connection, system).await);
        find("M005", "webhook", webhook(connection, doctor.webhook).await);
        find("M006", "gateway", pods(connection, system, "gateway").await);
        find("M007", "way in", way_in(connection, doctor).await);
        find("M008", "your rights", rights(connection).await);
        find("M009", "endpoints", endpoints(connection).await);
    }
    told(&findings, doctor.output)
}

/// The same of this machine: its engine, the program that the agents are, and the agents of its endpoints.
pub(super) async fn of_machine(machine: &Machine, doctor: &Doctor) -> Result<(), CliError> {
    let mut findings = Vec::new();
    let mut find = |number, check, (verdict, message, next_step): Said| {
        if !doctor.skip.iter().any(|skipped| skipped == number) {
            findings.push(Finding { number, check, verdict, message, next_step });
        }
    };
    let engine = match Engine::connect().await {
        Ok(engine) => {
            let version = engine.api.version().await.ok().and_then(|version| version.version).unwrap_or_default();
            ok(format!("the container engine answers: {version}"))
        }
        Err(error) => failed(error.to_string(), "Start the engine, or say where it is with DOCKER_HOST."),
    };
    find("L001", "container engine", engine);
    find("L003", "program of the agents", program(machine.store.program()).await);
    for endpoint in machine.endpoints()? {
        let name = endpoint.name_any();
        let said = if machine.store.has_agent(&name)? {
            let address = machine.store.gateway_address(&name)?.map(|it| it.to_string()).unwrap_or_default();
            ok(format!("endpoint {name:?} is served at http://{address}"))
        } else {
            warning(
                format!("nothing of endpoint {name:?} runs"),
                "`mooring endpoint invoke --local` and `mooring deployment rollout status --local` start it again.",
            )
        };
        find("L002", "agent", said);
    }
    told(&findings, doctor.output)
}

/// The program that the agents are, which has to be of the same release.
async fn program(path: &Path) -> Said {
    const NEXT: &str = "Put the mooring-local of the same release into the folder of mooring.";
    let shown = path.display();
    match Command::new(path).arg("--version").stdin(Stdio::null()).output().await {
        Ok(ended) => {
            let said = String::from_utf8_lossy(&ended.stdout);
            let said = said.trim();
            if said == concat!("mooring-local ", env!("CARGO_PKG_VERSION")) {
                ok(format!("{shown} is there: {said}"))
            } else {
                failed(format!("{shown} is of another release: {said:?}"), NEXT)
            }
        }
        Err(error) => failed(format!("{shown} can't be started: {error}"), NEXT),
    }
}

fn told(findings: &[Finding], output: Diagnosis) -> Result<(), CliError> {
    match output {
        Diagnosis::Json => print::document(Document::Json, &findings)?,
        Diagnosis::Table => print::text(&lines(findings))?,
    }
    let count = findings.iter().filter(|finding| finding.verdict == Verdict::Failed).count();
    if count == 0 { Ok(()) } else { Err(CliError::Unwell { count }) }
}

fn lines(findings: &[Finding]) -> String {
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|it| vec![it.number.to_owned(), it.check.to_owned(), it.verdict.word().to_owned(), it.message.clone()])
        .collect();
    let table = table(&["NUMBER", "CHECK", "VERDICT", "FINDING"], &rows);
    let wrong = findings.iter().filter(|finding| !finding.next_step.is_empty());
    let steps: Vec<String> = wrong.map(|finding| format!("{}: {}", finding.number, finding.next_step)).collect();
    if steps.is_empty() { table } else { format!("{table}\n{}\n", steps.join("\n")) }
}

async fn api_server(connection: &Connection) -> Said {
    match connection.ask("asking for the version of Kubernetes", connection.client.apiserver_version()).await {
        Ok(version) => {
            let digits: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
            match digits.parse::<u32>() {
                Ok(minor) if version.major == "1" && minor < OLDEST_MINOR => warning(
                    format!(
                        "the API server is {}, and 1.{OLDEST_MINOR} is the oldest that is tested",
                        version.git_version
                    ),
                    "Upgrade the cluster.",
                ),
                _ => ok(format!("the API server answers: {}", version.git_version)),
            }
        }
        Err(error) => {
            unanswered(&error, "Check that `kubectl version` reaches the cluster: kubeconfig, context, network.")
        }
    }
}

async fn definitions(connection: &Connection) -> Said {
    const NEXT: &str =
        "Install the chart (helm upgrade --install mooring …), which brings the definitions of its own version.";
    let group = OnlineEndpoint::api_version(&());
    let resources = connection.client.list_api_group_resources(&group);
    let resources = match connection.ask(format!("asking for the kinds of {group}"), resources).await {
        Ok(list) => list.resources,
        Err(CliError::Denied { source, .. }) if source.code == 404 => {
            return failed(format!("the cluster knows no kind of {group}"), NEXT);
        }
        Err(error) => return unanswered(&error, NEXT),
    };
    let wanted = [
        OnlineEndpoint::kind(&()),
        OnlineDeployment::kind(&()),
        InstanceType::kind(&()),
        ComputeQuota::kind(&()),
        EndpointRoute::kind(&()),
    ];
    let missing: Vec<_> = wanted.iter().filter(|kind| !resources.iter().any(|it| it.kind == ***kind)).collect();
    if missing.is_empty() {
        ok(format!("all {} kinds of {group} are there", wanted.len()))
    } else {
        let names: Vec<&str> = missing.iter().map(AsRef::as_ref).collect();
        failed(format!("{group} lacks {}", names.join(", ")), NEXT)
    }
}

/// The pods of one of our programs.
async fn pods(connection: &Connection, namespace: &str, program: &'static str) -> Said {
    let next = if program == "operator" {
        "Look at them: kubectl --namespace NAMESPACE describe pods -l app.kubernetes.io/component=operator. Install the \
         chart when there are none."
    } else {
        "Look at them: kubectl --namespace NAMESPACE describe pods -l app.kubernetes.io/component=gateway. Install the \
         chart when there are none."
    };
    let api: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
    let selection =
        ListParams::default().labels(&format!("app.kubernetes.io/name=mooring,app.kubernetes.io/component={program}"));
    let act = format!("listing the pods of the {program} in namespace {namespace:?}");
    let pods = match connection.ask(act, api.list(&selection)).await {
        Ok(list) => list.items,
        Err(error) => return unanswered(&error, next),
    };
    let ready = pods.iter().filter(|pod| wire::is_ready(pod)).count();
    let facts = format!("{ready} of {} pods of the {program} are ready in namespace {namespace:?}", pods.len());
    match (ready, pods.len()) {
        (0, _) => failed(facts, next),
        (ready, all) if ready < all => warning(facts, next),
        _ => ok(facts),
    }
}

async fn leader(connection: &Connection, namespace: &str) -> Said {
    const NEXT: &str =
        "No replica writes: look at the log of the operator, and whether it may get and update the Lease.";
    let api: Api<Lease> = Api::namespaced(connection.client.clone(), namespace);
    let act = format!("reading Lease \"mooring-operator\" in namespace {namespace:?}");
    let lease = match connection.ask(act, api.get_opt("mooring-operator")).await {
        Ok(Some(lease)) => lease.spec.unwrap_or_default(),
        Ok(None) => return failed(format!("there is no Lease \"mooring-operator\" in namespace {namespace:?}"), NEXT),
        Err(error) => return unanswered(&error, NEXT),
    };
    let (Some(holder), Some(renewed)) = (lease.holder_identity.filter(|it| !it.is_empty()), lease.renew_time) else {
        return failed("nobody holds the Lease of the operator", NEXT);
    };
    let age = Timestamp::now().duration_since(renewed.0);
    if age > LEASE_IS_STALE {
        failed(format!("{holder} holds the Lease of the operator and renewed it {} s ago", age.as_secs()), NEXT)
    } else {
        ok(format!("{holder} leads"))
    }
}

/// Asks for a deployment that can't work, without keeping it: the webhook refuses it, when there is one.
async fn webhook(connection: &Connection, is_required: bool) -> Said {
    const NEXT: &str = "See that the operator's pods are ready and that the API server reaches port 9443 of them; while the \
                        webhook does not answer, endpoints and deployments can't be changed.";
    const MISSING: &str = "With webhook.enabled in the chart's values, mistakes are refused before they are stored; a \
                           namespace with the label mooring.dev/admission=off is left alone.";
    let probe = json!({
        "apiVersion": OnlineDeployment::api_version(&()), "kind": OnlineDeployment::kind(&()),
        "metadata": {"name": "mooring-doctor"},
        "spec": {"endpointName": "mooring-doctor", "instanceType": NO_INSTANCE_TYPE, "environment": {"image": "none"}},
    });
    let probe: OnlineDeployment = match typed(probe) {
        Ok(probe) => probe,
        Err(error) => return failed(format!("the probe can't be made: {error}"), ""),
    };
    let dry_run = PostParams { dry_run: true, field_manager: None };
    let api = connection.api::<OnlineDeployment>();
    match connection.ask("trying the webhook, without storing anything", api.create(&dry_run, &probe)).await {
        Ok(_) if is_required => failed(format!("no webhook is asked in namespace {:?}", connection.namespace), MISSING),
        Ok(_) => warning(format!("no webhook is asked in namespace {:?}", connection.namespace), MISSING),
        Err(CliError::Denied { source, .. }) if source.message.contains(NO_INSTANCE_TYPE) => {
            ok("the webhook answers: it refuses what can't work")
        }
        Err(error) => unanswered(&error, NEXT),
    }
}

/// Whether a gateway answers, by a path that it does not know.
async fn way_in(connection: &Connection, doctor: &Doctor) -> Said {
    const NEXT: &str = "See that the gateway's pods are ready, and that you may forward a port to them.";
    let request = hyper::Request::get("/mooring-doctor").header(hyper::header::HOST, "mooring-doctor");
    let Ok(request) = request.body(http_body_util::Full::default()) else {
        return failed("no request can be made", "");
    };
    let longest = connection.patience.unwrap_or(PATIENCE);
    let wire = match &doctor.url {
        Some(url) => wire::to_address(longest, url).await,
        None => wire::to_gateway(connection, Some(&doctor.system_namespace)).await,
    };
    let longest = connection.patience.unwrap_or(PATIENCE);
    let wire = match wire {
        Ok(wire) => wire,
        Err(error) => return unanswered(&error, NEXT),
    };
    let to = wire.to.clone();
    match wire::scored(longest, wire.send(request)).await {
        Ok(Ok(answer)) if answer.status() == hyper::StatusCode::NOT_FOUND => ok(format!("gateway {to} answers")),
        Ok(Ok(answer)) => failed(format!("gateway {to} answers {} to a path that nobody has", answer.status()), NEXT),
        Ok(Err(error)) | Err(error) => unanswered(&error, NEXT),
    }
}

/// What the caller may do in the namespace that commands speak of.
async fn rights(connection: &Connection) -> Said {
    const WANTED: [(&str, &str, &str, &str); 7] = [
        ("create", "mooring.dev", "onlineendpoints", ""),
        ("create", "mooring.dev", "onlinedeployments", ""),
        ("patch", "mooring.dev", "onlineendpoints", ""),
        ("patch", "mooring.dev", "onlinedeployments", ""),
        ("delete", "mooring.dev", "onlinedeployments", ""),
        ("get", "", "secrets", ""),
        ("get", "", "pods", "log"),
    ];
    let api: Api<SelfSubjectAccessReview> = Api::all(connection.client.clone());
    let mut missing = Vec::new();
    for (verb, group, resource, subresource) in WANTED {
        let whole = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(connection.namespace.clone()),
                    verb: Some(verb.to_owned()),
                    group: Some(group.to_owned()),
                    resource: Some(resource.to_owned()),
                    subresource: Some(subresource.to_owned()).filter(|it| !it.is_empty()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        match connection.ask("asking for your rights", api.create(&PostParams::default(), &review)).await {
            Ok(answer) if answer.status.as_ref().is_some_and(|status| status.allowed) => {}
            Ok(_) => missing.push(format!("{verb} {whole}")),
            Err(error) => return unanswered(&error, ""),
        }
    }
    let namespace = &connection.namespace;
    if missing.is_empty() {
        ok(format!("you may do in namespace {namespace:?} what commands need"))
    } else {
        warning(
            format!("in namespace {namespace:?} you may not {}", missing.join(", ")),
            "Ask the cluster's administrator for the role edit in that namespace.",
        )
    }
}

/// Endpoints and deployments that are not as they were asked for.
async fn endpoints(connection: &Connection) -> Said {
    const NEXT: &str = "mooring deployment list shows code and reason of each, and mooring deployment show what to do.";
    let endpoints: Vec<OnlineEndpoint> = match connection.list(&ListParams::default()).await {
        Ok(list) => list,
        Err(error) => return unanswered(&error, ""),
    };
    let deployments: Vec<OnlineDeployment> = match connection.list(&ListParams::default()).await {
        Ok(list) => list,
        Err(error) => return unanswered(&error, ""),
    };
    let of_endpoints = endpoints.iter().filter_map(|it| it.status.as_ref()).flat_map(|it| &it.conditions);
    let of_deployments = deployments.iter().filter_map(|it| it.status.as_ref()).flat_map(|it| &it.conditions);
    let internal = of_endpoints
        .chain(of_deployments)
        .find(|it| it.type_ == condition::READY && it.reason == Code::Err5000.as_str());
    if let Some(internal) = internal {
        return failed(
            internal.message.clone(),
            "Install the chart again: it grants the operator what this version needs.",
        );
    }
    let bad: Vec<String> = deployments
        .iter()
        .filter_map(|it| Some((it.name_any(), it.status.as_ref()?.error.as_ref()?)))
        .map(|(name, error)| format!("{name} ({} {})", error.code.as_str(), error.reason))
        .collect();
    let namespace = &connection.namespace;
    let counts = format!("{} endpoints, {} deployments in namespace {namespace:?}", endpoints.len(), deployments.len());
    if bad.is_empty() { ok(counts) } else { warning(format!("{counts}; with an error: {}", bad.join(", ")), NEXT) }
}
