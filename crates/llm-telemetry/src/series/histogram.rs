//! Histograms of atomics, with bounds in whole units: what is observed is one addition to a bucket and one to the sum.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The upper bounds of a histogram's buckets, rising, in its unit; `per_unit` of them make one of what is shown.
#[derive(Debug, PartialEq)]
pub(crate) struct Bounds<const N: usize> {
    pub(crate) upper: [u64; N],
    pub(crate) per_unit: f64,
}

const MICROS: f64 = 1e6;
const NANOS: f64 = 1e9;

/// The conventions' bounds of an operation's duration: 10 ms, doubling up to 81.92 s. In microseconds.
pub(crate) const DURATIONS: Bounds<14> = Bounds { upper: doubling(10_000), per_unit: MICROS };

const fn doubling(first: u64) -> [u64; 14] {
    let mut upper = [first; 14];
    let mut at = 1;
    while at < 14 {
        upper[at] = 2 * upper[at - 1];
        at += 1;
    }
    upper
}

/// Four bounds where [`DURATIONS`] has one, from 78 µs on, of which those are some: a percentile of so many is known to a
/// fifth. In microseconds.
pub(crate) const FINE_DURATIONS: Bounds<81> = Bounds { upper: quarters(), per_unit: MICROS };

/// `10 ms × 2^(n/4 − 7)`
const fn quarters() -> [u64; 81] {
    // Powers of the fourth root of two, in millionths.
    const ROOTS: [u64; 4] = [1_000_000, 1_189_207, 1_414_214, 1_681_793];
    let mut upper = [0; 81];
    let mut at = 0;
    while at < 81 {
        upper[at] = ((10_000 * ROOTS[at % 4]) << (at / 4)) / (1_000_000 << 7);
        at += 1;
    }
    upper
}

/// The conventions' bounds of the time to the first token, in microseconds.
pub(crate) const FIRST_TOKENS: Bounds<16> = Bounds {
    upper: [
        1_000, 5_000, 10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000,
        5_000_000, 7_500_000, 10_000_000,
    ],
    per_unit: MICROS,
};

/// The conventions' bounds of the time per output token, in microseconds.
pub(crate) const PACES: Bounds<13> = Bounds {
    upper: [
        10_000, 25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 400_000, 500_000, 750_000, 1_000_000,
        2_500_000,
    ],
    per_unit: MICROS,
};

/// The conventions' bounds of tokens: powers of four up to 67,108,864.
pub(crate) const TOKENS: Bounds<14> = Bounds { upper: quadrupling(), per_unit: 1.0 };

const fn quadrupling() -> [u64; 14] {
    let mut upper = [1; 14];
    let mut at = 1;
    while at < 14 {
        upper[at] = 4 * upper[at - 1];
        at += 1;
    }
    upper
}

/// What a request takes of our own time: 5 µs to 100 ms. In nanoseconds.
pub(crate) const OVERHEADS: Bounds<14> = Bounds {
    upper: [
        5_000,
        10_000,
        20_000,
        30_000,
        50_000,
        75_000,
        100_000,
        200_000,
        500_000,
        1_000_000,
        2_500_000,
        5_000_000,
        25_000_000,
        100_000_000,
    ],
    per_unit: NANOS,
};

/// Calls for one request.
pub(crate) const ATTEMPTS: Bounds<6> = Bounds { upper: [0, 1, 2, 3, 4, 8], per_unit: 1.0 };

/// Counts how many observations fell into each bucket.
#[derive(Debug)]
pub(crate) struct Histogram<const N: usize> {
    bounds: &'static Bounds<N>,
    buckets: [AtomicU64; N],
    over: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    pub(crate) const fn new(bounds: &'static Bounds<N>) -> Self {
        Self { bounds, buckets: [const { AtomicU64::new(0) }; N], over: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    // Relaxed, all of them: the counts publish nothing else.
    pub(crate) fn observe(&self, value: u64) {
        let at = self.bounds.upper.partition_point(|upper| *upper < value);
        self.buckets.get(at).unwrap_or(&self.over).fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// All that was observed, added up, in the bounds' unit.
    pub(crate) fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    /// Adds what was counted to `counts`.
    pub(crate) fn read(&self, counts: &mut Counts) {
        counts.of(self.bounds);
        let Counts { buckets, sum, .. } = counts;
        for (count, bucket) in buckets.iter_mut().zip(self.buckets.iter().chain([&self.over])) {
            *count += bucket.load(Relaxed);
        }
        *sum += self.sum() as f64 / self.bounds.per_unit;
    }
}

/// What histograms of the same bounds have counted together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// The upper bounds; above the last there is one bucket more.
    pub(crate) bounds: Vec<f64>,
    /// Observations in each bucket, not those below it.
    pub(crate) buckets: Vec<u64>,
    pub(crate) sum: f64,
}

impl Counts {
    /// Takes on the buckets of `bounds`.
    pub(crate) fn of<const N: usize>(&mut self, bounds: &Bounds<N>) {
        self.bounds.clear();
        self.bounds.extend(bounds.upper.iter().map(|upper| *upper as f64 / bounds.per_unit));
        self.buckets.resize(N + 1, 0);
    }

    /// All observations.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The same observations in the buckets of `bounds`, all of which are bounds here, too.
    pub(crate) fn folded<const N: usize>(&self, bounds: &Bounds<N>) -> Self {
        let mut folded = Self { sum: self.sum, ..Self::default() };
        folded.of(bounds);
        for (at, count) in self.buckets.iter().enumerate() {
            let upper = self.bounds.get(at).copied().unwrap_or(f64::INFINITY);
            let into = folded.bounds.partition_point(|bound| *bound < upper);
            folded.buckets[into] += count;
        }
        folded
    }

    /// Adds `other`, of the same bounds.
    pub(crate) fn add(&mut self, other: &Self) {
        self.bounds.clone_from(&other.bounds);
        self.buckets.resize(other.buckets.len(), 0);
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(count, more)| *count += more);
        self.sum += other.sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_is_below_it() {
        let histogram = Histogram::new(&DURATIONS);
        [0, 10_000, 10_001, 81_920_000, 81_920_001].into_iter().for_each(|value| histogram.observe(value));
        let mut counts = Counts::default();
        histogram.read(&mut counts);
        assert_eq!((counts.buckets[0], counts.buckets[1], counts.buckets[13], counts.buckets[14]), (2, 1, 1, 1));
        assert_eq!((counts.count(), counts.bounds[0], counts.bounds[13]), (5, 0.01, 81.92));
        assert!((counts.sum - 163.860_002).abs() < 1e-9);
    }

    #[test]
    fn what_was_counted_finely_is_the_same_when_folded() {
        let (fine, coarse) = (Histogram::new(&FINE_DURATIONS), Histogram::new(&DURATIONS));
        let near = DURATIONS.upper.iter().chain(&FINE_DURATIONS.upper).flat_map(|bound| [bound - 1, *bound, bound + 1]);
        for value in near.chain([0, 1, u64::from(u32::MAX)]) {
            fine.observe(value);
            coarse.observe(value);
        }
        let (mut folded, mut counts) = (Counts::default(), Counts::default());
        fine.read(&mut folded);
        coarse.read(&mut counts);
        assert_eq!(folded.folded(&DURATIONS), counts);
    }

    #[test]
    fn the_bounds_rise() {
        fn rises<const N: usize>(bounds: &Bounds<N>) -> bool {
            bounds.upper.is_sorted_by(|one, next| one < next)
        }
        assert!(rises(&DURATIONS) && rises(&FIRST_TOKENS) && rises(&PACES) && rises(&TOKENS));
        assert!(rises(&OVERHEADS) && rises(&ATTEMPTS) && rises(&FINE_DURATIONS));
        assert_eq!((FINE_DURATIONS.upper[0], FINE_DURATIONS.upper[80]), (78, DURATIONS.upper[13]));
        assert_eq!((TOKENS.upper[13], DURATIONS.upper[13]), (67_108_864, 81_920_000));
    }
}
