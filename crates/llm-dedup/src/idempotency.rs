//! Requests that are made once however often they are sent: by the key that their caller gives them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use llm_core::sync::Mutex;
use llm_core::{TenantId, Tick};

use crate::cache::{CacheConfig, ResponseCache};
use crate::key::{ByFingerprint, Fingerprint, RequestKey};

/// What [`IdempotencyKeys`] remember at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyConfig {
    /// Most requests under way. Default 10,000.
    pub max_in_flight: usize,
    /// Most answers. Default 10,000.
    pub max_entries: usize,
    /// Most bytes of answers. Default 64 MiB.
    pub max_bytes: usize,
    /// How long an answer is given again. Default 24 h.
    pub ttl: Duration,
}

impl Default for IdempotencyConfig {
    fn default() -> Self {
        Self { max_in_flight: 10_000, max_entries: 10_000, max_bytes: 64 << 20, ttl: Duration::from_secs(24 * 60 * 60) }
    }
}

/// The keys that callers give their requests, each tenant its own. Clones share them.
///
/// Of the requests with one key the first is made. While it is under way others join it, by what it has left as `J`;
/// when it has ended well they are given its answer `V`. One that ended badly, or that nobody has waited for, is
/// forgotten: the next is made. What is no longer remembered, because it is too old or because others needed the room,
/// is made again.
///
/// # Example
/// ```
/// use llm_core::{TenantId, Tick};
/// use llm_dedup::{Idempotent, IdempotencyConfig, IdempotencyKeys, RequestKey};
///
/// let keys: IdempotencyKeys<&str, String> = IdempotencyKeys::new(IdempotencyConfig::default(), String::len);
/// let (tenant, now) = (TenantId::from("acme"), Tick::ZERO);
/// let body = RequestKey::new(tenant.clone(), "chat", "{}").fingerprint();
/// let Idempotent::New(first) = keys.claim(&tenant, "order-7", body, now, || "flight 1") else { unreachable!() };
/// assert!(matches!(keys.claim(&tenant, "order-7", body, now, || "flight 2"), Idempotent::InFlight("flight 1")));
/// first.finish("done".to_owned(), now);
/// assert!(matches!(keys.claim(&tenant, "order-7", body, now, || "flight 3"), Idempotent::Replay(_)));
/// let other = RequestKey::new(tenant.clone(), "chat", "[]").fingerprint();
/// assert!(matches!(keys.claim(&tenant, "order-7", other, now, || "flight 4"), Idempotent::Conflict));
/// ```
pub struct IdempotencyKeys<J, V>(Arc<Keys<J, V>>);

struct Keys<J, V> {
    under_way: Mutex<HashMap<RequestKey, UnderWay<J>, ByFingerprint>>,
    done: ResponseCache<Done<V>>,
    max_in_flight: usize,
    ttl: Duration,
    weigh: fn(&V) -> usize,
}

struct UnderWay<J> {
    body: Fingerprint,
    join: J,
}

#[derive(Clone)]
struct Done<V> {
    body: Fingerprint,
    answer: V,
    bytes: usize,
}

/// What becomes of a request that has a key.
#[derive(Debug)]
pub enum Idempotent<J, V> {
    /// It is the first: it is to be made.
    New(Reserved<J, V>),
    /// It is under way: this one is to join it.
    InFlight(J),
    /// It has been answered.
    Replay(V),
    /// Another request has had the key.
    Conflict,
    /// Too many are under way, or the key is longer than [`MAX_KEY`]: nothing can be promised.
    Refused,
}

/// The longest key, in bytes.
pub const MAX_KEY: usize = 255;

/// Keys are not bodies.
const ROUTE: &str = "idempotency-key";

impl<J, V> Clone for IdempotencyKeys<J, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<J, V> fmt::Debug for IdempotencyKeys<J, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKeys(..)")
    }
}

impl<J: Clone, V: Clone> IdempotencyKeys<J, V> {
    /// No keys yet. `weigh` tells the bytes that an answer holds on to.
    #[must_use]
    pub fn new(config: IdempotencyConfig, weigh: fn(&V) -> usize) -> Self {
        let IdempotencyConfig { max_in_flight, max_entries, max_bytes, ttl } = config;
        let cache = CacheConfig { max_entries, default_ttl: ttl, max_prompt_len: MAX_KEY };
        let done = ResponseCache::builder(cache).max_bytes(max_bytes).build_for(|done: &Done<V>| done.bytes);
        Self(Arc::new(Keys { under_way: Mutex::default(), done, max_in_flight, ttl, weigh }))
    }

    /// What becomes at `now` of the request of `tenant`'s that has `key` and, as its body, what `body` stands for.
    /// `join` makes what others join it by, if it is the first.
    pub fn claim(
        &self,
        tenant: &TenantId,
        key: &str,
        body: Fingerprint,
        now: Tick,
        join: impl FnOnce() -> J,
    ) -> Idempotent<J, V> {
        if key.len() > MAX_KEY {
            return Idempotent::Refused;
        }
        let key = RequestKey::new(tenant.clone(), ROUTE, key.to_owned());
        let known = self.0.known(&self.0.under_way.lock(), &key, body, now);
        if let Some(known) = known {
            return known;
        }
        // Nobody's code runs under a lock.
        let join = join();
        let mut under_way = self.0.under_way.lock();
        if let Some(known) = self.0.known(&under_way, &key, body, now) {
            return known;
        }
        if under_way.len() >= self.0.max_in_flight {
            return Idempotent::Refused;
        }
        under_way.insert(key.clone(), UnderWay { body, join });
        drop(under_way);
        Idempotent::New(Reserved { keys: self.clone(), key, body })
    }

    /// How many are under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.under_way.lock().len()
    }

    /// How many answers are remembered.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.0.done.stats().entries
    }
}

impl<J: Clone, V: Clone> Keys<J, V> {
    /// What is known of `key`. Whoever ends a request has left its answer before it is no longer under way: so one of
    /// the two is found.
    fn known(
        &self,
        under_way: &HashMap<RequestKey, UnderWay<J>, ByFingerprint>,
        key: &RequestKey,
        body: Fingerprint,
        now: Tick,
    ) -> Option<Idempotent<J, V>> {
        if let Some(known) = under_way.get(key) {
            let same = known.body == body;
            return Some(if same { Idempotent::InFlight(known.join.clone()) } else { Idempotent::Conflict });
        }
        let done = self.done.find(key, now)?;
        Some(if done.body == body { Idempotent::Replay(done.answer) } else { Idempotent::Conflict })
    }
}

/// The right to make a request, and the duty to say how it ended. Dropping it has the request forgotten: the next one
/// with its key is made.
#[must_use = "a request that is dropped is forgotten"]
pub struct Reserved<J, V> {
    keys: IdempotencyKeys<J, V>,
    key: RequestKey,
    body: Fingerprint,
}

impl<J, V: Clone> Reserved<J, V> {
    /// It has ended well: `answer` is given to all who send it again, from `now` on. Whether it is remembered: not when
    /// it is too large.
    pub fn finish(self, answer: V, now: Tick) -> bool {
        let keys = &*self.keys.0;
        let bytes = (keys.weigh)(&answer);
        keys.done.put(self.key.clone(), Done { body: self.body, answer, bytes }, keys.ttl, now)
    }
}

impl<J, V> Drop for Reserved<J, V> {
    fn drop(&mut self) {
        let under_way = self.keys.0.under_way.lock().remove(&self.key);
        drop(under_way);
    }
}

impl<J, V> fmt::Debug for Reserved<J, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reserved(..)")
    }
}

#[cfg(test)]
#[cfg(not(llm_loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    type Keys = IdempotencyKeys<u32, u32>;

    fn keys(max_in_flight: usize) -> Keys {
        let config = IdempotencyConfig { max_in_flight, ttl: HOUR, ..IdempotencyConfig::default() };
        IdempotencyKeys::new(config, |_| 4)
    }

    fn body(text: &'static str) -> Fingerprint {
        RequestKey::new(TenantId::from("t"), "r", text).fingerprint()
    }

    fn claim(keys: &Keys, tenant: &str, key: &str, text: &'static str, now: Tick) -> Idempotent<u32, u32> {
        keys.claim(&TenantId::from(tenant), key, body(text), now, || 1)
    }

    #[test]
    fn a_request_is_made_once_and_answered_again_for_its_time() {
        let keys = keys(10);
        let start = Tick::ZERO.after(HOUR);
        let Idempotent::New(first) = claim(&keys, "t", "k", "a", start) else { panic!() };
        assert!(matches!(claim(&keys, "t", "k", "a", start), Idempotent::InFlight(1)));
        assert!(matches!(claim(&keys, "t", "k", "b", start), Idempotent::Conflict));
        assert!(first.finish(7, start));
        assert!(matches!(claim(&keys, "t", "k", "a", start), Idempotent::Replay(7)));
        assert!(matches!(claim(&keys, "t", "k", "b", start), Idempotent::Conflict));
        assert_eq!((keys.in_flight(), keys.answers()), (0, 1));
        assert!(matches!(claim(&keys, "t", "k", "b", start.after(HOUR)), Idempotent::New(_)));
    }

    #[test]
    fn one_that_ended_badly_is_made_again() {
        let keys = keys(10);
        let Idempotent::New(first) = claim(&keys, "t", "k", "a", Tick::ZERO) else { panic!() };
        drop(first);
        assert!(matches!(claim(&keys, "t", "k", "b", Tick::ZERO), Idempotent::New(_)));
    }

    #[test]
    fn tenants_do_not_meet() {
        let keys = keys(10);
        let Idempotent::New(_one) = claim(&keys, "one", "k", "a", Tick::ZERO) else { panic!() };
        let Idempotent::New(_two) = claim(&keys, "two", "k", "b", Tick::ZERO) else { panic!() };
    }

    #[test]
    fn no_more_are_under_way_than_may_be_and_no_key_is_too_long() {
        let keys = keys(1);
        let Idempotent::New(_first) = claim(&keys, "t", "k", "a", Tick::ZERO) else { panic!() };
        assert!(matches!(claim(&keys, "t", "other", "a", Tick::ZERO), Idempotent::Refused));
        assert!(matches!(claim(&keys, "t", "k", "a", Tick::ZERO), Idempotent::InFlight(1)));
        assert!(matches!(claim(&keys, "t", &"k".repeat(256), "a", Tick::ZERO), Idempotent::Refused));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Claim(u8, u8, bool),
        End(usize, bool),
        Wait(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            5 => (0u8..2, 0u8..3, any::<bool>()).prop_map(|(tenant, key, other)| Step::Claim(tenant, key, other)),
            3 => (any::<usize>(), any::<bool>()).prop_map(|(at, well)| Step::End(at, well)),
            1 => (1u8..100).prop_map(Step::Wait),
        ];
        proptest::collection::vec(step, 1..100)
    }

    proptest! {
        /// Beside a naive model: a map of what is under way and what was answered until when.
        #[test]
        fn a_key_is_what_a_map_would_say(steps in steps()) {
            let keys = keys(100);
            let mut now = Tick::ZERO;
            let mut under_way = Vec::new();
            // Which of two bodies, and the answer until when.
            type Known = (bool, Option<(u32, Tick)>);
            let mut model: HashMap<(u8, u8), Known> = HashMap::new();
            let mut number = 0;
            for step in steps {
                match step {
                    Step::Claim(tenant, key, other) => {
                        let text = if other { "other" } else { "one" };
                        let claimed = claim(&keys, &tenant.to_string(), &key.to_string(), text, now);
                        if model.get(&(tenant, key)).is_some_and(|(_, done)| done.is_some_and(|(_, until)| now >= until)) {
                            model.remove(&(tenant, key));
                        }
                        match (model.get(&(tenant, key)), claimed) {
                            (None, Idempotent::New(reserved)) => {
                                model.insert((tenant, key), (other, None));
                                under_way.push(((tenant, key), reserved));
                            }
                            (Some((body, None)), Idempotent::InFlight(1)) => prop_assert_eq!(*body, other),
                            (Some((body, Some((answer, _)))), Idempotent::Replay(given)) => {
                                prop_assert_eq!((*body, *answer), (other, given));
                            }
                            (Some((body, _)), Idempotent::Conflict) => prop_assert_ne!(*body, other),
                            (expected, claimed) => prop_assert!(false, "{:?} {:?}", expected, claimed),
                        }
                    }
                    Step::End(at, well) if !under_way.is_empty() => {
                        let (key, reserved) = under_way.swap_remove(at % under_way.len());
                        if well {
                            number += 1;
                            prop_assert!(reserved.finish(number, now));
                            model.entry(key).and_modify(|known| known.1 = Some((number, now.after(HOUR))));
                        } else {
                            drop(reserved);
                            model.remove(&key);
                        }
                    }
                    Step::Wait(minutes) => now = now.after(Duration::from_secs(60 * u64::from(minutes))),
                    Step::End(..) => {}
                }
            }
        }
    }
}
