//! Which instances there should be: what Kubernetes' Deployment controller decides, for one deployment. Pure.

use crate::api::deployment::Rollout;

/// An instance, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its number, unique among all of the deployment.
    pub number: u32,
    /// Whether it is of the current revision.
    pub is_current: bool,
    /// Whether it can serve.
    pub is_ready: bool,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Instances of the current revision to make, by number.
    pub make: Vec<u32>,
    /// Instances to take away, by number.
    pub take_away: Vec<u32>,
}

/// The next step towards `wanted` instances of the current revision. `standing` are those that are not on their way
/// out; `taken` are all numbers that are in use.
#[must_use]
pub fn step(wanted: i32, rollout: Rollout, standing: &[Standing], taken: &[u32]) -> Step {
    let count = |test: fn(&Standing) -> bool| {
        i32::try_from(standing.iter().filter(|instance| test(instance)).count()).unwrap_or(i32::MAX)
    };
    let (current, all) = (count(|it| it.is_current), count(|_| true));
    let current_ready = count(|it| it.is_current && it.is_ready);
    let ready = count(|it| it.is_ready);
    let missing = (wanted - current).min(wanted + rollout.max_surge - all).max(0);
    let mut numbers = (0..).filter(|number| !taken.contains(number));
    let make = (0..missing).filter_map(|_| numbers.next()).collect();

    let mut take_away = Vec::new();
    // Newest first, and those that do not serve before those that do.
    let mut surplus: Vec<&Standing> = standing.iter().filter(|it| it.is_current).collect();
    surplus.sort_by_key(|it| (it.is_ready, std::cmp::Reverse(it.number)));
    take_away.extend(surplus.iter().take(usize::try_from(current - wanted).unwrap_or(0)).map(|it| it.number));

    let least = wanted - rollout.max_unavailable;
    let mut old: Vec<&Standing> = standing.iter().filter(|it| !it.is_current).collect();
    old.sort_by_key(|it| (it.is_ready, it.number));
    // Those that do not serve are no loss; what is about to serve counts as missing.
    let spare = (all - least - (current - current_ready)).max(0);
    let useless = old.iter().filter(|it| !it.is_ready).take(usize::try_from(spare).unwrap_or(0));
    take_away.extend(useless.map(|it| it.number));
    let spare = usize::try_from((ready - least).max(0)).unwrap_or(0);
    take_away.extend(old.iter().filter(|it| it.is_ready).take(spare).map(|it| it.number));
    Step { make, take_away }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn instance(number: u32, is_current: bool, is_ready: bool) -> Standing {
        Standing { number, is_current, is_ready }
    }

    fn next(wanted: i32, standing: &[Standing]) -> Step {
        let taken: Vec<u32> = standing.iter().map(|it| it.number).collect();
        step(wanted, Rollout::default(), standing, &taken)
    }

    #[test]
    fn a_new_deployment_gets_all_its_instances_at_once() {
        assert_eq!(next(2, &[]), Step { make: vec![0, 1], take_away: vec![] });
    }

    #[test]
    fn an_old_instance_serves_until_the_new_one_is_ready() {
        let old = instance(0, false, true);
        assert_eq!(next(1, std::slice::from_ref(&old)), Step { make: vec![1], take_away: vec![] });
        assert_eq!(next(1, &[old.clone(), instance(1, true, false)]), Step::default());
        assert_eq!(next(1, &[old, instance(1, true, true)]), Step { make: vec![], take_away: vec![0] });
    }

    #[test]
    fn a_revision_that_never_served_makes_room_for_the_next_one() {
        let (old, failed) = (instance(0, false, true), instance(1, false, false));
        assert_eq!(next(1, &[old, failed]), Step { make: vec![], take_away: vec![1] });
    }

    #[test]
    fn fewer_are_wanted_and_those_that_do_not_serve_go_first() {
        let three = [instance(0, true, true), instance(1, true, false), instance(2, true, true)];
        assert_eq!(next(1, &three).take_away, [1, 2]);
        assert_eq!(next(0, &three).take_away.len(), 3);
    }

    proptest! {
        #[test]
        fn every_change_ends_and_somebody_serves_all_the_while(
            wanted in 0..5_i32,
            before in 0..5_u32,
            surge in 0..3_i32,
            unavailable in 0..3_i32,
        ) {
            prop_assume!(surge + unavailable > 0);
            let rollout = Rollout { max_surge: surge, max_unavailable: unavailable, ..Rollout::default() };
            let mut standing: Vec<Standing> = (0..before).map(|number| instance(number, false, true)).collect();
            for _ in 0..40 {
                let taken: Vec<u32> = standing.iter().map(|it| it.number).collect();
                let Step { make, take_away } = step(wanted, rollout, &standing, &taken);
                let enough = i32::try_from(before).unwrap().min(wanted) - unavailable;
                standing.retain(|it| !take_away.contains(&it.number));
                standing.extend(make.iter().map(|number| instance(*number, true, false)));
                let ready = standing.iter().filter(|it| it.is_ready).count();
                prop_assert!(i32::try_from(ready).unwrap() >= enough, "{standing:?}");
                if make.is_empty() && take_away.is_empty() {
                    // One becomes ready, and on it goes.
                    match standing.iter_mut().find(|it| !it.is_ready) {
                        Some(next) => next.is_ready = true,
                        None => break,
                    }
                }
            }
            prop_assert!(standing.iter().all(|it| it.is_current && it.is_ready));
            prop_assert_eq!(i32::try_from(standing.len()).unwrap(), wanted);
        }
    }
}
