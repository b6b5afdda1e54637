//! Where a target stands for one request, by the router's strategy.

use llm_core::sync::Arc;
use llm_core::{Money, Tick};

use crate::config::Strategy;
use crate::demand::Demand;
use crate::random::{mix2, unit};
use crate::reason::Reason;
use crate::score::{self, OPTIMISTIC, at_least};
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
    pub(crate) reason: Reason,
    pub(crate) score: f32,
}

impl Rank {
    pub(crate) const LAST: Self = Self { tier: u8::MAX, reason: Reason::Unknown, score: f32::INFINITY };

    const fn choice(score: f32, reason: Reason) -> Self {
        Self { tier: tier::CHOICE, reason, score }
    }

    const fn second(score: f32, reason: Reason) -> Self {
        Self { tier: tier::SECOND, reason, score }
    }

    pub(crate) fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.tier.cmp(&other.tier).then(self.score.total_cmp(&other.score))
    }

    pub(crate) fn is_better_than(&self, other: &Self) -> bool {
        // Without a branch: nobody can predict which of two is better.
        (self.tier < other.tier) | ((self.tier == other.tier) & (self.score < other.score))
    }

    pub(crate) fn equals(&self, other: &Self) -> bool {
        (self.tier == other.tier) & (self.score == other.score)
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

/// The streams of a decision's random bits.
pub(crate) mod stream {
    pub(crate) const ANY: u64 = 0;
    pub(crate) const AGAIN: u64 = 1;
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
        let allowance = target.allowance(age);
        let known = self.by_score(index, age, if allowance.is_none() { Holds::Yes } else { Holds::No });
        let Some(allowed) = allowance else { return known };
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
            _ if self.explores => {
                let faults = if strategy == Strategy::Reliability { target.hourly_faults(age) } else { 0.0 };
                let score = score::turn(self.draw, index, faults);
                Rank { tier: tier::EXPLORED, score, reason: Reason::Explored }
            }
            _ => unknown,
        }
    }

    /// The load of a target that is known and in time, by which [`Strategy::PeakEwma`] compares two.
    #[inline(always)]
    pub(crate) fn load(&self, index: usize) -> Option<u64> {
        let target = self.target(index);
        let age = target.age(self.now);
        let is_known = target.allowance(age).is_none();
        (is_known && !self.is_late(target.mean())).then(|| load(target, age))
    }

    #[inline]
    fn by_score(&self, index: usize, age: u64, holds: Holds) -> Rank {
        let target = self.target(index);
        let calls = in_flight(target);
        let luck = || score::luck(self.draw, index);
        match self.table.config.strategy {
            Strategy::Cost => {
                let (mean, faults) = self.usual(target, age);
                let score = score::price(self.dollars(index), faults, calls);
                self.in_time(mean, Rank::choice(score, Reason::Cost))
            }
            Strategy::Reliability => {
                let (mean, faults) = self.usual(target, holds.age(age));
                let seconds = score::crowded(self.expected(target, age, holds), calls) * luck();
                let faults = faults.max(target.hourly_faults(age));
                self.in_time(mean, Rank::choice(score::reliability(faults, seconds), Reason::Reliability))
            }
            Strategy::Arbitrage if self.meets_sla(target) => Rank::choice(self.dollars(index), Reason::MeetsSla),
            Strategy::Arbitrage => Rank::second(self.expected(target, age, holds), Reason::MissesSla),
            Strategy::PeakEwma => {
                let seconds = at_least(load(target, age) as f32 * 1e-6, OPTIMISTIC);
                self.in_time(target.mean(), Rank::choice(seconds, Reason::Load))
            }
            Strategy::Bandit => Rank::choice(self.expected(target, age, holds), Reason::Latency),
            Strategy::Weighted => Rank::choice(-(self.table.weights[index] as f32), Reason::Weight),
            Strategy::Fallback => Rank::choice(index as f32, Reason::Order),
            Strategy::Latency | Strategy::Prefix => {
                Rank::choice(score::crowded(self.expected(target, age, holds), calls) * luck(), Reason::Latency)
            }
        }
    }

    /// Weighted rendezvous hashing, `−ln(u) / weight` (Schindelhauer and Schomaker, 2005), with bounded loads
    /// (Mirrokni, Thorup and Zadimoghaddam, 2018): at most `⌈bound · (calls + 1) · weight / weights⌉` each.
    #[inline(never)]
    fn by_prefix(&self, index: usize, share: Share) -> Rank {
        let weight = self.table.weights[index];
        if weight == 0 {
            return Rank::second(index as f32, Reason::Fallback);
        }
        let (calls, weight) = ((share.in_flight + 1) as f64, f64::from(weight));
        let most = (self.table.config.load_bound * calls * weight / share.weight.max(1) as f64).ceil();
        let score = (-self.uniform(index).ln() / weight) as f32;
        if f64::from(in_flight(self.target(index)) + 1) <= most {
            Rank::choice(score, Reason::Prefix)
        } else {
            Rank::second(score, Reason::Overflow)
        }
    }

    /// The prefix's hash at a target: above 0, so that its logarithm is finite, to 1.
    fn uniform(&self, index: usize) -> f64 {
        1.0 - unit(mix2(self.demand.prefix, self.table.keys[index]))
    }

    /// What the score of a target by the prefix is at least: −ln(u) ≥ 1 − u.
    pub(crate) fn least_distance(&self, index: usize) -> f32 {
        match self.table.weights[index] {
            0 => f32::INFINITY,
            weight => (1.0 - self.uniform(index)) as f32 / weight as f32,
        }
    }

    /// The calls in flight and the weights of the targets in `mask`.
    pub(crate) fn share(&self, mask: u64) -> Share {
        if self.table.config.strategy != Strategy::Prefix {
            return Share::default();
        }
        bits(mask).fold(Share::default(), |share, index| Share {
            in_flight: share.in_flight + in_flight(self.target(index)) as u64,
            weight: share.weight + u64::from(self.table.weights[index]),
        })
    }

    /// The expected time of an answer, in seconds, until the target has given one: none.
    pub(crate) fn predicted_seconds(&self, index: usize) -> Option<f32> {
        let mean = self.target(index).mean();
        (!mean.is_nan()).then_some(mean)
    }

    /// The expected cost of the demand: by the list price, else as the calls so far did on average.
    pub(crate) fn predicted_cost(&self, index: usize) -> Option<Money> {
        let usual = || {
            let dollars = self.target(index).usual_cost();
            (!dollars.is_nan()).then(|| Money::from_units((f64::from(dollars) * 1e12) as i64))
        };
        self.table.prices[index].cost(&self.demand).or_else(usual)
    }

    /// Seconds of a success and the share of failures.
    fn usual(&self, target: &Statistics, age: u64) -> (f32, f32) {
        let (mean, faults) = target.usual(age);
        (at_least(mean, OPTIMISTIC), faults)
    }

    /// The expected time in seconds, a failure being the penalty.
    fn expected(&self, target: &Statistics, age: u64, holds: Holds) -> f32 {
        let (mean, faults) = self.usual(target, holds.age(age));
        let seconds = score::expected(mean, faults, self.table.penalty);
        match holds {
            Holds::Yes => seconds,
            Holds::No => seconds * target.optimism(age),
        }
    }

    /// `rank`, or where what takes `seconds` stands when less than that is left.
    fn in_time(&self, seconds: f32, rank: Rank) -> Rank {
        if self.is_late(seconds) { Rank::second(seconds, Reason::MissesDeadline) } else { rank }
    }

    #[inline]
    fn is_late(&self, seconds: f32) -> bool {
        self.demand.within.is_some_and(|left| seconds > left.as_secs_f32())
    }

    fn meets_sla(&self, target: &Statistics) -> bool {
        let sla = self.table.config.sla;
        match self.demand.within {
            Some(left) if sla.is_none_or(|sla| left < sla) => target.meets(left),
            _ => !target.standing().is_over(),
        }
    }

    /// The expected cost in dollars; above every known one where it is not known.
    #[inline]
    fn dollars(&self, index: usize) -> f32 {
        let listed = self.table.prices[index].cost(&self.demand);
        listed.map_or_else(|| self.target(index).dollars(), |cost| (cost.units() as f64 * 1e-12) as f32)
    }
}

/// Whether what is known of a target still holds.
#[derive(Clone, Copy)]
enum Holds {
    Yes,
    /// Its failures fade.
    No,
}

impl Holds {
    const fn age(self, age: u64) -> u64 {
        match self {
            Self::Yes => 0,
            Self::No => age,
        }
    }
}

/// The peak in microseconds times one more than the calls in flight: in whole numbers, which compare sooner.
#[inline]
fn load(target: &Arc<Statistics>, age: u64) -> u64 {
    target.peak(age) * (in_flight(target) as u64 + 1)
}

/// The places of the bits in `mask`, the lowest first.
pub(crate) fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(place)
    })
}
