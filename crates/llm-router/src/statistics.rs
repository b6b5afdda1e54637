//! What is known of one target: written by one at a time, read by everyone at once.

use std::time::Duration;

use llm_core::sync::{Arc, AtomicU32, AtomicU64, Mutex, Ordering};
use llm_core::{Money, ProviderId, Tick};
use serde::{Serialize, Serializer};

use crate::hour::Counts;
use crate::latencies::Latencies;
use crate::ledger::{Ledger, Rules, Standing, nanos_between};
use crate::pair::Pair;
use crate::rank::reliability;

/// How one call went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// From the call to the end of its answer, or to its failure.
    pub latency: Duration,
    /// From the call to the first token, where the answer was streamed.
    pub first_token: Option<Duration>,
    /// Tokens of the answer, reasoning included.
    pub output_tokens: Option<u64>,
    /// What the call cost.
    pub cost: Option<Money>,
    /// Whether the target failed. What the caller did wrong or gave up is no failure of the target.
    pub failed: bool,
}

/// How well a target is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// Enough to go by.
    Known,
    /// Too little: few successes so far, or no outcome for three spans of [`RouterConfig::decay`](crate::RouterConfig::decay).
    Unknown,
    /// It failed three times in a row, and has not had five successes since.
    Down,
}

/// A target's health, for people and monitors.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TargetHealth {
    /// The target's name.
    pub name: ProviderId,
    /// How well it is known.
    pub state: TargetState,
    /// Half of the last 128 calls took at most this long; a failed one counts as the penalty.
    #[serde(rename = "p50_ms", serialize_with = "millis")]
    pub p50: Option<Duration>,
    /// 95 of a hundred of the last 128 calls took at most this long; a failed one counts as the penalty.
    #[serde(rename = "p95_ms", serialize_with = "millis")]
    pub p95: Option<Duration>,
    /// 99 of a hundred of the last 128 calls took at most this long; a failed one counts as the penalty.
    #[serde(rename = "p99_ms", serialize_with = "millis")]
    pub p99: Option<Duration>,
    /// The time of a success: a moving average.
    #[serde(rename = "mean_ms", serialize_with = "millis")]
    pub mean: Option<Duration>,
    /// The share of the last hour's calls that succeeded, 0 to 1; none without a call.
    pub success_rate: Option<f64>,
    /// The last hour's calls.
    pub calls: u64,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Calls begun and not ended.
    pub in_flight: u32,
    /// Output tokens a second of one answer, after its first token where that is known: a moving average.
    pub tokens_per_second: Option<f64>,
}

fn millis<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    span.map(|span| span.as_secs_f64() * 1000.0).serialize(serializer)
}

/// What is known of one target. Its outcomes are taken in under a lock, one after the other; what decisions go by is
/// published from there in words that are read without it. A reader may see one word of an outcome before another,
/// which moves a score by no more than that outcome.
///
/// In the order written, so that what decisions read stands beside the count of references that they read too.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Statistics {
    /// The latest outcome's time.
    at: AtomicU64,
    /// Seconds of a success and the share of failures at that time.
    usual: Pair,
    /// Seconds of a call at its worst, and the share of failures in the hour up to that time.
    worst: Pair,
    /// Dollars a call.
    cost: AtomicU32,
    standing: AtomicU32,
    /// What a score of reliability is at least.
    least_faults: AtomicU32,
    rules: Rules,
    ledger: Mutex<Ledger>,
    latencies: Latencies,
}

/// Nanoseconds.
const HOUR: u64 = 3_600_000_000_000;

impl Statistics {
    pub(crate) fn new(rules: Rules) -> Self {
        let ledger = Ledger::new(&rules);
        let statistics = Self {
            at: AtomicU64::new(0),
            usual: Pair::new(0.0, 0.0),
            worst: Pair::new(0.0, 0.0),
            cost: AtomicU32::new(0),
            standing: AtomicU32::new(0),
            least_faults: AtomicU32::new(0),
            rules,
            ledger: Mutex::new(ledger.clone()),
            latencies: Latencies::new(),
        };
        statistics.publish(&ledger);
        statistics
    }

    pub(crate) fn record(&self, observed: &Observed, now: Tick) {
        let mut ledger = self.ledger.lock();
        ledger.record(observed, &self.rules, &self.latencies, now);
        self.publish(&ledger);
    }

    /// Whoever has the lock may call it.
    fn publish(&self, ledger: &Ledger) {
        // Relaxed, here and below: each word is whole by itself and publishes nothing else.
        self.at.store(ledger.at.as_nanos(), Ordering::Relaxed);
        let mean = ledger.mean.raw();
        self.usual.set(mean, ledger.faults.value().unwrap_or(0.0));
        if self.rules.counts_hours {
            let hourly = ledger.hour.latest().faults();
            self.worst.set(ledger.peak.raw(), hourly);
            // A hair less, for what single precision makes of it.
            let least = reliability(hourly.into(), mean.into()) * (1.0 - 1e-6);
            self.least_faults.store((least as f32).to_bits(), Ordering::Relaxed);
        } else {
            self.worst.set(ledger.peak.raw(), 0.0);
        }
        self.cost.store(ledger.cost.raw().to_bits(), Ordering::Relaxed);
        self.standing.store(ledger.standing.bits(), Ordering::Relaxed);
    }

    /// Nanoseconds since the latest outcome. What fades is asked for by it, so that it is read once.
    #[inline]
    pub(crate) fn age(&self, now: Tick) -> u64 {
        nanos_between(Tick::from_nanos(self.at.load(Ordering::Relaxed)), now)
    }

    #[inline]
    pub(crate) fn standing(&self) -> Standing {
        Standing::from_bits(self.standing.load(Ordering::Relaxed))
    }

    /// Calls that may be in flight at once while too little is known of the target; none when enough is.
    #[inline]
    pub(crate) fn allowance(&self, age: u64) -> Option<u32> {
        if age > self.rules.stale { Some(1) } else { self.standing().allowance() }
    }

    /// Seconds of a success, not a number before the first.
    #[inline]
    pub(crate) fn mean(&self) -> f32 {
        self.usual.get().0
    }

    /// Seconds of a success, and the share of failures of late, 0 to 1, which fades: nothing is held against a target
    /// for ever.
    #[inline]
    pub(crate) fn usual(&self, age: u64) -> (f32, f32) {
        let (mean, faults) = self.usual.get();
        // Most shares are 0.
        (mean, if faults == 0.0 { 0.0 } else { faults * self.rules.faults.left(age) })
    }

    /// Seconds, faded; a failure is the penalty. Not a number before the first outcome.
    #[inline]
    pub(crate) fn peak(&self, age: u64) -> f32 {
        self.worst.get().0 * self.rules.latency.left(age)
    }

    /// The share of failures in the hour up to the latest outcome, careful where there were few calls; an hour later,
    /// that of no calls.
    pub(crate) fn hourly_faults(&self, age: u64) -> f32 {
        if age > HOUR { Counts::default().faults() } else { self.worst.get().1 }
    }

    /// What the score of [`Strategy::Reliability`](crate::Strategy::Reliability) comes to with no failures of late,
    /// nothing in flight and the luckiest draw; not a number before the first success.
    pub(crate) fn least_faults(&self) -> f32 {
        f32::from_bits(self.least_faults.load(Ordering::Relaxed))
    }

    /// Whether the 95th percentile of the last latencies is within `limit`.
    pub(crate) fn meets(&self, limit: Duration) -> bool {
        self.latencies.meet(limit)
    }

    /// Dollars that a call has cost on average; not a number before the first.
    pub(crate) fn usual_cost(&self) -> f32 {
        f32::from_bits(self.cost.load(Ordering::Relaxed))
    }
}

/// Calls in flight: each holds its target, and so does the table.
#[inline]
pub(crate) fn in_flight(target: &Arc<Statistics>) -> u32 {
    (Arc::strong_count(target) as u32).saturating_sub(1)
}

pub(crate) fn health(target: &Arc<Statistics>, name: &ProviderId, now: Tick) -> TargetHealth {
    let ledger = target.ledger.lock().clone();
    let quantiles = target.latencies.quantiles();
    let hour = ledger.hour.counts(now);
    TargetHealth {
        name: name.clone(),
        state: match target.allowance(target.age(now)) {
            _ if ledger.standing.is_down() => TargetState::Down,
            Some(_) => TargetState::Unknown,
            None => TargetState::Known,
        },
        p50: quantiles.map(|quantiles| quantiles.p50),
        p95: quantiles.map(|quantiles| quantiles.p95),
        p99: quantiles.map(|quantiles| quantiles.p99),
        mean: ledger.mean.value().and_then(|seconds| Duration::try_from_secs_f32(seconds).ok()),
        success_rate: hour.success_rate(),
        calls: hour.calls(),
        consecutive_failures: ledger.consecutive_failures,
        in_flight: in_flight(target),
        tokens_per_second: ledger.tokens_per_second.value().map(f64::from),
    }
}
