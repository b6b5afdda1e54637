//! Histograms of times by their logarithm: small, of one size, written by many threads at once without a lock.
//!
//! An octave has seventeen buckets, equally wide, so that the time that stands for a bucket is within 1/35, 2.9 %, of all
//! that are in it. The buckets of all histograms are the same: their sums are the histogram of all.

use std::time::Duration;

use crate::slots::Slots;
use crate::sync::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    spin_loop,
};
use crate::time::Tick;

/// Nanoseconds: the first bucket begins at 2^13, 8 µs.
const FIRST: u32 = 13;
/// Up to 2^43 ns, 146 minutes.
const OCTAVES: u32 = 30;
/// The longest time that fits: less than a second short of 2^43 ns.
const MOST_SECS: u64 = 8795;
/// Buckets of an octave.
const EACH: u32 = 17;
/// A model checker needs no more than one bucket and another.
const BUCKETS: usize = if cfg!(llm_loom) { 2 } else { (OCTAVES * EACH) as usize };

/// How many times were how long: 2 KB, one addition to record. Times below 8 µs count as 8 µs, times above 146
/// minutes as 146 minutes. A bucket's count starts anew after 2³² times.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU32; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// An empty histogram.
    #[must_use]
    pub fn new() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU32::new(0)) }
    }

    /// Counts a time.
    #[inline]
    pub fn record(&self, span: Duration) {
        // Relaxed: counts publish nothing.
        self.counts[bucket(nanos(span))].fetch_add(1, Relaxed);
    }

    /// How the times recorded so far are spread.
    #[must_use]
    pub fn distribution(&self) -> Distribution {
        let mut distribution = Distribution::default();
        distribution.add(self);
        distribution
    }

    fn count(&self) -> u64 {
        // Acquire: who sees a count that has been emptied sees that its slot was being emptied.
        self.counts.iter().map(|count| u64::from(count.load(Acquire))).sum()
    }

    /// Sets all counts to zero: how many there were.
    fn empty(&self) -> u64 {
        // Release: as in counting.
        self.counts.iter().map(|count| u64::from(count.swap(0, Release))).sum()
    }
}

/// How times are spread, at one look. Those recorded meanwhile may be in it or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    counts: [u64; BUCKETS],
    count: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], count: 0 }
    }
}

impl Distribution {
    /// Adds the times of another histogram.
    pub fn add(&mut self, histogram: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(&histogram.counts) {
            let count = u64::from(count.load(Relaxed));
            *sum += count;
            self.count += count;
        }
    }

    /// Adds the times of another distribution.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.count += other.count;
    }

    /// How many times there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The time that a share of `share` (0..=1) took no longer than, within 3 %: of `n` times the `⌈share · n⌉`th. Zero
    /// when there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (share * self.count as f64).ceil().clamp(1.0, (self.count as f64).max(1.0)) as u64;
        let mut below = 0;
        let found = self.counts.iter().position(|count| {
            below += count;
            below >= rank
        });
        found.map_or(Duration::ZERO, |bucket| Duration::from_secs_f64(middle(bucket) / 1e9))
    }

    /// The mean, within 3 %; zero when there are none.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let sum: f64 = self.counts.iter().enumerate().map(|(at, &count)| middle(at) * count as f64).sum();
        if self.count == 0 { Duration::ZERO } else { Duration::from_secs_f64(sum / self.count as f64 / 1e9) }
    }
}

/// How many slots the window of a [`SlidingHistogram`] has.
const RING: usize = 6;

/// The number of a slot that is being emptied.
const EMPTYING: u64 = u64::MAX;

/// A [`Histogram`] of the last while: 12 KB, a ring of six slots, of which the window is the running one and the five
/// before. What it forgets it still counts.
#[derive(Debug)]
pub struct SlidingHistogram {
    slots: Slots,
    ring: [Slot; RING],
    /// Times that no slot holds any longer.
    forgotten: AtomicU64,
}

#[derive(Debug)]
struct Slot {
    number: AtomicU64,
    times: Histogram,
}

impl SlidingHistogram {
    /// An empty histogram of the last `window`, 12 ns at least; it slides in sixths: what it holds is of between five
    /// sixths of it and all.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        let slot = || Slot { number: AtomicU64::new(0), times: Histogram::new() };
        Self {
            slots: Slots::new(window / RING as u32),
            ring: std::array::from_fn(|_| slot()),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Counts a time that ended at `now`. While a slot is being emptied, which takes a microsecond or two, and when
    /// `now` is more than a window behind, it is counted as forgotten.
    #[inline]
    pub fn record(&self, span: Duration, now: Tick) {
        let number = self.slots.number(now);
        let slot = self.slot(number);
        // Acquire: with the number come the zeros.
        if slot.number.load(Acquire) == number || self.begin(slot, number) {
            slot.times.record(span);
        } else {
            self.forgotten.fetch_add(1, Relaxed);
        }
    }

    /// Empties a slot for `number`; false when it holds later times, or another thread is at it.
    #[cold]
    fn begin(&self, slot: &Slot, number: u64) -> bool {
        let seen = slot.number.load(Relaxed);
        if seen == EMPTYING || seen > number {
            return seen == number;
        }
        // Relaxed: what follows is published by the counts and by the number.
        if slot.number.compare_exchange(seen, EMPTYING, Relaxed, Relaxed).is_err() {
            return false;
        }
        // Release: who sees them as forgotten sees that the slot was being emptied.
        self.forgotten.fetch_add(slot.times.empty(), Release);
        // Release: who sees the number sees the zeros, and what was forgotten.
        slot.number.store(number, Release);
        true
    }

    fn slot(&self, number: u64) -> &Slot {
        &self.ring[(number % RING as u64) as usize]
    }

    /// How the times of the window are spread that ends at `now`.
    #[must_use]
    pub fn distribution(&self, now: Tick) -> Distribution {
        let mut distribution = Distribution::default();
        let number = self.slots.number(now);
        for number in number.saturating_sub(RING as u64 - 1)..=number {
            let slot = self.slot(number);
            if slot.number.load(Acquire) == number {
                distribution.add(&slot.times);
            }
        }
        distribution
    }

    /// How many times were ever recorded. It never goes down.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        let numbers = || self.ring.each_ref().map(|slot| slot.number.load(Acquire));
        loop {
            let before = numbers();
            let forgotten = self.forgotten.load(Acquire);
            let held: u64 = self.ring.iter().map(|slot| slot.times.count()).sum();
            // What was emptied meanwhile may have been counted twice, or not at all.
            if !before.contains(&EMPTYING) && numbers() == before {
                return forgotten + held;
            }
            spin_loop();
        }
    }
}

/// Nanoseconds between the ends of the buckets. Bounded before it is multiplied: to find out afterwards that it is too
/// much costs more than the rest.
#[inline]
fn nanos(span: Duration) -> u64 {
    (span.as_secs().min(MOST_SECS) * 1_000_000_000 + u64::from(span.subsec_nanos())).max(1 << FIRST)
}

#[inline]
fn bucket(nanos: u64) -> usize {
    let leading = nanos.leading_zeros();
    // The octave, and 16 digits of what is above its begin.
    let place = u64::from(63 - FIRST - leading) << 16 | ((nanos << leading) >> 47 & 0xffff);
    let bucket = ((place * u64::from(EACH)) >> 16) as usize;
    if cfg!(llm_loom) { bucket % BUCKETS } else { bucket }
}

/// What stands for a bucket, in nanoseconds: as far from its ends, in proportion.
fn middle(bucket: usize) -> f64 {
    let edge =
        |bucket: u32| f64::from(1 << FIRST) * f64::exp2((bucket / EACH).into()) * f64::from(EACH + bucket % EACH);
    let (from, to) = (edge(bucket as u32), edge(bucket as u32 + 1));
    2.0 * from * to / (from + to) / f64::from(EACH)
}

#[cfg(all(test, not(llm_loom)))]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(secs: u64) -> Tick {
        Tick::ZERO.after(Duration::from_secs(secs))
    }

    fn near(found: Duration, exact: Duration) -> bool {
        (found.as_secs_f64() / exact.as_secs_f64() - 1.0).abs() <= 0.03
    }

    #[test]
    fn every_time_is_within_three_percent_of_what_stands_for_it() {
        let mut value = f64::from(1 << FIRST);
        while value < (1u64 << (FIRST + OCTAVES)) as f64 {
            let nanos = value as u64;
            let error = middle(bucket(nanos)) / nanos as f64 - 1.0;
            assert!(error.abs() <= 0.0287, "{nanos}: {error}");
            value *= 1.0007;
        }
    }

    #[test]
    fn times_beyond_the_buckets_count_at_their_ends() {
        for (span, least, most) in [(Duration::ZERO, 8e-6, 9e-6), (Duration::MAX, 8400.0, 8800.0)] {
            let histogram = Histogram::new();
            histogram.record(span);
            let found = histogram.distribution().quantile(0.5).as_secs_f64();
            assert!((least..most).contains(&found), "{found}");
        }
        assert!(size_of::<Histogram>() <= 2048 && size_of::<SlidingHistogram>() <= 12_400);
    }

    #[test]
    fn nothing_has_no_quantiles() {
        let nothing = Histogram::new().distribution();
        assert_eq!((nothing.count(), nothing.quantile(0.99), nothing.mean()), (0, Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn a_window_forgets_slot_by_slot_and_counts_on() {
        let window = SlidingHistogram::new(MINUTE);
        window.record(Duration::from_secs(1), at(3600));
        for _ in 0..3 {
            window.record(Duration::from_millis(10), at(3630));
        }
        assert_eq!(window.distribution(at(3659)).count(), 4);
        assert!(near(window.distribution(at(3659)).quantile(1.0), Duration::from_secs(1)));
        assert_eq!(window.distribution(at(3660)).count(), 3);
        assert_eq!(window.distribution(at(3690)).count(), 0);
        window.record(Duration::from_millis(5), at(3690));
        let after = window.distribution(at(3690));
        assert!(after.count() == 1 && near(after.quantile(0.5), Duration::from_millis(5)));
        assert_eq!(window.recorded(), 5);
    }

    #[test]
    fn what_comes_a_window_late_is_counted_and_changes_nothing_else() {
        let window = SlidingHistogram::new(MINUTE);
        window.record(Duration::from_secs(1), at(3600));
        window.record(Duration::from_secs(9), at(3540));
        assert_eq!(window.recorded(), 2);
        assert!(near(window.distribution(at(3600)).quantile(1.0), Duration::from_secs(1)));
    }
}

#[cfg(test)]
#[cfg(llm_loom)]
mod loom_tests {
    use super::*;
    use crate::sync::Arc;

    const SPAN: Duration = Duration::from_secs(1);
    /// The same place of the ring.
    const EARLY: Tick = Tick::from_nanos(1_000_000_000);
    const LATE: Tick = Tick::from_nanos(7_000_000_000);

    fn window() -> Arc<SlidingHistogram> {
        let window = Arc::new(SlidingHistogram::new(Duration::from_secs(6)));
        window.record(SPAN, EARLY);
        window
    }

    #[test]
    fn times_at_the_turn_of_a_slot_are_counted_once_each_and_the_old_ones_are_gone() {
        loom::model(|| {
            let window = window();
            let other = {
                let window = window.clone();
                loom::thread::spawn(move || window.record(SPAN, LATE))
            };
            window.record(SPAN, LATE);
            other.join().unwrap();
            assert_eq!(window.recorded(), 3);
            // One may have been forgotten while the other emptied the slot.
            assert!((1..=2).contains(&window.distribution(LATE).count()));
        });
    }

    #[test]
    fn what_a_slot_holds_is_not_emptied_for_an_earlier_time() {
        const LATER: Tick = Tick::from_nanos(13_000_000_000);
        loom::model(|| {
            let window = window();
            let other = {
                let window = window.clone();
                loom::thread::spawn(move || window.record(SPAN, LATE))
            };
            window.record(SPAN, LATER);
            let held = window.distribution(LATER).count();
            window.record(SPAN, LATER);
            // The other's may come late and be counted here.
            assert!(held == 0 || window.distribution(LATER).count() > held);
            other.join().unwrap();
            assert_eq!(window.recorded(), 4);
        });
    }

    #[test]
    fn the_count_of_all_never_goes_down_while_a_slot_is_emptied() {
        loom::model(|| {
            let window = window();
            let other = {
                let window = window.clone();
                loom::thread::spawn(move || window.record(SPAN, LATE))
            };
            let (first, second) = (window.recorded(), window.recorded());
            assert!(1 <= first && first <= second && second <= 2, "{first}, then {second}");
            other.join().unwrap();
            assert_eq!(window.recorded(), 2);
        });
    }
}
