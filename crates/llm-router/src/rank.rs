//! Where a target stands for one request, by the router's strategy.

use llm_core::sync::Arc;
use llm_core::{Money, Tick};

use crate::config::Strategy;
use crate::demand::Demand;
use crate::random::{mix2, unit};
use crate::reason::Reason;
use crate::statistics::{Statistics, in_flight};
use crate::table::Table;

/// One request's view of the targets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) table: &'a Table,
    pub(crate) demand: Demand,
    pub(crate) now: Tick,
    /// Random bits of this decision; while they are 0, nothing is explored and equals are equal.
    pub(crate) draw: u64,
    /// Whether this decision is one of those that go to the unknown.
    pub(crate) explores: bool,
}

/// Where a target stands: lower is better, the tier first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rank {
    pub(crate) tier: u8,
    pub(crate) score: f64,
    pub(crate) reason: Reason,
}

impl Rank {
    pub(crate) const LAST: Self = Self { tier: u8::MAX, score: f64::INFINITY, reason: Reason::Unknown };

    pub(crate) fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.tier.cmp(&other.tier).then(self.score.total_cmp(&other.score))
    }

    pub(crate) fn is_better_than(&self, other: &Self) -> bool {
        // Without a branch: nobody can predict which of two is better.
        (self.tier < other.tier) | ((self.tier == other.tier) & (self.score < other.score))
    }

    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.tier == other.tier && self.score == other.score
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
pub(crate) mod tier {
    pub(super) const EXPLORED: u8 = 0;
    pub(crate) const CHOICE: u8 = 1;
    pub(super) const SECOND: u8 = 2;
    /// Added to what it would be if it were known.
    pub(super) const UNKNOWN: u8 = 2;
}

/// Seconds that a target without an outcome is taken to need, and the least of any: it begins optimistic.
const OPTIMISTIC: f64 = 0.001;

/// A share of the calls in flight that each adds to an expected time. Providers serve many calls side by side, so one
/// more weighs little; it weighs enough that a crowd does not run to one target before its answers are in.
const CROWDING: f64 = 1.0 / 32.0;

/// Dollars that a call costs at least: they keep the free ones in order too.
pub(crate) const LEAST_COST: f64 = 1e-8;

/// The streams of a decision's random bits that belong to no target.
pub(crate) mod stream {
    pub(crate) const ANY: u64 = 64;
    pub(crate) const AGAIN: u64 = 65;
}

impl<'a> View<'a> {
    #[inline]
    pub(crate) fn new(table: &'a Table, demand: Demand, now: Tick, draw: u64) -> Self {
        let explores = table.explores(draw) && table.knows_any(now);
        Self { table, demand, now, draw, explores }
    }

    /// Whether a bandit's decision is drawn.
    pub(crate) fn tries_any(&self) -> bool {
        self.table.explores(self.draw)
    }

    fn target(&self, index: usize) -> &'a Arc<Statistics> {
        &self.table.targets[index]
    }

    pub(crate) fn rank(&self, index: usize, share: Share) -> Rank {
        let strategy = self.table.config.strategy;
        if strategy == Strategy::Prefix {
            return self.by_prefix(index, share);
        }
        let target = self.target(index);
        let age = target.age(self.now);
        let known = self.by_score(index, age);
        let Some(allowed) = target.allowance(age) else { return known };
        let is_down = target.standing().is_down();
        if strategy == Strategy::Cost && !is_down {
            // A price is known without a call.
            return known;
        }
        let steps = 1 + u8::from(is_down);
        let unknown = Rank { tier: steps * tier::UNKNOWN + known.tier, reason: Reason::Unknown, ..known };
        if in_flight(target) >= allowed {
            return unknown;
        }
        match strategy {
            // A peak is optimistic until it is seen.
            Strategy::Cost | Strategy::PeakEwma => known,
            // A bandit has draws of its own.
            Strategy::Bandit => unknown,
            _ if self.explores => Rank { tier: tier::EXPLORED, score: self.jitter(index), reason: Reason::Explored },
            _ => unknown,
        }
    }

    /// As [`rank`](Self::rank) under [`Strategy::PeakEwma`], which ranks two: in line where both are known.
    #[inline(always)]
    pub(crate) fn rank_by_load(&self, index: usize) -> Rank {
        let target = self.target(index);
        let age = target.age(self.now);
        match target.allowance(age) {
            None => self.by_load(target, age),
            Some(_) => self.rank(index, Share::default()),
        }
    }

    fn by_score(&self, index: usize, age: u64) -> Rank {
        let target = self.target(index);
        match self.table.config.strategy {
            Strategy::Cost => {
                let time = self.time(target, age);
                // The price of one success; a target that only fails is not free of charge.
                let once = self.dollars(index, age) / (1.0 - time.faults).max(0.05);
                let score = once * (1.0 + 0.01 * fraction(f64::from(in_flight(target)) + self.jitter(index)));
                self.in_time(time.mean, Rank { tier: tier::CHOICE, score, reason: Reason::Cost })
            }
            Strategy::Reliability => {
                let time = self.time(target, age);
                let faults = time.faults.max(f64::from(target.hourly_faults(age)));
                let score = reliability(faults, self.crowded(time.expected, target, index));
                self.in_time(time.mean, Rank { tier: tier::CHOICE, score, reason: Reason::Reliability })
            }
            Strategy::Arbitrage if self.meets_sla(target) => {
                Rank { tier: tier::CHOICE, score: self.dollars(index, age), reason: Reason::MeetsSla }
            }
            Strategy::Arbitrage => {
                Rank { tier: tier::SECOND, score: self.time(target, age).expected, reason: Reason::MissesSla }
            }
            Strategy::PeakEwma => self.by_load(target, age),
            Strategy::Bandit => {
                Rank { tier: tier::CHOICE, score: self.time(target, age).expected, reason: Reason::Latency }
            }
            Strategy::Weighted => {
                Rank { tier: tier::CHOICE, score: -f64::from(self.table.weights[index]), reason: Reason::Weight }
            }
            Strategy::Fallback => Rank { tier: tier::CHOICE, score: index as f64, reason: Reason::Order },
            Strategy::Latency | Strategy::Prefix => {
                let score = self.crowded(self.time(target, age).expected, target, index);
                Rank { tier: tier::CHOICE, score, reason: Reason::Latency }
            }
        }
    }

    #[inline]
    fn by_load(&self, target: &Arc<Statistics>, age: u64) -> Rank {
        let peak = at_least(f64::from(target.peak(age)), OPTIMISTIC);
        let score = peak * (f64::from(in_flight(target)) + 1.0);
        self.in_time(f64::from(target.mean()), Rank { tier: tier::CHOICE, score, reason: Reason::Load })
    }

    /// Weighted rendezvous hashing, `−ln(u) / weight` (Schindelhauer and Schomaker, 2005), with bounded loads
    /// (Mirrokni, Thorup and Zadimoghaddam, 2018): at most `⌈bound · (calls + 1) · weight / weights⌉` each.
    fn by_prefix(&self, index: usize, share: Share) -> Rank {
        let weight = u64::from(self.table.weights[index]);
        if weight == 0 {
            return Rank { tier: tier::SECOND, score: index as f64, reason: Reason::Fallback };
        }
        let score = -self.uniform(index).ln() / weight as f64;
        let calls = (share.in_flight + 1) as f64;
        let most = (self.table.config.load_bound * calls * weight as f64 / share.weight.max(1) as f64).ceil();
        if f64::from(in_flight(self.target(index))) + 1.0 <= most {
            Rank { tier: tier::CHOICE, score, reason: Reason::Prefix }
        } else {
            Rank { tier: tier::SECOND, score, reason: Reason::Overflow }
        }
    }

    /// The prefix's hash at a target: above 0, so that its logarithm is finite, to 1.
    pub(crate) fn uniform(&self, index: usize) -> f64 {
        1.0 - unit(mix2(self.demand.prefix, self.table.keys[index]))
    }

    /// The calls in flight and the weights of the targets in `mask`.
    pub(crate) fn share(&self, mask: u64) -> Share {
        if self.table.config.strategy != Strategy::Prefix {
            return Share::default();
        }
        bits(mask).fold(Share::default(), |share, index| Share {
            in_flight: share.in_flight + u64::from(in_flight(self.target(index))),
            weight: share.weight + u64::from(self.table.weights[index]),
        })
    }

    /// The expected time of an answer, in seconds, until the target has given one: none.
    pub(crate) fn predicted_seconds(&self, index: usize) -> Option<f64> {
        let mean = self.target(index).mean();
        (!mean.is_nan()).then_some(f64::from(mean))
    }

    /// The expected cost of the demand: by the list price, else as the calls so far did on average.
    pub(crate) fn predicted_cost(&self, index: usize) -> Option<Money> {
        let usual = || {
            let dollars = self.target(index).usual_cost();
            (!dollars.is_nan()).then(|| Money::from_units((f64::from(dollars) * 1e12) as i64))
        };
        self.table.prices[index].cost(&self.demand).or_else(usual)
    }

    fn time(&self, target: &Statistics, age: u64) -> Time {
        let (mean, faults) = target.usual(age);
        let (mean, faults) = (at_least(f64::from(mean), OPTIMISTIC), f64::from(faults));
        // A failure never counts as less than a success, so that the mean is the least.
        let penalty = at_least(mean, self.table.penalty);
        Time { mean, faults, expected: mean + (penalty - mean) * faults }
    }

    fn crowded(&self, seconds: f64, target: &Arc<Statistics>, index: usize) -> f64 {
        seconds * crowd(target) * (1.0 + 0.05 * self.jitter(index))
    }

    /// `rank`, or where what takes `seconds` stands when less than that is left.
    fn in_time(&self, seconds: f64, rank: Rank) -> Rank {
        if self.demand.within.is_some_and(|left| seconds > left.as_secs_f64()) {
            return Rank { tier: tier::SECOND, score: seconds, reason: Reason::MissesDeadline };
        }
        rank
    }

    fn meets_sla(&self, target: &Statistics) -> bool {
        let sla = self.table.config.sla;
        match self.demand.within {
            Some(left) if sla.is_none_or(|sla| left < sla) => target.meets(left),
            _ => !target.standing().is_over(),
        }
    }

    /// The expected cost; above every known one, and then by time, where it is not known.
    fn dollars(&self, index: usize, age: u64) -> f64 {
        if let Some(cost) = self.table.prices[index].cost(&self.demand) {
            return cost.units() as f64 * 1e-12 + LEAST_COST;
        }
        let target = self.target(index);
        let usual = f64::from(target.usual_cost());
        if usual.is_nan() { 1e9 * (1.0 + self.time(target, age).expected) } else { usual + LEAST_COST }
    }

    /// From 0 to 1, another for each target and decision.
    fn jitter(&self, index: usize) -> f64 {
        if self.draw == 0 { 0.0 } else { unit(mix2(self.draw, index as u64)) }
    }
}

/// What a target's time is expected to be.
struct Time {
    /// Seconds of a success.
    mean: f64,
    /// The share of failures.
    faults: f64,
    /// Seconds in which a failure counts as the penalty.
    expected: f64,
}

/// What the calls in flight make of an expected time.
pub(crate) fn crowd(target: &Arc<Statistics>) -> f64 {
    1.0 + CROWDING * f64::from(in_flight(target))
}

/// The greater of both; `floor` where `value` is not a number.
fn at_least(value: f64, floor: f64) -> f64 {
    if value > floor { value } else { floor }
}

/// The score of [`Strategy::Reliability`], rising with both.
pub(crate) fn reliability(faults: f64, seconds: f64) -> f64 {
    faults + 0.01 * fraction(seconds)
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
