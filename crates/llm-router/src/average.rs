//! A moving average and its time, in one atomic word.

use std::time::Duration;

use llm_core::Tick;
use llm_core::sync::{AtomicU64, Ordering};

/// An exponentially weighted moving average: `(f32 value, u32 time)` in one word, so that nobody reads a value
/// with another value's time.
///
/// A sample `s` after a pause of `t` moves the value `v` to `v + a·(s − v)`, `a = max(1 − e^(−t/span), 1/n)`: where
/// samples are rare the pause decides, where they are many the last `n` or so do.
///
/// Time counts in 2²⁰ ns, about a millisecond, and wraps after 52 days: a target unused for that long looks as if
/// it had just been used.
#[derive(Debug)]
pub(crate) struct Average {
    word: AtomicU64,
    memory: Memory,
}

/// How long an average remembers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) span: Duration,
    /// At least 1.
    pub(crate) samples: u16,
}

/// Whether a sample above the average is believed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rise {
    /// At once, and forgotten gradually: Peak-EWMA, as Finagle's balancer defines it.
    Peak,
    /// As slowly as a fall.
    Smooth,
}

/// No sample yet: a value that is not a number.
const EMPTY: u64 = u64::MAX;

/// A clock read this much before another's write is taken for the same time: a minute.
const SLACK: u32 = 57_220;

impl Average {
    pub(crate) fn new(span: Duration, samples: u16) -> Self {
        Self { word: AtomicU64::new(EMPTY), memory: Memory { span, samples } }
    }

    /// Takes `sample`, which is finite and not negative, in.
    pub(crate) fn observe(&self, sample: f32, rise: Rise, now: Tick) {
        // Relaxed: the word is the whole state, it publishes nothing else.
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let next = after(seen, sample, rise, self.memory, stamp(now));
            match self.word.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(actual) => seen = actual,
            }
        }
    }

    /// The average as of its last sample.
    pub(crate) fn value(&self) -> Option<f32> {
        unpack(self.word.load(Ordering::Relaxed)).map(|(value, _)| value)
    }

    /// The average, fallen towards 0 since its last sample: `v·e^(−t/span)`.
    pub(crate) fn decayed(&self, now: Tick) -> Option<f32> {
        let (value, at) = unpack(self.word.load(Ordering::Relaxed))?;
        // Most shares of failures are 0, and an exponential costs more than all the rest.
        Some(if value == 0.0 { 0.0 } else { value * remains(elapsed(at, stamp(now)), self.memory.span) })
    }

    /// The time since the last sample.
    pub(crate) fn age(&self, now: Tick) -> Option<Duration> {
        let (_, at) = unpack(self.word.load(Ordering::Relaxed))?;
        Some(Duration::from_nanos(u64::from(elapsed(at, stamp(now))) << 20))
    }
}

fn after(word: u64, sample: f32, rise: Rise, memory: Memory, now: u32) -> u64 {
    let Some((value, at)) = unpack(word) else { return pack(sample, now) };
    let elapsed = elapsed(at, now);
    let weight = (1.0 - remains(elapsed, memory.span)).max(1.0 / f32::from(memory.samples));
    let next = if rise == Rise::Peak && sample > value { sample } else { value + weight * (sample - value) };
    pack(next, at.wrapping_add(elapsed))
}

const fn stamp(now: Tick) -> u32 {
    (now.as_nanos() >> 20) as u32
}

const fn elapsed(at: u32, now: u32) -> u32 {
    let span = now.wrapping_sub(at);
    if span > u32::MAX - SLACK { 0 } else { span }
}

fn remains(elapsed: u32, span: Duration) -> f32 {
    if elapsed == 0 {
        return 1.0;
    }
    let seconds = elapsed as f32 * ((1u64 << 20) as f32 / 1e9);
    (-seconds / span.as_secs_f32()).exp()
}

const fn pack(value: f32, at: u32) -> u64 {
    (value.to_bits() as u64) << 32 | at as u64
}

const fn unpack(word: u64) -> Option<(f32, u32)> {
    if word == EMPTY { None } else { Some((f32::from_bits((word >> 32) as u32), word as u32)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: Duration = Duration::from_secs(10);
    const START: Tick = Tick::from_nanos(3_600_000_000_000);

    #[test]
    fn a_peak_is_believed_at_once_and_forgotten_by_a_third_in_each_span() {
        let average = Average::new(SPAN, 32);
        average.observe(1.0, Rise::Peak, START);
        average.observe(30.0, Rise::Peak, START);
        assert_eq!(average.value(), Some(30.0));
        let left = average.decayed(START.after(SPAN)).unwrap();
        assert!((left - 30.0 / std::f32::consts::E).abs() < 0.01, "{left}");
        average.observe(1.0, Rise::Peak, START.after(SPAN));
        let mixed = average.value().unwrap();
        assert!((mixed - (1.0 + 29.0 / std::f32::consts::E)).abs() < 0.01, "{mixed}");
    }

    #[test]
    fn a_crowd_of_samples_in_one_moment_counts() {
        let average = Average::new(SPAN, 32);
        average.observe(1.0, Rise::Smooth, START);
        (0..200).for_each(|_| average.observe(3.0, Rise::Smooth, START));
        assert!((average.value().unwrap() - 3.0).abs() < 0.01);
    }

    #[test]
    fn a_clock_read_before_the_last_write_is_no_pause() {
        let average = Average::new(SPAN, 32);
        average.observe(1.0, Rise::Smooth, START.after(SPAN));
        assert_eq!(average.age(START), Some(Duration::ZERO));
        average.observe(2.0, Rise::Smooth, START);
        assert_eq!(average.age(START.after(SPAN)), Some(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn it_follows_its_formula(samples in proptest::collection::vec((0.001f64..100.0, 1u64..20_000), 1..50)) {
            let average = Average::new(SPAN, 32);
            let (mut now, mut model) = (START, None::<f64>);
            for (sample, millis) in samples {
                let pause = Duration::from_nanos(millis << 20);
                now = now.after(pause);
                average.observe(sample as f32, Rise::Smooth, now);
                let weight = (1.0 - (-pause.as_secs_f64() / 10.0).exp()).max(1.0 / 32.0);
                model = Some(model.map_or(sample, |value| value + weight * (sample - value)));
                let (is, should) = (f64::from(average.value().unwrap()), model.unwrap());
                prop_assert!((is - should).abs() < 1e-3 * should.max(1.0), "{is} {should}");
            }
        }
    }
}

#[cfg(all(test, llm_loom))]
mod loom_tests {
    use llm_core::sync::Arc;

    use super::*;

    const SPAN: Duration = Duration::from_secs(10);
    const NOW: Tick = Tick::from_nanos(3_600_000_000_000);

    #[test]
    fn no_peak_is_lost_to_another_sample() {
        loom::model(|| {
            let average = Arc::new(Average::new(SPAN, 32));
            let other = {
                let average = average.clone();
                loom::thread::spawn(move || average.observe(9.0, Rise::Peak, NOW))
            };
            average.observe(1.0, Rise::Peak, NOW);
            other.join().unwrap();
            // The peak came first and one small sample after it, or last.
            let value = average.value().unwrap();
            assert!(value == 9.0 || value == 9.0 - 8.0 / 32.0, "{value}");
        });
    }

    #[test]
    fn both_samples_move_a_smooth_average() {
        loom::model(|| {
            let average = Arc::new(Average::new(SPAN, 32));
            average.observe(0.0, Rise::Smooth, NOW);
            let other = {
                let average = average.clone();
                loom::thread::spawn(move || average.observe(32.0, Rise::Smooth, NOW))
            };
            average.observe(32.0, Rise::Smooth, NOW);
            other.join().unwrap();
            assert_eq!(average.value(), Some(1.0 + 31.0 / 32.0));
        });
    }
}
