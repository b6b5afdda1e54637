//! The limits of one name: what is charged together.

use std::time::Duration;

use llm_core::Tick;
use llm_core::sync::{AtomicU32, Mutex, Ordering::Relaxed};

use crate::account::{Account, Mark};
use crate::bucket::{self, Bucket, Denied, Gauge, spend};
use crate::period::{self, Period, Window};
use crate::quota::Quota;
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
    /// Of requests and of tokens; unlimited where no rate limits them. A decision by rates needs these two alone.
    gauges: [Gauge; 2],
    accounts: [Account; 2],
    running: AtomicU32,
    caps: Mutex<Caps>,
    rules: Rules,
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
    marks: [Mark; 2],
    /// Tokens taken of their rate.
    tokens: u64,
    /// Of requests, tokens and money; none where no cap applies.
    parts: Option<Box<[Part; 3]>>,
}

/// What a request has reserved of a cap.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    window: Window,
    amount: u64,
    /// What it had reserved in periods that were over when it reserved more.
    before: u64,
}

/// Limits for which a request needs no list of its own.
pub(crate) const INLINE: usize = 4;

/// A rate that would not give.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short {
    which: usize,
    denied: Denied,
}

/// The rates of a cell.
const REQUESTS: usize = 0;
const TOKENS: usize = 1;

/// What caps count, in the order of a request's parts.
const CAPPED: [Resource; 3] = [Resource::Requests, Resource::Tokens, Resource::Money];

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

impl Cell {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            gauges: rules.quotas().map(Gauge::new),
            accounts: [Account::full(), Account::full()],
            running: AtomicU32::new(0),
            caps: Mutex::new(Caps::default()),
            rules,
        }
    }

    /// A cell under `rules` that lacks what this one lacks.
    pub(crate) fn converted(&self, rules: &Rules, now: Tick) -> Self {
        let quotas = rules.quotas();
        let account = |which: usize| {
            let (from, to) = (self.gauges[which].quota, quotas[which]);
            Account::of(self.accounts[which].bucket.converted(from, to, now))
        };
        let caps = *self.caps.lock();
        Self {
            gauges: quotas.map(Gauge::new),
            accounts: [account(REQUESTS), account(TOKENS)],
            // Those under way hold the old cell and leave there.
            running: AtomicU32::new(0),
            caps: Mutex::new(caps),
            rules: rules.clone(),
        }
    }

    pub(crate) const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The rates that limit something: which they are, and their quotas.
    pub(crate) fn rates(&self) -> impl Iterator<Item = (usize, Quota)> {
        self.gauges.map(|gauge| gauge.quota).into_iter().enumerate().filter(|(_, quota)| quota.unit > 0)
    }

    /// What a request of so many tokens takes of each rate.
    fn units(tokens: u64) -> [u32; 2] {
        [1, u32::try_from(tokens).unwrap_or(u32::MAX)]
    }

    /// The rate of requests.
    #[inline]
    pub(crate) const fn requests(&self) -> (&Gauge, &Bucket) {
        (&self.gauges[REQUESTS], &self.accounts[REQUESTS].bucket)
    }

    /// The rate of tokens.
    #[inline]
    pub(crate) const fn tokens(&self) -> (&Gauge, &Bucket) {
        (&self.gauges[TOKENS], &self.accounts[TOKENS].bucket)
    }

    const fn bucket(&self, which: usize) -> &Bucket {
        &self.accounts[which].bucket
    }

    /// Takes one request and `tokens` of the rates, of both; else of how many it has taken when one is short or
    /// somebody else was faster.
    #[inline]
    pub(crate) fn try_rates(&self, tokens: u64, now: Tick) -> Result<(), usize> {
        let word = bucket::at(now);
        let ((one, requests), (many, supply)) = (self.requests(), self.tokens());
        let (seen, left) = (requests.look(), supply.look());
        let (next, fits) = one.spend_one(seen, word);
        let (rest, fit) = many.spend_many(left, tokens, word);
        if !(fits & fit) {
            return Err(0);
        }
        if one.quota.unit > 0 {
            requests.swap(seen, next).map_err(|_| 0usize)?;
        }
        if many.quota.unit > 0 {
            supply.swap(left, rest).map_err(|_| 1usize)?;
        }
        Ok(())
    }

    /// Which rate would not give, at a look.
    pub(crate) fn is_short(&self, tokens: u64, now: Tick) -> Option<Short> {
        let units = Self::units(tokens);
        self.rates().find_map(|(which, quota)| {
            let denied = spend(self.bucket(which).look(), quota, units[which], now, 0).err()?;
            Some(Short { which, denied })
        })
    }

    /// Takes one request and `tokens` of the rates from `first` on; [`Short`] says of which there is too little, and
    /// those before it are to be given back.
    pub(crate) fn take_rates_from(&self, first: usize, tokens: u64, now: Tick) -> Result<(), Short> {
        self.rates().filter(|(which, _)| *which >= first).try_for_each(|(which, _)| self.take_rate(which, tokens, now))
    }

    /// Takes of one rate, however often somebody is faster.
    #[cold]
    fn take_rate(&self, which: usize, tokens: u64, now: Tick) -> Result<(), Short> {
        let taken = self.bucket(which).take(self.gauges[which].quota, Self::units(tokens)[which], now);
        taken.map(drop).map_err(|denied| Short { which, denied })
    }

    /// Gives back what was taken in vain at `taken`: the rates before the one that is `short`, or both.
    #[cold]
    pub(crate) fn return_rates(&self, short: Option<&Short>, tokens: u64, taken: Tick, now: Tick) {
        let _one_at_a_time = self.caps.lock();
        let of = Self::units(tokens).into_iter().zip(&self.gauges).zip(&self.accounts);
        for ((units, gauge), account) in of.take(short.map_or(2, |short| short.which)) {
            account.undo(gauge.quota, units, taken, now);
        }
    }

    /// What is to be said of a rate that is `short`.
    #[cold]
    pub(crate) fn refusal(&self, short: &Short, now: Tick) -> Refusal {
        let wait = match short.denied {
            Denied::Until { wait } => Some(wait),
            Denied::TooLarge { .. } => None,
        };
        let quota = self.gauges[short.which].quota;
        let left = self.bucket(short.which).available(quota, now).into();
        let resource = [Resource::Requests, Resource::Tokens][short.which];
        Refusal { resource, limit: quota.burst.into(), left, wait }
    }

    /// Takes one request that costs `cost`; all of it or nothing. What is taken in vain is given back at the present.
    pub(crate) fn take(&self, cost: Cost, now: Tick, present: impl Fn() -> Tick) -> Result<Taken, Refusal> {
        let units = Self::units(cost.tokens);
        // Most denials are found before anything is taken.
        if let Some(short) = self.is_short(cost.tokens, now) {
            return Err(self.refusal(&short, now));
        }
        self.take_slot()?;
        let mut parts = self.take_caps(cost, now).inspect_err(|_| self.leave())?;
        let mut marks = [Mark::default(); 2];
        for which in [REQUESTS, TOKENS] {
            match self.accounts[which].take(self.gauges[which].quota, units[which], now) {
                Ok(mark) => marks[which] = mark,
                Err(denied) => {
                    let short = Short { which, denied };
                    self.return_rates(Some(&short), cost.tokens, now, present());
                    self.settle_caps(&mut parts, [0; 3], now);
                    self.leave();
                    return Err(self.refusal(&short, now));
                }
            }
        }
        Ok(Taken { marks, tokens: cost.tokens, parts })
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

    /// What caps reserve of a cost: hard ones the bound, soft ones what is expected. What has no bound exceeds every
    /// cap.
    fn reserved(&self, cost: Cost, requests: u64) -> [u64; 3] {
        let hard = self.rules.money.is_some() && !self.rules.soft;
        [requests, cost.tokens, if hard { cost.bound.unwrap_or(u64::MAX) } else { cost.money }]
    }

    fn take_caps(&self, cost: Cost, now: Tick) -> Result<Option<Box<[Part; 3]>>, Refusal> {
        if !self.rules.has_caps() {
            return Ok(None);
        }
        let mut parts = Box::new([Part::default(); 3]);
        self.reserve(&mut parts, self.reserved(cost, 1), now)?;
        Ok(Some(parts))
    }

    /// Reserves `amounts` more of the caps; all or nothing.
    fn reserve(&self, parts: &mut [Part; 3], amounts: [u64; 3], now: Tick) -> Result<(), Refusal> {
        let mut caps = self.caps.lock();
        let (caps_before, parts_before) = (*caps, *parts);
        for ((resource, amount), part) in CAPPED.into_iter().zip(amounts).zip(&mut *parts) {
            let Some(CapConfig { cap, per }) = self.cap(resource) else { continue };
            match caps.of(resource).reserve(cap, per, amount, now) {
                // Nothing was asked for.
                Ok(None) => {}
                Ok(window) if window == part.window => part.amount += amount,
                Ok(window) => *part = Part { window, amount, before: part.before + part.amount },
                Err(period::Short { left, wait }) => {
                    (*caps, *parts) = (caps_before, parts_before);
                    return Err(Refusal { resource, limit: cap, left, wait });
                }
            }
        }
        Ok(())
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

    /// Undoes `taken`, the place among those under way aside.
    pub(crate) fn give_back(&self, taken: &mut Taken, now: Tick) {
        {
            let _one_at_a_time = self.caps.lock();
            for (which, units) in [1, taken.tokens].into_iter().enumerate() {
                self.accounts[which].give_back(self.gauges[which].quota, units, 0, taken.marks[which], now);
            }
        }
        taken.tokens = 0;
        self.settle_caps(&mut taken.parts, [0; 3], now);
    }

    /// Replaces what was reserved by what was used.
    pub(crate) fn settle(&self, taken: &mut Taken, used: Cost, now: Tick) {
        let (quota, account, before) = (self.gauges[TOKENS].quota, &self.accounts[TOKENS], taken.tokens);
        if used.tokens > before {
            account.bucket.charge(quota, used.tokens - before, now);
        } else if used.tokens < before && quota.unit > 0 {
            let _one_at_a_time = self.caps.lock();
            account.give_back(quota, before, used.tokens, taken.marks[TOKENS], now);
        }
        taken.tokens = used.tokens;
        self.settle_caps(&mut taken.parts, [1, used.tokens, used.money], now);
    }

    fn settle_caps(&self, parts: &mut Option<Box<[Part; 3]>>, used: [u64; 3], now: Tick) {
        let Some(parts) = parts else { return };
        let mut caps = self.caps.lock();
        for ((resource, used), part) in CAPPED.into_iter().zip(used).zip(&mut **parts) {
            let Some(CapConfig { per, .. }) = self.cap(resource) else { continue };
            // What was used first was reserved first.
            let used = used.saturating_sub(part.before);
            part.window = caps.of(resource).settle(part.window, part.amount, used, per, now);
            part.amount = used;
        }
    }

    /// Reserves more of the caps for a request that uses more than it had reserved. What is limited by rate is
    /// charged when the request is settled.
    pub(crate) fn extend(&self, taken: &mut Taken, more: Cost, now: Tick) -> Result<(), Refusal> {
        match &mut taken.parts {
            Some(parts) => self.reserve(parts, self.reserved(more, 0), now),
            None => Ok(()),
        }
    }

    /// Undoes [`extend`](Self::extend).
    pub(crate) fn retract(&self, taken: &mut Taken, more: Cost, now: Tick) {
        let more = self.reserved(more, 0);
        if let Some(parts) = &taken.parts {
            let mut kept = parts.map(|part| part.before + part.amount);
            kept.iter_mut().zip(more).for_each(|(kept, more)| *kept = kept.saturating_sub(more));
            self.settle_caps(&mut taken.parts, kept, now);
        }
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
            (Resource::Requests, self.rules.requests, self.bucket(REQUESTS), caps.requests),
            (Resource::Tokens, self.rules.tokens, self.bucket(TOKENS), caps.tokens),
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
        let meters = [
            (self.rules.requests, self.bucket(REQUESTS), caps.requests),
            (self.rules.tokens, self.bucket(TOKENS), caps.tokens),
        ];
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
