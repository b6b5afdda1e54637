//! The candidates of one request, in order.

use std::hint::select_unpredictable;

use llm_core::Tick;
use llm_core::sync::Ordering;

use crate::config::Strategy;
use crate::demand::Demand;
use crate::random::{below, mix2};
use crate::rank::{Rank, Share, View, bits, stream};
use crate::reason::Reason;
use crate::table::{MAX_TARGETS, Table};

/// One decision: who is asked first, and then. On the stack, at most 64 targets; a copy is another walk.
///
/// Under the strategies that learn, each candidate is chosen when it is asked for, by what is known by then.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Plan<'a> {
    view: View<'a>,
    place: usize,
    /// Targets that this round has given, one bit each.
    given: u64,
    reason: Option<Reason>,
}

impl<'a> Plan<'a> {
    #[inline]
    pub(crate) fn new(table: &'a Table, demand: Demand, now: Tick) -> Self {
        let (place, draw) = table.turn(now);
        Self { view: View::new(table, demand, now, draw), place, given: 0, reason: None }
    }

    /// The next candidate that is usable and that this round has not given. Under [`Strategy::Weighted`] the
    /// first choice follows the rotation past unusable targets, so that their share goes to the others in
    /// proportion; what follows are the fallbacks, the heaviest first. Under [`Strategy::PeakEwma`] the first is
    /// the better of two usable ones drawn at random. Under the others each is the best of those left.
    ///
    /// A router with a chain of fallbacks gives these, in their order, after the first.
    ///
    /// `usable` says whether a target can be asked at the moment: its circuit, its quota. It is asked at most
    /// once for each target.
    #[inline]
    pub fn next(&mut self, mut usable: impl FnMut(usize) -> bool) -> Option<usize> {
        let first = self.given == 0;
        let table = self.view.table;
        let left = table.all & !self.given;
        let found = match (&table.chain, table.config.strategy) {
            (Some(chain), _) if !first => self.listed(chain, usable).map(|index| (index, Reason::Fallback)),
            (_, Strategy::Weighted | Strategy::Fallback) => self.rotated(usable),
            (_, Strategy::PeakEwma) if first => better_of_two(self.view, left, usable),
            (_, Strategy::Bandit) if first && self.view.tries_any() => self.any(fitting(left, usable)),
            (_, Strategy::Prefix) => {
                let fit = fitting(left, usable);
                let view = self.view;
                view.best(fit, view.share(fit), |_| true)
            }
            _ => {
                let view = self.view;
                view.best(left, Share::default(), &mut usable)
            }
        };
        let (index, reason) = found?;
        if reason == Reason::MissesSla && self.reason.is_none() {
            // Relaxed: a count for people.
            table.sla_misses.fetch_add(1, Ordering::Relaxed);
        }
        self.given |= 1 << index;
        self.reason = Some(if first { reason } else { Reason::Fallback });
        Some(index)
    }

    /// Begins another round: every target may be given once more.
    pub const fn next_round(&mut self) {
        self.given = 0;
    }

    /// Why the last candidate was given, before the first: none.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// All that [`next`](Self::next) would still give if nothing changed: their indexes, and how many.
    pub(crate) fn rest(&self, mut usable: impl FnMut(usize) -> bool) -> ([u8; MAX_TARGETS], u8) {
        let (mut order, mut count) = ([0; MAX_TARGETS], 0);
        let mut push = |index: usize| {
            order[count] = index as u8;
            count += 1;
        };
        let table = self.view.table;
        let keeps_order = matches!(table.config.strategy, Strategy::Weighted | Strategy::Fallback);
        if table.chain.is_some() || keeps_order {
            let mut walk = *self;
            while let Some(index) = walk.next(&mut usable) {
                push(index);
            }
        } else {
            let fit = fitting(table.all & !self.given, usable);
            let share = self.view.share(fit);
            let mut ranks = [(Rank::LAST, 0); MAX_TARGETS];
            let mut ranked = 0;
            for index in bits(fit) {
                ranks[ranked] = (self.view.rank(index, share), index);
                ranked += 1;
            }
            ranks[..ranked].sort_unstable_by(|a, b| a.0.order(&b.0).then(a.1.cmp(&b.1)));
            ranks[..ranked].iter().for_each(|(_, index)| push(*index));
        }
        (order, count as u8)
    }

    fn rotated(&self, usable: impl FnMut(usize) -> bool) -> Option<(usize, Reason)> {
        let table = self.view.table;
        let (ahead, behind) = (&table.sequence[self.place..], &table.sequence[..self.place]);
        let rotation = if self.given == 0 { [ahead, behind] } else { [&[][..], &[]] };
        let reason = if table.config.strategy == Strategy::Weighted { Reason::Weight } else { Reason::Order };
        let candidates = rotation.into_iter().flatten().chain(&table.fallbacks);
        self.first_fit(candidates, usable).map(|index| (index, reason))
    }

    fn listed(&self, chain: &[u8], usable: impl FnMut(usize) -> bool) -> Option<usize> {
        self.first_fit(chain.iter(), usable)
    }

    fn first_fit<'b>(
        &self,
        mut candidates: impl Iterator<Item = &'b u8>,
        mut usable: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let mut refused = self.given;
        let fits = |index: &&u8| {
            let bit = 1 << **index;
            if refused & bit != 0 {
                return false;
            }
            // Asked once: a given one is not asked again either.
            refused |= bit;
            usable(usize::from(**index))
        };
        candidates.find(fits).map(|index| usize::from(*index))
    }

    fn any(&self, fit: u64) -> Option<(usize, Reason)> {
        let draw = mix2(self.view.draw, stream::ANY);
        Pool::new(fit, draw).take().map(|index| (index, Reason::Explored))
    }
}

/// Power of two choices: two different usable ones of `left`, each pair equally likely. A view of its own: where both
/// are known, none has to be made.
#[inline(always)]
fn better_of_two(view: View<'_>, left: u64, mut usable: impl FnMut(usize) -> bool) -> Option<(usize, Reason)> {
    let count = view.table.targets.len() as u32;
    if left != view.table.all || count < 2 {
        return better_of_rest(view, [None, None], left, usable);
    }
    let one = below((view.draw >> 32) as u32, count);
    let two = one + 1 + below(view.draw as u32, count - 1);
    let two = if two < count { two } else { two - count };
    let (one, two) = (one as usize, two as usize);
    let (fits_one, fits_two) = (usable(one), usable(two));
    if !(fits_one && fits_two) {
        let pair = [fits_one.then_some(one), fits_two.then_some(two)];
        return better_of_rest(view, pair, left & !(1 << one | 1 << two), usable);
    }
    better(view, one, two)
}

#[inline(always)]
fn better(view: View<'_>, one: usize, two: usize) -> Option<(usize, Reason)> {
    let (Some(first), Some(second)) = (view.load(one), view.load(two)) else {
        return Some(better_of_unknown(view, one, two));
    };
    // Whoever could predict it would need no router.
    Some((select_unpredictable(second < first, two, one), Reason::Load))
}

#[cold]
#[inline(never)]
fn better_of_unknown(view: View<'_>, one: usize, two: usize) -> (usize, Reason) {
    let [first, second] = [one, two].map(|index| (index, view.rank(index, Share::default())));
    let (index, rank) = if second.1.is_better_than(&first.1) { second } else { first };
    (index, rank.reason)
}

/// The same with what is missing of `pair` drawn from the usable ones of `pool`.
#[cold]
#[inline(never)]
fn better_of_rest(
    view: View<'_>,
    pair: [Option<usize>; 2],
    pool: u64,
    mut usable: impl FnMut(usize) -> bool,
) -> Option<(usize, Reason)> {
    let mut pool = Pool::new(pool, mix2(view.draw, stream::AGAIN));
    let mut drawn = || std::iter::from_fn(|| pool.take()).find(|index| usable(*index));
    match pair.map(|index| index.or_else(&mut drawn)) {
        [Some(one), Some(two)] => better(view, one, two),
        [one, two] => one.or(two).map(|index| better_of_unknown(view, index, index)),
    }
}

/// Targets to draw from, each equally likely and once.
struct Pool {
    left: u64,
    bits: u64,
}

impl Pool {
    const fn new(left: u64, bits: u64) -> Self {
        Self { left, bits }
    }

    fn take(&mut self) -> Option<usize> {
        let place = below((self.bits >> 32) as u32, self.left.count_ones());
        let taken = bits(self.left).nth(place as usize)?;
        self.left &= !(1 << taken);
        self.bits = mix2(self.bits, stream::AGAIN);
        Some(taken)
    }
}

/// The bits of `left` that are usable.
fn fitting(left: u64, mut usable: impl FnMut(usize) -> bool) -> u64 {
    bits(left).filter(|index| usable(*index)).fold(0, |fit, index| fit | 1 << index)
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
