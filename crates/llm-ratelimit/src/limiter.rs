//! The shell around one bucket: shared, with a clock, and with charges that may be given back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use llm_core::sync::{AtomicU64, Ordering, spin_loop};
use llm_core::{Clock, SystemClock, Tick};

use crate::bucket::{Bucket, Denied, Mark, Missed, Rivals};
#[cfg(feature = "tokio")]
use crate::bucket::{duration, patience};
use crate::config::{ConfigError, LimiterConfig, TokenBucketConfig};
use crate::quota::Quota;

/// A limit. Cheap to clone; clones share the bucket. 56 bytes, the allocator's own included.
#[derive(Clone)]
pub struct RateLimiter {
    shared: Arc<Shared>,
}

struct Shared {
    bucket: Bucket,
    /// A packed [`Quota`]; 0 while it is being changed.
    quota: AtomicU64,
    /// None: the machine's clock. Boxed, since few limiters have one.
    clock: Option<Box<Arc<dyn Clock>>>,
}

impl Shared {
    fn now(&self) -> Tick {
        self.clock.as_ref().map_or_else(|| SystemClock::new().now(), |clock| clock.now())
    }

    fn quota(&self) -> Quota {
        loop {
            // Acquire: with the quota comes the bucket that was made to fit it.
            match self.quota.load(Ordering::Acquire) {
                0 => spin_loop(),
                packed => return Quota::unpacked(packed),
            }
        }
    }

    fn take(&self, cost: u32, now: Tick, patience: u64) -> Result<(Mark, u64), Denied> {
        let (mut seen, mut rivals) = (self.bucket.look(), Rivals::default());
        loop {
            // After looking: a bucket that has been requoted in between does not go with the old quota.
            match self.bucket.try_take(seen, self.quota(), cost, now, patience) {
                Ok(taken) => return Ok(taken),
                Err(Missed::Denied(denied)) => return Err(denied),
                Err(Missed::Changed(actual)) => seen = rivals.yield_to(actual),
            }
        }
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
        let quota = AtomicU64::new(self.shared.quota().packed());
        Self { shared: Arc::new(Shared { bucket: Bucket::full(), quota, clock: Some(Box::new(clock)) }) }
    }

    /// A limiter with `config` that carries on from this one: the same bucket when nothing changes, else one
    /// that lacks as many units. Charges under way are settled with the bucket that they were taken from.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and its bound.
    pub fn adopt(&self, config: TokenBucketConfig) -> Result<Self, ConfigError> {
        let (from, to) = (self.shared.quota(), Quota::try_new(config)?);
        if from == to {
            return Ok(self.clone());
        }
        let bucket = self.shared.bucket.converted(from, to, self.shared.now());
        let (quota, clock) = (AtomicU64::new(to.packed()), self.shared.clock.clone());
        Ok(Self { shared: Arc::new(Shared { bucket, quota, clock }) })
    }

    /// Changes the limit for all who share it. The bucket lacks as many units as before.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and its bound; then nothing has changed.
    pub fn reconfigure(&self, config: TokenBucketConfig) -> Result<(), ConfigError> {
        let to = Quota::try_new(config)?;
        let from = loop {
            let from = self.shared.quota();
            // 0 keeps others out until bucket and quota fit again.
            let mine =
                self.shared.quota.compare_exchange(from.packed(), 0, Ordering::Acquire, Ordering::Relaxed).is_ok();
            if mine {
                break from;
            }
        };
        self.shared.bucket.requote(from, to, self.shared.now());
        self.shared.quota.store(to.packed(), Ordering::Release);
        Ok(())
    }

    /// The rate, to seven digits, and the burst.
    #[must_use]
    pub fn config(&self) -> TokenBucketConfig {
        self.shared.quota().config()
    }

    /// Takes `cost` units at `now`; they come back unless the charge is kept.
    ///
    /// # Errors
    /// [`Denied::Until`] when the bucket is short, [`Denied::TooLarge`] when no wait helps. A denial changes
    /// nothing.
    pub fn take(&self, cost: u32, now: Tick) -> Result<Charge, Denied> {
        let (mark, _) = self.shared.take(cost, now, 0)?;
        Ok(Charge { limiter: Some(self.clone()), cost, mark, sent: false })
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
        self.shared.take(cost, self.shared.now(), 0).map(|_| ())
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
    /// Dropping the future gives the booking back; who comes next may have it.
    ///
    /// # Errors
    /// [`Denied`], at once, when the units will not be there by the deadline, or within half an hour.
    #[cfg(feature = "tokio")]
    pub async fn acquire_by(&self, cost: u32, deadline: Tick) -> Result<(), Denied> {
        let now = self.shared.now();
        let (mark, wait) = self.shared.take(cost, now, patience(deadline.since(now)))?;
        let booking = Charge { limiter: Some(self.clone()), cost, mark, sent: false };
        let mut left = duration(wait);
        let due = now.after(left);
        while !left.is_zero() {
            tokio::time::sleep(left).await;
            left = due.since(self.shared.now());
        }
        booking.keep();
        Ok(())
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
        self.shared.bucket.available(self.shared.quota(), now)
    }

    /// From `now` until the bucket is full.
    #[must_use]
    pub fn full_in(&self, now: Tick) -> Duration {
        self.shared.bucket.full_in(self.shared.quota(), now)
    }

    /// Fills the bucket. A charge taken before and given back later still refunds, never above the burst.
    pub fn reset(&self) {
        self.shared.bucket.refill(self.shared.now());
    }
}

impl LimiterConfig for TokenBucketConfig {
    type Limiter = RateLimiter;

    fn try_build(self) -> Result<RateLimiter, ConfigError> {
        let quota = AtomicU64::new(Quota::try_new(self)?.packed());
        Ok(RateLimiter { shared: Arc::new(Shared { bucket: Bucket::full(), quota, clock: None }) })
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
    mark: Mark,
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

    /// Gives the units back at `now`.
    pub fn give_back(mut self, now: Tick) {
        self.settle(now);
    }

    fn settle(&mut self, now: Tick) {
        if let Some(RateLimiter { shared }) = self.limiter.take() {
            shared.bucket.give_back(shared.quota(), self.cost.into(), self.mark, now);
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

#[cfg(test)]
#[cfg(llm_loom)]
mod loom_tests {
    use super::*;

    const NOW: Tick = Tick::from_nanos(1_000_000_000);

    fn limiter(burst: u32) -> RateLimiter {
        RateLimiter::new(TokenBucketConfig::new(1, burst)).with_clock(Arc::new(llm_core::ManualClock::at(NOW)))
    }

    #[test]
    fn what_is_taken_while_the_limit_changes_is_missing_afterwards() {
        loom::model(|| {
            let limiter = limiter(4);
            let other = {
                let limiter = limiter.clone();
                loom::thread::spawn(move || limiter.shared.take(2, NOW, 0).is_ok())
            };
            limiter.reconfigure(TokenBucketConfig::new(2, 8)).unwrap();
            let taken = other.join().unwrap();
            assert!(taken);
            // Of the new bucket, two units are gone; the word was moved by a hair to be seen.
            assert!((5..=6).contains(&limiter.remaining(NOW)), "{}", limiter.remaining(NOW));
        });
    }
}
