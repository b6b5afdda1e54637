//! Finds the best of a router's targets without looking at each one closely.

use llm_core::sync::Arc;

use crate::config::Strategy;
use crate::rank::{LEAST_COST, Rank, Share, View, crowd, tier};
use crate::statistics::Statistics;

/// The best target so far.
struct Best<B> {
    place: usize,
    rank: Rank,
    /// What another's least has to stay below.
    bar: B,
}

impl View<'_> {
    /// The best of `candidates` that `fits`, which is asked only of those better than the best so far. Of equals it is
    /// the first listed.
    #[inline]
    pub(crate) fn best(&self, candidates: u64, share: Share, fits: impl FnMut(usize) -> bool) -> Option<(usize, Rank)> {
        match self.table.config.strategy {
            Strategy::Cost | Strategy::Arbitrage => {
                let (prices, rate) = (&self.table.prices, self.demand.into());
                // In whole units, which take the fewest steps.
                let bar = |score: f64| ((score - LEAST_COST) * 1e12) as u64;
                self.scan(candidates, share, fits, u64::MAX, bar, |index, _, _| prices[index].units(rate))
            }
            Strategy::Latency => self.scan(candidates, share, fits, f64::INFINITY, itself, |_, target, bar| {
                let mean = f64::from(target.mean());
                if mean > bar { mean } else { mean * crowd(target) }
            }),
            Strategy::Bandit => {
                self.scan(candidates, share, fits, f64::INFINITY, itself, |_, target, _| f64::from(target.mean()))
            }
            Strategy::Reliability => self
                .scan(candidates, share, fits, f64::INFINITY, itself, |_, target, _| f64::from(target.least_faults())),
            // −ln(u) ≥ 1 − u
            Strategy::Prefix => self.scan(candidates, share, fits, f64::INFINITY, itself, |index, _, _| {
                (1.0 - self.uniform(index)) / f64::from(self.table.weights[index])
            }),
            Strategy::Weighted | Strategy::Fallback | Strategy::PeakEwma => {
                self.scan(candidates, share, fits, f64::INFINITY, itself, |_, _, _| 0.0)
            }
        }
    }

    /// `least` is at most what a target's score can come to, by what is read at a glance, on the scale that `bar` puts
    /// a score on; `open` is above all of it.
    #[inline]
    fn scan<B: Copy + PartialOrd>(
        &self,
        candidates: u64,
        share: Share,
        mut fits: impl FnMut(usize) -> bool,
        open: B,
        bar: impl Fn(f64) -> B,
        least: impl Fn(usize, &Arc<Statistics>, B) -> B,
    ) -> Option<(usize, Rank)> {
        let mut best = Best { place: usize::MAX, rank: Rank::LAST, bar: open };
        let mut consider = |index: usize, best: &mut Best<B>| {
            let rank = self.rank(index, share);
            let is_better = rank.is_better_than(&best.rank) || (rank.equals(&best.rank) && index < best.place);
            if is_better && fits(index) {
                // A worse tier or an exploration says nothing about the scores of the others.
                let bar = if rank.tier == tier::CHOICE && !self.explores { bar(rank.score) } else { open };
                *best = Best { place: index, rank, bar };
            }
        };
        // Who was best the last time likely is again, and then nobody else is looked at closely.
        let likely = self.table.likely();
        let mut left = candidates;
        if left >> likely & 1 == 1 {
            left &= !(1 << likely);
            consider(likely, &mut best);
        }
        for (index, target) in self.table.targets.iter().enumerate() {
            let least = least(index, target, best.bar);
            let is_behind = least > best.bar || (least == best.bar && index > best.place);
            if !is_behind && left >> index & 1 == 1 {
                consider(index, &mut best);
            }
        }
        let found = best.place != usize::MAX;
        if found && best.place != likely {
            self.table.expect(best.place);
        }
        found.then_some((best.place, best.rank))
    }
}

const fn itself(score: f64) -> f64 {
    score
}
