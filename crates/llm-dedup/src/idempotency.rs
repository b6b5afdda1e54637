//! Keys by which callers say that a request is one that they have made before.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use llm_core::sync::Mutex;
use llm_core::{TenantId, Tick};
use quick_cache::Equivalent;

use crate::key::{KeptKey, RequestKey};

/// Which request each key stands for. A key stands for the first request that it came with, for as long as it is
/// remembered: so many keys at most, the oldest of which make room.
pub struct IdempotencyKeys {
    ttl: Duration,
    max: usize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    requests: HashMap<Name, Entry>,
    /// In the order of arrival, in which they are forgotten, too.
    arrivals: VecDeque<Name>,
}

type Name = (TenantId, Box<str>);

struct Entry {
    request: KeptKey,
    expires_at: Tick,
}

/// The key came with another request before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the idempotency key was given with another request before")]
pub struct Conflict;

impl fmt::Debug for IdempotencyKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyKeys").field("max", &self.max).finish_non_exhaustive()
    }
}

impl IdempotencyKeys {
    /// No keys yet; at most `max`, each remembered for `ttl` from its first request on.
    #[must_use]
    pub fn new(max: usize, ttl: Duration) -> Self {
        Self { ttl, max: max.max(1), known: Mutex::default() }
    }

    /// How long a key is remembered.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Lets `key` of the tenant of `request` stand for it at `now`, unless it already stands for another.
    ///
    /// # Errors
    /// [`Conflict`] when it does.
    pub fn register(&self, key: &str, request: &RequestKey, now: Tick) -> Result<(), Conflict> {
        let name: Name = (request.tenant().clone(), key.into());
        let mut known = self.known.lock();
        known.forget_old(now);
        if let Some(entry) = known.requests.get(&name) {
            return if request.equivalent(&entry.request) { Ok(()) } else { Err(Conflict) };
        }
        if known.requests.len() >= self.max {
            known.forget_oldest();
        }
        let entry = Entry { request: request.kept(), expires_at: now.after(self.ttl) };
        known.requests.insert(name.clone(), entry);
        known.arrivals.push_back(name);
        Ok(())
    }

    /// Keys that are remembered at the moment, some of which may be too old.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.lock().requests.len()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Known {
    fn forget_old(&mut self, now: Tick) {
        while let Some(oldest) = self.arrivals.front()
            && self.requests.get(oldest).is_none_or(|entry| entry.expires_at <= now)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(name) = self.arrivals.pop_front() {
            self.requests.remove(&name);
        }
    }
}

#[cfg(test)]
#[cfg(not(llm_loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(tenant: &str, body: &'static str) -> RequestKey {
        RequestKey::new(TenantId::from(tenant), "r", body)
    }

    fn at(second: u64) -> Tick {
        Tick::ZERO.after(Duration::from_secs(second))
    }

    #[test]
    fn a_key_stands_for_its_first_request_within_its_tenant_and_its_time() {
        let keys = IdempotencyKeys::new(10, Duration::from_secs(60));
        assert_eq!(keys.register("k", &request("a", "one"), at(0)), Ok(()));
        assert_eq!(keys.register("k", &request("a", "one"), at(59)), Ok(()));
        assert_eq!(keys.register("k", &request("a", "two"), at(59)), Err(Conflict));
        assert_eq!(keys.register("k", &request("b", "two"), at(59)), Ok(()));
        assert_eq!(keys.register("k", &request("a", "two"), at(60)), Ok(()));
    }

    proptest! {
        /// Beside a list of all that came.
        #[test]
        fn no_key_stands_for_two_requests_at_once(
            steps in proptest::collection::vec((0usize..4, 0usize..3, 0u64..40), 1..60), max in 1usize..4
        ) {
            const BODIES: [&str; 3] = ["one", "two", "three"];
            let keys = IdempotencyKeys::new(max, Duration::from_secs(60));
            let mut list: Vec<(usize, usize, u64)> = Vec::new();
            let mut now = 0;
            for (key, body, wait) in steps {
                now += wait;
                list.retain(|(_, _, since)| since + 60 > now);
                let known = list.iter().find(|(known, ..)| *known == key).map(|(_, body, _)| *body);
                let registered = keys.register(&key.to_string(), &request("t", BODIES[body]), at(now));
                prop_assert_eq!(registered.is_ok(), known.is_none_or(|known| known == body));
                if known.is_none() {
                    if list.len() == max {
                        list.remove(0);
                    }
                    list.push((key, body, now));
                }
                prop_assert_eq!(keys.len(), list.len());
            }
        }
    }
}
