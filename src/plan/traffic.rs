//! Wanted weights and the state of the deployments → the weights in force.

use std::collections::BTreeMap;

use crate::api::units::Percent;

/// One deployment, as the split of traffic sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The deploymentName.
    pub name: &'a str,
    /// Whether an instance answers now.
    pub can_serve: bool,
    /// The weight in force until now.
    pub current: i32,
}

/// The weights in force, by deploymentName as its owner spells it.
///
/// * A deployment gets its weight only once it can serve, and keeps it while it is away (the gateway gives its
///   share to the others meanwhile).
/// * As long as none of the wanted ones has a weight, those that serve now go on: there is no moment without any.
/// * A sum of 0 switches traffic off at once.
#[must_use]
pub fn in_force(wanted: &BTreeMap<String, Percent>, candidates: &[Candidate<'_>]) -> BTreeMap<String, i32> {
    let asked: BTreeMap<&str, i32> =
        candidates.iter().map(|candidate| (candidate.name, share(wanted, candidate.name))).collect();
    let share_of = |name: &str| asked.get(name).copied().unwrap_or_default();
    let granted: BTreeMap<String, i32> = candidates
        .iter()
        .map(|candidate| {
            let earned = candidate.can_serve || candidate.current > 0;
            (candidate.name.to_owned(), if earned { share_of(candidate.name) } else { 0 })
        })
        .collect();
    let switched_off = wanted.values().all(|percent| percent.0 == 0);
    if switched_off || granted.values().any(|weight| *weight > 0) {
        return granted;
    }
    candidates.iter().map(|candidate| (candidate.name.to_owned(), candidate.current)).collect()
}

/// The percentage that `wanted` gives to a deployment, upper and lower case being the same.
#[must_use]
pub fn share(wanted: &BTreeMap<String, Percent>, name: &str) -> i32 {
    wanted.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or(0, |(_, percent)| percent.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(of: &[(&str, i32)]) -> BTreeMap<String, Percent> {
        of.iter().map(|(name, percent)| ((*name).to_owned(), Percent(*percent))).collect()
    }

    fn weights(of: &[(&str, i32)]) -> BTreeMap<String, i32> {
        of.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
    }

    const fn candidate(name: &str, can_serve: bool, current: i32) -> Candidate<'_> {
        Candidate { name, can_serve, current }
    }

    #[test]
    fn a_deployment_gets_its_weight_only_once_it_can_serve() {
        let wanted = wanted(&[("blue", 90), ("green", 10)]);
        let before = [candidate("blue", true, 90), candidate("green", false, 0)];
        assert_eq!(in_force(&wanted, &before), weights(&[("blue", 90), ("green", 0)]));
        let after = [candidate("blue", true, 90), candidate("green", true, 0)];
        assert_eq!(in_force(&wanted, &after), weights(&[("blue", 90), ("green", 10)]));
    }

    #[test]
    fn a_deployment_that_is_away_for_a_moment_keeps_its_weight() {
        let state = [candidate("blue", false, 100)];
        assert_eq!(in_force(&wanted(&[("blue", 100)]), &state), weights(&[("blue", 100)]));
    }

    #[test]
    fn the_old_one_serves_until_the_new_one_can() {
        let wanted = wanted(&[("green", 100)]);
        let before = [candidate("blue", true, 100), candidate("green", false, 0)];
        assert_eq!(in_force(&wanted, &before), weights(&[("blue", 100), ("green", 0)]));
        let after = [candidate("blue", true, 100), candidate("green", true, 0)];
        assert_eq!(in_force(&wanted, &after), weights(&[("blue", 0), ("green", 100)]));
    }

    #[test]
    fn a_sum_of_zero_switches_off_at_once() {
        let state = [candidate("blue", true, 100)];
        assert_eq!(in_force(&wanted(&[]), &state), weights(&[("blue", 0)]));
    }

    #[test]
    fn names_are_the_same_in_upper_and_lower_case() {
        let state = [candidate("Blue", true, 0)];
        assert_eq!(in_force(&wanted(&[("blue", 100)]), &state), weights(&[("Blue", 100)]));
    }

    proptest! {
        #[test]
        fn there_is_no_window_without_weight(
            blue in 0..=100_i32,
            (blue_serves, green_serves) in (any::<bool>(), any::<bool>()),
            (blue_now, green_now) in (0..=100_i32, 0..=100_i32),
        ) {
            let wanted = wanted(&[("blue", blue), ("green", 100 - blue)]);
            let state = [candidate("blue", blue_serves, blue_now), candidate("green", green_serves, green_now)];
            let result = in_force(&wanted, &state);
            if blue_now + green_now > 0 {
                prop_assert!(result.values().sum::<i32>() > 0);
            }
        }

        #[test]
        fn what_is_in_force_is_stable(
            blue in 0..=100_i32,
            (blue_serves, green_serves) in (any::<bool>(), any::<bool>()),
            (blue_now, green_now) in (0..=100_i32, 0..=100_i32),
        ) {
            let wanted = wanted(&[("blue", blue), ("green", 100 - blue)]);
            let once = in_force(&wanted, &[candidate("blue", blue_serves, blue_now), candidate("green", green_serves, green_now)]);
            let again = in_force(&wanted, &[
                candidate("blue", blue_serves, once["blue"]),
                candidate("green", green_serves, once["green"]),
            ]);
            prop_assert_eq!(once, again);
        }
    }
}
