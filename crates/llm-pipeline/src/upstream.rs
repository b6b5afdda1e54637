//! A provider of the path: its keys, each with circuits of its own, and its models.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use llm_breaker::CircuitBreaker;
use llm_core::{ModelId, Price, Provider, ProviderId, TargetObserver, Tick};
use llm_router::{Demand, SmartRouter};

use crate::circuits::Circuits;
use crate::demand::Terms;

/// A provider with its keys.
pub(crate) struct Upstream {
    pub(crate) id: ProviderId,
    /// At least one.
    pub(crate) keys: Box<[Key]>,
    /// Spreads calls over the keys by their weights; none with one key.
    pub(crate) spread: Option<SmartRouter>,
    /// Knows of the calls that name the provider's model directly: the only candidate, whatever the model.
    pub(crate) only: Arc<SmartRouter>,
    /// Told of calls that name the provider's model directly.
    pub(crate) direct: Arc<dyn TargetObserver>,
    /// The terms of its models, as far as the configuration tells them.
    pub(crate) terms: HashMap<ModelId, Terms>,
}

impl Upstream {
    /// Whether the key `key` is left out for as long as this configuration lasts, as one of several that the provider
    /// refuses. The only one is asked again: without another, leaving it out would make one mistake of the provider's
    /// last until a reload.
    pub(crate) fn leaves_out(&self, key: usize) -> bool {
        // Relaxed: the flag publishes nothing else.
        self.keys.len() > 1 && self.keys[key].refused.load(Relaxed)
    }
}

/// The provider by one of its keys.
pub(crate) struct Key {
    pub(crate) provider: Arc<dyn Provider>,
    /// What it is called at the level of the provider's keys.
    pub(crate) name: Box<str>,
    pub(crate) circuits: Circuits,
    /// The provider has refused it, since this configuration holds.
    refused: AtomicBool,
}

impl Key {
    pub(crate) const fn new(provider: Arc<dyn Provider>, name: Box<str>, circuits: Circuits) -> Self {
        Self { provider, name, circuits, refused: AtomicBool::new(false) }
    }

    /// Notes that the provider refuses it. Whether that is news.
    pub(crate) fn refuse(&self) -> bool {
        // Relaxed: the flag publishes nothing else.
        !self.refused.swap(true, Relaxed)
    }
}

/// Which of a provider's keys a target may be asked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskedBy {
    Any,
    Only(usize),
    /// It is not to be asked at all.
    None,
}

/// A model of a provider.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) model: ModelId,
    /// The circuit of the first key.
    breaker: CircuitBreaker,
    /// Those of the others.
    more: Box<[CircuitBreaker]>,
    pub(crate) terms: Terms,
    /// That of the terms, for what goes through many hands.
    pub(crate) price: Option<Arc<Price>>,
    pub(crate) observer: Arc<dyn TargetObserver>,
    asked_by: AskedBy,
}

impl Target {
    pub(crate) fn new(
        upstream: Arc<Upstream>,
        model: ModelId,
        terms: Terms,
        observer: Arc<dyn TargetObserver>,
    ) -> Self {
        let mut breakers = upstream.keys.iter().map(|key| key.circuits.of(&model));
        let breaker = breakers.next().expect("a provider has a key");
        let more = breakers.collect();
        let price = terms.price.map(Arc::new);
        Self { upstream, model, breaker, more, terms, price, observer, asked_by: AskedBy::Any }
    }

    /// The same target, asked by no other keys than these.
    pub(crate) fn asked_by(&self, keys: AskedBy) -> Self {
        Self { asked_by: keys, ..self.clone() }
    }

    /// Whether the key `key` is not to be asked with.
    pub(crate) fn leaves_out(&self, key: usize) -> bool {
        let mine = match self.asked_by {
            AskedBy::Any => true,
            AskedBy::Only(only) => only == key,
            AskedBy::None => false,
        };
        !mine || self.upstream.leaves_out(key)
    }

    /// Whether no key is left to ask with.
    pub(crate) fn is_shut(&self) -> bool {
        (0..self.upstream.keys.len()).all(|key| self.leaves_out(key))
    }

    /// Whether it can be asked by more keys than one.
    pub(crate) fn has_other_keys(&self) -> bool {
        self.asked_by == AskedBy::Any && self.upstream.keys.len() > 1
    }

    pub(crate) fn provider(&self) -> &ProviderId {
        &self.upstream.id
    }

    /// The circuit of the key `key`.
    pub(crate) fn breaker(&self, key: usize) -> &CircuitBreaker {
        if key == 0 { &self.breaker } else { &self.more[key - 1] }
    }

    /// The circuits of all keys that are not left out.
    pub(crate) fn breakers(&self) -> impl Iterator<Item = (&Key, &CircuitBreaker)> {
        let all = self.upstream.keys.iter().enumerate().filter(|(at, _)| !self.leaves_out(*at));
        all.map(|(at, key)| (key, self.breaker(at)))
    }

    /// Whether a call may be sent as far as is known without taking a permit.
    pub(crate) fn usable(&self, now: Tick) -> bool {
        (0..self.upstream.keys.len()).any(|key| self.usable_by(key, now))
    }

    fn usable_by(&self, key: usize, now: Tick) -> bool {
        !self.leaves_out(key) && self.breaker(key).is_available(now).is_ok()
    }

    /// The first answer that `ask` gives for a key that is not left out: the keys by turns of their weights, those
    /// whose circuits are known to refuse last.
    pub(crate) fn by_key<T>(&self, now: Tick, mut ask: impl FnMut(usize) -> Option<T>) -> Option<T> {
        let Some(spread) = &self.upstream.spread else {
            return if self.leaves_out(0) { None } else { ask(0) };
        };
        let mut plan = spread.plan_for(&Demand::default(), now);
        let mut asked = 0_u64;
        while let Some(key) = plan.next(|key| self.usable_by(key, now)) {
            asked |= 1 << key;
            if let Some(answer) = ask(key) {
                return Some(answer);
            }
        }
        let rest = (0..self.upstream.keys.len()).filter(|key| asked >> key & 1 == 0);
        rest.filter(|key| !self.leaves_out(*key)).find_map(ask)
    }
}
