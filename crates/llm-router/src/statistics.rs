//! What is known of one target.

use std::time::Duration;

use llm_core::sync::{AtomicU32, Ordering};
use llm_core::{Money, Price, ProviderId, Tick};
use serde::{Serialize, Serializer};

use crate::average::{Average, Rise};
use crate::config::RouterConfig;
use crate::demand::Demand;
use crate::hour::Hour;
use crate::latencies::Latencies;
use crate::list_price::ListPrice;

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

/// A target's health, for people and monitors.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TargetHealth {
    /// The target's name.
    pub name: ProviderId,
    /// Half of the last 128 calls took at most this long; a failed one counts as the penalty.
    #[serde(rename = "p50_ms", serialize_with = "millis")]
    pub p50: Option<Duration>,
    /// 95 of a hundred of the last 128 calls took at most this long; a failed one counts as the penalty.
    #[serde(rename = "p95_ms", serialize_with = "millis")]
    pub p95: Option<Duration>,
    /// The share of the last hour's calls that succeeded, 0 to 1; none without a call.
    pub success_rate: Option<f64>,
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

/// What is known of one target. Every part is its own atomic: a reader may see one part of an outcome before
/// another, which moves a score by no more than that outcome.
#[derive(Debug)]
pub(crate) struct Statistics {
    in_flight: AtomicU32,
    /// Successes since the target became unknown, up to [`RAMP`], and [`DOWN`] until then if failures made it so.
    ramp: AtomicU32,
    consecutive_failures: AtomicU32,
    /// Seconds; a failure is the penalty.
    peak: Average,
    /// Seconds of the successes.
    mean: Average,
    /// The share of failures, 0 to 1.
    faults: Average,
    tokens_per_second: Average,
    /// Dollars a call.
    cost: Average,
    hour: Hour,
    latencies: Latencies,
    pub(crate) price: ListPrice,
}

/// Successes after which a target is known. Until then it is given at most `2^successes` calls at once.
const RAMP: u32 = 5;

/// Failures in a row after which a target is unknown again, and marked as down until it is known.
const TRIPPED: u32 = 3;
const DOWN: u32 = 1 << 16;

/// Samples that an average of latencies goes by at least.
const SAMPLES: u16 = 32;

/// Failures are rare: over 32 calls one would hide the difference between one in a hundred and one in a thousand.
/// An outage shows in the failures in a row first.
const FAULT_SAMPLES: u16 = 256;
const FAULT_SPANS: u32 = 6;

impl Statistics {
    pub(crate) fn new(config: &RouterConfig, price: Option<&Price>) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            ramp: AtomicU32::new(0),
            consecutive_failures: AtomicU32::new(0),
            peak: Average::new(config.decay, SAMPLES),
            mean: Average::new(config.decay, SAMPLES),
            faults: Average::new(config.decay * FAULT_SPANS, FAULT_SAMPLES),
            tokens_per_second: Average::new(config.decay, SAMPLES),
            cost: Average::new(config.decay, SAMPLES),
            hour: Hour::new(),
            latencies: Latencies::new(config.sla),
            price: ListPrice::new(price),
        }
    }

    // Relaxed, here and below: counts and averages publish nothing else.
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn record(&self, observed: &Observed, config: &RouterConfig, now: Tick) {
        if self.is_stale(config, now) {
            self.ramp.fetch_and(DOWN, Ordering::Relaxed);
            // What was over the limit then is judged by what it does from here on.
            if !self.latencies.meets_limit() {
                self.latencies.clear();
            }
        }
        let failed = observed.failed;
        // A failure is never a fast answer.
        let counted = if failed { observed.latency.max(config.penalty) } else { observed.latency };
        self.peak.observe(counted.as_secs_f32(), Rise::Peak, now);
        self.latencies.push(counted);
        self.hour.record(failed, now);
        if failed {
            if self.consecutive_failures.fetch_add(1, Ordering::Relaxed) + 1 >= TRIPPED {
                self.ramp.store(DOWN, Ordering::Relaxed);
            }
        } else {
            self.succeed(observed, now);
        }
        // Last: its time is what makes the target known.
        self.faults.observe(f32::from(u8::from(failed)), Rise::Smooth, now);
    }

    fn succeed(&self, observed: &Observed, now: Tick) {
        self.consecutive_failures.store(0, Ordering::Relaxed);
        let ramp = self.ramp.load(Ordering::Relaxed);
        if ramp != RAMP {
            // A step lost to another thread's is made by the next success.
            let known = ramp & !DOWN == RAMP - 1;
            self.ramp.store(if known { RAMP } else { ramp + 1 }, Ordering::Relaxed);
        }
        self.mean.observe(observed.latency.as_secs_f32(), Rise::Smooth, now);
        let writing = observed.latency.saturating_sub(observed.first_token.unwrap_or_default()).as_secs_f32();
        if let Some(tokens) = observed.output_tokens.filter(|_| writing > 0.0) {
            self.tokens_per_second.observe(tokens as f32 / writing, Rise::Smooth, now);
        }
        if let Some(cost) = observed.cost {
            self.cost.observe(cost.as_dollars().max(0.0) as f32, Rise::Smooth, now);
        }
    }

    fn is_stale(&self, config: &RouterConfig, now: Tick) -> bool {
        self.faults.age(now).is_none_or(|age| age > config.stale())
    }

    /// Calls that may be in flight at once while too little is known of the target; none when enough is.
    pub(crate) fn allowance(&self, config: &RouterConfig, now: Tick) -> Option<u32> {
        if self.is_stale(config, now) {
            return Some(1);
        }
        let ramp = self.ramp.load(Ordering::Relaxed) & !DOWN;
        (ramp < RAMP).then(|| 1 << ramp)
    }

    /// Whether failures have made the target unknown, and it still is.
    pub(crate) fn is_recovering(&self) -> bool {
        self.ramp.load(Ordering::Relaxed) & DOWN != 0
    }

    /// Seconds of a success.
    pub(crate) fn mean(&self) -> Option<f64> {
        self.mean.value().map(f64::from)
    }

    /// Seconds, decayed; a failure is the penalty.
    pub(crate) fn peak(&self, now: Tick) -> Option<f64> {
        self.peak.decayed(now).map(f64::from)
    }

    /// The share of failures of late, 0 to 1, decayed: nothing is held against a target for ever.
    pub(crate) fn faults(&self, now: Tick) -> f64 {
        self.faults.decayed(now).map_or(0.0, f64::from)
    }

    /// The share of failures in the last hour, `(failed + 1) / (calls + 20)`: a few lucky calls are no proof.
    pub(crate) fn hourly_faults(&self, now: Tick) -> f64 {
        let counts = self.hour.counts(now);
        (counts.failed + 1) as f64 / (counts.succeeded + counts.failed + 20) as f64
    }

    pub(crate) fn meets_sla(&self) -> bool {
        self.latencies.meets_limit()
    }

    /// What `demand` will cost: by the list price, else as the calls so far did on average.
    pub(crate) fn cost(&self, demand: &Demand) -> Option<Money> {
        let average = || self.cost.value().map(|dollars| Money::from_units((f64::from(dollars) * 1e12) as i64));
        self.price.cost(demand).or_else(average)
    }

    pub(crate) fn health(&self, name: &ProviderId, now: Tick) -> TargetHealth {
        let quantiles = self.latencies.quantiles();
        TargetHealth {
            name: name.clone(),
            p50: quantiles.map(|(p50, _)| p50),
            p95: quantiles.map(|(_, p95)| p95),
            success_rate: self.hour.counts(now).success_rate(),
            consecutive_failures: self.consecutive_failures.load(Ordering::Relaxed),
            in_flight: self.in_flight(),
            tokens_per_second: self.tokens_per_second.value().map(f64::from),
        }
    }
}
