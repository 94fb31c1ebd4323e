//! Which deployment answers.

use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};

use super::answer::Refusal;
use crate::gateway::backend::Standing;
use crate::gateway::table::{Deployment, Endpoint};

/// The header by which a caller names the deployment, and an answer says which one it comes from.
pub const PIN: HeaderName = HeaderName::from_static("azureml-model-deployment");

/// The deployment that `pin` names, or one drawn by weight from those that have a ready instance; without any,
/// from those whose instances were ready last.
///
/// # Errors
/// When there is none of that name, none with weight, or none with an instance.
pub fn deployment(endpoint: &Endpoint, pin: Option<&HeaderValue>, point: u32) -> Result<Arc<Deployment>, Refusal> {
    if let Some(pin) = pin {
        let named = |deployment: &&Arc<Deployment>| {
            deployment.name.as_bytes().eq_ignore_ascii_case(pin.as_bytes().trim_ascii())
        };
        let deployment = endpoint.deployments.iter().find(named).ok_or(Refusal::DeploymentNotFound)?;
        let absent = deployment.backend.standing() == Standing::Absent;
        return if absent { Err(Refusal::NotReady) } else { Ok(Arc::clone(deployment)) };
    }
    let weights = || endpoint.deployments.iter().filter(|deployment| deployment.weight > 0);
    let standing = |deployment: &Arc<Deployment>| deployment.backend.standing();
    let changes = || weights().map(|deployment| deployment.backend.changes()).sum::<u64>();
    loop {
        let before = changes();
        let best = match weights().map(standing).max() {
            None => return Err(Refusal::NoTraffic),
            Some(Standing::Absent) if changes() == before => return Err(Refusal::NotReady),
            // One came behind this look's back while another left before its eyes.
            Some(Standing::Absent) => continue,
            Some(best) => best,
        };
        let share = |deployment| if standing(deployment) == best { deployment.weight } else { 0 };
        // Instances come and go between two looks: then no share may be left to fall on, and all is looked at again.
        if let Some(deployment) = draw(weights().map(share), point).and_then(|index| weights().nth(index)) {
            return Ok(Arc::clone(deployment));
        }
    }
}

/// The index that `point`, equally distributed over all `u32`, falls on when each index has its weight as share.
fn draw(weights: impl Iterator<Item = u32> + Clone, point: u32) -> Option<usize> {
    let sum: u64 = weights.clone().map(u64::from).sum();
    // Below `sum`, for a product of two 32-bit numbers keeps its upper half.
    let mut rest = (u64::from(point) * sum) >> 32;
    for (index, weight) in weights.enumerate() {
        match rest.checked_sub(u64::from(weight)) {
            Some(left) => rest = left,
            None => return Some(index),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::endpoint_route::RouteDeployment;
    use crate::gateway::backend::Address;
    use crate::gateway::table::writer::tests::{route, writer};
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_draw_is_exact_over_all_points() {
        let weights = [90, 0, 10];
        let mut counts = [0; 3];
        for point in (0..=u32::MAX).step_by(1 << 16) {
            counts[draw(weights.into_iter(), point).unwrap()] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((counts[0] - 58_982_i32).abs() <= 1, "{counts:?}");
    }

    #[test]
    fn traffic_goes_to_doubtful_instances_only_when_there_are_no_others() {
        let (mut writer, table) = writer();
        let mut route = route("n", "iris", 1, &[]);
        let deployments = &mut route.spec.deployments;
        let green =
            RouteDeployment { name: "green".to_owned(), service: "iris-green".to_owned(), ..deployments[0].clone() };
        deployments.push(green);
        writer.set_route(route);
        writer.publish();
        let address = [Address { ip: [198, 18, 0, 1].into(), port: None }];
        let chosen = |pin: Option<&'static str>, point| {
            let table = table.load();
            let endpoint = table.by_name("n", "iris").unwrap();
            let pin = pin.map(HeaderValue::from_static);
            deployment(endpoint, pin.as_ref(), point).map(|deployment| deployment.name.clone())
        };
        assert_eq!(chosen(None, 0), Err(Refusal::NotReady));
        writer.set_instances("n", "iris-blue", &address, true);
        assert_eq!(chosen(None, u32::MAX), Ok("Blue".to_owned()));
        assert_eq!(chosen(Some("blue"), 0), Ok("Blue".to_owned()));
        assert_eq!(chosen(Some("green"), 0), Err(Refusal::NotReady));
        writer.set_instances("n", "iris-green", &address, false);
        assert_eq!(chosen(None, 0), Ok("green".to_owned()));
        assert_eq!(chosen(Some("blue"), 0), Ok("Blue".to_owned()));
        writer.set_instances("n", "iris-green", &[], true);
        assert_eq!(chosen(None, u32::MAX), Ok("Blue".to_owned()));
    }

    #[test]
    fn one_deployment_is_always_chosen_while_instances_go_from_one_to_the_other() {
        let (mut writer, table) = writer();
        let mut route = route("n", "iris", 1, &[]);
        let deployments = &mut route.spec.deployments;
        deployments.push(RouteDeployment {
            name: "green".to_owned(),
            service: "iris-green".to_owned(),
            ..deployments[0].clone()
        });
        writer.set_route(route);
        let address = [Address { ip: [198, 18, 0, 1].into(), port: None }];
        writer.set_instances("n", "iris-blue", &address, false);
        writer.publish();
        let endpoint = Arc::clone(table.load().by_name("n", "iris").unwrap());
        let is_over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for (from, to) in [("iris-blue", "iris-green"), ("iris-green", "iris-blue")].into_iter().cycle() {
                    writer.set_instances("n", to, &address, false);
                    writer.set_instances("n", from, &[], false);
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let failed = (0..200_000).map(|_| deployment(&endpoint, None, 1 << 31)).filter(Result::is_err).count();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(failed, 0);
        });
    }

    #[test]
    fn without_weight_nothing_is_drawn() {
        assert_eq!(draw([0, 0].into_iter(), 7), None);
        assert_eq!(draw([].into_iter(), 7), None);
    }

    proptest! {
        #[test]
        fn a_draw_always_falls_on_a_weight(weights in prop::collection::vec(0u32..=100, 1..8), point: u32) {
            let drawn = draw(weights.iter().copied(), point);
            match drawn {
                Some(index) => prop_assert!(weights[index] > 0),
                None => prop_assert!(weights.iter().all(|weight| *weight == 0)),
            }
        }
    }
}
