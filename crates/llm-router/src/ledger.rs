//! What is learned of a target from its outcomes: the machine, on ticks.

use std::time::Duration;

use llm_core::{Ewma, Memory, Tick};

use crate::config::{RouterConfig, Strategy};
use crate::hour::Hour;
use crate::latencies::{Latencies, Window};
use crate::score::at_least;
use crate::statistics::Observed;

/// What a target's outcomes are judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) latency: Memory,
    pub(crate) faults: Memory,
    /// Nanoseconds that a failure counts as at least.
    penalty: u64,
    /// Nanoseconds for which it all holds without an outcome.
    pub(crate) stale: u64,
    /// Nanoseconds for which a peak is taken as it was, a 64th of its span: those who wait for a decision need not wait
    /// for what it fades by.
    pub(crate) fresh: u64,
    sla: Option<Duration>,
    pub(crate) strategy: Strategy,
    /// Seconds.
    pub(crate) penalty_seconds: f32,
}

/// What is known of a target, but for its last latencies.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// The latest outcome's time; none yet: the origin.
    pub(crate) at: Tick,
    pub(crate) standing: Standing,
    pub(crate) consecutive_failures: u32,
    /// Seconds; a failure is the penalty. Kept for [`Strategy::PeakEwma`] alone.
    pub(crate) peak: Ewma,
    /// Seconds of the successes.
    pub(crate) mean: Ewma,
    /// The share of failures, 0 to 1.
    pub(crate) faults: Ewma,
    pub(crate) tokens_per_second: Ewma,
    /// Dollars a call.
    pub(crate) cost: Ewma,
    pub(crate) hour: Hour,
    window: Window,
}

/// How well a target is known. Fits a word, for those who decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing(u32);

/// Successes after which a target is known. Until then it is given at most `2^successes` calls at once.
const RAMP: u32 = 5;

/// Failures in a row after which a target is unknown again, and marked as down until it is known.
const TRIPPED: u32 = 3;

/// Samples that an average of latencies goes by at least.
const SAMPLES: u16 = 32;

/// Failures are rare: over 32 calls one would hide the difference between one in a hundred and one in a thousand.
/// An outage shows in the failures in a row first.
const FAULT_SAMPLES: u16 = 256;
const FAULT_SPANS: u32 = 6;

impl Rules {
    pub(crate) fn new(config: &RouterConfig) -> Self {
        Self {
            latency: Memory::new(config.decay, SAMPLES),
            faults: Memory::new(config.decay * FAULT_SPANS, FAULT_SAMPLES),
            penalty: nanos(config.penalty),
            stale: nanos(config.stale()),
            fresh: nanos(config.decay) / 64,
            // Nobody else asks for it.
            sla: config.sla.filter(|_| config.strategy == Strategy::Arbitrage),
            strategy: config.strategy,
            penalty_seconds: config.penalty.as_secs_f32(),
        }
    }
}

impl Ledger {
    pub(crate) fn new(rules: &Rules) -> Self {
        Self {
            at: Tick::ZERO,
            standing: Standing::default(),
            consecutive_failures: 0,
            peak: Ewma::EMPTY,
            mean: Ewma::EMPTY,
            faults: Ewma::EMPTY,
            tokens_per_second: Ewma::EMPTY,
            cost: Ewma::EMPTY,
            hour: Hour::new(),
            window: Window::new(rules.sla),
        }
    }

    /// Takes in how a call went.
    pub(crate) fn record(&mut self, observed: &Observed, rules: &Rules, latencies: &Latencies, now: Tick) {
        let pause = nanos_between(self.at, now);
        if pause > rules.stale {
            self.forget(latencies);
        }
        let weight = rules.latency.weight(pause);
        // Another thread's outcome may have been of a later time.
        self.at = self.at.max(now);
        let failed = observed.failed;
        // A failure is never a fast answer.
        let latency = nanos(observed.latency);
        let counted = if failed { latency.max(rules.penalty) } else { latency };
        if rules.strategy == Strategy::PeakEwma {
            self.peak.observe_peak(seconds(counted), weight);
        }
        self.window.push(latencies, counted);
        self.hour.record(failed, now);
        self.faults.observe(f32::from(u8::from(failed)), rules.faults.weight(pause));
        if failed {
            self.consecutive_failures = self.consecutive_failures.saturating_add(1);
            if self.consecutive_failures >= TRIPPED {
                self.standing = Standing::down();
            }
        } else {
            self.consecutive_failures = 0;
            // Until the target is known, its successes count alike: the first is no better than the others.
            let alike = self.standing.steps().map_or(0.0, |steps| 1.0 / (steps + 1) as f32);
            self.learn(observed, latency, weight.max(alike));
            self.standing = self.standing.after_success();
        }
        self.standing = self.standing.over(!self.window.meets_limit());
    }

    /// Nothing was heard of the target for long.
    #[cold]
    fn forget(&mut self, latencies: &Latencies) {
        self.standing = self.standing.forgotten();
        // What was over the limit then is judged by what it does from here on.
        if self.standing.is_over() {
            self.window.clear(latencies);
        }
    }

    /// The share of failures, 0 to 1.
    pub(crate) fn share_of_failures(&self) -> f32 {
        at_least(self.faults.raw(), 0.0)
    }

    /// What only a success tells, of so many nanoseconds.
    fn learn(&mut self, observed: &Observed, latency: u64, weight: f32) {
        self.mean.observe(seconds(latency), weight);
        let writing = latency.saturating_sub(observed.first_token.map_or(0, nanos));
        if let Some(tokens) = observed.output_tokens.filter(|_| writing > 0) {
            self.tokens_per_second.observe(tokens as i64 as f32 / seconds(writing), weight);
        }
        if let Some(cost) = observed.cost {
            self.cost.observe((cost.units().max(0) as f64 * 1e-12) as f32, weight);
        }
    }
}

impl Standing {
    const STEPS: u32 = 7;
    const DOWN: u32 = 8;
    const OVER: u32 = 16;

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// What three failures in a row come to.
    const fn down() -> Self {
        Self(Self::DOWN)
    }

    /// The steps are lost, the mark of the one that is down is not.
    const fn forgotten(self) -> Self {
        Self(self.0 & !Self::STEPS)
    }

    const fn after_success(self) -> Self {
        match self.0 & Self::STEPS {
            RAMP => self,
            steps if steps + 1 == RAMP => Self(RAMP | (self.0 & Self::OVER)),
            _ => Self(self.0 + 1),
        }
    }

    const fn over(self, over: bool) -> Self {
        Self(self.0 & !Self::OVER | if over { Self::OVER } else { 0 })
    }

    /// Successes so far while too little is known; none when enough is.
    const fn steps(self) -> Option<u32> {
        let steps = self.0 & Self::STEPS;
        if steps == RAMP { None } else { Some(steps) }
    }

    /// Calls that may be in flight at once while too little is known; none when enough is.
    #[inline]
    pub(crate) const fn allowance(self) -> Option<i32> {
        match self.steps() {
            Some(steps) => Some(1 << steps),
            None => None,
        }
    }

    /// What the expected time of a target counts as while it is becoming known: the less of it for each success that
    /// it has still to show, so that one slow answer at the beginning decides nothing.
    pub(crate) fn optimism(self) -> f32 {
        self.steps().map_or(1.0, |steps| (steps + 1) as f32 / (RAMP + 1) as f32)
    }

    /// Whether failures have made the target unknown, and it still is.
    pub(crate) const fn is_down(self) -> bool {
        self.0 & Self::DOWN != 0
    }

    /// Whether the 95th percentile is over the router's limit.
    pub(crate) const fn is_over(self) -> bool {
        self.0 & Self::OVER != 0
    }
}

/// Another thread may have read its clock before.
pub(crate) const fn nanos_between(then: Tick, now: Tick) -> u64 {
    now.as_nanos().saturating_sub(then.as_nanos())
}

/// Wraps after 584 years, which no call takes.
const fn nanos(span: Duration) -> u64 {
    span.as_nanos() as u64
}

/// Signed, because that is one instruction: 292 years are enough.
fn seconds(nanos: u64) -> f32 {
    nanos as i64 as f32 * 1e-9
}
