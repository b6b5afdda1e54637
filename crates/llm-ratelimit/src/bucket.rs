//! The machine: the generic cell rate algorithm over one word.
//!
//! The word is the time at which the bucket will be full again, in 1/256 nanosecond, modulo 2⁶⁴ (2.28 years).
//! What it is ahead of now is the bucket's *lead*: the time that what is missing takes to refill. Taking `n`
//! units adds `n · T` to the lead, `T = 10⁹ · 256 / rate`; that is refused when it would come to more than
//! `burst · T`. A word that is further ahead than any lead can be lies in the past: the bucket is full. So a bucket
//! that nobody touches for 2.28 years, less its size and an hour, may for that size and hour be taken for an empty
//! one; never for more than full.

use std::time::Duration;

use llm_core::Tick;
use llm_core::sync::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    spin_loop,
};

use crate::quota::{FRACTION, Quota};

/// Why a request may not pass now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// Enough units will have been refilled by then, if nobody else takes them.
    #[error("limited for another {wait:?}")]
    Until {
        /// The wait that suffices.
        wait: Duration,
    },
    /// More units than the burst holds: waiting will not help.
    #[error("{cost} units asked, the burst holds {burst}")]
    TooLarge {
        /// The units asked.
        cost: u32,
        /// The units there are at most.
        burst: u32,
    },
}

/// How far a lead may pass the bucket's size: by bookings and debts, and by readers whose clocks are behind.
const SLACK: u64 = 3_600_000_000_000 << FRACTION;

/// How far bookings and debts go at most: half an hour.
const LONGEST_DEBT: Duration = Duration::from_secs(1800);

/// `span` in the word's units, as far as bookings and debts go.
pub(crate) fn patience(span: Duration) -> u64 {
    (span.min(LONGEST_DEBT).as_nanos() as u64) << FRACTION
}

/// `now` as a word.
pub(crate) const fn at(now: Tick) -> u64 {
    now.as_nanos().wrapping_mul(1 << FRACTION)
}

/// The span that is at least `units` of the word long.
pub(crate) const fn duration(units: u64) -> Duration {
    Duration::from_nanos(units.div_ceil(1 << FRACTION))
}

/// What `word` is ahead of `now`.
#[inline]
pub(crate) const fn lead(word: u64, now: u64, size: u64) -> u64 {
    let ahead = word.wrapping_sub(now);
    // A size is at most a year: the sum does not overflow.
    if ahead > size + SLACK { 0 } else { ahead }
}

/// From `earlier` to `later`, zero when it is the other way round.
pub(crate) const fn since(later: u64, earlier: u64) -> u64 {
    let span = later.wrapping_sub(earlier);
    if span > u64::MAX / 2 { 0 } else { span }
}

/// What taking comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    /// The word to put in the place of the one that was seen.
    pub(crate) next: u64,
    /// The wait until all units are there, in the word's units.
    pub(crate) wait: u64,
}

/// The word after `cost` units were taken at `now` of a bucket whose word was `seen`. Those that are not there yet are
/// booked if they will be within `patience`, in the word's units.
#[inline]
pub(crate) fn spend(seen: u64, quota: Quota, cost: u32, now: Tick, patience: u64) -> Result<Spent, Denied> {
    if cost > quota.burst {
        return Err(Denied::TooLarge { cost, burst: quota.burst });
    }
    let (now, size) = (at(now), quota.size());
    // A lead is at most a year and the slack, a cost within the burst at most a year: neither overflows.
    let after = lead(seen, now, size) + quota.span(cost);
    let wait = after.saturating_sub(size);
    if wait > patience {
        return Err(Denied::Until { wait: duration(wait) });
    }
    Ok(Spent { next: now.wrapping_add(after), wait })
}

/// A quota with what a decision needs of it worked out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauge {
    pub(crate) quota: Quota,
    size: u64,
    /// The lead beyond which a word lies in the past.
    far: u64,
}

impl Gauge {
    pub(crate) const fn new(quota: Quota) -> Self {
        Self { quota, size: quota.size(), far: quota.size() + SLACK }
    }

    /// As [`spend`] without patience, of one unit, when only yes or no is asked for. Without a branch, so that several
    /// can be decided side by side.
    #[inline]
    pub(crate) const fn spend_one(&self, seen: u64, now: u64) -> (u64, bool) {
        self.spend(seen, self.quota.unit, now)
    }

    /// As [`spend_one`](Self::spend_one), of so many units.
    #[inline]
    pub(crate) const fn spend_many(&self, seen: u64, units: u64, now: u64) -> (u64, bool) {
        // Units above the burst may overflow, and are refused whatever comes of it.
        let (next, fits) = self.spend(seen, self.quota.unit.wrapping_mul(units), now);
        (next, fits & (units <= self.quota.burst as u64))
    }

    #[inline]
    const fn spend(&self, seen: u64, span: u64, now: u64) -> (u64, bool) {
        let ahead = seen.wrapping_sub(now);
        let lead = if ahead > self.far { 0 } else { ahead };
        let after = lead.wrapping_add(span);
        (now.wrapping_add(after), after <= self.size)
    }
}

/// Others who want the same word. Who lost a race lets them go on for a moment, twice as long each time: a word that
/// stays with one core for a while is taken several times in the time that it needs to move.
#[derive(Default)]
pub(crate) struct Rivals(u32);

impl Rivals {
    /// A model checker need not be told more than once to look elsewhere.
    const MOST: u32 = if cfg!(llm_loom) { 0 } else { 6 };

    #[cold]
    pub(crate) fn yield_to(&mut self, actual: u64) -> u64 {
        (0..1 << self.0).for_each(|_| spin_loop());
        self.0 = (self.0 + 1).min(Self::MOST);
        actual
    }
}

/// The word.
#[derive(Debug)]
pub(crate) struct Bucket {
    full_at: AtomicU64,
}

// Relaxed where nothing else is said: the word is the whole state, it publishes nothing but its quota.
impl Bucket {
    pub(crate) fn full() -> Self {
        Self { full_at: AtomicU64::new(0) }
    }

    /// A bucket that lacks as many units as this one does at `now`, under another quota.
    pub(crate) fn converted(&self, from: Quota, to: Quota, now: Tick) -> Self {
        let word = self.full_at.load(Relaxed);
        Self { full_at: AtomicU64::new(convert(word, from, to, [0; 2], at(now))) }
    }

    /// Gives the bucket another quota; nobody may begin to take meanwhile. Of the units that it lacks so many are
    /// `booked`, by the old quota and by the new one.
    pub(crate) fn requote(&self, from: Quota, to: Quota, booked: [u64; 2], now: Tick) {
        let mut seen = self.full_at.load(Relaxed);
        loop {
            let mut next = convert(seen, from, to, booked, at(now));
            if next == seen && from.unit != to.unit {
                // Whoever is between looking and taking has to look again, for a unit is another span.
                next = next.wrapping_add(1);
            }
            match self.full_at.compare_exchange_weak(seen, next, Release, Relaxed) {
                Ok(_) => return,
                Err(actual) => seen = actual,
            }
        }
    }

    /// The word of the moment.
    #[inline]
    pub(crate) fn look(&self) -> u64 {
        // Acquire: whoever sees the word of a requoted bucket sees that its quota has changed.
        self.full_at.load(Acquire)
    }

    /// Puts `next` in the place of what was `seen`.
    ///
    /// # Errors
    /// The word that is there now, when somebody was faster.
    #[inline]
    pub(crate) fn swap(&self, seen: u64, next: u64) -> Result<(), u64> {
        // Acquire on failure: as looking.
        self.full_at.compare_exchange_weak(seen, next, Relaxed, Acquire).map(drop)
    }

    /// Takes `cost` units at `now`, whoever else does. Where their refilling begins.
    #[inline]
    pub(crate) fn take(&self, quota: Quota, cost: u32, now: Tick) -> Result<u64, Denied> {
        let (mut seen, mut rivals) = (self.look(), Rivals::default());
        loop {
            let Spent { next, .. } = spend(seen, quota, cost, now, 0)?;
            match self.swap(seen, next) {
                Ok(()) => return Ok(next.wrapping_sub(quota.span(cost))),
                Err(actual) => seen = rivals.yield_to(actual),
            }
        }
    }

    /// Takes `units` that were used, be they there or not: others wait until they have been refilled. Debts
    /// end at half an hour.
    pub(crate) fn charge(&self, quota: Quota, units: u64, now: Tick) {
        let (now, size) = (at(now), quota.size());
        let most = size.saturating_add(patience(LONGEST_DEBT));
        self.update(|seen| {
            let before = lead(seen, now, size);
            let after = before.saturating_add(quota.unit.saturating_mul(units)).min(most.max(before));
            now.wrapping_add(after)
        });
    }

    /// Makes the lead shorter by `span`.
    pub(crate) fn refund(&self, quota: Quota, span: u64, now: Tick) {
        let (now, size) = (at(now), quota.size());
        if span > 0 {
            self.update(|seen| now.wrapping_add(lead(seen, now, size).saturating_sub(span)));
        }
    }

    fn update(&self, next: impl Fn(u64) -> u64) {
        let mut seen = self.full_at.load(Relaxed);
        while let Err(actual) = self.full_at.compare_exchange_weak(seen, next(seen), Relaxed, Relaxed) {
            seen = actual;
        }
    }

    /// Makes `word` the bucket's, whatever it was.
    pub(crate) fn refill(&self, word: u64) {
        self.full_at.store(word, Relaxed);
    }

    /// Units that could be taken at `now`.
    pub(crate) fn available(&self, quota: Quota, now: Tick) -> u32 {
        if quota.unit == 0 {
            return quota.burst;
        }
        let left = quota.size().saturating_sub(self.lead(quota, now)) / quota.unit;
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// From `now` until the bucket is full.
    pub(crate) fn full_in(&self, quota: Quota, now: Tick) -> Duration {
        duration(self.lead(quota, now))
    }

    fn lead(&self, quota: Quota, now: Tick) -> u64 {
        lead(self.full_at.load(Relaxed), at(now), quota.size())
    }
}

/// What of `taken` units can be given back when `kept` of them were used and `refilled` of the word's units have gone
/// into refilling them: `min(taken − kept, taken − refilled)`. What has been refilled is not given twice.
pub(crate) fn refundable(quota: Quota, taken: u64, kept: u64, refilled: u64) -> u64 {
    let surplus = quota.unit.saturating_mul(taken.saturating_sub(kept));
    surplus.min(quota.unit.saturating_mul(taken).saturating_sub(refilled))
}

fn convert(word: u64, from: Quota, to: Quota, booked: [u64; 2], now: u64) -> u64 {
    let [before, after] = booked;
    let lead = lead(word, now, from.size()).saturating_sub(before.saturating_mul(from.unit));
    let share = if from.unit == 0 { 0.0 } else { lead as f64 / from.unit as f64 };
    let lead = (share.min(f64::from(to.burst)) * to.unit as f64).ceil() as u64;
    now.wrapping_add(lead).wrapping_add(after.saturating_mul(to.unit))
}

#[cfg(test)]
#[cfg(not(llm_loom))]
mod tests {
    use super::*;
    use crate::config::TokenBucketConfig;

    fn quota(rate: f64, burst: u32) -> Quota {
        Quota::try_new(TokenBucketConfig::new(rate, burst)).unwrap()
    }

    fn tick(micros: u64) -> Tick {
        Tick::from_nanos(micros * 1000)
    }

    #[test]
    fn a_cost_above_the_burst_is_refused_for_ever() {
        let bucket = Bucket::full();
        let denied = bucket.take(quota(1.0, 3), 4, tick(10_000_000));
        assert_eq!(denied, Err(Denied::TooLarge { cost: 4, burst: 3 }));
    }

    #[test]
    fn a_jump_of_the_clock_fills_the_bucket_no_higher_than_the_burst() {
        let (bucket, quota) = (Bucket::full(), quota(1.0, 2));
        let late = Tick::from_nanos(86_400_000_000_000);
        assert_eq!(bucket.available(quota, late), 2);
        assert!(bucket.take(quota, 2, late).is_ok());
        assert!(bucket.take(quota, 1, late).is_err());
    }

    #[test]
    fn three_hundred_years_of_rest_fill_the_bucket_and_no_more() {
        const YEAR: u64 = 365 * 86_400 * 1_000_000_000;
        for rate in [1.0, 1e3, 1e8] {
            let (bucket, quota) = (Bucket::full(), quota(rate, 5));
            for years in [0, 1, 2, 3, 150, 300, 500] {
                let now = Tick::from_nanos(years * YEAR + 1);
                assert!(bucket.take(quota, 5, now).is_ok(), "{rate} after {years} years");
                assert!(bucket.take(quota, 1, now).is_err(), "{rate} after {years} years");
            }
        }
    }

    #[test]
    fn the_largest_numbers_overflow_nothing() {
        const YEAR: f64 = 365.0 * 86_400.0;
        for (rate, burst) in [(1.0 / YEAR, 1), (f64::from(u32::MAX) / YEAR, u32::MAX), (1e300, u32::MAX), (1e12, 1)] {
            let (bucket, quota) = (Bucket::full(), quota(rate, burst));
            for now in [0, 1, u64::MAX / 256, u64::MAX / 2, u64::MAX - 1, u64::MAX].map(Tick::from_nanos) {
                bucket.refill(at(now));
                assert!(bucket.take(quota, burst, now).is_ok(), "{rate} at {now:?}");
                assert!(quota.size() < 256_000 || bucket.take(quota, 1, now).is_err(), "{rate} at {now:?}");
                bucket.charge(quota, u64::MAX, now);
                assert_eq!(bucket.full_in(quota, now), duration(quota.size()) + LONGEST_DEBT, "{rate} at {now:?}");
                bucket.refund(quota, refundable(quota, u64::MAX, 0, 0), now);
                assert_eq!(bucket.available(quota, now), burst, "{rate} at {now:?}");
            }
        }
    }

    #[test]
    fn a_clock_that_goes_back_admits_nothing_extra() {
        let (bucket, quota) = (Bucket::full(), quota(1.0, 1));
        assert!(bucket.take(quota, 1, tick(5_000_000)).is_ok());
        assert!(bucket.take(quota, 1, tick(1)).is_err());
    }

    #[test]
    fn debts_are_waited_for_and_end_at_half_an_hour() {
        let (bucket, quota) = (Bucket::full(), quota(10.0, 10));
        bucket.charge(quota, 15, tick(0));
        assert_eq!(bucket.take(quota, 1, tick(0)), Err(Denied::Until { wait: Duration::from_millis(600) }));
        assert!(bucket.take(quota, 1, tick(600_000)).is_ok());
        bucket.charge(quota, u64::MAX, tick(600_000));
        assert_eq!(bucket.full_in(quota, tick(600_000)), LONGEST_DEBT + Duration::from_secs(1));
    }

    #[test]
    fn fast_rates_are_kept_to_the_fraction_of_a_nanosecond() {
        let (bucket, quota) = (Bucket::full(), quota(300_000_000.0, 1));
        let admitted = (0..1_000_000u64).filter(|ns| bucket.take(quota, 1, Tick::from_nanos(*ns)).is_ok()).count();
        // One attempt a nanosecond at 3.33 ns a unit: every fourth is the best a single-unit bucket can do.
        assert!((249_000..=300_000).contains(&admitted), "{admitted}");
    }

    #[test]
    fn another_quota_keeps_what_is_missing() {
        let (bucket, from, to) = (Bucket::full(), quota(10.0, 10), quota(100.0, 20));
        bucket.take(from, 4, tick(7)).unwrap();
        assert_eq!(bucket.converted(from, to, tick(7)).available(to, tick(7)), 16);
        bucket.requote(from, to, [0; 2], tick(7));
        assert!((15..=16).contains(&bucket.available(to, tick(7))));
    }

    #[test]
    fn what_was_used_or_has_been_refilled_is_not_given_back() {
        let quota = quota(1.0, 100);
        let seconds = |taken, kept, refilled| refundable(quota, taken, kept, refilled * quota.unit) / quota.unit;
        assert_eq!(seconds(10, 0, 0), 10);
        assert_eq!(seconds(10, 4, 0), 6);
        assert_eq!(seconds(10, 4, 3), 6, "what refills goes into what was used first");
        assert_eq!(seconds(10, 4, 7), 3);
        assert_eq!(seconds(10, 4, 12), 0);
        assert_eq!(seconds(4, 10, 0), 0);
    }
}

#[cfg(test)]
#[cfg(llm_loom)]
mod loom_tests {
    use llm_core::sync::Arc;

    use super::*;
    use crate::config::TokenBucketConfig;

    const NOW: Tick = Tick::from_nanos(1_000_000_000);

    fn setup(burst: u32) -> (Arc<Bucket>, Quota) {
        (Arc::new(Bucket::full()), Quota::try_new(TokenBucketConfig::new(1.0, burst)).unwrap())
    }

    #[test]
    fn two_threads_never_spend_one_unit_twice() {
        loom::model(|| {
            let (bucket, quota) = setup(1);
            let other = {
                let bucket = bucket.clone();
                loom::thread::spawn(move || bucket.take(quota, 1, NOW).is_ok())
            };
            let mine = bucket.take(quota, 1, NOW).is_ok();
            assert!(mine != other.join().unwrap(), "exactly one of the two is admitted");
        });
    }

    #[test]
    fn three_threads_take_two_units_and_no_third() {
        loom::model(|| {
            let (bucket, quota) = setup(2);
            let take = move |bucket: &Bucket| u32::from(bucket.take(quota, 1, NOW).is_ok());
            let others = [0; 2].map(|_| {
                let bucket = bucket.clone();
                loom::thread::spawn(move || take(&bucket))
            });
            let taken = take(&bucket);
            assert_eq!(others.into_iter().fold(taken, |taken, other| taken + other.join().unwrap()), 2);
        });
    }

    #[test]
    fn a_debt_taken_while_units_are_is_counted_whole() {
        loom::model(|| {
            let (bucket, quota) = setup(3);
            let other = {
                let bucket = bucket.clone();
                loom::thread::spawn(move || bucket.charge(quota, 2, NOW))
            };
            let taken = u32::from(bucket.take(quota, 1, NOW).is_ok());
            other.join().unwrap();
            assert_eq!((taken, bucket.available(quota, NOW)), (1, 0));
        });
    }
}
