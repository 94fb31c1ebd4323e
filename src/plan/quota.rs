//! Instances × cores against quotas.
//!
//! What runs keeps what it has. The rest is granted in the order of creation, so that the answer depends on what
//! exists and not on the order in which it was heard of.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::validate::Problem;
use crate::api::compute_quota::{ComputeQuotaSpec, ComputeUsage};
use crate::api::deployment::{OnlineDeployment, ScaleKind};
use crate::api::instance_type::InstanceTypeSpec;
use crate::catalogue::Reason;

/// A quota of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub spec: ComputeQuotaSpec,
}

/// What is claimed in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Of each deployment.
    pub deployments: Vec<DeploymentClaim>,
    /// Of each endpoint.
    pub endpoints: Vec<EndpointClaim>,
}

/// What a deployment asks for and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentClaim {
    /// Name of the object.
    pub name: String,
    /// When it was created.
    pub created: Option<Time>,
    /// Thousandths of a core of each instance.
    pub millicores: i64,
    /// The family that its instances are counted in.
    pub family: Option<String>,
    /// Instances that it asks for.
    pub wanted: i32,
    /// Instances that it has been granted already; `None` before the first.
    pub held: Option<i32>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointClaim {
    /// Name of the object.
    pub name: String,
    /// When it was created.
    pub created: Option<Time>,
    /// Whether it was granted already.
    pub held: bool,
}

impl DeploymentClaim {
    /// The claim of a deployment. Without a known instance type it can't start and claims no cores.
    #[must_use]
    pub fn of(object: &OnlineDeployment, instance_type: Option<&InstanceTypeSpec>, replicas: Option<i32>) -> Self {
        let settings = &object.spec.scale_settings;
        // An autoscaled deployment may become as large as it may.
        let wanted = match settings.kind {
            ScaleKind::Default => object.spec.instance_count,
            ScaleKind::TargetUtilization => settings.max_instances.unwrap_or(1),
        };
        let cores = instance_type.and_then(|kind| kind.resources.limits.get("cpu")?.millis().ok());
        Self {
            name: object.metadata.name.clone().unwrap_or_default(),
            created: object.metadata.creation_timestamp.clone(),
            millicores: cores.and_then(|cores| cores.try_into().ok()).unwrap_or(0),
            family: instance_type.and_then(|kind| kind.family.clone()),
            wanted,
            held: replicas.map(|replicas| match settings.kind {
                ScaleKind::Default => replicas,
                ScaleKind::TargetUtilization => wanted,
            }),
        }
    }
}

/// Checks one deployment against the quotas of its namespace.
///
/// # Errors
/// The first quota that does not allow what the deployment asks for.
pub fn check_deployment(quotas: &[Quota], claims: &Claims, name: &str) -> Result<(), Problem> {
    check(quotas, claims, Claimant::Deployment(name))
}

/// Checks one endpoint against the quotas of its namespace.
///
/// # Errors
/// The first quota that does not allow another endpoint.
pub fn check_endpoint(quotas: &[Quota], claims: &Claims, name: &str) -> Result<(), Problem> {
    check(quotas, claims, Claimant::Endpoint(name))
}

fn check(quotas: &[Quota], claims: &Claims, claimant: Claimant<'_>) -> Result<(), Problem> {
    quotas.iter().try_for_each(|quota| grant(quota, claims).refused.remove(&claimant).map_or(Ok(()), Err))
}

/// What is used of a quota.
#[must_use]
pub fn used(quota: &Quota, claims: &Claims) -> ComputeUsage {
    let used = grant(quota, claims).used;
    ComputeUsage {
        total_cores: whole(used.total),
        families: used.families.into_iter().map(|(family, cores)| (family.to_owned(), whole(cores))).collect(),
        endpoints: used.endpoints,
        deployments: used.deployments,
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claimant<'a> {
    Deployment(&'a str),
    Endpoint(&'a str),
}

/// Thousandths of cores, and numbers of objects.
#[derive(Clone, Debug, Default)]
struct Used<'a> {
    total: i64,
    families: BTreeMap<&'a str, i64>,
    endpoints: i64,
    deployments: i64,
}

struct Granted<'a> {
    used: Used<'a>,
    refused: BTreeMap<Claimant<'a>, Problem>,
}

fn grant<'a>(quota: &Quota, claims: &'a Claims) -> Granted<'a> {
    let (mut used, mut refused) = (Used::default(), BTreeMap::new());
    let cost = |claim: &DeploymentClaim, instances: i32| {
        with_reserve(instances, quota.spec.reserve_percent) * claim.millicores
    };
    for claim in &claims.deployments {
        if let Some(held) = claim.held {
            used.deployments += 1;
            add(&mut used, claim, cost(claim, held.min(claim.wanted)));
        }
    }
    let mut waiting: Vec<&DeploymentClaim> =
        claims.deployments.iter().filter(|claim| claim.held.is_none_or(|held| held < claim.wanted)).collect();
    waiting.sort_by(|left, right| (&left.created, &left.name).cmp(&(&right.created, &right.name)));
    for claim in waiting {
        let more = cost(claim, claim.wanted) - claim.held.map_or(0, |held| cost(claim, held));
        if let Some(problem) = over(quota, &used, claim, more) {
            refused.insert(Claimant::Deployment(&claim.name), problem);
        } else {
            used.deployments += i64::from(claim.held.is_none());
            add(&mut used, claim, more);
        }
    }
    used.endpoints = claims.endpoints.iter().filter(|endpoint| endpoint.held).map(|_| 1).sum();
    let mut waiting: Vec<&EndpointClaim> = claims.endpoints.iter().filter(|endpoint| !endpoint.held).collect();
    waiting.sort_by(|left, right| (&left.created, &left.name).cmp(&(&right.created, &right.name)));
    for claim in waiting {
        match quota.spec.endpoints {
            Some(most) if used.endpoints >= most => {
                let facts = format!("ComputeQuota {:?}: {} of {most} endpoints are used", quota.name, used.endpoints);
                let problem = Problem { reason: Reason::OutOfQuotaEndpoints, message: facts };
                refused.insert(Claimant::Endpoint(&claim.name), problem);
            }
            _ => used.endpoints += 1,
        }
    }
    Granted { used, refused }
}

fn add<'a>(used: &mut Used<'a>, claim: &'a DeploymentClaim, millicores: i64) {
    used.total += millicores;
    if let Some(family) = &claim.family {
        *used.families.entry(family).or_default() += millicores;
    }
}

/// What a quota has too little of for `more` thousandths of cores.
fn over(quota: &Quota, used: &Used<'_>, claim: &DeploymentClaim, more: i64) -> Option<Problem> {
    let name = &quota.name;
    let spec = &quota.spec;
    if claim.held.is_none()
        && let Some(most) = spec.deployments
        && used.deployments >= most
    {
        let message = format!("ComputeQuota {name:?}: {} of {most} deployments are used", used.deployments);
        return Some(Problem { reason: Reason::OutOfQuotaDeployments, message });
    }
    let reserve = match spec.reserve_percent {
        0 => String::new(),
        percent => format!(" ({percent} percent of the instances are kept as a reserve)"),
    };
    let facts = |what: &str, has: i64, limit: i64| {
        let (has, more) = (cores(has), cores(more));
        format!("ComputeQuota {name:?}: {has} of {limit} cores{what} are used, {more} more are needed{reserve}")
    };
    let exceeds = |has: i64, limit: i64| more > 0 && has + more > limit.saturating_mul(1000);
    if let Some(limit) = spec.total_cores
        && exceeds(used.total, limit)
    {
        return Some(Problem { reason: Reason::OutOfQuotaCores, message: facts("", used.total, limit) });
    }
    let family = claim.family.as_deref()?;
    let limit = *spec.families.get(family)?;
    let has = used.families.get(family).copied().unwrap_or(0);
    let message = || facts(&format!(" of family {family}"), has, limit);
    exceeds(has, limit).then(|| Problem { reason: Reason::OutOfQuotaFamily, message: message() })
}

/// Instances that are counted, with the reserve on top, rounded up.
fn with_reserve(instances: i32, percent: i32) -> i64 {
    let hundredfold = i64::from(instances) * i64::from(100 + percent);
    hundredfold / 100 + i64::from(hundredfold % 100 > 0)
}

/// Whole cores, rounded up.
const fn whole(millicores: i64) -> i64 {
    millicores / 1000 + (millicores % 1000 > 0) as i64
}

/// Cores for people: `4`, `0.5`.
fn cores(millicores: i64) -> String {
    let text = format!("{}.{:03}", millicores / 1000, millicores % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn claim(name: &str, created: i64, cores: i64, wanted: i32, held: Option<i32>) -> DeploymentClaim {
        DeploymentClaim {
            name: name.to_owned(),
            created: Some(Time(Timestamp::from_second(created).unwrap())),
            millicores: cores * 1000,
            family: Some("dsv2".to_owned()),
            wanted,
            held,
        }
    }

    fn quota(spec: ComputeQuotaSpec) -> [Quota; 1] {
        [Quota { name: "team".to_owned(), spec }]
    }

    fn of(deployments: Vec<DeploymentClaim>) -> Claims {
        Claims { deployments, endpoints: Vec::new() }
    }

    fn cores_of(total: i64) -> [Quota; 1] {
        quota(ComputeQuotaSpec { total_cores: Some(total), ..ComputeQuotaSpec::default() })
    }

    #[test]
    fn the_message_has_usage_limit_and_need() {
        let quotas =
            quota(ComputeQuotaSpec { total_cores: Some(6), reserve_percent: 20, ..ComputeQuotaSpec::default() });
        // Azure's own arithmetic: one instance of four cores needs eight.
        let problem = check_deployment(&quotas, &of(vec![claim("a", 1, 4, 1, None)]), "a").unwrap_err();
        assert_eq!(problem.reason, Reason::OutOfQuotaCores);
        assert_eq!(
            problem.message,
            "ComputeQuota \"team\": 0 of 6 cores are used, 8 more are needed (20 percent of the instances are kept as a reserve)"
        );
    }

    #[test]
    fn first_come_first_served_and_what_is_too_large_stops_no_other() {
        let claims =
            of(vec![claim("late", 3, 2, 1, None), claim("huge", 1, 8, 1, None), claim("early", 2, 4, 1, None)]);
        let quotas = cores_of(4);
        assert!(check_deployment(&quotas, &claims, "huge").is_err());
        assert!(check_deployment(&quotas, &claims, "early").is_ok());
        assert!(check_deployment(&quotas, &claims, "late").is_err());
        assert_eq!(used(&quotas[0], &claims).total_cores, 4);
    }

    #[test]
    fn what_runs_keeps_what_it_has() {
        let claims = of(vec![claim("old", 1, 2, 2, Some(1)), claim("new", 2, 2, 1, Some(1))]);
        let quotas = cores_of(4);
        assert!(check_deployment(&quotas, &claims, "new").is_ok());
        let problem = check_deployment(&quotas, &claims, "old").unwrap_err();
        assert!(problem.message.contains("4 of 4 cores are used, 2 more are needed"), "{}", problem.message);
        // A quota that was lowered takes nothing away.
        assert!(check_deployment(&cores_of(1), &of(vec![claim("a", 1, 2, 2, Some(2))]), "a").is_ok());
    }

    #[test]
    fn families_and_numbers_have_limits_of_their_own() {
        let families =
            quota(ComputeQuotaSpec { families: [("dsv2".to_owned(), 3)].into(), ..ComputeQuotaSpec::default() });
        let two = of(vec![claim("a", 1, 2, 1, Some(1)), claim("b", 2, 2, 1, None)]);
        assert_eq!(check_deployment(&families, &two, "b").unwrap_err().reason, Reason::OutOfQuotaFamily);
        let one = quota(ComputeQuotaSpec { deployments: Some(1), endpoints: Some(1), ..ComputeQuotaSpec::default() });
        assert_eq!(check_deployment(&one, &two, "b").unwrap_err().reason, Reason::OutOfQuotaDeployments);
        let endpoint = |name: &str, held| EndpointClaim { name: name.to_owned(), created: None, held };
        let claims = Claims { endpoints: vec![endpoint("a", false), endpoint("b", true)], ..Claims::default() };
        assert_eq!(check_endpoint(&one, &claims, "a").unwrap_err().reason, Reason::OutOfQuotaEndpoints);
        assert!(check_endpoint(&one, &claims, "b").is_ok());
    }

    proptest! {
        #[test]
        fn the_answer_does_not_depend_on_the_order(
            wanted in proptest::collection::vec((0_i32..4, proptest::option::of(0_i32..4), 0_i64..5), 1..8),
            limit in 0_i64..20,
            turn in 0_usize..8,
        ) {
            let mut claims: Vec<_> = wanted
                .iter()
                .enumerate()
                .map(|(index, (wanted, held, cores))| claim(&format!("d{index}"), i64::try_from(index / 2).unwrap(), *cores, *wanted, *held))
                .collect();
            let quotas = cores_of(limit);
            let answers = |claims: &Claims| {
                (0..wanted.len()).map(|index| check_deployment(&quotas, claims, &format!("d{index}"))).collect::<Vec<_>>()
            };
            let before = answers(&of(claims.clone()));
            let turn = turn % claims.len();
            claims.rotate_left(turn);
            let after = of(claims);
            prop_assert_eq!(before, answers(&after));
            // What was granted beyond what is held never exceeds the quota.
            let held: i64 = after.deployments.iter().map(|claim| i64::from(claim.held.unwrap_or(0).min(claim.wanted)) * claim.millicores).sum();
            prop_assert!(used(&quotas[0], &after).total_cores <= limit.max(whole(held)));
        }
    }
}
