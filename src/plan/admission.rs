//! What is said of an object before it is stored: what the schema and CEL can't see.
//!
//! Refused is what is wrong by itself, or does not go with what is there. What may still come is a warning, since `GitOps`
//! applies in any order. What was wrong before a change does not forbid the change.

use std::sync::Arc;

use super::endpoint::keys_secret_name;
use super::quota::{self, Claims, DeploymentClaim, EndpointClaim, Quota};
use super::seen::SeenKeys;
use super::traffic::share;
use super::validate::{self, Problem, is_older_namesake};
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::api::instance_type::InstanceTypeSpec;

/// What is said of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it is refused; nothing when it is not.
    pub objections: Vec<Objection>,
    /// What its author should know.
    pub warnings: Vec<String>,
}

/// A reason to refuse an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The field, such as `spec.model.uri`.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Objection {
    fn new(field: impl Into<String>, message: String) -> Self {
        Self { field: field.into(), message }
    }
}

/// The state around an `OnlineDeployment` that is asked about.
#[derive(Clone, Debug, Default)]
pub struct AroundDeployment {
    /// Its endpoint.
    pub endpoint: Option<Arc<OnlineEndpoint>>,
    /// The deployments of its name in its endpoint, perhaps with itself as it was.
    pub namesakes: Vec<Arc<OnlineDeployment>>,
    /// The deploymentNames of all in its endpoint.
    pub names: Vec<String>,
    /// What its instance type stands for.
    pub instance_type: Option<InstanceTypeSpec>,
    /// The quotas of the namespace.
    pub quotas: Vec<Quota>,
    /// What is claimed in the namespace; empty when it has no quota.
    pub claims: Claims,
}

/// The state around an `OnlineEndpoint` that is asked about.
#[derive(Clone, Debug)]
pub struct AroundEndpoint {
    /// The deploymentNames of those that name it.
    pub names: Vec<String>,
    /// The Secret that it names for its keys; [`SeenKeys::Absent`] when it names none.
    pub keys: SeenKeys,
    /// The quotas of the namespace.
    pub quotas: Vec<Quota>,
    /// What is claimed in the namespace; empty when it has no quota.
    pub claims: Claims,
}

/// A deployment that is created, or changed from what it was `before`, whose instance type stands beside it.
#[must_use]
pub fn deployment(
    object: &OnlineDeployment,
    before: Option<(&OnlineDeployment, Option<&InstanceTypeSpec>)>,
    around: &AroundDeployment,
) -> Verdict {
    let objections = |object: &OnlineDeployment, instance_type: Option<&InstanceTypeSpec>| {
        let faults = validate::faults(&object.spec, instance_type).into_iter().map(|fault| {
            let next_step = fault.problem.reason.next_step();
            Objection::new(fault.field, format!("{}. {next_step}", fault.problem.message))
        });
        faults.chain(namesake(object, &around.namesakes)).collect()
    };
    let mut verdict = ratcheted(
        objections(object, around.instance_type.as_ref()),
        &before.map(|(before, kind)| objections(before, kind)).unwrap_or_default(),
    );
    verdict.warnings.extend(over_quota(object, around));
    verdict
}

/// An endpoint that is created, or changed from what it was `before`.
#[must_use]
pub fn endpoint(object: &OnlineEndpoint, before: Option<&OnlineEndpoint>, around: &AroundEndpoint) -> Verdict {
    let before = before.filter(|before| keys_secret_name(before) == keys_secret_name(object));
    let objections = |object: &OnlineEndpoint| keys(object, &around.keys).into_iter().collect();
    let mut verdict = ratcheted(objections(object), &before.map(objections).unwrap_or_default());
    let exists = |name: &str| around.names.iter().any(|it| it.eq_ignore_ascii_case(name));
    for (field, shares) in [("traffic", &object.spec.traffic), ("mirrorTraffic", &object.spec.mirror_traffic)] {
        for name in shares.iter().filter(|(name, percent)| percent.0 > 0 && !exists(name)).map(|(name, _)| name) {
            verdict.warnings.push(format!(
                "spec.{field}[{name}]: the endpoint has no deployment of this name yet; it gets its share once it is there \
                 and ready"
            ));
        }
    }
    if let (Some(secret), SeenKeys::Absent) = (&object.spec.keys_secret_name, &around.keys)
        && keys_secret_name(object).is_some()
    {
        verdict
            .warnings
            .push(format!("spec.keysSecretName: there is no Secret {secret:?} yet; nobody gets in before it is there"));
    }
    let mut claims = around.claims.clone();
    let name = object.metadata.name.as_deref().unwrap_or_default();
    if !claims.endpoints.iter().any(|claim| claim.name == name) {
        let created = object.metadata.creation_timestamp.clone();
        claims.endpoints.push(EndpointClaim { name: name.to_owned(), created, held: false });
    }
    verdict.warnings.extend(quota::check_endpoint(&around.quotas, &claims, name).err().map(|it| told(&it)));
    verdict
}

/// A deployment that is to be deleted: not while callers are sent to it.
#[must_use]
pub fn deletion(object: &OnlineDeployment, around: &AroundDeployment) -> Option<Objection> {
    let endpoint = around.endpoint.as_deref().filter(|endpoint| endpoint.metadata.deletion_timestamp.is_none())?;
    let name = object.deployment_name();
    let share = share(&endpoint.spec.traffic, name);
    // The traffic of two of one name is the older one's.
    if share == 0 || around.namesakes.iter().any(|other| is_older_namesake(other, object)) {
        return None;
    }
    let of_endpoint = &object.spec.endpoint_name;
    let heir = around
        .names
        .iter()
        .map(String::as_str)
        .filter(|other| !other.eq_ignore_ascii_case(name))
        .max_by_key(|other| self::share(&endpoint.spec.traffic, other));
    // As it is spelled there: a second spelling would be a second key.
    let key = |name: &str| {
        let spelled = endpoint.spec.traffic.keys().find(|key| key.eq_ignore_ascii_case(name));
        spelled.map_or_else(|| name.to_owned(), Clone::clone)
    };
    let patch = match heir {
        Some(heir) => {
            let sum = self::share(&endpoint.spec.traffic, heir) + share;
            format!("{{\"{}\":0,\"{}\":{sum}}}", key(name), key(heir))
        }
        None => format!("{{\"{}\":0}}", key(name)),
    };
    let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
    let instead = if heir.is_some() { "give its traffic to another deployment" } else { "switch the traffic off" };
    Some(Objection::new(
        "metadata.name",
        format!(
            "deployment {name:?} gets {share} % of the traffic of OnlineEndpoint {of_endpoint:?}. First {instead}: kubectl \
             --namespace {namespace} patch onlineendpoint {of_endpoint} --type merge -p \
             '{{\"spec\":{{\"traffic\":{patch}}}}}'; or delete the endpoint first"
        ),
    ))
}

/// What is wrong now and was not before is refused, the rest is told.
fn ratcheted(now: Vec<Objection>, before: &[Objection]) -> Verdict {
    let (old, objections): (Vec<_>, Vec<_>) = now.into_iter().partition(|objection| before.contains(objection));
    Verdict { objections, warnings: old.into_iter().map(|it| format!("{}: {}", it.field, it.message)).collect() }
}

fn namesake(object: &OnlineDeployment, deployments: &[Arc<OnlineDeployment>]) -> Option<Objection> {
    let name = object.deployment_name();
    let other = deployments.iter().find(|other| {
        other.metadata.name != object.metadata.name
            && other.metadata.deletion_timestamp.is_none()
            && other.spec.endpoint_name == object.spec.endpoint_name
            && other.deployment_name().eq_ignore_ascii_case(name)
    })?;
    let field = if object.spec.deployment_name.is_some() { "spec.deploymentName" } else { "metadata.name" };
    Some(Objection::new(
        field,
        format!(
            "OnlineDeployment {:?} is deployment {name:?} of endpoint {:?} already. Choose another deploymentName, or \
             change that object",
            other.metadata.name.as_deref().unwrap_or_default(),
            object.spec.endpoint_name,
        ),
    ))
}

fn over_quota(object: &OnlineDeployment, around: &AroundDeployment) -> Option<String> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let mut claims = around.claims.clone();
    let held = claims.deployments.iter().find(|claim| claim.name == name).and_then(|claim| claim.held);
    claims.deployments.retain(|claim| claim.name != name);
    claims.deployments.push(DeploymentClaim::of(object, around.instance_type.as_ref(), held));
    quota::check_deployment(&around.quotas, &claims, name).err().map(|problem| told(&problem))
}

fn told(problem: &Problem) -> String {
    format!("{}: {}", problem.reason.code().as_str(), problem.reason.message(&problem.message))
}

fn keys(object: &OnlineEndpoint, seen: &SeenKeys) -> Option<Objection> {
    let secret = object.spec.keys_secret_name.as_ref().filter(|_| keys_secret_name(object).is_some())?;
    let SeenKeys::Incomplete(missing) = seen else { return None };
    Some(Objection::new(
        "spec.keysSecretName",
        format!("Secret {secret:?} lacks {}. Add it, or name another Secret", missing.join(" and ")),
    ))
}
