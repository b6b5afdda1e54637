//! Finds calls that take longer than this circuit's calls do.
//!
//! Times are judged by their log₂, in which what doubles moves by one wherever it began and heavy tails grow
//! short. Each metric has a baseline of its own: a running mean and a running mean of absolute deviations, both
//! over calls clipped to four deviations, so that no single call moves them far. A call is first judged and then
//! learnt. What a call is above its baseline goes clipped into a one-sided CUSUM, with σ the deviation:
//!
//! `sum = max(0, sum + min(x − mean, CLIP·σ) − SLACK·σ)`, alarm at `sum ≥ ALARM·σ`.
//!
//! On normal data with `b = ALARM + 1.166` the mean run to a false alarm is `(e^{2kb} − 2kb − 1) / 2k²`, `k` the
//! slack: 10^18 calls here. Healthy calls are not normal, their tails are heavier: there a run of slow
//! calls is as rare as `e^{−θ·ALARM}` with `E[e^{θ(min(z, CLIP) − k)}] = 1`. A slack of one deviation, where
//! textbooks have a half, makes up for the tail; it gives away shifts below one deviation, which nobody opens a
//! circuit for.
//!
//! All of it is whole numbers, additions and shifts, for a call waits for the one before it: the sum is kept in
//! the unit of the logarithm and not in deviations, so that nothing is divided.

use std::time::Duration;

use llm_core::sync::{AtomicU64, Ordering::Relaxed};

use crate::config::Anomaly;
use crate::logarithm::{LOG2_FRACTION, log2};
use crate::timing::{Metric, Timing};

/// Calls that are learnt before the first is judged.
const WARM_UP: u8 = 64;
/// What one call can add to the sum or be learnt as, in deviations.
const CLIP: i64 = 4;
/// In deviations.
const SLACK: i64 = 1;
/// In deviations.
const ALARM: i64 = 20;
/// Above it nothing is learnt: an incident is not to become the norm that it is measured by.
const FROZEN: i64 = ALARM / 2;
/// One, in the unit of a baseline.
const ONE: i64 = 1 << LOG2_FRACTION;
/// The least a deviation is taken for, in log₂: a change by less than a fifth is none, however steady calls are.
const FLOOR: i64 = ONE / 4;
/// The standard deviation of a normal variable over its mean absolute one, √(π/2), in 1/256.
const NORMAL: i64 = 321;
/// Binary digits by which the sum is coarser than the rest.
const COARSE: u32 = 8;
/// log₂ of the nanoseconds from which on times are told apart: a microsecond.
const LEAST: u32 = 10;
/// The time from which on they are not, 73 minutes: 2^42 ns less a second.
const MOST_SECS: u64 = 4397;

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
    pub(crate) z: f64,
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
        let alarm = self.observe_one(config, Metric::Latency, timing.latency);
        if timing.first_token.or(timing.token_gap).is_none() {
            alarm
        } else {
            self.observe_stream(alarm, config, timing)
        }
    }

    /// What a response in parts tells beyond its latency.
    #[inline(never)]
    fn observe_stream(&self, alarm: Option<Alarm>, config: &Anomaly, timing: &Timing) -> Option<Alarm> {
        let observe = |metric, span: Option<Duration>| self.observe_one(config, metric, span?);
        let first_token = observe(Metric::FirstToken, timing.first_token);
        let token_gap = observe(Metric::TokenGap, timing.token_gap);
        alarm.or(first_token).or(token_gap)
    }

    #[inline]
    fn observe_one(&self, config: &Anomaly, metric: Metric, span: Duration) -> Option<Alarm> {
        if span.is_zero() {
            return None;
        }
        let log = log(span);
        let word = &self.words[metric as usize];
        // Relaxed: the word is the metric's whole state, it publishes nothing else.
        let mut seen = word.load(Relaxed);
        loop {
            let before = Baseline::unpack(seen);
            let (next, mut is_alarm) = if before.seen < WARM_UP {
                (learn_first(seen, log), false)
            } else if before.seen < u8::MAX {
                judge_early(seen, log)
            } else {
                let (after, is_alarm) = before.judge(log, Baseline::learn);
                (after.pack(), is_alarm)
            };
            let (next, outliers) = match config.outliers {
                None => (next, 0),
                Some(many) => {
                    let (next, outliers) = before.count(next, config.z, log);
                    is_alarm |= outliers >= many;
                    (next, outliers)
                }
            };
            match word.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) if is_alarm => return Some(Alarm { metric, z: before.z(log), outliers }),
                Ok(_) => return None,
                Err(actual) => seen = actual,
            }
        }
    }

    /// Whether a call of `timing` is an outlier.
    pub(crate) fn outlier(&self, config: &Anomaly, timing: &Timing) -> bool {
        Metric::ALL.into_iter().any(|metric| self.score(metric, timing).is_some_and(|z| z > config.z))
    }

    pub(crate) fn scores(&self, timing: &Timing) -> Scores {
        let score = |metric| self.score(metric, timing);
        Scores {
            latency: score(Metric::Latency),
            first_token: score(Metric::FirstToken),
            token_gap: score(Metric::TokenGap),
        }
    }

    /// Forgets what led to an alarm and keeps the baselines.
    pub(crate) fn calm(&self) {
        for word in &self.words {
            let calm = |seen| Baseline { sum: 0, outliers: 0, ..Baseline::unpack(seen) }.pack();
            let mut seen = word.load(Relaxed);
            while let Err(actual) = word.compare_exchange_weak(seen, calm(seen), Relaxed, Relaxed) {
                seen = actual;
            }
        }
    }

    /// Forgets all.
    pub(crate) fn forget(&self) {
        self.words.iter().for_each(|word| word.store(0, Relaxed));
    }

    fn score(&self, metric: Metric, timing: &Timing) -> Option<f64> {
        let baseline = Baseline::unpack(self.words[metric as usize].load(Relaxed));
        let span = metric.of(timing)?;
        (baseline.seen >= WARM_UP).then(|| baseline.z(log(span)))
    }
}

/// What is known of a metric, in 2⁻¹⁴. Packed: `mean:19 | deviation:16 | sum:13 | seen:8 | outliers:8`, the sum in
/// 2⁻⁶; a 256th of any error above 0.008 still moves the first two.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Baseline {
    /// log₂ of the time over a microsecond, below 32.
    mean: i64,
    /// Mean absolute deviation, below 4.
    deviation: i64,
    /// The CUSUM, below 128, in steps of 2⁻⁶.
    sum: i64,
    /// Calls learnt, 255 at most.
    seen: u8,
    /// Outliers in a row, 255 at most; 0 where they are not counted.
    outliers: u8,
}

const DEVIATION_BITS: u32 = 16;
const MOST_DEVIATION: i64 = (1 << DEVIATION_BITS) - 1;
const SUM_BITS: u32 = 13;
const MOST_SUM: i64 = ((1 << SUM_BITS) - 1) << COARSE;

impl Baseline {
    #[inline]
    const fn unpack(word: u64) -> Self {
        Self {
            mean: (word >> (16 + SUM_BITS + DEVIATION_BITS)) as i64,
            deviation: ((word >> (16 + SUM_BITS)) & ((1 << DEVIATION_BITS) - 1)) as i64,
            sum: (((word >> 16) & ((1 << SUM_BITS) - 1)) << COARSE) as i64,
            seen: (word >> 8) as u8,
            outliers: word as u8,
        }
    }

    #[inline]
    const fn pack(self) -> u64 {
        // The mean is between times, which are in bounds.
        (self.mean as u64) << (16 + SUM_BITS + DEVIATION_BITS)
            | (self.deviation as u64) << (16 + SUM_BITS)
            | (self.sum as u64 >> COARSE) << 16
            | (self.seen as u64) << 8
            | self.outliers as u64
    }

    #[inline]
    const fn sigma(&self) -> i64 {
        larger((self.deviation * NORMAL) >> 8, FLOOR)
    }

    /// What `log` is above the mean, in deviations.
    fn z(&self, log: i64) -> f64 {
        (log - self.mean) as f64 / self.sigma() as f64
    }

    /// The baseline after a call of `log`, of which `learn` learns what it is clipped to, and whether the sum calls
    /// for an alarm.
    #[inline]
    fn judge(&self, log: i64, learn: impl Fn(&Self, i64) -> Self) -> (Self, bool) {
        let (error, sigma) = (log - self.mean, self.sigma());
        let reach = CLIP * sigma;
        let above = smaller(error, reach);
        // The sum is rounded to its steps, halves up and down alike.
        let sum = larger(self.sum + above - SLACK * sigma + (1 << (COARSE - 1)), 0);
        let sum = smaller(sum, MOST_SUM) & !((1 << COARSE) - 1);
        let learnt = learn(self, larger(above, -reach));
        let Self { mean, deviation, seen, .. } = if sum > FROZEN * sigma { *self } else { learnt };
        (Self { mean, deviation, sum, seen, outliers: 0 }, sum >= ALARM * sigma)
    }

    /// With `error` learnt when the memory is full.
    #[inline]
    fn learn(&self, error: i64) -> Self {
        let part = |of: i64| (of + 128) >> 8;
        let deviation = self.deviation + part(error.abs() - self.deviation);
        Self { mean: self.mean + part(error), deviation: smaller(deviation, MOST_DEVIATION), ..*self }
    }

    /// While the memory fills the mean is that of all so far.
    fn learn_early(&self, error: i64) -> Self {
        let count = i64::from(self.seen) + 1;
        let part = |of: i64| (of + count / 2).div_euclid(count);
        let deviation = if self.seen == 0 { 0 } else { self.deviation + part(error.abs() - self.deviation) };
        let deviation = smaller(deviation, MOST_DEVIATION);
        Self { mean: self.mean + part(error), deviation, seen: self.seen + 1, ..*self }
    }

    /// Puts into `next` how many outliers there have been in a row with a call of `log`, which is one when it lies more
    /// than `z` deviations above this baseline.
    fn count(&self, next: u64, z: f64, log: i64) -> (u64, u8) {
        let is_outlier = self.seen >= WARM_UP && self.z(log) > z;
        let outliers = if is_outlier { self.outliers.saturating_add(1) } else { 0 };
        (next | u64::from(outliers), outliers)
    }
}

// Words in and words out, so that what is common stays in registers.

/// A call before any is judged. The first few cannot be clipped: they are the scale.
#[cold]
#[inline(never)]
fn learn_first(seen: u64, log: i64) -> u64 {
    let before = Baseline::unpack(seen);
    let (error, reach) = (log - before.mean, CLIP * before.sigma());
    before.learn_early(if before.seen < 16 { error } else { error.clamp(-reach, reach) }).pack()
}

/// A call while the memory is not full.
#[cold]
#[inline(never)]
fn judge_early(seen: u64, log: i64) -> (u64, bool) {
    let (after, is_alarm) = Baseline::unpack(seen).judge(log, Baseline::learn_early);
    (after.pack(), is_alarm)
}

#[inline]
const fn smaller(a: i64, b: i64) -> i64 {
    if a < b { a } else { b }
}

#[inline]
const fn larger(a: i64, b: i64) -> i64 {
    if a > b { a } else { b }
}

/// log₂ of a time over a microsecond, in 2⁻¹⁴.
#[inline]
fn log(span: Duration) -> i64 {
    // Bounded before it is multiplied: to find out afterwards costs more than the rest.
    let nanos = span.as_secs().min(MOST_SECS) * 1_000_000_000 + u64::from(span.subsec_nanos());
    i64::from(log2(nanos.max(1 << LEAST))) - i64::from(LEAST) * ONE
}

#[cfg(all(test, not(llm_loom)))]
mod tests {
    use super::*;

    /// log₂ of the longest time.
    const MOST: i64 = 32 * ONE - 1;

    impl Baseline {
        fn step(&self, log: i64) -> (Self, bool) {
            match self.seen {
                0..WARM_UP => (Self::unpack(learn_first(self.pack(), log)), false),
                u8::MAX => self.judge(log, Self::learn),
                _ => self.judge(log, Self::learn_early),
            }
        }
    }

    fn real(value: f64) -> i64 {
        (value * ONE as f64) as i64
    }

    #[test]
    fn an_incident_is_not_learnt_and_a_healthy_call_is() {
        let calm = Baseline { mean: real(17.0), deviation: real(0.4), sum: 0, seen: 255, outliers: 0 };
        let (after, _) = calm.step(real(18.0));
        assert!(after.mean > calm.mean);
        let incident = Baseline { sum: (FROZEN + 1) * calm.sigma(), ..calm };
        let (after, _) = incident.step(real(19.0));
        assert!(calm.z(real(19.0)) > 2.5 && after.sum > incident.sum);
        assert_eq!((after.mean, after.deviation), (calm.mean, calm.deviation));
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let baseline = Baseline { mean: real(29.5), deviation: real(0.375), sum: real(7.25), seen: 200, outliers: 3 };
        assert_eq!(Baseline::unpack(baseline.pack()), baseline);
    }

    #[test]
    fn times_are_told_apart_between_a_microsecond_and_73_minutes() {
        assert_eq!((log(Duration::ZERO), log(Duration::from_nanos(1024))), (0, 0));
        assert_eq!(log(Duration::from_nanos(2048)), ONE);
        assert!(log(Duration::from_secs(4397)) > log(Duration::from_secs(4300)));
        let longest = log(Duration::MAX);
        assert!((MOST - ONE / 100..=MOST).contains(&longest));
    }

    #[test]
    fn outliers_are_counted_in_a_row() {
        let calm = Baseline { mean: real(17.0), deviation: real(0.4), sum: 0, seen: 255, outliers: 3 };
        let outliers = |log: f64| calm.count(0, 2.5, real(log));
        assert_eq!(outliers(18.2), (0, 0));
        assert_eq!(outliers(18.4), (4, 4));
        assert_eq!(Baseline { seen: 63, ..calm }.count(0, 2.5, real(30.0)), (0, 0), "nothing is judged yet");
        assert_eq!(Baseline { outliers: 255, ..calm }.count(0, 2.5, real(30.0)), (255, 255));
    }

    #[test]
    fn no_run_of_calls_leaves_the_bounds() {
        // From one end to the other and back, in runs of all lengths.
        for run in [1, 2, 3, 7, 100, 1000] {
            let mut baseline = Baseline::unpack(0);
            for call in 0..10_000 {
                let end = if call / run % 2 == 0 { 0 } else { MOST };
                let (after, is_alarm) = baseline.step(end);
                assert_eq!(Baseline::unpack(after.pack()), after, "{run}, {call}");
                baseline = if is_alarm && call % 2 == 0 { Baseline { sum: 0, ..after } } else { after };
            }
        }
    }

    /// The formulas of the module's documentation, in floating point.
    struct Naive {
        mean: f64,
        deviation: f64,
        sum: f64,
        seen: f64,
    }

    impl Naive {
        fn step(&mut self, x: f64) -> f64 {
            let sigma = (self.deviation * std::f64::consts::FRAC_PI_2.sqrt()).max(0.25);
            let error = x - self.mean;
            if self.seen >= 64.0 {
                self.sum = (self.sum + error.min(4.0 * sigma) - sigma).max(0.0);
            }
            if self.sum <= 10.0 * sigma {
                let clipped = if self.seen < 16.0 { error } else { error.clamp(-4.0 * sigma, 4.0 * sigma) };
                let weight = 1.0 / (self.seen + 1.0).min(256.0);
                if self.seen > 0.0 {
                    self.deviation += (clipped.abs() - self.deviation) * weight;
                }
                self.mean += clipped * weight;
                self.seen += 1.0;
            }
            self.sum / sigma
        }
    }

    #[test]
    fn whole_numbers_follow_the_formulas() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut naive = Naive { mean: 0.0, deviation: 0.0, sum: 0.0, seen: 0.0 };
        let mut baseline = Baseline::unpack(0);
        for call in 0..20_000 {
            // Twelve uniforms are normal; a shift comes and goes.
            let normal = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
            let x = 17.0 + 0.6 * normal + if call % 5000 > 4900 { 0.7 } else { 0.0 };
            let sum = naive.step(x);
            (baseline, _) = baseline.step(real(x));
            let (mean, deviation) = (baseline.mean as f64 / ONE as f64, baseline.deviation as f64 / ONE as f64);
            assert!((mean - naive.mean).abs() < 0.02, "{call}: {mean} for {}", naive.mean);
            assert!((deviation - naive.deviation).abs() < 0.02, "{call}: {deviation} for {}", naive.deviation);
            let found = baseline.sum as f64 / baseline.sigma() as f64;
            assert!((found - sum).abs() < 0.5 + 0.1 * sum, "{call}: {found} for {sum}");
            if sum >= 20.0 {
                (naive.sum, baseline.sum) = (0.0, 0);
            }
        }
    }
}

#[cfg(test)]
#[cfg(llm_loom)]
mod loom_tests {
    use llm_core::sync::Arc;

    use super::*;

    #[test]
    fn of_two_calls_at_once_both_are_learnt() {
        loom::model(|| {
            let detector = Arc::new(Detector::new());
            let timing = Timing::from(Duration::from_millis(100));
            let other = {
                let detector = detector.clone();
                loom::thread::spawn(move || detector.observe(&Anomaly::default(), &timing))
            };
            detector.observe(&Anomaly::default(), &timing);
            other.join().unwrap();
            let baseline = Baseline::unpack(detector.words[Metric::Latency as usize].load(Relaxed));
            assert_eq!((baseline.seen, baseline.mean), (2, log(timing.latency)));
        });
    }
}
