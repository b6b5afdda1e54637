//! Finds the best of a router's targets without a close look at each.

use llm_core::sync::Arc;

use crate::config::Strategy;
use crate::list_price::{ListPrice, Tokens};
use crate::rank::{Rank, Share, View, tier};
use crate::reason::Reason;
use crate::score;
use crate::statistics::{Statistics, in_flight};

/// The best target so far.
struct Best<B> {
    place: usize,
    rank: Rank,
    /// Whoever comes to more at a glance cannot be better.
    bar: B,
}

impl View<'_> {
    /// The best of `candidates` that `fits`, which is asked only of those better than the best so far. Of equals it is
    /// the first listed.
    #[inline]
    pub(crate) fn best(
        &self,
        candidates: u64,
        share: Share,
        fits: impl FnMut(usize) -> bool,
    ) -> Option<(usize, Reason)> {
        let mut fits = fits;
        let mut candidates = candidates;
        if self.table.config.strategy == Strategy::Latency
            && candidates == self.table.all
            && !self.explores
            && let Some((index, reason)) = self.soonest()
        {
            if fits(index) {
                return Some((index, reason));
            }
            candidates &= !(1 << index);
        }
        // What a target's score is at least, by what is read at a glance; infinite where it cannot be the choice.
        match self.table.config.strategy {
            Strategy::Cost | Strategy::Arbitrage => {
                let tokens = Tokens::from(&self.demand);
                // In whole units, which take the fewest steps; a hair above the score, for what is made of it in single
                // precision.
                let bar = |score: f32| (f64::from(score) * (1.0 + 1e-6) * 1e12) as i64;
                self.scan(candidates, share, fits, i64::MAX, bar, |_, price, _| price.units(tokens))
            }
            Strategy::Latency => self.scan(candidates, share, fits, f32::INFINITY, itself, |_, _, target| {
                score::crowded(target.merit(), in_flight(target))
            }),
            Strategy::Bandit | Strategy::Reliability => {
                self.scan(candidates, share, fits, f32::INFINITY, itself, |_, _, target| target.merit())
            }
            Strategy::Prefix => {
                self.scan(candidates, share, fits, f32::INFINITY, itself, |index, _, _| self.least_distance(index))
            }
            Strategy::Weighted | Strategy::Fallback | Strategy::PeakEwma => {
                self.scan(candidates, share, fits, f32::INFINITY, itself, |_, _, _| f32::NEG_INFINITY)
            }
        }
    }

    /// The best under [`Strategy::Latency`], where it is one that is known: found without a branch, since which of many
    /// near equals is ahead cannot be predicted.
    #[inline]
    fn soonest(&self) -> Option<(usize, Reason)> {
        let mut first = u64::MAX;
        for (index, target) in self.table.targets.iter().enumerate() {
            let score = score::crowded(target.merit(), in_flight(target)) * score::luck(self.draw, index);
            // Positive numbers compare as their bits do.
            first = first.min(u64::from(score.to_bits()) << 32 | index as u64);
        }
        let index = first as u32 as usize;
        let target = self.table.targets.get(index)?;
        let is_known = target.allowance(target.age(self.now)).is_none();
        is_known.then_some((index, Reason::Latency))
    }

    /// `least` is at most what a target's score can come to, on the scale that `bar` puts a score on; `open` is above
    /// all of it.
    #[inline]
    fn scan<B: Copy + PartialOrd>(
        &self,
        candidates: u64,
        share: Share,
        mut fits: impl FnMut(usize) -> bool,
        open: B,
        bar: impl Fn(f32) -> B,
        least: impl Fn(usize, &ListPrice, &Arc<Statistics>) -> B,
    ) -> Option<(usize, Reason)> {
        let mut best = Best { place: usize::MAX, rank: Rank::LAST, bar: open };
        let mut consider = |index: usize, best: &mut Best<B>| {
            let rank = self.rank(index, share);
            let is_first = rank.is_better_than(&best.rank) | (rank.equals(&best.rank) & (index < best.place));
            if is_first && fits(index) {
                // A worse tier or an exploration says nothing about the scores of the others.
                let bar = if rank.tier == tier::CHOICE && !self.explores { bar(rank.score) } else { open };
                *best = Best { place: index, rank, bar };
            }
        };
        // Who was best the last time likely is again, and then hardly anybody else is looked at closely.
        let likely = self.table.likely();
        let mut left = candidates;
        if left >> likely & 1 == 1 {
            left &= !(1 << likely);
            consider(likely, &mut best);
        }
        for (index, (price, target)) in self.table.prices.iter().zip(&self.table.targets).enumerate() {
            if least(index, price, target) <= best.bar && left >> index & 1 == 1 {
                consider(index, &mut best);
            }
        }
        let found = best.place != usize::MAX;
        if found && best.place != likely {
            self.table.expect(best.place);
        }
        found.then_some((best.place, best.rank.reason))
    }
}

const fn itself(score: f32) -> f32 {
    score
}
