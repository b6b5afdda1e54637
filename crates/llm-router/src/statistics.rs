//! What is known of one target: written by one at a time, read by everyone at once.

use std::time::Duration;

use llm_core::sync::{Arc, AtomicU32, AtomicU64, Mutex, Ordering};
use llm_core::{Money, ProviderId, Tick};
use serde::{Serialize, Serializer};

use crate::config::Strategy;
use crate::hour::Counts;
use crate::latencies::Latencies;
use crate::ledger::{Ledger, Rules, Standing, nanos_between};
use crate::pair::Pair;
use crate::score::{self, OPTIMISTIC, at_least};

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
    /// Dollars a call.
    cost: AtomicU32,
    standing: AtomicU32,
    /// What the strategy looks at first: a score's least, or a peak in microseconds.
    merit: AtomicU32,
    /// The share of failures in the hour up to that time, for the strategy that goes by it.
    hourly: AtomicU32,
    rules: Rules,
    ledger: Mutex<Ledger>,
    latencies: Latencies,
}

/// Nanoseconds.
const HOUR: u64 = 3_600_000_000_000;

impl Statistics {
    pub(crate) fn new(rules: Rules) -> Self {
        Self::with(Ledger::new(&rules), rules, Latencies::new())
    }

    /// Another with what is known of this one; its calls in flight are not known to it.
    pub(crate) fn copy(&self) -> Self {
        let ledger = self.ledger.lock();
        Self::with(ledger.clone(), self.rules, self.latencies.copy())
    }

    fn with(ledger: Ledger, rules: Rules, latencies: Latencies) -> Self {
        let statistics = Self {
            at: AtomicU64::new(0),
            usual: Pair::new(0.0, 0.0),
            cost: AtomicU32::new(0),
            standing: AtomicU32::new(0),
            merit: AtomicU32::new(0),
            hourly: AtomicU32::new(0),
            rules,
            ledger: Mutex::new(ledger.clone()),
            latencies,
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
        self.usual.set(ledger.mean.raw(), ledger.share_of_failures());
        self.publish_merit(ledger);
        self.cost.store(ledger.cost.raw().to_bits(), Ordering::Relaxed);
        self.standing.store(ledger.standing.bits(), Ordering::Relaxed);
    }

    #[inline]
    fn publish_merit(&self, ledger: &Ledger) {
        let faults = ledger.share_of_failures();
        let time = || score::expected(at_least(ledger.mean.raw(), OPTIMISTIC), faults, self.rules.penalty_seconds);
        let merit = match self.rules.strategy {
            Strategy::PeakEwma => {
                let micros = at_least(ledger.peak.raw(), OPTIMISTIC) * 1e6;
                return self.merit.store(micros as u32, Ordering::Relaxed);
            }
            Strategy::Latency | Strategy::Bandit => time(),
            Strategy::Reliability => {
                let hourly = ledger.hour.latest().faults();
                self.hourly.store(hourly.to_bits(), Ordering::Relaxed);
                score::reliability(faults.max(hourly), time())
            }
            _ => return,
        };
        let is_known = ledger.standing.allowance().is_none();
        self.merit.store((if is_known { merit } else { f32::INFINITY }).to_bits(), Ordering::Relaxed);
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
    pub(crate) fn allowance(&self, age: u64) -> Option<i32> {
        if age > self.rules.stale { Some(1) } else { self.standing().allowance() }
    }

    /// What an expected time counts as while the target is becoming known; what is out of date is left as it is.
    pub(crate) fn optimism(&self, age: u64) -> f32 {
        if age > self.rules.stale { 1.0 } else { self.standing().optimism() }
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

    /// Microseconds of a call at its worst under [`Strategy::PeakEwma`], faded; a failure is the penalty.
    #[inline]
    pub(crate) fn peak(&self, age: u64) -> u64 {
        let peak = self.merit.load(Ordering::Relaxed);
        if age <= self.rules.fresh { peak.into() } else { (peak as f32 * self.rules.latency.left(age)) as u64 }
    }

    /// The share of failures in the hour up to the latest outcome, careful where there were few calls; an hour later,
    /// that of no calls.
    pub(crate) fn hourly_faults(&self, age: u64) -> f32 {
        if age > HOUR { Counts::default().faults() } else { f32::from_bits(self.hourly.load(Ordering::Relaxed)) }
    }

    /// What the score of a known target is at least, by the strategies that go by time or failures; infinite for one that
    /// is not known well enough to be the choice.
    #[inline]
    pub(crate) fn merit(&self) -> f32 {
        f32::from_bits(self.merit.load(Ordering::Relaxed))
    }

    /// Whether the 95th percentile of the last latencies is within `limit`.
    pub(crate) fn meets(&self, limit: Duration) -> bool {
        self.latencies.meet(limit)
    }

    /// Dollars that a call has cost on average; not a number before the first.
    pub(crate) fn usual_cost(&self) -> f32 {
        f32::from_bits(self.cost.load(Ordering::Relaxed))
    }

    /// The same; above every known cost, and then by time, before the first.
    pub(crate) fn dollars(&self) -> f32 {
        let usual = self.usual_cost();
        if usual.is_nan() { 1e9 * (1.0 + at_least(self.mean(), OPTIMISTIC)) } else { usual }
    }
}

/// Calls in flight: each holds its target, and so does the table.
#[inline]
pub(crate) fn in_flight(target: &Arc<Statistics>) -> i32 {
    // Signed, because floating-point numbers are made of it.
    Arc::strong_count(target) as i32 - 1
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
        in_flight: in_flight(target) as u32,
        tokens_per_second: ledger.tokens_per_second.value().map(f64::from),
    }
}

#[cfg(all(test, llm_loom))]
mod loom_tests {
    use super::*;
    use crate::config::RouterConfig;

    const NOW: Tick = Tick::from_nanos(3_600_000_000_000);

    fn target(strategy: Strategy) -> Arc<Statistics> {
        Arc::new(Statistics::new(Rules::new(&RouterConfig::from(strategy))))
    }

    fn took(seconds: u64) -> Observed {
        Observed { latency: Duration::from_secs(seconds), ..Observed::default() }
    }

    #[test]
    fn no_outcome_is_lost_to_another() {
        loom::model(|| {
            let target = target(Strategy::PeakEwma);
            let other = {
                let target = target.clone();
                loom::thread::spawn(move || target.record(&Observed { failed: true, ..took(1) }, NOW))
            };
            target.record(&took(9), NOW);
            other.join().unwrap();
            let known = health(&target, &"a".into(), NOW);
            assert_eq!((known.calls, known.success_rate), (2, Some(0.5)));
            assert_eq!((known.p50, known.p99), (Some(Duration::from_secs(9)), Some(Duration::from_secs(30))));
            // The failure came last, or the success forgave it.
            assert!(known.consecutive_failures <= 1);
            let peak = if known.consecutive_failures == 1 { 30_000_000 } else { 30_000_000 - 21_000_000 / 32 };
            assert!(target.peak(0).abs_diff(peak) <= 2, "{}", target.peak(0));
        });
    }

    #[test]
    fn what_is_read_beside_an_outcome_is_from_before_or_after_it() {
        loom::model(|| {
            let target = target(Strategy::Latency);
            let other = {
                let target = target.clone();
                loom::thread::spawn(move || target.record(&took(2), NOW))
            };
            let (mean, faults) = target.usual(target.age(NOW));
            assert!(mean.is_nan() || mean == 2.0, "{mean}");
            assert_eq!(faults, 0.0);
            assert!(matches!(target.allowance(target.age(NOW)), Some(1 | 2)));
            assert!(target.meets(Duration::from_secs(2)));
            other.join().unwrap();
            assert_eq!(target.usual(0), (2.0, 0.0));
        });
    }
}
