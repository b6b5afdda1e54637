//! Finds calls that take longer than this circuit's calls do.
//!
//! Times are judged by their log₂, in which what doubles moves by one wherever it began and heavy tails grow
//! short. Each metric has a baseline of its own: a running mean and a running mean of absolute deviations, both
//! over calls clipped to four deviations, so that no single call moves them far. A call is first judged and then
//! learnt. What a call is above its baseline, in deviations, goes clipped into a one-sided CUSUM:
//!
//! `sum = max(0, sum + min(z, CLIP) − SLACK)`, alarm at `sum ≥ ALARM`.
//!
//! On normal data with `b = ALARM + 1.166` the mean run to a false alarm is `(e^{2kb} − 2kb − 1) / 2k²`, `k` the
//! slack: 10^18 calls here. Healthy calls are not normal, their tails are heavier: there a run of slow
//! calls is as rare as `e^{−θ·ALARM}` with `E[e^{θ(min(z, CLIP) − k)}] = 1`. A slack of one deviation, where
//! textbooks have a half, makes up for the tail; it gives away shifts below one deviation, which nobody opens a
//! circuit for.

use std::time::Duration;

use llm_core::sync::{AtomicU64, Ordering::Relaxed};

use crate::config::Anomaly;
use crate::timing::{Metric, Timing};

/// Calls that are learnt before the first is judged.
const WARM_UP: u8 = 64;
/// One in so many calls' weight in the baseline once it is warm.
const MEMORY: f32 = 256.0;
/// What one call can add to the sum or be learnt as, in deviations.
const CLIP: f32 = 4.0;
const SLACK: f32 = 1.0;
const ALARM: f32 = 20.0;
/// Above it nothing is learnt: an incident is not to become the norm that it is measured by.
const FROZEN: f32 = ALARM / 2.0;
/// The least a deviation is taken for, in log₂: a change by less than a fifth is none, however steady calls are.
const FLOOR: f32 = 0.25;
/// The standard deviation of a normal variable over its mean absolute one, √(π/2).
const NORMAL: f32 = 1.253_314_1;

/// How far a timing lies above the circuit's baselines, in deviations: negative below, `None` where nothing was
/// measured or the baseline has learnt fewer than 64 calls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// Of the latency.
    pub latency: Option<f64>,
    /// Of the time to the first token.
    pub first_token: Option<f64>,
    /// Of the mean gap between tokens.
    pub token_gap: Option<f64>,
}

/// A metric that calls for the circuit to open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Alarm {
    pub(crate) metric: Metric,
    pub(crate) z: f32,
    pub(crate) outliers: u8,
}

/// The baselines of a circuit, a word each.
pub(crate) struct Detector {
    words: [AtomicU64; 3],
}

impl Detector {
    pub(crate) fn new() -> Self {
        Self { words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Judges a call and learns it.
    #[inline]
    pub(crate) fn observe(&self, config: &Anomaly, timing: &Timing) -> Option<Alarm> {
        let mut alarm = None;
        for metric in Metric::ALL {
            let Some(span) = metric.of(timing) else { continue };
            let log = log2(nanos(span));
            let (next, z) = self.update(metric, |seen| seen.step(log, config.z as f32));
            let many = config.outliers.is_some_and(|outliers| next.outliers >= outliers);
            if next.sum >= ALARM || many {
                alarm = alarm.or(Some(Alarm { metric, z, outliers: next.outliers }));
            }
        }
        alarm
    }

    /// Whether a call of `timing` is an outlier.
    pub(crate) fn outlier(&self, config: &Anomaly, timing: &Timing) -> bool {
        Metric::ALL.into_iter().any(|metric| self.score(metric, timing).is_some_and(|z| f64::from(z) > config.z))
    }

    pub(crate) fn scores(&self, timing: &Timing) -> Scores {
        let score = |metric| self.score(metric, timing).map(f64::from);
        Scores {
            latency: score(Metric::Latency),
            first_token: score(Metric::FirstToken),
            token_gap: score(Metric::TokenGap),
        }
    }

    /// Forgets what led to an alarm and keeps the baselines.
    pub(crate) fn calm(&self) {
        for metric in Metric::ALL {
            self.update(metric, |seen| (Baseline { sum: 0.0, outliers: 0, ..seen }, 0.0));
        }
    }

    /// Forgets all.
    pub(crate) fn forget(&self) {
        self.words.iter().for_each(|word| word.store(0, Relaxed));
    }

    fn score(&self, metric: Metric, timing: &Timing) -> Option<f32> {
        let baseline = Baseline::unpack(self.words[metric as usize].load(Relaxed));
        baseline.z(log2(nanos(metric.of(timing)?)))
    }

    fn update(&self, metric: Metric, step: impl Fn(Baseline) -> (Baseline, f32)) -> (Baseline, f32) {
        let word = &self.words[metric as usize];
        // Relaxed: the word is the metric's whole state, it publishes nothing else.
        let mut seen = word.load(Relaxed);
        loop {
            let (next, z) = step(Baseline::unpack(seen));
            match word.compare_exchange_weak(seen, next.pack(), Relaxed, Relaxed) {
                Ok(_) => return (next, z),
                Err(actual) => seen = actual,
            }
        }
    }
}

/// What is known of a metric. Packed: `mean:20 | deviation:16 | sum:12 | seen:8 | outliers:8`, the first two in
/// 2⁻¹⁴, the sum in 2⁻⁷; a 256th of any error above 0.01 still moves them.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Baseline {
    /// log₂ of nanoseconds, below 64.
    mean: f32,
    /// Mean absolute deviation, below 4.
    deviation: f32,
    /// The CUSUM, below 32.
    sum: f32,
    /// Calls learnt, 255 at most.
    seen: u8,
    /// Outliers in a row, 255 at most.
    outliers: u8,
}

impl Baseline {
    fn unpack(word: u64) -> Self {
        Self {
            mean: (word >> 44) as i32 as f32 / 16_384.0,
            deviation: (word >> 28 & 0xffff) as i32 as f32 / 16_384.0,
            sum: (word >> 16 & 0xfff) as i32 as f32 / 128.0,
            seen: (word >> 8) as u8,
            outliers: word as u8,
        }
    }

    fn pack(self) -> u64 {
        // By way of `i32`, for which processors have one instruction.
        let fixed = |value: f32, scale: f32, most: i32| ((value * scale + 0.5) as i32).clamp(0, most) as u64;
        fixed(self.mean, 16_384.0, 0xf_ffff) << 44
            | fixed(self.deviation, 16_384.0, 0xffff) << 28
            | fixed(self.sum, 128.0, 0xfff) << 16
            | u64::from(self.seen) << 8
            | u64::from(self.outliers)
    }

    fn sigma(self) -> f32 {
        (self.deviation * NORMAL).max(FLOOR)
    }

    fn z(self, log: f32) -> Option<f32> {
        (self.seen >= WARM_UP).then(|| (log - self.mean) / self.sigma())
    }

    /// The baseline after a call of `log`, and the call's score by the one before; zero while there is none.
    fn step(self, log: f32, threshold: f32) -> (Self, f32) {
        let Some(z) = self.z(log) else { return (self.learn(log), 0.0) };
        let sum = (self.sum + z.min(CLIP) - SLACK).max(0.0);
        let outliers = if z > threshold { self.outliers.saturating_add(1) } else { 0 };
        let next = if sum > FROZEN { self } else { self.learn(log) };
        (Self { sum, outliers, ..next }, z)
    }

    fn learn(self, log: f32) -> Self {
        // The mean of all so far until the memory is full. The first few cannot be clipped: they are the scale.
        let weight = if self.seen == u8::MAX { 1.0 / MEMORY } else { 1.0 / (f32::from(self.seen) + 1.0).min(MEMORY) };
        let reach = if self.seen < 16 { f32::MAX } else { CLIP * self.sigma() };
        let error = (log - self.mean).clamp(-reach, reach);
        let deviation = if self.seen == 0 { 0.0 } else { self.deviation + (error.abs() - self.deviation) * weight };
        Self { mean: self.mean + error * weight, deviation, seen: self.seen.saturating_add(1), ..self }
    }
}

/// By way of `i64`, which reaches 292 years and for which processors have one instruction.
fn nanos(span: Duration) -> f32 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX) as f32
}

/// log₂ of `value` within 0.01: the exponent bits, and a parabola through both ends for the mantissa.
fn log2(value: f32) -> f32 {
    let bits = value.to_bits();
    let exponent = (bits >> 23) as i32 - 128;
    let mantissa = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000);
    exponent as f32 + (2.0 - mantissa / 3.0) * mantissa - 2.0 / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_within_a_hundredth() {
        let mut value = 1.0f32;
        while value < 1e18 {
            assert!((log2(value) - value.log2()).abs() < 0.01, "{value}");
            value *= 1.013;
        }
    }

    #[test]
    fn an_incident_is_not_learnt_and_a_healthy_call_is() {
        let calm = Baseline { mean: 27.0, deviation: 0.4, sum: 0.0, seen: 255, outliers: 0 };
        let (after, _) = calm.step(28.0, 2.5);
        assert!(after.mean > calm.mean);
        let incident = Baseline { sum: FROZEN + 1.0, ..calm };
        let (after, z) = incident.step(29.0, 2.5);
        assert!(z > 2.5 && after.sum > incident.sum);
        assert_eq!((after.mean, after.deviation, after.outliers), (calm.mean, calm.deviation, 1));
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let baseline = Baseline { mean: 29.5, deviation: 0.375, sum: 7.25, seen: 200, outliers: 3 };
        assert_eq!(Baseline::unpack(baseline.pack()), baseline);
        let beyond = Baseline { mean: 99.0, deviation: 9.0, sum: 99.0, seen: 255, outliers: 255 };
        let packed = Baseline::unpack(beyond.pack());
        assert!(packed.mean < 64.0 && packed.deviation < 4.0 && packed.sum < 32.0);
        assert_eq!((packed.seen, packed.outliers), (255, 255));
    }
}
