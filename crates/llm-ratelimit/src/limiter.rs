//! The shell around one bucket: shared, with a clock, and with charges that may be given back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use llm_core::{Clock, SystemClock, Tick};

use crate::bucket::{Bucket, Denied, Quota};
use crate::config::{ConfigError, TokenBucketConfig};

/// A limit. Cheap to clone; clones share the bucket.
#[derive(Clone)]
pub struct RateLimiter {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
}

struct Shared {
    bucket: Bucket,
    quota: Quota,
    config: TokenBucketConfig,
}

impl RateLimiter {
    /// A full bucket on the machine's clock.
    ///
    /// # Panics
    /// When `config` is not a bucket; [`try_new`](Self::try_new) says so instead.
    #[must_use]
    pub fn new(config: TokenBucketConfig) -> Self {
        match Self::try_new(config) {
            Ok(limiter) => limiter,
            Err(error) => panic!("{error}"),
        }
    }

    /// A full bucket on the machine's clock.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and its bound.
    pub fn try_new(config: TokenBucketConfig) -> Result<Self, ConfigError> {
        let quota = Quota::try_new(config)?;
        let shared = Shared { bucket: Bucket::full(), quota, config };
        Ok(Self { shared: Arc::new(shared), clock: Arc::new(SystemClock::new()) })
    }

    /// The same bucket, read by `clock`. All users of a bucket need one clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// A limiter with `config` that carries on from this one: the same bucket when nothing changes, else one
    /// that lacks as many units. Charges under way are settled with the bucket that they were taken from.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and its bound.
    pub fn adopt(&self, config: TokenBucketConfig) -> Result<Self, ConfigError> {
        if config == self.shared.config {
            return Ok(self.clone());
        }
        let quota = Quota::try_new(config)?;
        let bucket = self.shared.bucket.converted(self.shared.quota, quota, self.clock.now());
        Ok(Self { shared: Arc::new(Shared { bucket, quota, config }), clock: self.clock.clone() })
    }

    /// The rate and the burst.
    #[must_use]
    pub fn config(&self) -> TokenBucketConfig {
        self.shared.config
    }

    /// Takes `cost` units at `now`; they come back unless the charge is kept.
    ///
    /// # Errors
    /// [`Denied::Until`] when the bucket is short, [`Denied::TooLarge`] when no wait helps. A denial changes
    /// nothing.
    pub fn take(&self, cost: u32, now: Tick) -> Result<Charge, Denied> {
        self.shared.bucket.take(self.shared.quota, cost, now)?;
        Ok(Charge { limiter: Some(self.clone()), cost, taken: now })
    }

    /// Takes one unit.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn check_and_consume(&self) -> Result<(), Denied> {
        self.check_n(1)
    }

    /// Takes `cost` units.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn check_n(&self, cost: u32) -> Result<(), Denied> {
        self.shared.bucket.take(self.shared.quota, cost, self.clock.now())
    }

    /// Whether a unit would be refused at the moment. For display: another caller may come between.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.available() == 0
    }

    /// Units that could be taken at the moment.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.remaining(self.clock.now())
    }

    /// Units that could be taken at `now`.
    #[must_use]
    pub fn remaining(&self, now: Tick) -> u32 {
        self.shared.bucket.available(self.shared.quota, now)
    }

    /// From `now` until the bucket is full.
    #[must_use]
    pub fn full_in(&self, now: Tick) -> Duration {
        self.shared.bucket.full_in(now)
    }

    /// Fills the bucket. A charge taken before and given back later still refunds, never above the burst.
    pub fn reset(&self) {
        self.shared.bucket.refill();
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

/// Units taken. Dropped, they are given back, less what has been refilled since.
#[derive(Debug)]
#[must_use = "a charge that is dropped is given back"]
pub struct Charge {
    limiter: Option<RateLimiter>,
    cost: u32,
    taken: Tick,
}

impl Charge {
    /// The units stay spent.
    pub fn keep(mut self) {
        self.limiter = None;
    }

    /// Gives the units back at `now`.
    pub fn give_back(mut self, now: Tick) {
        self.settle(now);
    }

    fn settle(&mut self, now: Tick) {
        if let Some(limiter) = self.limiter.take() {
            limiter.shared.bucket.give_back(limiter.shared.quota, self.cost, self.taken, now);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(now) = self.limiter.as_ref().map(|limiter| limiter.clock.now()) {
            self.settle(now);
        }
    }
}

#[cfg(test)]
#[cfg(not(llm_loom))]
mod tests {
    use llm_core::ManualClock;

    use super::*;

    #[test]
    fn an_idle_limiter_is_64_bytes_at_most() {
        let counts = 2 * size_of::<usize>();
        assert!(counts + size_of::<Shared>() <= 64, "{}", counts + size_of::<Shared>());
    }

    #[test]
    fn a_dropped_charge_is_there_again_and_a_kept_one_is_not() {
        let clock = ManualClock::new();
        let limiter = RateLimiter::new(TokenBucketConfig::new(1, 1)).with_clock(Arc::new(clock.clone()));
        drop(limiter.take(1, clock.now()).unwrap());
        limiter.take(1, clock.now()).unwrap().keep();
        assert!(limiter.is_limited());
        limiter.reset();
        assert_eq!(limiter.available(), 1);
    }

    #[test]
    fn presets_are_as_specified() {
        assert_eq!(TokenBucketConfig::per_provider(), TokenBucketConfig::new(100, 100));
        assert_eq!(TokenBucketConfig::per_model(), TokenBucketConfig::new(10, 10));
        let unlimited = RateLimiter::new(TokenBucketConfig::unlimited());
        assert!((0..10_000).all(|_| unlimited.check_n(u32::MAX).is_ok()));
    }

    #[test]
    fn what_is_no_bucket_is_refused_by_name() {
        let of = |rate: f64, burst| RateLimiter::try_new(TokenBucketConfig::new(rate, burst)).err();
        assert_eq!(of(0.0, 1), Some(ConfigError::Rate(0.0)));
        assert_eq!(of(-1.0, 1), Some(ConfigError::Rate(-1.0)));
        assert!(matches!(of(f64::NAN, 1), Some(ConfigError::Rate(_))));
        assert_eq!(of(1.0, 0), Some(ConfigError::Burst));
        assert!(matches!(of(1e-9, 1), Some(ConfigError::TooSlow { .. })));
    }
}
