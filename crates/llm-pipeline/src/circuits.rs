//! The circuits of a provider's key: one for each of its models.

use std::collections::HashMap;
use std::sync::Arc;

use llm_breaker::{CircuitBreaker, CircuitBreakerConfig, CircuitBreakerStats, ConfigError};
use llm_core::sync::Mutex;
use llm_core::{Clock, ModelId, Observer, ProviderId, Tick};

/// A circuit as health pages show it.
#[derive(Clone, Debug)]
pub struct Circuit {
    /// The provider.
    pub provider: ProviderId,
    /// Which of the provider's keys; none where there is one.
    pub key: Option<Box<str>>,
    /// The model, as the provider spells it; `*` where one circuit is for many.
    pub model: ModelId,
    /// How it stands.
    pub stats: CircuitBreakerStats,
    /// The circuit itself, which knows what its calls look like.
    pub breaker: CircuitBreaker,
}

/// Models that callers address directly and that have a circuit of their own at most; the others share one.
const MOST_DIRECT: usize = 1000;

/// The model of a circuit that is for many.
const MANY: &str = "*";

pub(crate) struct Circuits {
    provider: ProviderId,
    key: Option<Box<str>>,
    config: CircuitBreakerConfig,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    /// Shared with its owner, for everything.
    given: Option<CircuitBreaker>,
    of_models: Mutex<HashMap<ModelId, CircuitBreaker>>,
    rest: CircuitBreaker,
}

impl Circuits {
    /// The circuits of `provider`, by `key` if it has several. Those of `old` go on where their settings are the same.
    pub(crate) fn try_new(
        provider: &ProviderId,
        key: Option<&str>,
        config: CircuitBreakerConfig,
        clock: &Arc<dyn Clock>,
        observer: &Arc<dyn Observer>,
        given: Option<CircuitBreaker>,
        old: Option<&Self>,
    ) -> Result<Self, ConfigError> {
        let old = old.filter(|old| old.config == config);
        let rest = match old {
            Some(old) => old.rest.clone(),
            None => built(provider, &ModelId::from(MANY), &config, clock, observer)?,
        };
        let of_models = old.map(|old| old.of_models.lock().clone()).unwrap_or_default();
        Ok(Self {
            provider: provider.clone(),
            key: key.map(Box::from),
            config,
            clock: clock.clone(),
            observer: observer.clone(),
            given,
            of_models: Mutex::new(of_models),
            rest,
        })
    }

    /// The circuit of `model`.
    pub(crate) fn of(&self, model: &ModelId) -> CircuitBreaker {
        if let Some(given) = &self.given {
            return given.clone();
        }
        let mut circuits = self.of_models.lock();
        if let Some(circuit) = circuits.get(model) {
            return circuit.clone();
        }
        if circuits.len() >= MOST_DIRECT {
            return self.rest.clone();
        }
        // The settings were checked when `rest` was made.
        let circuit = built(&self.provider, model, &self.config, &self.clock, &self.observer);
        let circuit = circuit.unwrap_or_else(|_| self.rest.clone());
        circuits.insert(model.clone(), circuit.clone());
        circuit
    }

    /// All circuits at `now`, by model.
    pub(crate) fn show(&self, now: Tick) -> Vec<Circuit> {
        let show = |model: &ModelId, circuit: &CircuitBreaker| Circuit {
            provider: self.provider.clone(),
            key: self.key.clone(),
            model: model.clone(),
            stats: circuit.stats(now),
            breaker: circuit.clone(),
        };
        if let Some(given) = &self.given {
            return vec![show(&ModelId::from(MANY), given)];
        }
        let circuits = self.of_models.lock();
        let mut shown: Vec<_> = circuits.iter().map(|(model, circuit)| show(model, circuit)).collect();
        shown.sort_by(|one, other| one.model.cmp(&other.model));
        if shown.is_empty() || circuits.len() >= MOST_DIRECT {
            shown.push(show(&ModelId::from(MANY), &self.rest));
        }
        shown
    }

    /// Closes all circuits; how many there are.
    pub(crate) fn reset(&self) -> usize {
        let circuits = self.of_models.lock();
        circuits.values().chain(&self.given).chain([&self.rest]).for_each(CircuitBreaker::reset);
        circuits.len().max(1)
    }
}

fn built(
    provider: &ProviderId,
    model: &ModelId,
    config: &CircuitBreakerConfig,
    clock: &Arc<dyn Clock>,
    observer: &Arc<dyn Observer>,
) -> Result<CircuitBreaker, ConfigError> {
    let (observer, provider, model) = (observer.clone(), provider.clone(), model.clone());
    CircuitBreaker::builder()
        .config(config.clone())
        .clock(clock.clone())
        .on_transition(move |transition| observer.circuit_changed(&provider, &model, transition))
        .try_build()
}
