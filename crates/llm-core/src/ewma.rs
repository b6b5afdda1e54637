//! Exponentially weighted moving averages over samples that come at any times.

use std::time::Duration;

/// A moving average: a sample `s` of weight `w` moves the value `v` to `v + w·(s − v)`, and the first one is the
/// value. The weight is a [`Memory`]'s, by the time since the last sample.
#[derive(Clone, Copy, Debug)]
pub struct Ewma(f32);

impl Ewma {
    /// Without a sample.
    pub const EMPTY: Self = Self(f32::NAN);

    /// Takes `sample`, which is a finite number, in with a weight of 0 to 1.
    pub fn observe(&mut self, sample: f32, weight: f32) {
        if self.0.is_nan() {
            return self.begin(sample);
        }
        self.0 += weight * (sample - self.0);
    }

    /// Apart, so that what happens once costs the others nothing.
    #[cold]
    const fn begin(&mut self, sample: f32) {
        self.0 = sample;
    }

    /// As [`observe`](Self::observe), but a sample above the value is believed at once: Peak-EWMA, as Finagle's
    /// balancer defines it.
    pub fn observe_peak(&mut self, sample: f32, weight: f32) {
        if sample > self.0 {
            self.0 = sample;
        } else {
            self.observe(sample, weight);
        }
    }

    /// The average; none without a sample.
    #[must_use]
    pub fn value(self) -> Option<f32> {
        (!self.0.is_nan()).then_some(self.0)
    }

    /// The average, not a number without a sample: a form that fits a word.
    #[must_use]
    pub const fn raw(self) -> f32 {
        self.0
    }
}

impl Default for Ewma {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// How long an average remembers: the samples of a span or the last few, whichever is shorter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// Half-lives a nanosecond.
    rate: f32,
    /// The least weight of a sample.
    least: f32,
    /// Nanoseconds within which a sample has the least weight.
    brief: u64,
}

impl Memory {
    /// A memory of `span` or of `samples` samples, each taken for at least 1.
    #[must_use]
    pub fn new(span: Duration, samples: u16) -> Self {
        let nanos = span.as_nanos().max(1) as f64;
        let least = 1.0 / f64::from(samples.max(1));
        // Where 1 − e^(−t/span) reaches the least weight.
        let brief = if least < 1.0 { -nanos * (1.0 - least).ln() } else { f64::INFINITY };
        Self { rate: (std::f64::consts::LOG2_E / nanos) as f32, least: least as f32, brief: brief as u64 }
    }

    /// The weight of a sample that comes so many nanoseconds after the one before: `max(1 − e^(−pause/span),
    /// 1/samples)`. Where samples are rare the pause decides, where they are many their number.
    #[inline]
    #[must_use]
    pub fn weight(&self, pause: u64) -> f32 {
        if pause <= self.brief { self.least } else { 1.0 - left_after(pause, self.rate) }
    }

    /// What is left of a value after so many nanoseconds: `e^(−pause/span)`, to within two ten-thousandths.
    #[inline]
    #[must_use]
    pub fn left(&self, pause: u64) -> f32 {
        left_after(pause, self.rate)
    }
}

/// `e^(−nanos·rate)`, to within two ten-thousandths: of the power of two that it is, the whole part goes to the exponent,
/// the rest, up to a half either way, to a cubic. A call of `exp` would cost more than all else that is done with an
/// average.
#[inline]
fn left_after(nanos: u64, rate: f32) -> f32 {
    // Signed, because that is one instruction.
    let x = nanos as i64 as f32 * rate;
    if x >= 126.0 {
        return 0.0;
    }
    // So large that its last bit is worth 1: the sum is rounded to a whole number, which stands in its low bits.
    const ROUNDER: f32 = 1.5 * (1 << 23) as f32;
    let rounded = x + ROUNDER;
    let rest = x - (rounded - ROUNDER);
    let fraction = 1.0 - rest * (0.693_283 - rest * (0.242_211 - rest * 0.055_009));
    fraction * f32::from_bits((127u32 << 23).wrapping_sub(rounded.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    #[test]
    fn a_peak_is_believed_at_once_and_forgotten_by_a_third_in_each_span() {
        let memory = Memory::new(SPAN, 32);
        let mut peak = Ewma::EMPTY;
        peak.observe_peak(1.0, memory.weight(0));
        peak.observe_peak(30.0, memory.weight(0));
        assert_eq!(peak.value(), Some(30.0));
        peak.observe_peak(1.0, memory.weight(SPAN.as_nanos() as u64));
        let mixed = peak.value().unwrap();
        assert!((mixed - (1.0 + 29.0 / std::f32::consts::E)).abs() < 0.01, "{mixed}");
    }

    #[test]
    fn a_crowd_of_samples_in_one_moment_counts() {
        let memory = Memory::new(SPAN, 32);
        let mut average = Ewma::EMPTY;
        average.observe(1.0, 1.0);
        (0..200).for_each(|_| average.observe(3.0, memory.weight(0)));
        assert!((average.value().unwrap() - 3.0).abs() < 0.01);
        assert_eq!(Ewma::EMPTY.value(), None);
    }

    #[test]
    fn a_memory_of_one_sample_is_that_sample() {
        let mut last = Ewma::EMPTY;
        let memory = Memory::new(SPAN, 1);
        for sample in [3.0, 1.0, 2.0] {
            last.observe(sample, memory.weight(0));
            assert_eq!(last.value(), Some(sample));
        }
    }

    proptest! {
        #[test]
        fn it_follows_its_formula(samples in proptest::collection::vec((0.001f64..100.0, 1u64..20_000), 1..50)) {
            let memory = Memory::new(SPAN, 32);
            let (mut average, mut model) = (Ewma::EMPTY, None::<f64>);
            for (sample, millis) in samples {
                let pause = Duration::from_millis(millis);
                average.observe(sample as f32, memory.weight(pause.as_nanos() as u64));
                let weight = (1.0 - (-pause.as_secs_f64() / 10.0).exp()).max(1.0 / 32.0);
                model = Some(model.map_or(sample, |value| value + weight * (sample - value)));
                let (is, should) = (f64::from(average.value().unwrap()), model.unwrap());
                prop_assert!((is - should).abs() < 1e-3 * should.max(1.0), "{is} {should}");
            }
        }

        #[test]
        fn what_is_left_is_the_exponential(nanos in 0u64..1_000_000_000_000, span in 1u64..100_000_000_000) {
            let memory = Memory::new(Duration::from_nanos(span), 32);
            let left = f64::from(memory.left(nanos));
            let exact = (-(nanos as f64) / span as f64).exp();
            prop_assert!((left - exact).abs() <= 2e-4 * exact.max(1e-30), "{left} {exact}");
        }
    }
}
