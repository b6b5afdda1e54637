//! How each provider fares, over all of its models and keys.

use std::time::Duration;

use llm_breaker::CircuitState;
use llm_core::{Distribution, ProviderId, Tick};
use llm_router::TargetHealth;

use crate::circuits::Circuit;
use crate::handle::Pipeline;
use crate::routes::{Default, Routes};

/// How a provider fares.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderHealth {
    /// The provider.
    pub name: ProviderId,
    /// The worst of its circuits.
    pub state: CircuitState,
    /// The last hour's calls.
    pub calls: u64,
    /// The share of them that succeeded, 0 to 1; none without a call.
    pub success_rate: Option<f64>,
    /// Failures since the last success, of the model that has the most.
    pub consecutive_failures: u32,
    /// Calls begun and not ended.
    pub in_flight: u32,
    /// Half of the last minute's successes took no longer; none without one.
    pub p50: Option<Duration>,
    /// 95 of a hundred of the last minute's successes took no longer.
    pub p95: Option<Duration>,
}

impl Pipeline {
    /// How each provider fares, in the order of the configuration.
    #[must_use]
    pub fn providers(&self) -> Vec<ProviderHealth> {
        let now = self.now();
        let routes = &self.inner().routes;
        let circuits = routes.circuits(now);
        routes.upstreams.iter().map(|upstream| health(routes, &circuits, &upstream.id, now)).collect()
    }

    /// Attempts so far on another target than the one before, of the same request.
    #[must_use]
    pub fn fallbacks(&self) -> u64 {
        self.inner().journal.fallbacks()
    }
}

fn health(routes: &Routes, circuits: &[Circuit], name: &ProviderId, now: Tick) -> ProviderHealth {
    let mut health = ProviderHealth {
        name: name.clone(),
        state: CircuitState::Closed,
        calls: 0,
        success_rate: None,
        consecutive_failures: 0,
        in_flight: 0,
        p50: None,
        p95: None,
    };
    let mut succeeded = 0.0;
    for target in targets(routes, name, now) {
        health.calls += target.calls;
        succeeded += target.success_rate.unwrap_or_default() * target.calls as f64;
        health.consecutive_failures = health.consecutive_failures.max(target.consecutive_failures);
        health.in_flight += target.in_flight;
    }
    health.success_rate = (health.calls > 0).then(|| succeeded / health.calls as f64);
    let mut latencies = Distribution::default();
    for circuit in circuits.iter().filter(|circuit| circuit.provider == *name) {
        latencies.merge(&circuit.breaker.latencies(now));
        if circuit.stats.state == CircuitState::Open || health.state == CircuitState::Closed {
            health.state = circuit.stats.state;
        }
    }
    if latencies.count() > 0 {
        health.p50 = Some(latencies.quantile(0.5));
        health.p95 = Some(latencies.quantile(0.95));
    }
    health
}

/// What routers know of the provider: of each model's target, and of the calls that name its models directly.
fn targets(routes: &Routes, name: &ProviderId, now: Tick) -> Vec<TargetHealth> {
    let mut known = Vec::new();
    for route in routes.models.values().chain(&routes.auto) {
        let theirs = route.targets.iter().enumerate().filter(|(_, target)| target.provider() == name);
        known.extend(theirs.map(|(index, _)| route.router.health_of(index, now)));
    }
    for upstream in routes.upstreams.iter().filter(|upstream| upstream.id == *name) {
        known.push(upstream.only.health_of(0, now));
    }
    if let Default::Any(router, upstreams) = &routes.default {
        let theirs = upstreams.iter().enumerate().filter(|(_, upstream)| upstream.id == *name);
        known.extend(theirs.map(|(index, _)| router.health_of(index, now)));
    }
    known
}
