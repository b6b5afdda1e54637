//! The machine: the generic cell rate algorithm over one word.
//!
//! The word is the time at which the bucket will be full again, in 1/256 nanosecond. Taking `n` units moves it
//! by `n · T`, `T = 10⁹ · 256 / rate`; that is refused when it would be more than `burst · T` ahead of now.
//! After the 2.2 years of uptime that the word holds, the bucket admits everything.

use std::time::Duration;

use llm_core::Tick;
use llm_core::sync::{AtomicU64, Ordering::Relaxed};

use crate::config::{ConfigError, TokenBucketConfig};

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

/// Binary digits after the nanosecond: without them fast rates are off by up to 1/T.
const FRACTION: u32 = 8;
/// A year, in the word's units.
const YEAR: f64 = 365.0 * 86_400.0 * 1e9 * (1 << FRACTION) as f64;

/// A bucket's rate and size, ready for use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// The time that one unit takes to refill; 0 without a limit.
    unit: u64,
    burst: u32,
}

impl Quota {
    pub(crate) fn try_new(config: TokenBucketConfig) -> Result<Self, ConfigError> {
        let TokenBucketConfig { rate_per_second: rate, burst } = config;
        if rate.is_nan() || rate <= 0.0 {
            return Err(ConfigError::Rate(rate));
        }
        if burst == 0 {
            return Err(ConfigError::Burst);
        }
        let unit = 1e9 * f64::from(1 << FRACTION) / rate;
        if unit * f64::from(burst) > YEAR {
            return Err(ConfigError::TooSlow { rate, burst });
        }
        // Rounded up: the rate is never exceeded.
        Ok(Self { unit: unit.ceil() as u64, burst })
    }

    const fn span(self, units: u32) -> u64 {
        self.unit.saturating_mul(units as u64)
    }
}

fn at(now: Tick) -> u64 {
    now.as_nanos().saturating_mul(1 << FRACTION)
}

/// The span that is at least `units` of the word long.
const fn duration(units: u64) -> Duration {
    Duration::from_nanos(units.div_ceil(1 << FRACTION))
}

/// The word.
#[derive(Debug)]
pub(crate) struct Bucket {
    full_at: AtomicU64,
}

impl Bucket {
    pub(crate) fn full() -> Self {
        Self { full_at: AtomicU64::new(0) }
    }

    /// A bucket that lacks as many units as this one does at `now`, under another quota.
    pub(crate) fn converted(&self, from: Quota, to: Quota, now: Tick) -> Self {
        let missing = self.full_at.load(Relaxed).saturating_sub(at(now));
        let share = if from.unit == 0 { 0.0 } else { missing as f64 / from.unit as f64 };
        let missing = (share.min(f64::from(to.burst)) * to.unit as f64) as u64;
        Self { full_at: AtomicU64::new(at(now).saturating_add(missing)) }
    }

    /// Takes `cost` units at `now`.
    pub(crate) fn take(&self, quota: Quota, cost: u32, now: Tick) -> Result<(), Denied> {
        if cost > quota.burst {
            return Err(Denied::TooLarge { cost, burst: quota.burst });
        }
        let now = at(now);
        let (step, latest) = (quota.span(cost), now.saturating_add(quota.span(quota.burst)));
        // Relaxed: the word is the whole state, it publishes nothing else.
        let mut seen = self.full_at.load(Relaxed);
        loop {
            // A clock that jumps ahead fills the bucket once, not beyond the burst.
            let next = seen.max(now).saturating_add(step);
            if next > latest {
                return Err(Denied::Until { wait: duration(next - latest) });
            }
            match self.full_at.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(actual) => seen = actual,
            }
        }
    }

    /// Gives back `cost` units taken at `taken`. What has been refilled since is not given twice:
    /// the refund is `max(0, cost · T − (now − taken))`.
    pub(crate) fn give_back(&self, quota: Quota, cost: u32, taken: Tick, now: Tick) {
        let leaked = at(now).saturating_sub(at(taken));
        let refund = quota.span(cost).saturating_sub(leaked);
        // Relaxed: as in `take`. The word is smaller than the refund when it has been reset in between.
        let mut seen = self.full_at.load(Relaxed);
        while let Err(actual) = self.full_at.compare_exchange_weak(seen, seen.saturating_sub(refund), Relaxed, Relaxed)
        {
            seen = actual;
        }
    }

    /// Fills the bucket.
    pub(crate) fn refill(&self) {
        // Relaxed: as in `take`.
        self.full_at.store(0, Relaxed);
    }

    /// Units that could be taken at `now`.
    pub(crate) fn available(&self, quota: Quota, now: Tick) -> u32 {
        if quota.unit == 0 {
            return quota.burst;
        }
        let missing = self.full_at.load(Relaxed).saturating_sub(at(now));
        let left = quota.span(quota.burst).saturating_sub(missing) / quota.unit;
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// From `now` until the bucket is full.
    pub(crate) fn full_in(&self, now: Tick) -> Duration {
        duration(self.full_at.load(Relaxed).saturating_sub(at(now)))
    }
}

#[cfg(test)]
#[cfg(not(llm_loom))]
mod tests {
    use super::*;

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
    fn a_clock_that_goes_back_admits_nothing_extra() {
        let (bucket, quota) = (Bucket::full(), quota(1.0, 1));
        assert!(bucket.take(quota, 1, tick(5_000_000)).is_ok());
        assert!(bucket.take(quota, 1, tick(1)).is_err());
    }

    #[test]
    fn what_was_refilled_meanwhile_is_not_given_back_again() {
        let (bucket, quota) = (Bucket::full(), quota(1.0, 1));
        let (taken, late) = (tick(0), tick(2_000_000));
        assert!(bucket.take(quota, 1, taken).is_ok());
        assert!(bucket.take(quota, 1, late).is_ok());
        bucket.give_back(quota, 1, taken, late);
        assert!(bucket.take(quota, 1, late).is_err());
    }

    #[test]
    fn a_unit_given_back_after_a_reset_leaves_the_bucket_full_and_usable() {
        let (bucket, quota) = (Bucket::full(), quota(1.0, 2));
        assert!(bucket.take(quota, 1, tick(0)).is_ok());
        bucket.refill();
        bucket.give_back(quota, 1, tick(0), tick(0));
        assert_eq!(bucket.available(quota, tick(0)), 2);
        assert!(bucket.take(quota, 2, tick(0)).is_ok());
        assert!(bucket.take(quota, 1, tick(0)).is_err());
    }

    #[test]
    fn fast_rates_are_kept_to_the_fraction_of_a_nanosecond() {
        let (bucket, quota) = (Bucket::full(), quota(300_000_000.0, 1));
        let admitted = (0..1_000_000u64).filter(|ns| bucket.take(quota, 1, Tick::from_nanos(*ns)).is_ok()).count();
        // One attempt a nanosecond at 3.33 ns a unit: every fourth is the best a single-unit bucket can do.
        assert!((249_000..=300_000).contains(&admitted), "{admitted}");
    }

    #[test]
    fn another_quota_keeps_the_share_that_is_missing() {
        let (bucket, from, to) = (Bucket::full(), quota(10.0, 10), quota(100.0, 20));
        bucket.take(from, 4, tick(7)).unwrap();
        assert_eq!(bucket.converted(from, to, tick(7)).available(to, tick(7)), 16);
    }
}

#[cfg(test)]
#[cfg(llm_loom)]
mod loom_tests {
    use llm_core::sync::Arc;

    use super::*;

    fn setup(burst: u32) -> (Arc<Bucket>, Quota) {
        (Arc::new(Bucket::full()), Quota::try_new(TokenBucketConfig::new(1.0, burst)).unwrap())
    }

    #[test]
    fn two_threads_never_spend_one_unit_twice() {
        loom::model(|| {
            let (bucket, quota) = setup(1);
            let now = Tick::from_nanos(1_000_000_000);
            let other = {
                let bucket = bucket.clone();
                loom::thread::spawn(move || bucket.take(quota, 1, now).is_ok())
            };
            let mine = bucket.take(quota, 1, now).is_ok();
            assert!(mine != other.join().unwrap(), "exactly one of the two is admitted");
        });
    }

    #[test]
    fn a_unit_given_back_while_another_is_taken_is_neither_lost_nor_doubled() {
        loom::model(|| {
            let (bucket, quota) = setup(2);
            let now = Tick::from_nanos(1_000_000_000);
            bucket.take(quota, 1, now).unwrap();
            let giver = {
                let bucket = bucket.clone();
                loom::thread::spawn(move || bucket.give_back(quota, 1, now, now))
            };
            let taken = u32::from(bucket.take(quota, 1, now).is_ok());
            giver.join().unwrap();
            assert_eq!(bucket.available(quota, now), 2 - taken);
        });
    }
}
