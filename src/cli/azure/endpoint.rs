//! Documents of endpoints.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::kind::{self, Form, is_of_deployments};
use super::manifest::Manifest;
use super::metadata::{self, Metadata};
use super::reading::{Field, Fields, Report};
use super::{Context, Converted, deployment, name};

/// Longest description, as the schema has it.
const LONGEST_DESCRIPTION: usize = 1024;
/// Most deployments in the traffic of an endpoint, as the schema has it.
const MOST_DEPLOYMENTS: usize = 20;
/// What may go to a deployment.
const SHARE: RangeInclusive<i64> = 0..=100;
/// What may be mirrored, as the managed product has it.
const MIRRORED: RangeInclusive<i64> = 0..=50;

/// Reads a document of an endpoint, and the deployments in it.
pub(super) fn read(root: Field<'_>, form: Form, context: &Context<'_>, report: &mut Report, outcome: &mut Converted) {
    root.fields(report, |fields, report| {
        if form == Form::Rest {
            fields.absorb("properties", report);
        }
        let mut metadata = Metadata::default();
        let mut spec = Map::new();
        let name = endpoint_name(fields, context, report);
        if let Some(field) = fields.take("$schema") {
            field.understood();
        }
        if let Some(field) = fields.take("type") {
            online(field, form, report);
        }
        if let Some(field) = fields.take("description") {
            let shape = format!("at most {LONGEST_DESCRIPTION} characters");
            let text = field.text_like(report, &shape, |text| text.chars().count() <= LONGEST_DESCRIPTION);
            put(&mut spec, "description", text);
        }
        if let Some(field) = fields.take("tags") {
            metadata.tags(field, report);
        }
        if let Some(field) = fields.take("auth_mode") {
            put(&mut spec, "authMode", auth_mode(field, report));
        }
        if let Some(field) = fields.take("keys") {
            field.note(
                report,
                "is not taken from a file: keys are generated into the Secret NAME-keys; for keys of your own make a Secret with \
                 primaryKey and secondaryKey and name it in spec.keysSecretName",
            );
        }
        if let Some(field) = fields.take("compute") {
            field.note(report, "is not looked at: the cluster is the one of the command line's kubeconfig context");
        }
        if let Some(field) = fields.take("identity") {
            put(&mut spec, "identity", identity(field, report));
        }
        traffic(fields, &mut spec, report);
        public_access(fields, &mut spec, report);
        if let Some(field) = fields.take("properties") {
            metadata::properties(field, report);
        }
        if let Some(field) = fields.take("sku") {
            field.note(report, "is left out: Azure counts endpoints by it; here ComputeQuota does");
        }
        if form == Form::Rest {
            metadata::of_template(fields, report);
        }
        metadata::of_answer(fields, report);
        let of_2021 = fields.take("deployments");
        for (_, field) in fields.take_where(is_of_deployments) {
            field.refuse(report, "belongs to a deployment: write it into a file of its own, with endpoint_name");
        }
        let Some(name) = name else { return };
        if let Some(field) = of_2021 {
            deployment::read_all(field, &name, context, report, outcome);
        }
        let manifest = json!({
            "apiVersion": "mooring.dev/v1alpha1",
            "kind": "OnlineEndpoint",
            "metadata": metadata.named(&name),
            "spec": spec,
        });
        finish(manifest, report, &mut outcome.endpoints);
    });
}

/// Puts a manifest into the outcome, unless something was refused already.
pub(super) fn finish<T: serde::de::DeserializeOwned>(
    manifest: Value,
    report: &mut Report,
    into: &mut Vec<Manifest<T>>,
) {
    if !report.is_clean() {
        return;
    }
    match Manifest::new(manifest) {
        Ok(manifest) => into.push(manifest),
        Err(error) => report.refuse(kind::DOCUMENT, format!("can't be converted: {error}")),
    }
}

/// Puts a value into a mapping, when there is one.
pub(super) fn put(into: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        into.insert(key.to_owned(), value.into());
    }
}

fn endpoint_name(fields: &mut Fields<'_>, context: &Context<'_>, report: &mut Report) -> Option<String> {
    let path = fields.path_of("name");
    let of_template = fields
        .look("name")
        .and_then(Value::as_str)
        .and_then(|name| name.split_once('/'))
        .map(|(_, name)| name.to_owned());
    let name = name::settle(fields, "name", context.endpoint, of_template, report)?;
    Some(name::lower(&name, &path, report))
}

/// The type of an endpoint that the command line and REST know.
fn online(field: Field<'_>, form: Form, report: &mut Report) {
    if form == Form::Rest || field.value().as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("online")) {
        field.understood();
    } else {
        field.refuse(report, "must be online, or left out");
    }
}

fn auth_mode(field: Field<'_>, report: &mut Report) -> Option<&'static str> {
    #[derive(Clone, Copy)]
    enum Mode {
        Key,
        AmlToken,
        AadToken,
    }
    let path = field.path().to_owned();
    let words = [("key", Mode::Key), ("aml_token", Mode::AmlToken), ("aad_token", Mode::AadToken)];
    Some(match field.choice(report, &words)? {
        Mode::Key => "Key",
        Mode::AmlToken => "AMLToken",
        Mode::AadToken => {
            report.note(
                &path,
                "becomes AMLToken: callers send a short-lived Kubernetes token, and RBAC says who may score; tokens of \
                 Microsoft Entra are not understood",
            );
            "AMLToken"
        }
    })
}

/// An identity that somebody made becomes a service account that somebody makes, with the identity's own name.
fn identity(field: Field<'_>, report: &mut Report) -> Option<Value> {
    #[derive(Clone, Copy, PartialEq)]
    enum Owner {
        System,
        User,
        Both,
        Nobody,
    }
    field.fields(report, |fields, report| {
        let path = fields.path_of("type");
        let words = [
            ("system_assigned", Owner::System),
            ("user_assigned", Owner::User),
            ("system_assigned,user_assigned", Owner::Both),
            ("none", Owner::Nobody),
        ];
        let owner = fields.take("type").map(|field| field.choice(report, &words));
        for key in ["principal_id", "tenant_id"] {
            if let Some(field) = fields.take(key) {
                metadata::read_only(field, report);
            }
        }
        let named = fields.take("user_assigned_identities").map(|field| user_identities(field, report));
        let named = named.unwrap_or_default();
        let owner = match owner {
            Some(owner) => owner?,
            None if named.is_empty() => return None,
            None => {
                report.note(&path, "is not written; user_assigned is taken, as identities are named");
                Owner::User
            }
        };
        match owner {
            Owner::Nobody => {
                report.note(
                    &path,
                    "becomes SystemAssigned: each endpoint has a service account, which has no rights by itself",
                );
            }
            Owner::Both => report.note(&path, "becomes UserAssigned: instances run as one service account"),
            Owner::System | Owner::User => {}
        }
        if matches!(owner, Owner::System | Owner::Nobody) {
            for identity in named {
                report.note(&identity.path, "is not used: the type is not user_assigned");
            }
            return Some(json!({"type": "SystemAssigned"}));
        }
        let mut named = named.into_iter();
        let Some(first) = named.next() else {
            fields.missing("user_assigned_identities", report, "user_assigned needs a list with one resource_id");
            return None;
        };
        report.note(&first.path, first.next_step());
        for other in named {
            report.note(&other.path, format!("is not used: instances run as one service account, {:?}", first.account));
        }
        Some(json!({"type": "UserAssigned", "serviceAccountName": first.account}))
    })?
}

/// A user-assigned identity and the service account that stands for it.
struct UserIdentity {
    path: String,
    resource_id: String,
    client_id: Option<String>,
    account: String,
}

impl UserIdentity {
    /// The service account has the identity's name, as far as Kubernetes takes it.
    fn new(path: String, resource_id: String, client_id: Option<String>, report: &mut Report) -> Option<Self> {
        let last = resource_id.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let account: String =
            last.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
        let account = account.trim_matches('-').to_owned();
        if account.is_empty() || account.len() > 253 {
            report.refuse(&path, format!("is {resource_id:?}; it must be the resource id of a user-assigned identity"));
            return None;
        }
        Some(Self { path, resource_id, client_id, account })
    }

    fn next_step(&self) -> String {
        let account = &self.account;
        let client_id = self.client_id.as_deref().unwrap_or("CLIENT_ID");
        let hint = match self.client_id {
            Some(_) => String::new(),
            None => format!(" (az identity show --ids {} --query clientId shows it)", self.resource_id),
        };
        format!(
            "becomes ServiceAccount {account:?}, which you make: kubectl create serviceaccount {account}; kubectl annotate \
             serviceaccount {account} azure.workload.identity/client-id={client_id}{hint}"
        )
    }
}

fn user_identities(field: Field<'_>, report: &mut Report) -> Vec<UserIdentity> {
    // REST has a mapping by resource id, the command line a list.
    if field.value().is_object() {
        let entries = field.entries(report).into_iter();
        let read = entries.filter_map(|(resource_id, field)| {
            let path = field.path().to_owned();
            let client_id = if field.value().is_null() { None } else { client_id(field, report) };
            UserIdentity::new(path, resource_id.to_owned(), client_id, report)
        });
        return read.collect();
    }
    let items = field.items(report).into_iter();
    let read = items.filter_map(|field| {
        let path = field.path().to_owned();
        if field.value().is_string() {
            let resource_id = field.text(report)?;
            return UserIdentity::new(path, resource_id, None, report);
        }
        field.fields(report, |fields, report| {
            let client_id = fields.take("client_id").and_then(|field| field.text(report));
            if let Some(field) = fields.take("principal_id") {
                metadata::read_only(field, report);
            }
            let Some(field) = fields.take("resource_id") else {
                fields.missing("resource_id", report, "write the resource id of a user-assigned identity");
                return None;
            };
            let path = field.path().to_owned();
            let resource_id = field.text(report)?;
            UserIdentity::new(path, resource_id, client_id, report)
        })?
    });
    read.collect()
}

fn client_id(field: Field<'_>, report: &mut Report) -> Option<String> {
    field.fields(report, |fields, report| {
        if let Some(field) = fields.take("principal_id") {
            metadata::read_only(field, report);
        }
        fields.take("client_id").and_then(|field| field.text(report))
    })?
}

fn traffic(fields: &mut Fields<'_>, spec: &mut Map<String, Value>, report: &mut Report) {
    let live = fields.take("traffic").map(|field| {
        let path = field.path().to_owned();
        let live = shares(field, &SHARE, report);
        let sum: i64 = live.values().sum();
        if sum != 0 && sum != 100 {
            let why = format!("the percentages sum to {sum}; they must sum to 100, or to 0 to switch traffic off");
            report.refuse(&path, why);
        }
        if live.len() > MOST_DEPLOYMENTS {
            report.refuse(&path, format!("names {} deployments; at most {MOST_DEPLOYMENTS} may be named", live.len()));
        }
        live
    });
    let mirrored = fields.take("mirror_traffic").map(|field| {
        let path = field.path().to_owned();
        let mirrored = shares(field, &MIRRORED, report);
        if mirrored.len() > 1 {
            report.refuse(&path, "names several deployments; traffic is mirrored to one");
        }
        let has_live =
            |name: &str| live.iter().flatten().any(|(other, share)| *share > 0 && other.eq_ignore_ascii_case(name));
        for name in mirrored.keys().filter(|name| has_live(name)) {
            let why = format!("{name:?} has live traffic; mirror to a deployment that has none");
            report.refuse(&path, why);
        }
        mirrored
    });
    put(spec, "traffic", live.map(|live| json!(live)));
    put(spec, "mirrorTraffic", mirrored.map(|mirrored| json!(mirrored)));
}

/// Percentages by deployment, each name once.
fn shares(field: Field<'_>, range: &RangeInclusive<i64>, report: &mut Report) -> BTreeMap<String, i64> {
    let mut shares: BTreeMap<String, i64> = BTreeMap::new();
    for (name, field) in field.entries(report) {
        if shares.keys().any(|other| other.eq_ignore_ascii_case(name)) {
            field.refuse(report, "upper and lower case are the same name: give each deployment one entry");
        } else if let Some(share) = field.whole(report, range) {
            shares.insert(name.to_owned(), share);
        }
    }
    shares
}

fn public_access(fields: &mut Fields<'_>, spec: &mut Map<String, Value>, report: &mut Report) {
    let access = fields.take("public_network_access").map(|field| {
        let path = field.path().to_owned();
        (path, field.choice(report, &[("enabled", true), ("disabled", false)]))
    });
    let legacy = fields.take("allow_public_access").map(|field| {
        let path = field.path().to_owned();
        (path, field.flag(report))
    });
    if let (Some((_, Some(access))), Some((path, Some(legacy)))) = (&access, &legacy)
        && access != legacy
    {
        report.refuse(path, "contradicts public_network_access; leave it out");
    }
    let Some((path, Some(is_public))) = access.or(legacy) else { return };
    if is_public {
        report.note(
            &path,
            "takes effect once spec.ingress of the endpoint names a host; until then it is reached in the cluster",
        );
    }
    put(spec, "publicNetworkAccess", Some(if is_public { "Enabled" } else { "Disabled" }));
}
