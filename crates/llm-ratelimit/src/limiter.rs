//! The shell around one bucket: shared, with a clock, and with charges that may be given back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use llm_core::{Clock, SystemClock, Tick};

use crate::bucket::Denied;
use crate::config::{ConfigError, LimiterConfig, TokenBucketConfig};
use crate::live::LiveBucket;
use crate::quota::Quota;

/// A limit. Cheap to clone; clones share the bucket. 56 bytes, the allocator's own included.
#[derive(Clone)]
pub struct RateLimiter {
    shared: Arc<Shared>,
}

struct Shared {
    bucket: LiveBucket,
    /// None: the machine's clock. Boxed, since few limiters have one.
    clock: Option<Box<Arc<dyn Clock>>>,
}

impl Shared {
    fn now(&self) -> Tick {
        self.clock.as_ref().map_or_else(|| SystemClock::new().now(), |clock| clock.now())
    }
}

impl RateLimiter {
    /// What `config` describes, full, on the machine's clock: a [`RateLimiter`] for a [`TokenBucketConfig`], a
    /// [`KeyedLimiter`](crate::KeyedLimiter) for a list of [`BucketConfig`](crate::BucketConfig).
    ///
    /// # Panics
    /// When `config` is not a limit; [`try_new`](Self::try_new) says so instead.
    #[expect(clippy::new_ret_no_self, reason = "the configuration says which limiter it makes")]
    pub fn new<C: LimiterConfig>(config: C) -> C::Limiter {
        match config.try_build() {
            Ok(limiter) => limiter,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`new`](Self::new), without the panic.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and its bound.
    pub fn try_new<C: LimiterConfig>(config: C) -> Result<C::Limiter, ConfigError> {
        config.try_build()
    }

    /// The same limit on `clock`, full. All users of a bucket need one clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        let bucket = LiveBucket::full(self.shared.bucket.quota());
        Self { shared: Arc::new(Shared { bucket, clock: Some(Box::new(clock)) }) }
    }

    /// A limiter with `config` that carries on from this one: the same bucket when nothing changes, else one
    /// that lacks as many units. Charges under way are settled with the bucket that they were taken from, and those who
    /// wait stay with it.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and its bound.
    pub fn adopt(&self, config: TokenBucketConfig) -> Result<Self, ConfigError> {
        let to = Quota::try_new(config)?;
        if self.shared.bucket.quota() == to {
            return Ok(self.clone());
        }
        let bucket = self.shared.bucket.converted(to, self.shared.now());
        Ok(Self { shared: Arc::new(Shared { bucket, clock: self.shared.clock.clone() }) })
    }

    /// Changes the limit for all who share it. The bucket lacks as many units as before, and those who wait are served
    /// by the new limit; who waits for more than it holds is denied.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and its bound; then nothing has changed.
    pub fn reconfigure(&self, config: TokenBucketConfig) -> Result<(), ConfigError> {
        self.shared.bucket.requote(Quota::try_new(config)?, self.shared.now());
        Ok(())
    }

    /// The rate, to seven digits, and the burst.
    #[must_use]
    pub fn config(&self) -> TokenBucketConfig {
        self.shared.bucket.quota().config()
    }

    /// Takes `cost` units at `now`; they come back unless the charge is kept.
    ///
    /// # Errors
    /// [`Denied::Until`] when the bucket is short, [`Denied::TooLarge`] when no wait helps. A denial changes
    /// nothing.
    pub fn take(&self, cost: u32, now: Tick) -> Result<Charge, Denied> {
        self.shared.bucket.take(cost, now)?;
        Ok(Charge { limiter: Some(self.clone()), cost, taken: now, sent: false })
    }

    /// Takes one unit.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    #[inline]
    pub fn check_and_consume(&self) -> Result<(), Denied> {
        self.check_n(1)
    }

    /// Takes `cost` units.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    #[inline]
    pub fn check_n(&self, cost: u32) -> Result<(), Denied> {
        self.shared.bucket.take(cost, self.shared.now())
    }

    /// Takes `cost` units and waits for them, at most half an hour; see [`acquire_by`](Self::acquire_by).
    ///
    /// # Errors
    /// [`Denied`] when it would take longer.
    #[cfg(feature = "tokio")]
    pub async fn acquire(&self, cost: u32) -> Result<(), Denied> {
        self.acquire_by(cost, Tick::MAX).await
    }

    /// Takes `cost` units and waits for them until `deadline`. Those who wait have booked their units: they are
    /// served in the order in which they came, and whoever does not wait finds the bucket empty until then.
    /// Dropping the future gives the booking back; those behind it move forward.
    ///
    /// # Errors
    /// [`Denied`], at once, when the units will not be there by the deadline, or within half an hour; later, when
    /// the limit has been changed to one by which they will not.
    #[cfg(feature = "tokio")]
    pub async fn acquire_by(&self, cost: u32, deadline: Tick) -> Result<(), Denied> {
        crate::line::acquire(&self.shared.bucket, cost, deadline, || self.shared.now()).await
    }

    /// Whether a unit would be refused at the moment. For display: another caller may come between.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.available() == 0
    }

    /// Units that could be taken at the moment.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.remaining(self.shared.now())
    }

    /// Units that could be taken at `now`.
    #[must_use]
    pub fn remaining(&self, now: Tick) -> u32 {
        self.shared.bucket.available(now)
    }

    /// From `now` until the bucket is full.
    #[must_use]
    pub fn full_in(&self, now: Tick) -> Duration {
        self.shared.bucket.full_in(now)
    }

    /// Fills the bucket; those who wait have their units of it first. A charge taken before and given back later still
    /// refunds, never above the burst.
    pub fn reset(&self) {
        self.shared.bucket.refill(self.shared.now());
    }
}

impl LimiterConfig for TokenBucketConfig {
    type Limiter = RateLimiter;

    fn try_build(self) -> Result<RateLimiter, ConfigError> {
        let bucket = LiveBucket::full(Quota::try_new(self)?);
        Ok(RateLimiter { shared: Arc::new(Shared { bucket, clock: None }) })
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").field("config", &self.config()).finish_non_exhaustive()
    }
}

/// Units taken. Dropped, they are given back, less what has been refilled since, unless they were [`sent`](Self::sent)
/// or are [`kept`](Self::keep).
#[derive(Debug)]
#[must_use = "a charge that is dropped is given back"]
pub struct Charge {
    limiter: Option<RateLimiter>,
    cost: u32,
    taken: Tick,
    sent: bool,
}

impl Charge {
    /// What the units are for goes out: from here on a drop leaves them spent.
    pub const fn sent(&mut self) {
        self.sent = true;
    }

    /// It reached nobody after all.
    pub const fn unsent(&mut self) {
        self.sent = false;
    }

    /// The units stay spent.
    pub fn keep(mut self) {
        self.limiter = None;
    }

    /// Gives the units back at `now`, the present.
    pub fn give_back(mut self, now: Tick) {
        self.settle(now);
    }

    fn settle(&mut self, now: Tick) {
        if let Some(RateLimiter { shared }) = self.limiter.take() {
            shared.bucket.give_back(self.cost, self.taken, now);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(limiter) = self.limiter.as_ref().filter(|_| !self.sent) {
            let now = limiter.shared.now();
            self.settle(now);
        }
    }
}
