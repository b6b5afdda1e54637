//! The limits of one name: what is charged together.

use std::time::Duration;

use llm_core::Tick;
use llm_core::sync::{AtomicU32, Mutex, Ordering::Relaxed};

use crate::bucket::{Bucket, Denied, Mark};
use crate::period::{self, Period, Window};
use crate::rules::{CapConfig, Meter, Resource, Rules};
use crate::shelf::Resting;

/// What a request uses, before it is known or after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Tokens, in and out.
    pub tokens: u64,
    /// Money as expected, in units of 10⁻¹² dollars; what soft caps reserve.
    pub money: u64,
    /// Money that it cannot exceed; what hard caps reserve. None where nobody knows: hard caps refuse it.
    pub bound: Option<u64>,
}

impl Cost {
    /// A cost that is known.
    #[must_use]
    pub const fn exact(tokens: u64, money: u64) -> Self {
        Self { tokens, money, bound: Some(money) }
    }
}

/// The state of one name's limits.
pub(crate) struct Cell {
    rules: Rules,
    requests: Bucket,
    tokens: Bucket,
    running: AtomicU32,
    caps: Mutex<Caps>,
}

#[derive(Clone, Copy, Default)]
struct Caps {
    requests: Period,
    tokens: Period,
    money: Period,
}

/// What was taken of a cell.
#[derive(Debug)]
pub(crate) struct Taken {
    marks: Marks,
    /// Of requests, tokens and money; none where no cap applies.
    windows: Option<Box<[Window; 3]>>,
    /// What was reserved.
    reserved: Reserved,
}

/// Limits for which a request needs no list of its own.
pub(crate) const INLINE: usize = 4;

/// What was taken of a cell's rates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    requests: Mark,
    tokens: Mark,
}

impl Default for Marks {
    fn default() -> Self {
        Self { requests: Mark::NONE, tokens: Mark::NONE }
    }
}

/// A rate that would not give.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short {
    resource: Resource,
    denied: Denied,
}

/// What of a cost concerns a cell.
#[derive(Clone, Copy, Debug, Default)]
struct Reserved {
    tokens: u64,
    money: u64,
}

/// What a cell would not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) resource: Resource,
    pub(crate) limit: u64,
    pub(crate) left: u64,
    pub(crate) wait: Option<Duration>,
}

/// What a cell has left of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) resource: Resource,
    pub(crate) limit: u64,
    pub(crate) left: u64,
    pub(crate) reset: Duration,
}

fn units(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

impl Cell {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            requests: Bucket::full(),
            tokens: Bucket::full(),
            running: AtomicU32::new(0),
            caps: Mutex::new(Caps::default()),
        }
    }

    /// A cell under `rules` that lacks what this one lacks.
    pub(crate) fn converted(&self, rules: &Rules, now: Tick) -> Self {
        let bucket = |bucket: &Bucket, from: Option<Meter>, to: Option<Meter>| match (from, to) {
            (Some(Meter::Rate(from)), Some(Meter::Rate(to))) => bucket.converted(from, to, now),
            _ => Bucket::full(),
        };
        let caps = *self.caps.lock();
        Self {
            requests: bucket(&self.requests, self.rules.requests, rules.requests),
            tokens: bucket(&self.tokens, self.rules.tokens, rules.tokens),
            // Those under way hold the old cell and leave there.
            running: AtomicU32::new(0),
            caps: Mutex::new(caps),
            rules: rules.clone(),
        }
    }

    pub(crate) const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Takes one request and `tokens` of the rates; both or nothing.
    // Its callers are few, and a result that goes by memory costs more than the decision.
    #[inline(always)]
    pub(crate) fn take_rates(&self, tokens: u64, now: Tick) -> Result<Marks, Short> {
        let mut marks = Marks::default();
        if let Some(Meter::Rate(quota)) = self.rules.requests {
            let taken = self.requests.take(quota, 1, now);
            marks.requests = taken.map_err(|denied| Short { resource: Resource::Requests, denied })?;
        }
        if let Some(Meter::Rate(quota)) = self.rules.tokens {
            match self.tokens.take(quota, units(tokens), now) {
                Ok(mark) => marks.tokens = mark,
                Err(denied) => {
                    self.return_requests(marks, now);
                    return Err(Short { resource: Resource::Tokens, denied });
                }
            }
        }
        Ok(marks)
    }

    /// Undoes [`take_rates`](Self::take_rates).
    #[cold]
    pub(crate) fn return_rates(&self, marks: Marks, tokens: u64, now: Tick) {
        self.return_requests(marks, now);
        self.return_tokens(marks, tokens, now);
    }

    /// What is to be said of a rate that is `short`.
    #[cold]
    pub(crate) fn refusal(&self, short: Short, now: Tick) -> Refusal {
        let Short { resource, denied } = short;
        let wait = match denied {
            Denied::Until { wait } => Some(wait),
            Denied::TooLarge { .. } => None,
        };
        let (meter, bucket) = match resource {
            Resource::Requests => (self.rules.requests, &self.requests),
            Resource::Tokens | Resource::Money | Resource::Concurrency => (self.rules.tokens, &self.tokens),
        };
        let (limit, left) = match meter {
            Some(Meter::Rate(quota)) => (quota.burst.into(), bucket.available(quota, now).into()),
            _ => (0, 0),
        };
        Refusal { resource, limit, left, wait }
    }

    /// Takes one request that costs `cost`; all of it or nothing.
    pub(crate) fn take(&self, cost: Cost, now: Tick) -> Result<Taken, Refusal> {
        let reserved = self.reserved(cost);
        let marks = self.take_rates(cost.tokens, now).map_err(|short| self.refusal(short, now))?;
        let rest = self.take_slot().and_then(|()| self.take_caps(reserved, now).inspect_err(|_| self.leave()));
        match rest {
            Ok(windows) => Ok(Taken { marks, windows, reserved }),
            Err(refusal) => {
                self.return_rates(marks, cost.tokens, now);
                Err(refusal)
            }
        }
    }

    fn take_slot(&self) -> Result<(), Refusal> {
        let Some(most) = self.rules.concurrency else { return Ok(()) };
        // Relaxed: the count publishes nothing else.
        let mut running = self.running.load(Relaxed);
        loop {
            if running >= most {
                let (resource, limit) = (Resource::Concurrency, most.into());
                return Err(Refusal { resource, limit, left: 0, wait: None });
            }
            match self.running.compare_exchange_weak(running, running + 1, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(actual) => running = actual,
            }
        }
    }

    /// Hard caps reserve the bound, soft ones what is expected. What has no bound exceeds every cap.
    fn reserved(&self, cost: Cost) -> Reserved {
        let hard = self.rules.money.is_some() && !self.rules.soft;
        Reserved { tokens: cost.tokens, money: if hard { cost.bound.unwrap_or(u64::MAX) } else { cost.money } }
    }

    fn take_caps(&self, cost: Reserved, now: Tick) -> Result<Option<Box<[Window; 3]>>, Refusal> {
        if !self.rules.has_caps() {
            return Ok(None);
        }
        let amounts = [(Resource::Requests, 1), (Resource::Tokens, cost.tokens), (Resource::Money, cost.money)];
        let mut windows = [None; 3];
        let mut caps = self.caps.lock();
        let before = *caps;
        for ((resource, amount), window) in amounts.into_iter().zip(&mut windows) {
            let Some(CapConfig { cap, per }) = self.cap(resource) else { continue };
            match caps.of(resource).reserve(cap, per, amount, now) {
                Ok(reserved) => *window = reserved,
                Err(period::Short { left, wait }) => {
                    *caps = before;
                    return Err(Refusal { resource, limit: cap, left, wait });
                }
            }
        }
        Ok(Some(Box::new(windows)))
    }

    fn cap(&self, resource: Resource) -> Option<CapConfig> {
        let of = |meter| match meter {
            Some(Meter::Cap(cap)) => Some(cap),
            _ => None,
        };
        match resource {
            Resource::Requests => of(self.rules.requests),
            Resource::Tokens => of(self.rules.tokens),
            Resource::Money => self.rules.money,
            Resource::Concurrency => None,
        }
    }

    fn return_requests(&self, marks: Marks, now: Tick) {
        if let Some(Meter::Rate(quota)) = self.rules.requests {
            self.requests.give_back(quota, 1, marks.requests, now);
        }
    }

    fn return_tokens(&self, marks: Marks, tokens: u64, now: Tick) {
        if let Some(Meter::Rate(quota)) = self.rules.tokens {
            self.tokens.give_back(quota, tokens, marks.tokens, now);
        }
    }

    /// Undoes `taken`, the place among those under way aside.
    pub(crate) fn give_back(&self, taken: &mut Taken, now: Tick) {
        self.return_rates(taken.marks, taken.reserved.tokens, now);
        self.settle_caps(taken, 0, Reserved::default(), now);
    }

    /// Replaces what was reserved by what was used.
    pub(crate) fn settle(&self, taken: &mut Taken, used: Cost, now: Tick) {
        if let Some(Meter::Rate(quota)) = self.rules.tokens {
            let (reserved, used) = (taken.reserved.tokens, used.tokens);
            if used > reserved {
                self.tokens.charge(quota, used - reserved, now);
            } else {
                self.tokens.give_back(quota, reserved - used, taken.marks.tokens, now);
            }
        }
        let used = Reserved { tokens: used.tokens, money: used.money };
        self.settle_caps(taken, 1, used, now);
        taken.reserved = used;
    }

    fn settle_caps(&self, taken: &mut Taken, requests: u64, used: Reserved, now: Tick) {
        let Some(windows) = &mut taken.windows else { return };
        let amounts = [
            (Resource::Requests, 1, requests),
            (Resource::Tokens, taken.reserved.tokens, used.tokens),
            (Resource::Money, taken.reserved.money, used.money),
        ];
        let mut caps = self.caps.lock();
        for ((resource, reserved, used), window) in amounts.into_iter().zip(&mut **windows) {
            if let Some(CapConfig { per, .. }) = self.cap(resource) {
                *window = caps.of(resource).settle(*window, reserved, used, per, now);
            }
        }
    }

    /// Reserves more of the caps for a request that uses more than it had reserved. What is limited by rate is
    /// charged when the request is settled.
    pub(crate) fn extend(&self, taken: &mut Taken, more: Cost, now: Tick) -> Result<(), Refusal> {
        if !self.rules.has_caps() {
            return Ok(());
        }
        let more = self.capped(more);
        let mut caps = self.caps.lock();
        let before = *caps;
        for (resource, amount) in [(Resource::Tokens, more.tokens), (Resource::Money, more.money)] {
            let Some(CapConfig { cap, per }) = self.cap(resource) else { continue };
            if let Err(period::Short { left, wait }) = caps.of(resource).reserve(cap, per, amount, now) {
                *caps = before;
                return Err(Refusal { resource, limit: cap, left, wait });
            }
        }
        taken.reserved.tokens += more.tokens;
        taken.reserved.money += more.money;
        Ok(())
    }

    /// Undoes [`extend`](Self::extend).
    pub(crate) fn retract(&self, taken: &mut Taken, more: Cost, now: Tick) {
        let (more, Reserved { tokens, money }) = (self.capped(more), taken.reserved);
        let before = Reserved { tokens: tokens - more.tokens, money: money - more.money };
        self.settle_caps(taken, 1, before, now);
        taken.reserved = before;
    }

    /// What of `cost` the caps reserve.
    fn capped(&self, cost: Cost) -> Reserved {
        let Reserved { tokens, money } = self.reserved(cost);
        let of = |resource, amount| if self.cap(resource).is_some() { amount } else { 0 };
        Reserved { tokens: of(Resource::Tokens, tokens), money: of(Resource::Money, money) }
    }

    /// Frees the place among those under way.
    pub(crate) fn leave(&self) {
        if self.rules.concurrency.is_some() {
            // Relaxed: the count publishes nothing else.
            self.running.fetch_sub(1, Relaxed);
        }
    }

    /// What is left of each resource that is limited.
    pub(crate) fn left(&self, now: Tick, mut show: impl FnMut(Left)) {
        let caps = *self.caps.lock();
        let meters = [
            (Resource::Requests, self.rules.requests, &self.requests, caps.requests),
            (Resource::Tokens, self.rules.tokens, &self.tokens, caps.tokens),
        ];
        for (resource, meter, bucket, period) in meters {
            match meter {
                Some(Meter::Rate(quota)) => show(Left {
                    resource,
                    limit: quota.burst.into(),
                    left: bucket.available(quota, now).into(),
                    reset: bucket.full_in(quota, now),
                }),
                Some(Meter::Cap(CapConfig { cap, per })) => {
                    let (left, reset) = period.left(cap, per, now);
                    show(Left { resource, limit: cap, left, reset });
                }
                None => {}
            }
        }
        if let Some(CapConfig { cap, per }) = self.rules.money {
            let (left, reset) = caps.money.left(cap, per, now);
            show(Left { resource: Resource::Money, limit: cap, left, reset });
        }
        if let Some(most) = self.rules.concurrency {
            let left = most.saturating_sub(self.running.load(Relaxed)).into();
            show(Left { resource: Resource::Concurrency, limit: most.into(), left, reset: Duration::ZERO });
        }
    }
}

impl Caps {
    const fn of(&mut self, resource: Resource) -> &mut Period {
        match resource {
            Resource::Requests => &mut self.requests,
            Resource::Tokens => &mut self.tokens,
            Resource::Money | Resource::Concurrency => &mut self.money,
        }
    }
}

impl Resting for Cell {
    fn is_at_rest(&self, now: Tick) -> bool {
        let mut at_rest = self.running.load(Relaxed) == 0;
        let caps = *self.caps.lock();
        let meters =
            [(self.rules.requests, &self.requests, caps.requests), (self.rules.tokens, &self.tokens, caps.tokens)];
        for (meter, bucket, period) in meters {
            at_rest &= match meter {
                Some(Meter::Rate(quota)) => bucket.full_in(quota, now).is_zero(),
                Some(Meter::Cap(CapConfig { per, .. })) => period.is_at_rest(per, now),
                None => true,
            };
        }
        at_rest && self.rules.money.is_none_or(|money| caps.money.is_at_rest(money.per, now))
    }
}
