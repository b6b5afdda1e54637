//! The candidates of one request, in order.

/// One decision: who is asked first, and then. On the stack, at most 64 targets.
#[derive(Clone, Debug)]
#[must_use]
pub struct Plan<'a> {
    sequence: &'a [u8],
    fallbacks: &'a [u8],
    place: usize,
    /// Targets that this round has given, one bit each.
    given: u64,
}

impl<'a> Plan<'a> {
    pub(crate) const fn new(sequence: &'a [u8], fallbacks: &'a [u8], place: usize) -> Self {
        Self { sequence, fallbacks, place, given: 0 }
    }

    /// The next candidate that is usable and that this round has not given. The first choice follows the
    /// rotation past unusable targets, so that their share goes to the others in proportion; what follows are
    /// the fallbacks, the heaviest first.
    pub fn next(&mut self, mut usable: impl FnMut(usize) -> bool) -> Option<usize> {
        let (ahead, behind) = (&self.sequence[self.place..], &self.sequence[..self.place]);
        let rotation = if self.given == 0 { [ahead, behind] } else { [&[][..], &[]] };
        let mut refused = 0u64;
        let mut fits = |index: u8| {
            let bit = 1 << index;
            if (self.given | refused) & bit != 0 {
                return false;
            }
            let usable = usable(usize::from(index));
            if !usable {
                refused |= bit;
            }
            usable
        };
        let candidates = rotation.into_iter().flatten().chain(self.fallbacks).copied();
        let found = candidates.into_iter().find(|index| fits(*index))?;
        self.given |= 1 << found;
        Some(usize::from(found))
    }

    /// Begins another round: every target may be given once more.
    pub const fn next_round(&mut self) {
        self.given = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{ConfigError, SmartRouter, Strategy, Target};

    fn router(strategy: Strategy, weights: &[u32]) -> SmartRouter {
        let targets: Vec<_> = weights.iter().map(|weight| Target { weight: *weight }).collect();
        SmartRouter::try_new(strategy, &targets).unwrap()
    }

    fn order(router: &SmartRouter, usable: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut plan = router.plan();
        std::iter::from_fn(|| plan.next(&usable)).collect()
    }

    #[test]
    fn fallback_keeps_the_listed_order() {
        let router = router(Strategy::Fallback, &[1, 9, 0]);
        assert_eq!(order(&router, |_| true), [0, 1, 2]);
        assert_eq!(order(&router, |target| target != 0), [1, 2]);
    }

    #[test]
    fn those_not_chosen_follow_by_weight() {
        let router = router(Strategy::Weighted, &[1, 3, 0, 2]);
        assert_eq!(order(&router, |_| true), [1, 3, 0, 2]);
    }

    #[test]
    fn the_share_of_an_unusable_target_goes_to_the_others_in_proportion() {
        let router = router(Strategy::Weighted, &[6, 2, 1]);
        let mut firsts = [0; 3];
        for _ in 0..900 {
            firsts[router.plan().next(|target| target != 0).unwrap()] += 1;
        }
        assert_eq!(firsts[0], 0);
        assert!((550..=650).contains(&firsts[1]) && firsts[2] >= 250, "{firsts:?}");
    }

    #[test]
    fn a_round_gives_each_once_and_the_next_round_again() {
        let router = router(Strategy::Weighted, &[1, 1]);
        let mut plan = router.plan();
        let mut round = || (plan.next(|_| true), plan.next(|_| true), plan.next(|_| true), plan.next_round());
        assert_eq!(round(), (Some(0), Some(1), None, ()));
        assert_eq!(round(), (Some(0), Some(1), None, ()));
    }

    #[test]
    fn what_cannot_be_a_route_is_refused() {
        let of = |weights: &[u32], strategy| {
            let targets: Vec<_> = weights.iter().map(|weight| Target { weight: *weight }).collect();
            SmartRouter::try_new(strategy, &targets).err()
        };
        assert_eq!(of(&[], Strategy::Weighted), Some(ConfigError::NoTargets));
        assert_eq!(of(&[0, 0], Strategy::Weighted), Some(ConfigError::NoWeight));
        assert_eq!(of(&[0, 0], Strategy::Fallback), None);
        assert_eq!(of(&[1; 65], Strategy::Weighted), Some(ConfigError::TooMany(65)));
        assert_eq!(of(&[1; 64], Strategy::Weighted), None);
    }

    proptest! {
        #[test]
        fn a_plan_gives_exactly_the_usable_targets_once_each(
            weights in proptest::collection::vec(0u32..5, 1..64), usable: u64, turns in 0usize..20,
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let router = router(Strategy::Weighted, &weights);
            for _ in 0..turns {
                let _ = router.plan();
            }
            let fits = |target: usize| usable >> target & 1 == 1;
            let mut given = order(&router, fits);
            given.sort_unstable();
            prop_assert_eq!(given, (0..weights.len()).filter(|t| fits(*t)).collect::<Vec<_>>());
        }
    }
}
