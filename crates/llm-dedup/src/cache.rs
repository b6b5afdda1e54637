//! Finished answers, kept for a while.

mod store;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use llm_core::{Clock, SystemClock, TenantId, Tick};

use self::store::Store;
use crate::key::{KeptKey, RequestKey, TextKey};

/// What a [`ResponseCache`] keeps at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// Most answers; 0 keeps none. Default 10,000.
    pub max_entries: usize,
    /// How long an answer is kept where its caller does not say. Default 300 s.
    pub default_ttl: Duration,
    /// The longest body of a request, in bytes, whose answer is kept. Default 16,384.
    pub max_prompt_len: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { max_entries: 10_000, default_ttl: Duration::from_secs(300), max_prompt_len: 16_384 }
    }
}

/// Finished answers by what was asked, each until it is too old. Clones share them.
///
/// Bounded by entries and by bytes; what is asked often stays, and a pass over many answers that are asked once does
/// not drive it out. A hit takes no exclusive lock and allocates nothing; the answer is cloned, which is to be cheap, an
/// `Arc`'s clone. Keys are compared in full, and a tenant is part of its keys: nobody meets another's answers.
///
/// Texts by model and prompt are the documented form ([`new`](Self::new), [`insert`](Self::insert),
/// [`get`](Self::get)); any other answer `V` by its whole request is what [`ResponseCacheBuilder::build_for`] gives
/// ([`put`](Self::put), [`find`](Self::find)).
///
/// # Example
/// ```
/// use llm_dedup::{CacheConfig, ResponseCache};
///
/// let cache = ResponseCache::new(CacheConfig { max_entries: 1024, ..CacheConfig::default() });
/// cache.insert("fast", "What is 2+2?", vec!["4".to_owned()], None);
/// assert_eq!(cache.get("fast", "What is 2+2?"), Some(vec!["4".to_owned()]));
/// assert_eq!(cache.stats().hits, 1);
/// ```
pub struct ResponseCache<V = Arc<[String]>>(Arc<Shelf<V>>);

struct Shelf<V> {
    store: Store<V>,
    config: CacheConfig,
    clock: Arc<dyn Clock>,
    weigh: fn(&V) -> usize,
}

impl<V> Clone for ResponseCache<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> fmt::Debug for ResponseCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCache").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl ResponseCache {
    /// An empty cache of texts, of at most 64 MiB.
    #[must_use]
    pub fn new(config: CacheConfig) -> Self {
        Self::builder(config).build()
    }

    /// A cache with a bound in bytes, a clock or answers of its caller's.
    #[must_use]
    pub fn builder(config: CacheConfig) -> ResponseCacheBuilder {
        ResponseCacheBuilder { config, max_bytes: 64 << 20, clock: None }
    }

    /// Keeps what `model` answered to `prompt`, for `ttl` or the configured time. A prompt longer than configured is
    /// left out.
    pub fn insert(&self, model: &str, prompt: &str, answer: Vec<String>, ttl: Option<Duration>) {
        let (ttl, now) = (ttl.unwrap_or(self.0.config.default_ttl), self.0.clock.now());
        self.keep(prompt.len(), || TextKey::new(model, prompt).kept(), answer.into(), ttl, now);
    }

    /// What `model` answered to `prompt`, if it is kept.
    #[must_use]
    pub fn get(&self, model: &str, prompt: &str) -> Option<Vec<String>> {
        let key = TextKey::new(model, prompt);
        let found = self.0.store.find(&key, self.0.clock.now());
        self.0.store.count(key.fingerprint(), found.is_some());
        found.map(|answer| answer.to_vec())
    }
}

impl<V: Clone> ResponseCache<V> {
    /// The answer to `key`'s call, if it is kept at `now`.
    #[must_use]
    #[inline]
    pub fn find(&self, key: &RequestKey, now: Tick) -> Option<V> {
        let found = self.peek(key, now);
        self.0.store.count(key.fingerprint(), found.is_some());
        found
    }

    /// As [`find`](Self::find), and not counted.
    #[inline]
    pub(crate) fn peek(&self, key: &RequestKey, now: Tick) -> Option<V> {
        self.0.store.find(key, now)
    }

    /// Keeps the answer to `key`'s call until `ttl` after `now`. Whether it is kept: not with a `ttl` of zero, a body
    /// longer than configured, or a size beyond a shard's share of the bound.
    ///
    /// What is kept of the key are bytes of its own; of the answer, see to it that it holds on to no larger buffer.
    pub fn put(&self, key: &RequestKey, answer: V, ttl: Duration, now: Tick) -> bool {
        self.keep(key.body().len(), || key.kept(), answer, ttl, now)
    }

    fn keep(&self, length: usize, key: impl FnOnce() -> KeptKey, answer: V, ttl: Duration, now: Tick) -> bool {
        if ttl.is_zero() || length > self.0.config.max_prompt_len {
            return false;
        }
        let key = key();
        let bytes = (self.0.weigh)(&answer).saturating_add(key.weight());
        self.0.store.put(key, answer, bytes, now.after(ttl))
    }

    /// Forgets what `tenant` was answered; how much that was.
    pub fn clear_tenant(&self, tenant: &TenantId) -> usize {
        self.0.store.forget(|key, _| key.tenant() == tenant)
    }

    /// Forgets what is too old; how much that was. What is asked for is forgotten then, and what is not makes room
    /// when it is needed: this only gives memory back sooner.
    pub fn evict_expired(&self) -> usize {
        let now = self.0.clock.now();
        let expired = self.0.store.forget(|_, kept| kept.expires_at <= now);
        self.0.store.count_expired(expired);
        expired
    }

    /// The time on the cache's clock.
    pub(crate) fn now(&self) -> Tick {
        self.0.clock.now()
    }

    /// Forgets everything; how much that was.
    pub fn clear(&self) -> usize {
        self.0.store.clear()
    }

    /// Forgets everything.
    pub fn flush(&self) {
        self.clear();
    }

    /// The counts of the moment.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.0.store.stats()
    }

    /// What it was made with.
    #[must_use]
    pub fn config(&self) -> &CacheConfig {
        &self.0.config
    }
}

/// Makes a [`ResponseCache`].
#[derive(Clone)]
pub struct ResponseCacheBuilder {
    config: CacheConfig,
    max_bytes: usize,
    clock: Option<Arc<dyn Clock>>,
}

impl ResponseCacheBuilder {
    /// Keeps at most so many bytes, keys and overhead included. Default 64 MiB.
    ///
    /// Each answer counts for at least its share, `max_bytes / max_entries`: so both bounds hold at once.
    #[must_use]
    pub const fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Reads the time from `clock`. Default the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// A cache of texts.
    #[must_use]
    pub fn build(self) -> ResponseCache {
        self.build_for(|texts: &Arc<[String]>| texts.iter().map(|text| text.len() + size_of::<String>()).sum())
    }

    /// A cache of answers that weigh, in bytes, what `weigh` says: all that an answer holds on to.
    #[must_use]
    pub fn build_for<V: Clone>(self, weigh: fn(&V) -> usize) -> ResponseCache<V> {
        let store = Store::new(self.config.max_entries, self.max_bytes);
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        ResponseCache(Arc::new(Shelf { store, config: self.config, clock, weigh }))
    }
}

impl fmt::Debug for ResponseCacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCacheBuilder")
            .field("config", &self.config)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

/// Counts of a [`ResponseCache`], since the start unless they say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CacheStats {
    /// Hits over hits and misses; 0 before the first of either.
    pub hit_rate: f64,
    /// Answers kept at the moment; those too old that nobody has asked for since are among them.
    pub entries: usize,
    /// Answers that were forgotten to make room.
    pub evictions: u64,
    /// Answers that were forgotten because they were too old.
    pub expired: u64,
    /// Requests that were answered.
    pub hits: u64,
    /// Requests that were not.
    pub misses: u64,
    /// Answers that were kept.
    pub insertions: u64,
    /// Bytes held at the moment, keys and overhead included, by those still being read, too.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use llm_core::ManualClock;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(tenant: &str, body: &str) -> RequestKey {
        RequestKey::new(TenantId::from(tenant), "route", body.to_owned())
    }

    fn numbers(max_entries: usize, max_bytes: usize) -> (ResponseCache<u64>, ManualClock) {
        let clock = ManualClock::new();
        let config = CacheConfig { max_entries, ..CacheConfig::default() };
        let builder = ResponseCache::builder(config).max_bytes(max_bytes).clock(Arc::new(clock.clone()));
        (builder.build_for(|_| 8), clock)
    }

    #[test]
    fn an_answer_is_found_by_model_and_prompt_until_it_is_too_old() {
        let clock = ManualClock::new();
        let cache = ResponseCache::builder(CacheConfig::default()).clock(Arc::new(clock.clone())).build();
        cache.insert("gpt", "prompt", vec!["a".to_owned(), "b".to_owned()], None);
        cache.insert("gpt", "short", vec!["c".to_owned()], Some(SECOND));
        assert_eq!(cache.get("gpt", "prompt").unwrap(), ["a", "b"]);
        assert_eq!(cache.get("gpt", "short").unwrap(), ["c"]);
        assert_eq!(cache.get("gp", "tprompt"), None);
        clock.advance(SECOND);
        assert_eq!(cache.get("gpt", "short"), None);
        clock.advance(298 * SECOND);
        assert!(cache.get("gpt", "prompt").is_some());
        clock.advance(SECOND);
        assert_eq!(cache.get("gpt", "prompt"), None);
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses, stats.entries, stats.expired, stats.bytes), (3, 3, 0, 2, 0));
        assert!((stats.hit_rate - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_prompt_longer_than_configured_is_not_kept() {
        let cache = ResponseCache::new(CacheConfig { max_prompt_len: 4, ..CacheConfig::default() });
        cache.insert("m", "1234", vec![], None);
        cache.insert("m", "12345", vec![], None);
        assert!(cache.get("m", "1234").is_some());
        assert!(cache.get("m", "12345").is_none());
    }

    #[test]
    fn the_last_answer_to_a_call_counts() {
        let (cache, clock) = numbers(10, 1 << 20);
        assert!(cache.put(&key("t", "a"), 1, SECOND, clock.now()));
        assert!(cache.put(&key("t", "a"), 2, SECOND, clock.now()));
        assert_eq!(cache.find(&key("t", "a"), clock.now()), Some(2));
        let stats = cache.stats();
        assert_eq!((stats.entries, stats.insertions, stats.evictions), (1, 2, 0));
    }

    #[test]
    fn an_answer_too_large_to_be_kept_takes_the_one_before_along() {
        let config = CacheConfig { max_entries: 10, ..CacheConfig::default() };
        let cache = ResponseCache::builder(config).max_bytes(10_000).build();
        cache.insert("m", "p", vec!["small".to_owned()], None);
        assert!(cache.get("m", "p").is_some());
        cache.insert("m", "p", vec!["x".repeat(20_000)], None);
        assert_eq!((cache.get("m", "p"), cache.stats().bytes, cache.stats().insertions), (None, 0, 1));
    }

    #[test]
    fn collisions_do_not_meet() {
        let (cache, clock) = numbers(10, 1 << 20);
        assert!(cache.put(&RequestKey::colliding("one"), 1, SECOND, clock.now()));
        assert_eq!(cache.find(&RequestKey::colliding("two"), clock.now()), None);
        assert_eq!(cache.find(&RequestKey::colliding("one"), clock.now()), Some(1));
    }

    #[test]
    fn tenants_do_not_meet_and_are_cleared_one_by_one() {
        let (cache, clock) = numbers(100, 1 << 20);
        for body in ["a", "b", "c"] {
            assert!(cache.put(&key("one", body), 1, SECOND, clock.now()));
            assert!(cache.put(&key("two", body), 2, SECOND, clock.now()));
        }
        assert_eq!(cache.find(&key("one", "a"), clock.now()), Some(1));
        assert_eq!(cache.find(&key("two", "a"), clock.now()), Some(2));
        assert_eq!(cache.clear_tenant(&TenantId::from("one")), 3);
        assert_eq!(cache.find(&key("one", "a"), clock.now()), None);
        assert_eq!(cache.find(&key("two", "a"), clock.now()), Some(2));
        assert_eq!(cache.clear(), 3);
        assert_eq!((cache.stats().entries, cache.stats().bytes), (0, 0));
    }

    #[test]
    fn what_is_too_old_is_forgotten_on_demand() {
        let (cache, clock) = numbers(100, 1 << 20);
        assert!(cache.put(&key("t", "a"), 1, SECOND, clock.now()));
        assert!(cache.put(&key("t", "b"), 1, 3 * SECOND, clock.now()));
        clock.advance(2 * SECOND);
        assert_eq!((cache.evict_expired(), cache.stats().entries, cache.stats().expired), (1, 1, 1));
        assert_eq!(cache.evict_expired(), 0);
    }

    #[test]
    fn as_many_answers_as_allowed_are_kept_and_no_more() {
        for most in [1, 2, 3, 10, 1000, 1024] {
            let (cache, clock) = numbers(most, 64 << 20);
            for at in 0..most {
                assert!(cache.put(&key("t", &at.to_string()), 1, SECOND, clock.now()), "{at} of {most}");
            }
            assert_eq!((cache.stats().entries, cache.stats().evictions), (most, 0));
            for at in 0..2 * most {
                cache.put(&key("t", &format!("more {at}")), 1, SECOND, clock.now());
                assert!(cache.stats().entries <= most);
            }
            assert!(cache.stats().evictions > 0);
        }
        let (none, clock) = numbers(0, 1 << 20);
        assert!(!none.put(&key("t", "a"), 1, SECOND, clock.now()));
    }

    #[test]
    fn the_bound_in_bytes_holds_whatever_answers_weigh() {
        let clock = ManualClock::new();
        let config = CacheConfig { max_entries: 1000, ..CacheConfig::default() };
        let builder = ResponseCache::builder(config).max_bytes(100_000).clock(Arc::new(clock.clone()));
        let cache = builder.build_for(|text: &Arc<str>| text.len());
        for at in 0usize..2000 {
            let text: Arc<str> = "x".repeat(at * 7919 % 5000).into();
            cache.put(&key("t", &at.to_string()), text, SECOND, clock.now());
            assert!(cache.stats().bytes <= 100_000);
        }
        assert!(cache.stats().bytes > 80_000, "{}", cache.stats().bytes);
        assert!(!cache.put(&key("t", "large"), "x".repeat(200_000).into(), SECOND, clock.now()));
        assert_eq!(cache.find(&key("t", "large"), clock.now()), None);
    }

    #[test]
    fn a_pass_over_many_does_not_drive_out_what_is_asked_often() {
        let (cache, clock) = numbers(1000, 64 << 20);
        let often: Vec<RequestKey> = (0..500).map(|at| key("t", &format!("often {at}"))).collect();
        let ask = |key: &RequestKey| {
            let hit = cache.find(key, clock.now()).is_some();
            if !hit {
                cache.put(key, 1, SECOND, clock.now());
            }
            hit
        };
        for _ in 0..4 {
            assert!(often.iter().filter(|key| ask(key)).count() <= 500);
        }
        for at in 0..20_000 {
            ask(&key("t", &format!("once {at}")));
        }
        let kept = often.iter().filter(|key| ask(key)).count();
        assert!(kept > 450, "{kept}");
    }
}
