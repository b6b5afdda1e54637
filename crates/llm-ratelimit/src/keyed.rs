//! One bucket for each key, for millions of keys.

use std::fmt;
use std::sync::Arc as SharedArc;

use llm_core::sync::{Arc, AtomicBool, AtomicU64, Ordering::Relaxed};
use llm_core::{Clock, SystemClock, Tick};
use serde::Serialize;

use crate::bucket::Denied;
use crate::config::{BucketConfig, ConfigError, LimiterConfig, TokenBucketConfig};
use crate::live::LiveBucket;
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
    crowd: Arc<Slot>,
    unlimited: AtomicU64,
    clock: Option<SharedArc<dyn Clock>>,
}

struct Slot {
    bucket: LiveBucket,
    /// Keys that were named are never forgotten.
    named: AtomicBool,
    allowed: AtomicU64,
    denied: AtomicU64,
}

impl Slot {
    fn new(quota: Quota, named: bool) -> Self {
        Self {
            bucket: LiveBucket::full(quota),
            named: AtomicBool::new(named),
            allowed: AtomicU64::new(0),
            denied: AtomicU64::new(0),
        }
    }

    fn take(&self, cost: u32, now: Tick) -> Result<(), Denied> {
        self.count(self.bucket.take(cost, now))
    }

    fn count(&self, taken: Result<(), Denied>) -> Result<(), Denied> {
        // Relaxed: counts for display.
        let count = if taken.is_ok() { &self.allowed } else { &self.denied };
        count.fetch_add(1, Relaxed);
        taken
    }
}

impl Resting for Slot {
    fn is_at_rest(&self, now: Tick) -> bool {
        // Relaxed: who names a key holds its slot, which is then not asked.
        !self.named.load(Relaxed) && self.bucket.full_in(now).is_zero()
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
        let crowd = default.unwrap_or(Quota::UNLIMITED);
        let inner = Inner {
            keys: Shelf::new(max_keys),
            max_keys,
            default,
            crowd: Arc::new(Slot::new(crowd, true)),
            unlimited: AtomicU64::new(0),
            clock: None,
        };
        Self { inner: SharedArc::new(inner) }
    }

    /// The same limits on `clock`, all full. All users need one clock.
    #[must_use]
    pub fn with_clock(self, clock: SharedArc<dyn Clock>) -> Self {
        let fresh = |slot: &Slot| Slot::new(slot.bucket.quota(), slot.named.load(Relaxed));
        let max_keys = self.inner.max_keys;
        let keys = Shelf::new(max_keys);
        self.inner.keys.each(|name, slot| {
            if slot.named.load(Relaxed) {
                keys.get(name, Tick::ZERO, || fresh(slot));
            }
        });
        let inner = Inner {
            keys,
            max_keys,
            default: self.inner.default,
            crowd: Arc::new(fresh(&self.inner.crowd)),
            unlimited: AtomicU64::new(0),
            clock: Some(clock),
        };
        Self { inner: SharedArc::new(inner) }
    }

    /// Gives `key` a limit of its own. What its bucket lacks, it lacks by the new one.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and its bound; [`ConfigError::Value`] when there is no room.
    pub fn set(&self, key: &str, quota: TokenBucketConfig) -> Result<(), ConfigError> {
        let (quota, now) = (Quota::try_new(quota)?, self.now());
        let full = || ConfigError::value("max_keys", "there is no room for another key");
        let slot = self.inner.keys.get(key, now, || Slot::new(quota, true)).ok_or_else(full)?;
        slot.named.store(true, Relaxed);
        slot.bucket.requote(quota, now);
        Ok(())
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
        let now = self.now();
        let known = self.inner.keys.known(key, |slot| slot.take(cost, now));
        known.unwrap_or_else(|| self.slot(key, now).map_or(Ok(()), |slot| slot.take(cost, now)))
    }

    /// The slot of `key`: its own, or the one that those share for which there is no room. None, and counted, when
    /// nothing limits it.
    fn slot(&self, key: &str, now: Tick) -> Option<Arc<Slot>> {
        let found = match self.inner.default {
            None => self.inner.keys.find(key),
            Some(quota) => {
                let own = self.inner.keys.get(key, now, || Slot::new(quota, false));
                Some(own.unwrap_or_else(|| self.inner.crowd.clone()))
            }
        };
        if found.is_none() {
            // Relaxed: a count for display.
            self.inner.unlimited.fetch_add(1, Relaxed);
        }
        found
    }

    /// Takes one unit of `key` and waits for it, at most half an hour; see [`acquire_by`](Self::acquire_by).
    ///
    /// # Errors
    /// [`Denied`] when it would take longer.
    #[cfg(feature = "tokio")]
    pub async fn acquire(&self, key: &str) -> Result<(), Denied> {
        self.acquire_by(key, Tick::MAX).await
    }

    /// Takes one unit of `key` and waits for it until `deadline`, in line with others who wait for that key; see
    /// [`RateLimiter::acquire_by`](crate::RateLimiter::acquire_by). A key without a bucket passes, and is counted.
    ///
    /// # Errors
    /// [`Denied`], at once, when the unit will not be there by the deadline, or within half an hour; later, when the
    /// key has been set to a limit by which it will not.
    #[cfg(feature = "tokio")]
    pub async fn acquire_by(&self, key: &str, deadline: Tick) -> Result<(), Denied> {
        let Some(slot) = self.slot(key, self.now()) else { return Ok(()) };
        slot.count(crate::line::acquire(&slot.bucket, 1, deadline, || self.now()).await)
    }

    /// Units of `key` that could be taken at the moment; none for a key without a limit.
    #[must_use]
    pub fn available(&self, key: &str) -> Option<u32> {
        let now = self.now();
        match self.inner.keys.find(key) {
            Some(slot) => Some(slot.bucket.available(now)),
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
                current_tokens: slot.bucket.available(now).into(),
            });
        });
        per_model.sort_unstable_by(|a, b| a.model_id.cmp(&b.model_id));
        LimiterStats { per_model, unlimited: self.inner.unlimited.load(Relaxed) }
    }
}

impl LimiterConfig for Vec<BucketConfig> {
    type Limiter = KeyedLimiter;

    fn try_build(self) -> Result<KeyedLimiter, ConfigError> {
        let limiter = KeyedLimiter::with(None, self.len());
        for BucketConfig { model_id, requests_per_second, burst_capacity } in self {
            let quota = TokenBucketConfig::new(requests_per_second, burst_capacity);
            limiter.set(&model_id, quota).map_err(|error| error.of_model(&model_id))?;
        }
        Ok(limiter)
    }
}

impl fmt::Debug for KeyedLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLimiter").field("keys", &self.len()).finish_non_exhaustive()
    }
}
