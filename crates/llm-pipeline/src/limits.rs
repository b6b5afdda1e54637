//! What callers and targets are limited to.

use std::sync::Arc;

use llm_core::{CallBody, Error, ErrorKind, HashKey, Money, Observer, Tick, hash128};
use llm_ratelimit::{
    Admission, Cost, Denial, Denied, Headroom, Hierarchy, LimitStats, RateLimiter, Resource, Room, Tightest,
};

use crate::demand::Unbounded;
use crate::hold::Hold;
use crate::request::{Caller, Request};

/// The limits of a path.
pub(crate) struct Limits {
    pub(crate) hierarchy: Hierarchy,
    /// One bucket for everything, shared with its owner.
    limiter: Option<RateLimiter>,
    observer: Arc<dyn Observer>,
    users: bool,
    targets: bool,
    /// Whether it matters what a request costs.
    pub(crate) metered: bool,
}

/// The levels of a caller, the narrowest first.
const CALLER_LEVELS: [&str; 5] = ["user", "key", "tenant", "team", "org"];

/// The levels of a target, the narrowest first.
const TARGET_LEVELS: [&str; 3] = ["provider_key", "model", "provider"];

/// A user's name is kept as it is up to here, and by its hash beyond.
const LONGEST_NAME: usize = 128;

impl Limits {
    pub(crate) fn new(hierarchy: Hierarchy, limiter: Option<RateLimiter>, observer: Arc<dyn Observer>) -> Self {
        Self {
            limiter,
            observer,
            users: hierarchy.has_level("user"),
            targets: TARGET_LEVELS.iter().any(|level| hierarchy.has_level(level)),
            metered: hierarchy.limits(Resource::Tokens) || hierarchy.limits(Resource::Money),
            hierarchy,
        }
    }

    /// Takes one request of its caller's limits.
    pub(crate) fn admit(&self, request: &Request, cost: Cost, why: Why, now: Tick) -> Result<Hold, Error> {
        let charge = match &self.limiter {
            Some(limiter) => Some(limiter.take(1, now).map_err(|denied| self.refused(limiter, denied))?),
            None => None,
        };
        let admission = if self.hierarchy.is_empty() {
            None
        } else {
            let admitted =
                self.named(&request.caller, user(&request.body), |names| self.hierarchy.admit(names, cost, now));
            Some(admitted.map_err(|denial| self.denied(&denial, why))?)
        };
        Ok(Hold::new(admission, charge, cost))
    }

    /// Takes one attempt of its target's limits.
    pub(crate) fn admit_target(
        &self,
        names: impl FnOnce() -> [(&'static str, String); TARGET_LEVELS.len()],
        cost: Cost,
        why: Why,
        now: Tick,
    ) -> Result<Option<Box<Admission>>, Error> {
        if !self.targets {
            return Ok(None);
        }
        let names = names();
        let names = names.each_ref().map(|(level, name)| (*level, name.as_str()));
        match self.hierarchy.admit(&names, cost, now) {
            Ok(admission) => Ok(Some(Box::new(admission))),
            Err(denial) => Err(self.denied(&denial, why)),
        }
    }

    /// What the tightest of the caller's own limits have left.
    pub(crate) fn headroom(&self, caller: &Caller, user: Option<&str>, now: Tick) -> Headroom {
        let mut headroom = self.named(caller, user, |names| self.hierarchy.headroom(names, now));
        if let Some(limiter) = &self.limiter {
            let left = limiter.remaining(now).into();
            if headroom.requests.is_none_or(|room| left < room.left) {
                let limit = limiter.config().burst.into();
                headroom.requests = Some(Room { limit, left, reset: limiter.full_in(now) });
            }
        }
        headroom
    }

    /// Whether a caller has limits of its own.
    pub(crate) fn limits_callers(&self) -> bool {
        self.limiter.is_some() || CALLER_LEVELS.iter().any(|level| self.hierarchy.has_level(level))
    }

    pub(crate) const fn limits_users(&self) -> bool {
        self.users
    }

    pub(crate) fn stats(&self, now: Tick) -> Vec<LimitStats> {
        self.hierarchy.stats(now)
    }

    pub(crate) fn tightest(&self, most: usize, now: Tick) -> Tightest {
        self.hierarchy.tightest(most, now)
    }

    /// Gives `with` the caller's name at each level that it has.
    fn named<T>(&self, caller: &Caller, user: Option<&str>, with: impl FnOnce(&[(&str, &str)]) -> T) -> T {
        let user = user.filter(|_| self.users).map(|user| caller.user(user));
        let names = [
            user.as_deref(),
            Some(&*caller.key),
            Some(caller.tenant.as_str()),
            caller.team.as_deref(),
            caller.org.as_deref(),
        ];
        let mut known = [("", ""); CALLER_LEVELS.len()];
        let mut count = 0;
        for (level, name) in CALLER_LEVELS.into_iter().zip(names) {
            if let Some(name) = name {
                known[count] = (level, name);
                count += 1;
            }
        }
        with(&known[..count])
    }

    fn refused(&self, limiter: &RateLimiter, denied: Denied) -> Error {
        self.observer.limit_denied("client", Resource::Requests.as_str());
        let quota = limiter.config();
        let reason = format!("limiter: {} requests per second, burst {}: {denied}", quota.rate_per_second, quota.burst);
        let error = Error::new(ErrorKind::Denied, "rate limit reached").with_code(RATE_LIMIT).because(reason);
        match denied {
            Denied::Until { wait } => error.with_retry_after(wait),
            _ => error,
        }
    }

    fn denied(&self, denial: &Denial, why: Why) -> Error {
        let Denial { level, name, resource, limit, left, wait } = denial;
        self.observer.limit_denied(level, resource.as_str());
        let place = if **level == *"tenant" { "rate_limits" } else { "limits" };
        let (amount, resource_name) = (Amount(*resource), resource.as_str());
        let mut reason = format!(
            "{place}: {resource_name} of {level} {name}: {} of {} left",
            amount.show(*left),
            amount.show(*limit)
        );
        match wait {
            Some(wait) => reason.push_str(&format!(", enough in {} ms", wait.as_nanos().div_ceil(1_000_000))),
            None if *resource == Resource::Concurrency => reason.push_str(" until a request under way ends"),
            None => {}
        }
        let error = match (resource, why.0) {
            (Resource::Money, Some(unbounded)) => Error::new(
                ErrorKind::Denied,
                format!("the request cannot be held to the budget of {level} {name}: {}", unbounded.as_str()),
            )
            .with_code(UNBOUNDED),
            (Resource::Money, None) => {
                Error::new(ErrorKind::Denied, format!("budget of {level} {name} used up")).with_code(QUOTA)
            }
            (Resource::Concurrency, _) => {
                Error::new(ErrorKind::Denied, format!("limit of {level} {name} on {resource_name} reached"))
                    .with_code(CONCURRENCY)
            }
            (_, _) => Error::new(ErrorKind::Denied, format!("limit of {level} {name} on {resource_name} reached"))
                .with_code(RATE_LIMIT),
        };
        let error = error.because(reason);
        match wait {
            Some(wait) => error.with_retry_after(*wait),
            None => error,
        }
    }
}

const RATE_LIMIT: &str = "rate_limit_exceeded";
const CONCURRENCY: &str = "concurrency_limit_exceeded";
const QUOTA: &str = "insufficient_quota";
const UNBOUNDED: &str = "unbounded_cost";

/// Why a cost has no bound, where it has none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Why(pub(crate) Option<Unbounded>);

/// Amounts of a resource, for people.
struct Amount(Resource);

impl Amount {
    fn show(&self, amount: u64) -> String {
        match self.0 {
            Resource::Money => Money::from_units(i64::try_from(amount).unwrap_or(i64::MAX)).to_string(),
            _ => amount.to_string(),
        }
    }
}

/// Who the caller says it asks for.
pub(crate) fn user(body: &CallBody) -> Option<&str> {
    match body {
        CallBody::Wire(envelope) => envelope.user_name(),
        CallBody::Completion(request) | CallBody::Stream(request) => request.user.as_deref(),
        CallBody::Embedding(request) => request.user.as_deref(),
        CallBody::Models | CallBody::Forward(_) => None,
    }
}

impl Caller {
    /// The name of one of the caller's users. Users of different tenants are different.
    fn user(&self, user: &str) -> String {
        let name = if user.len() > LONGEST_NAME {
            format!("{:032x}", hash128(HashKey::process(), &[user.as_bytes()]))
        } else {
            user.to_owned()
        };
        if self.tenant == DEFAULT_TENANT { name } else { format!("{}/{name}", self.tenant) }
    }
}

/// The tenant of everybody where there are no keys.
pub(crate) const DEFAULT_TENANT: &str = "default";
