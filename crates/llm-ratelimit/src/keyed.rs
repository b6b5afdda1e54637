//! One bucket for each key, for millions of keys.

use std::fmt;
use std::sync::Arc as SharedArc;

use llm_core::sync::{Arc, AtomicU64, Ordering::Relaxed};
use llm_core::{Clock, SystemClock, Tick};
use serde::Serialize;

use crate::bucket::{Bucket, Denied, Mark};
use crate::config::{BucketConfig, ConfigError, LimiterConfig, TokenBucketConfig};
use crate::quota::Quota;
use crate::shelf::{Resting, Shelf};

/// A bucket for each key. Cheap to clone; clones share the buckets.
///
/// Memory: a key takes about 120 bytes and its text; at most as many keys are kept as were asked for (half as
/// many again in the worst spread). A key whose bucket is full is forgotten when room is needed, which grants
/// nothing: a new bucket is full, too. Keys that come while all that are kept are in use share one bucket.
#[derive(Clone)]
pub struct KeyedLimiter {
    inner: SharedArc<Inner>,
}

struct Inner {
    keys: Shelf<Slot>,
    max_keys: usize,
    /// Of keys without a bucket of their own; none: they are not limited.
    default: Option<Quota>,
    /// What keys share for which there is no room.
    crowd: Slot,
    unlimited: AtomicU64,
    clock: Option<SharedArc<dyn Clock>>,
}

struct Slot {
    bucket: Bucket,
    quota: AtomicU64,
    /// Keys that were named are never forgotten.
    named: bool,
    allowed: AtomicU64,
    denied: AtomicU64,
}

impl Slot {
    fn new(quota: Quota, named: bool) -> Self {
        Self {
            bucket: Bucket::full(),
            quota: AtomicU64::new(quota.packed()),
            named,
            allowed: AtomicU64::new(0),
            denied: AtomicU64::new(0),
        }
    }

    fn quota(&self) -> Quota {
        Quota::unpacked(self.quota.load(Relaxed))
    }

    fn take(&self, cost: u32, now: Tick) -> Result<Mark, Denied> {
        let taken = self.bucket.take(self.quota(), cost, now);
        // Relaxed: counts for display.
        let count = if taken.is_ok() { &self.allowed } else { &self.denied };
        count.fetch_add(1, Relaxed);
        taken
    }
}

impl Resting for Slot {
    fn is_at_rest(&self, now: Tick) -> bool {
        !self.named && self.bucket.full_in(self.quota(), now).is_zero()
    }
}

/// What a [`KeyedLimiter`] has done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LimiterStats {
    /// Key by key, sorted.
    pub per_model: Vec<ModelStats>,
    /// Requests of keys that nothing limits.
    pub unlimited: u64,
}

/// What one key was allowed and denied.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelStats {
    /// The key.
    pub model_id: String,
    /// Requests that passed, since the key was last forgotten.
    pub requests_allowed: u64,
    /// Requests that did not.
    pub requests_denied: u64,
    /// Units that could be taken at the moment.
    pub current_tokens: f64,
}

impl KeyedLimiter {
    /// A bucket with `quota` for every key, and room for `max_keys` keys.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and its bound.
    pub fn try_each(quota: TokenBucketConfig, max_keys: usize) -> Result<Self, ConfigError> {
        Ok(Self::with(Some(Quota::try_new(quota)?), max_keys))
    }

    fn with(default: Option<Quota>, max_keys: usize) -> Self {
        let crowd = default.unwrap_or(Quota { unit: 0, burst: u32::MAX });
        let inner = Inner {
            keys: Shelf::new(max_keys),
            max_keys,
            default,
            crowd: Slot::new(crowd, true),
            unlimited: AtomicU64::new(0),
            clock: None,
        };
        Self { inner: SharedArc::new(inner) }
    }

    /// The same limits on `clock`, all full. All users need one clock.
    #[must_use]
    pub fn with_clock(self, clock: SharedArc<dyn Clock>) -> Self {
        let fresh = |slot: &Slot| Slot::new(slot.quota(), slot.named);
        let max_keys = self.inner.max_keys;
        let keys = Shelf::new(max_keys);
        self.inner.keys.each(|name, slot| {
            let slot = fresh(slot);
            if slot.named {
                keys.get(name, Tick::ZERO, || slot);
            }
        });
        let inner = Inner {
            keys,
            max_keys,
            default: self.inner.default,
            crowd: fresh(&self.inner.crowd),
            unlimited: AtomicU64::new(0),
            clock: Some(clock),
        };
        Self { inner: SharedArc::new(inner) }
    }

    /// Gives `key` a bucket of its own kind. What its bucket lacks, it lacks in the new one.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and its bound; [`ConfigError::Value`] when there is no room.
    pub fn set(&self, key: &str, quota: TokenBucketConfig) -> Result<(), ConfigError> {
        let quota = Quota::try_new(quota)?;
        let now = self.now();
        let full = || ConfigError::value("max_keys", "there is no room for another key");
        let slot = self.inner.keys.replace(key, now, |old| {
            let slot = Slot::new(quota, true);
            match old {
                None => slot,
                Some(old) => Slot {
                    bucket: old.bucket.converted(old.quota(), quota, now),
                    allowed: AtomicU64::new(old.allowed.load(Relaxed)),
                    denied: AtomicU64::new(old.denied.load(Relaxed)),
                    ..slot
                },
            }
        });
        slot.map(drop).ok_or_else(full)
    }

    fn now(&self) -> Tick {
        self.inner.clock.as_ref().map_or_else(|| SystemClock::new().now(), |clock| clock.now())
    }

    /// Takes one unit of `key`.
    ///
    /// # Errors
    /// As [`check_n`](Self::check_n).
    pub fn check(&self, key: &str) -> Result<(), Denied> {
        self.check_n(key, 1)
    }

    /// Takes one unit of `key`: another name for [`check`](Self::check).
    ///
    /// # Errors
    /// As [`check_n`](Self::check_n).
    pub fn try_acquire(&self, key: &str) -> Result<(), Denied> {
        self.check_n(key, 1)
    }

    /// Takes `cost` units of `key`. A key without a bucket passes, and is counted.
    ///
    /// # Errors
    /// [`Denied`] as [`RateLimiter::take`](crate::RateLimiter::take) has it. A denial changes nothing.
    pub fn check_n(&self, key: &str, cost: u32) -> Result<(), Denied> {
        self.take(key, cost, self.now()).map(|_| ())
    }

    fn take(&self, key: &str, cost: u32, now: Tick) -> Result<Option<(Arc<Slot>, Mark)>, Denied> {
        match self.slot(key, now) {
            Found::Own(slot) => slot.take(cost, now).map(|mark| Some((slot, mark))),
            Found::Crowd => self.inner.crowd.take(cost, now).map(|_| None),
            Found::Unlimited => {
                // Relaxed: a count for display.
                self.inner.unlimited.fetch_add(1, Relaxed);
                Ok(None)
            }
        }
    }

    fn slot(&self, key: &str, now: Tick) -> Found {
        let Some(quota) = self.inner.default else {
            return self.inner.keys.find(key).map_or(Found::Unlimited, Found::Own);
        };
        self.inner.keys.get(key, now, || Slot::new(quota, false)).map_or(Found::Crowd, Found::Own)
    }

    /// Takes one unit of `key` and waits for it, at most half an hour. Those who wait are served in order.
    /// Dropping the future gives the unit back.
    ///
    /// # Errors
    /// [`Denied`], at once, when it would take longer.
    #[cfg(feature = "tokio")]
    pub async fn acquire(&self, key: &str) -> Result<(), Denied> {
        use std::time::Duration;

        use crate::bucket::{duration, patience};

        struct Booking {
            slot: Option<Arc<Slot>>,
            mark: Mark,
            limiter: KeyedLimiter,
        }
        impl Drop for Booking {
            fn drop(&mut self) {
                if let Some(slot) = self.slot.take() {
                    slot.bucket.give_back(slot.quota(), 1, self.mark, self.limiter.now());
                }
            }
        }

        let now = self.now();
        let Found::Own(slot) = self.slot(key, now) else { return self.check(key) };
        let (mark, wait) = slot.bucket.take_within(slot.quota(), 1, now, patience(Duration::MAX))?;
        // Relaxed: a count for display.
        slot.allowed.fetch_add(1, Relaxed);
        let mut booking = Booking { slot: Some(slot), mark, limiter: self.clone() };
        let mut left = duration(wait);
        let due = now.after(left);
        while !left.is_zero() {
            tokio::time::sleep(left).await;
            left = due.since(self.now());
        }
        booking.slot = None;
        Ok(())
    }

    /// Units of `key` that could be taken at the moment; none for a key without a limit.
    #[must_use]
    pub fn available(&self, key: &str) -> Option<u32> {
        let now = self.now();
        match self.inner.keys.find(key) {
            Some(slot) => Some(slot.bucket.available(slot.quota(), now)),
            None => self.inner.default.map(|quota| quota.burst),
        }
    }

    /// Keys that are kept at the moment.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.keys.len()
    }

    /// Whether no key is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was allowed and denied, of the keys that are kept.
    #[must_use]
    pub fn stats(&self) -> LimiterStats {
        let now = self.now();
        let mut per_model = Vec::new();
        self.inner.keys.each(|name, slot| {
            per_model.push(ModelStats {
                model_id: name.to_owned(),
                requests_allowed: slot.allowed.load(Relaxed),
                requests_denied: slot.denied.load(Relaxed),
                current_tokens: slot.bucket.available(slot.quota(), now).into(),
            });
        });
        per_model.sort_unstable_by(|a, b| a.model_id.cmp(&b.model_id));
        LimiterStats { per_model, unlimited: self.inner.unlimited.load(Relaxed) }
    }
}

enum Found {
    Own(Arc<Slot>),
    Crowd,
    Unlimited,
}

impl LimiterConfig for Vec<BucketConfig> {
    type Limiter = KeyedLimiter;

    fn try_build(self) -> Result<KeyedLimiter, ConfigError> {
        let limiter = KeyedLimiter::with(None, self.len());
        for BucketConfig { model_id, requests_per_second, burst_capacity } in self {
            limiter.set(&model_id, TokenBucketConfig::new(requests_per_second, burst_capacity))?;
        }
        Ok(limiter)
    }
}

impl fmt::Debug for KeyedLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLimiter").field("keys", &self.len()).finish_non_exhaustive()
    }
}
