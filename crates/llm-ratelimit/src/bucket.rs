//! The machine: the generic cell rate algorithm over one word.
//!
//! The word is the time at which the bucket will be full again, in 1/256 nanosecond, modulo 2⁶⁴ (2.28 years).
//! What it is ahead of now is the bucket's *lead*: the time that what is missing takes to refill. Taking `n`
//! units adds `n · T` to the lead, `T = 10⁹ · 256 / rate`; that is refused when it would come to more than
//! `burst · T`. A word that is further ahead than any lead can be lies in the past: the bucket is full.

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

const fn at(now: Tick) -> u64 {
    now.as_nanos().wrapping_mul(1 << FRACTION)
}

/// The span that is at least `units` of the word long.
pub(crate) const fn duration(units: u64) -> Duration {
    Duration::from_nanos(units.div_ceil(1 << FRACTION))
}

const fn lead(word: u64, now: u64, size: u64) -> u64 {
    let ahead = word.wrapping_sub(now);
    // A size is at most a year: the sum does not overflow.
    if ahead > size + SLACK { 0 } else { ahead }
}

/// Why nothing was taken.
pub(crate) enum Missed {
    Denied(Denied),
    /// Somebody was faster: the word that is there now.
    Changed(u64),
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

/// When the units that were taken begin to be refilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(u64);

impl Mark {
    /// Of units that nobody limits.
    pub(crate) const NONE: Self = Self(0);
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
        Self { full_at: AtomicU64::new(convert(word, from, to, at(now))) }
    }

    /// Gives the bucket another quota; nobody may begin to take meanwhile.
    pub(crate) fn requote(&self, from: Quota, to: Quota, now: Tick) {
        let mut seen = self.full_at.load(Relaxed);
        loop {
            let mut next = convert(seen, from, to, at(now));
            if next == seen {
                // Whoever is between looking and taking has to look again.
                next = next.wrapping_add(1);
            }
            match self.full_at.compare_exchange_weak(seen, next, Release, Relaxed) {
                Ok(_) => return,
                Err(actual) => seen = actual,
            }
        }
    }

    /// The word of the moment, for [`try_take`](Self::try_take).
    pub(crate) fn look(&self) -> u64 {
        // Acquire: whoever sees the word of a requoted bucket sees that its quota has changed.
        self.full_at.load(Acquire)
    }

    /// Takes `cost` units at `now`; those that are not there yet only if they will be within `patience`, in 1/256
    /// nanosecond. The second part is the wait for them. [`Missed::Changed`]: somebody has changed the bucket since
    /// it was `seen`.
    #[inline]
    pub(crate) fn try_take(
        &self,
        seen: u64,
        quota: Quota,
        cost: u32,
        now: Tick,
        patience: u64,
    ) -> Result<(Mark, u64), Missed> {
        if cost > quota.burst {
            return Err(Missed::Denied(Denied::TooLarge { cost, burst: quota.burst }));
        }
        if quota.unit == 0 {
            return Ok((Mark::NONE, 0));
        }
        let (now, size) = (at(now), quota.size());
        let before = lead(seen, now, size);
        // A lead is at most a year and the slack, a cost within the burst at most a year: neither overflows.
        let after = before + quota.span(cost);
        let wait = after.saturating_sub(size);
        if wait > patience {
            return Err(Missed::Denied(Denied::Until { wait: duration(wait) }));
        }
        // Acquire on failure: as looking.
        match self.full_at.compare_exchange_weak(seen, now.wrapping_add(after), Relaxed, Acquire) {
            Ok(_) => Ok((Mark(now.wrapping_add(before)), wait)),
            Err(actual) => Err(Missed::Changed(actual)),
        }
    }

    /// Takes `cost` units at `now`, whoever else does.
    #[inline]
    pub(crate) fn take(&self, quota: Quota, cost: u32, now: Tick) -> Result<Mark, Denied> {
        self.take_within(quota, cost, now, 0).map(|(mark, _)| mark)
    }

    /// As [`take`](Self::take), and books those that will be there within `patience`; the wait for them, too.
    #[inline]
    pub(crate) fn take_within(&self, quota: Quota, cost: u32, now: Tick, patience: u64) -> Result<(Mark, u64), Denied> {
        let (mut seen, mut rivals) = (self.look(), Rivals::default());
        loop {
            match self.try_take(seen, quota, cost, now, patience) {
                Ok(taken) => return Ok(taken),
                Err(Missed::Denied(denied)) => return Err(denied),
                Err(Missed::Changed(actual)) => seen = rivals.yield_to(actual),
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

    /// Gives back `cost` units taken at `mark`. What has been refilled since is not given twice: the refund is
    /// `max(0, cost · T − (now − mark))`.
    pub(crate) fn give_back(&self, quota: Quota, cost: u64, mark: Mark, now: Tick) {
        let (now, size) = (at(now), quota.size());
        let since = now.wrapping_sub(mark.0);
        // A mark that lies ahead is of units whose refilling has not begun.
        let refilled = if since > u64::MAX / 2 { 0 } else { since };
        let refund = quota.unit.saturating_mul(cost).saturating_sub(refilled);
        if refund == 0 {
            return;
        }
        self.update(|seen| now.wrapping_add(lead(seen, now, size).saturating_sub(refund)));
    }

    fn update(&self, next: impl Fn(u64) -> u64) {
        let mut seen = self.full_at.load(Relaxed);
        while let Err(actual) = self.full_at.compare_exchange_weak(seen, next(seen), Relaxed, Relaxed) {
            seen = actual;
        }
    }

    /// Fills the bucket.
    pub(crate) fn refill(&self, now: Tick) {
        self.full_at.store(at(now), Relaxed);
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

fn convert(word: u64, from: Quota, to: Quota, now: u64) -> u64 {
    let lead = lead(word, now, from.size());
    let share = if from.unit == 0 { 0.0 } else { lead as f64 / from.unit as f64 };
    let lead = (share.min(f64::from(to.burst)) * to.unit as f64).ceil() as u64;
    now.wrapping_add(lead)
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
    fn a_clock_that_goes_back_admits_nothing_extra() {
        let (bucket, quota) = (Bucket::full(), quota(1.0, 1));
        assert!(bucket.take(quota, 1, tick(5_000_000)).is_ok());
        assert!(bucket.take(quota, 1, tick(1)).is_err());
    }

    #[test]
    fn what_was_refilled_meanwhile_is_not_given_back_again() {
        let (bucket, quota) = (Bucket::full(), quota(1.0, 1));
        let (taken, late) = (tick(0), tick(2_000_000));
        let mark = bucket.take(quota, 1, taken).unwrap();
        assert!(bucket.take(quota, 1, late).is_ok());
        bucket.give_back(quota, 1, mark, late);
        assert!(bucket.take(quota, 1, late).is_err());
    }

    #[test]
    fn units_behind_others_are_given_back_whole() {
        let (bucket, quota) = (Bucket::full(), quota(1.0, 2));
        bucket.take(quota, 1, tick(0)).unwrap();
        let behind = bucket.take(quota, 1, tick(0)).unwrap();
        // Half a second of refilling went to the first unit, none to the second.
        bucket.give_back(quota, 1, behind, tick(500_000));
        assert_eq!(bucket.full_in(quota, tick(500_000)), Duration::from_millis(500));
    }

    #[test]
    fn a_unit_given_back_after_a_refill_leaves_the_bucket_full_and_usable() {
        let (bucket, quota) = (Bucket::full(), quota(1.0, 2));
        let mark = bucket.take(quota, 1, tick(0)).unwrap();
        bucket.refill(tick(0));
        bucket.give_back(quota, 1, mark, tick(0));
        assert_eq!(bucket.available(quota, tick(0)), 2);
        assert!(bucket.take(quota, 2, tick(0)).is_ok());
        assert!(bucket.take(quota, 1, tick(0)).is_err());
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
        bucket.requote(from, to, tick(7));
        assert!((15..=16).contains(&bucket.available(to, tick(7))));
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
    fn a_unit_given_back_while_another_is_taken_is_neither_lost_nor_doubled() {
        loom::model(|| {
            let (bucket, quota) = setup(2);
            let mark = bucket.take(quota, 1, NOW).unwrap();
            let giver = {
                let bucket = bucket.clone();
                loom::thread::spawn(move || bucket.give_back(quota, 1, mark, NOW))
            };
            let taken = u32::from(bucket.take(quota, 1, NOW).is_ok());
            giver.join().unwrap();
            assert_eq!(bucket.available(quota, NOW), 2 - taken);
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
