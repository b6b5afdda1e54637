//! Where a target stands for one request, by the router's strategy.

use llm_core::{Money, Tick};

use crate::config::Strategy;
use crate::demand::Demand;
use crate::random::{mix2, unit};
use crate::reason::Reason;
use crate::statistics::Statistics;
use crate::table::Table;

/// One request's view of the targets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) table: &'a Table,
    pub(crate) demand: Demand,
    pub(crate) now: Tick,
    /// Random bits of this decision; without them nothing is explored and equals are equal.
    pub(crate) draw: Option<u64>,
}

/// Where a target stands: lower is better, the tier first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rank {
    tier: u8,
    pub(crate) score: f64,
    pub(crate) reason: Reason,
}

impl Rank {
    pub(crate) const LAST: Self = Self { tier: u8::MAX, score: f64::INFINITY, reason: Reason::Unknown };

    pub(crate) fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.tier.cmp(&other.tier).then(self.score.total_cmp(&other.score))
    }

    pub(crate) fn is_better_than(&self, other: &Self) -> bool {
        self.order(other).is_lt()
    }
}

/// The usable targets' calls in flight and weights, which [`Strategy::Prefix`] bounds a target's calls by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share {
    pub(crate) in_flight: u64,
    pub(crate) weight: u64,
}

/// The tiers. What this decision explores comes first, then what is known, then what is worse by a rule rather
/// than by a score, then the unknown, in the same two parts, and last what failures made so.
mod tier {
    pub(super) const EXPLORED: u8 = 0;
    pub(super) const CHOICE: u8 = 1;
    pub(super) const SECOND: u8 = 2;
    /// Added to what it would be if it were known.
    pub(super) const UNKNOWN: u8 = 2;
}

/// Seconds that a target without an outcome is taken to need: it begins optimistic.
const OPTIMISTIC: f64 = 0.001;

/// Calls in flight that double an expected time. Providers serve many calls side by side, so one more weighs little;
/// it weighs enough that a crowd does not run to one target before its answers are in.
const DOUBLING: f64 = 32.0;

/// The streams of a decision's random bits.
pub(crate) mod stream {
    pub(crate) const EXPLORE: u64 = 64;
    pub(crate) const FIRST: u64 = 65;
    pub(crate) const SECOND: u64 = 66;
}

impl View<'_> {
    fn target(&self, index: usize) -> &Statistics {
        &self.table.targets[index]
    }

    /// Whether this decision is one of those that go to the unknown.
    pub(crate) fn explores(&self) -> bool {
        self.draw.is_some_and(|draw| unit(mix2(draw, stream::EXPLORE)) < self.table.config.exploration)
    }

    pub(crate) fn rank(&self, index: usize, share: Share) -> Rank {
        let strategy = self.table.config.strategy;
        if strategy == Strategy::Prefix {
            return self.by_prefix(index, share);
        }
        let known = self.by_score(index);
        if strategy == Strategy::Cost && !self.target(index).is_recovering() {
            // A price is known without a call.
            return known;
        }
        let steps = 1 + u8::from(self.target(index).is_recovering());
        let unknown = Rank { tier: steps * tier::UNKNOWN + known.tier, reason: Reason::Unknown, ..known };
        let Some(allowed) = self.target(index).allowance(&self.table.config, self.now) else { return known };
        if self.target(index).in_flight() >= allowed {
            return unknown;
        }
        match strategy {
            // A peak is optimistic until it is seen.
            Strategy::Cost | Strategy::PeakEwma => known,
            // A bandit has draws of its own.
            Strategy::Bandit => unknown,
            _ if self.explores() => Rank { tier: tier::EXPLORED, score: self.jitter(index), reason: Reason::Explored },
            _ => unknown,
        }
    }

    fn by_score(&self, index: usize) -> Rank {
        let target = self.target(index);
        let (score, reason) = match self.table.config.strategy {
            Strategy::Cost => {
                // The price of one success; a target that only fails is not free of charge.
                let once = self.dollars(index) / (1.0 - target.faults(self.now)).max(0.05);
                (once * (1.0 + 0.01 * fraction(f64::from(target.in_flight()) + self.jitter(index))), Reason::Cost)
            }
            Strategy::Reliability => {
                let faults = target.faults(self.now).max(target.hourly_faults(self.now));
                (faults + 0.01 * fraction(self.loaded_seconds(index)), Reason::Reliability)
            }
            Strategy::Arbitrage if target.meets_sla() => (self.dollars(index), Reason::MeetsSla),
            Strategy::Arbitrage => {
                return Rank { tier: tier::SECOND, score: self.seconds(index), reason: Reason::MissesSla };
            }
            Strategy::PeakEwma => {
                let peak = target.peak(self.now).unwrap_or(OPTIMISTIC);
                (peak * (f64::from(target.in_flight()) + 1.0), Reason::Load)
            }
            Strategy::Bandit => (self.seconds(index), Reason::Latency),
            Strategy::Weighted => (-f64::from(self.table.weights[index]), Reason::Weight),
            Strategy::Fallback => (index as f64, Reason::Order),
            Strategy::Latency | Strategy::Prefix => (self.loaded_seconds(index), Reason::Latency),
        };
        Rank { tier: tier::CHOICE, score, reason }
    }

    /// Weighted rendezvous hashing, `−ln(u) / weight` (Schindelhauer and Schomaker, 2005), with bounded loads
    /// (Mirrokni, Thorup and Zadimoghaddam, 2018): at most `⌈bound · (calls + 1) · weight / weights⌉` each.
    fn by_prefix(&self, index: usize, share: Share) -> Rank {
        let weight = u64::from(self.table.weights[index]);
        if weight == 0 {
            return Rank { tier: tier::SECOND, score: index as f64, reason: Reason::Fallback };
        }
        // Above 0, so that its logarithm is finite.
        let uniform = 1.0 - unit(mix2(self.demand.prefix, self.table.keys[index]));
        let score = -uniform.ln() / weight as f64;
        let calls = (share.in_flight + 1) as f64;
        let most = (self.table.config.load_bound * calls * weight as f64 / share.weight.max(1) as f64).ceil();
        if f64::from(self.target(index).in_flight()) + 1.0 <= most {
            Rank { tier: tier::CHOICE, score, reason: Reason::Prefix }
        } else {
            Rank { tier: tier::SECOND, score, reason: Reason::Overflow }
        }
    }

    /// The calls in flight and the weights of the targets in `mask`.
    pub(crate) fn share(&self, mask: u64) -> Share {
        if self.table.config.strategy != Strategy::Prefix {
            return Share::default();
        }
        bits(mask).fold(Share::default(), |share, index| Share {
            in_flight: share.in_flight + u64::from(self.target(index).in_flight()),
            weight: share.weight + u64::from(self.table.weights[index]),
        })
    }

    /// The best of `candidates` that `fits`, which is asked only of those better than the best so far.
    pub(crate) fn best(
        &self,
        candidates: u64,
        share: Share,
        mut fits: impl FnMut(usize) -> bool,
    ) -> Option<(usize, Rank)> {
        let mut best = None;
        let mut least = Rank::LAST;
        for index in bits(candidates) {
            let rank = self.rank(index, share);
            if rank.is_better_than(&least) && fits(index) {
                least = rank;
                best = Some((index, rank));
            }
        }
        best
    }

    /// The expected time of an answer, in seconds, until the target has given one: none.
    pub(crate) fn predicted_seconds(&self, index: usize) -> Option<f64> {
        self.target(index).mean()
    }

    /// The expected cost of the demand.
    pub(crate) fn predicted_cost(&self, index: usize) -> Option<Money> {
        self.target(index).cost(&self.demand)
    }

    /// The expected time in which a failure counts as the penalty.
    fn seconds(&self, index: usize) -> f64 {
        let target = self.target(index);
        let faults = target.faults(self.now);
        target.mean().unwrap_or(OPTIMISTIC) * (1.0 - faults) + self.table.config.penalty.as_secs_f64() * faults
    }

    fn loaded_seconds(&self, index: usize) -> f64 {
        let load = 1.0 + f64::from(self.target(index).in_flight()) / DOUBLING;
        self.seconds(index) * load * (1.0 + 0.05 * self.jitter(index))
    }

    /// The expected cost; above every known one, and then by time, where it is not known.
    fn dollars(&self, index: usize) -> f64 {
        // A millionth of a cent keeps the free ones in order too.
        self.predicted_cost(index).map_or_else(|| 1e9 * (1.0 + self.seconds(index)), |cost| cost.as_dollars() + 1e-8)
    }

    /// From 0 to 1, another for each target and decision.
    fn jitter(&self, index: usize) -> f64 {
        self.draw.map_or(0.0, |draw| unit(mix2(draw, index as u64)))
    }
}

/// `x / (1 + x)`: from 0 to 1, rising.
fn fraction(x: f64) -> f64 {
    x / (1.0 + x)
}

/// The places of the bits in `mask`, the lowest first.
pub(crate) fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(place)
    })
}
