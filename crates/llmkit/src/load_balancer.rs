//! A weighted load balancer over named endpoints: the router's rotation, a circuit and a rate limit for each.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use llm_breaker::{CircuitBreaker, CircuitState, Outcome, Permit};
use llm_core::{Clock, ProviderId, SystemClock, Tick};
use llm_ratelimit::{RateLimiter, TokenBucketConfig};
use llm_router::{Observed, RouterConfig, SmartRouter, Strategy, Target};

/// One of the places that answer for a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelEndpoint {
    /// Its name, different from the others'.
    pub id: String,
    /// Where it is. The balancer hands it on.
    pub url: String,
    /// Its share of the selections; 0 makes it one for when the others cannot be selected.
    pub weight: u32,
    /// Selections a second at most, as many at once; 0 is no limit.
    pub max_rps: f64,
    /// Whether it is up to begin with; of a selected one, whether its circuit is closed.
    pub healthy: bool,
    /// The 99th percentile of its last 128 latencies, in milliseconds; 0 before the first.
    pub latency_p99_ms: f64,
}

/// The endpoints of a balancer, and whether failures matter.
#[derive(Clone, Debug, PartialEq)]
pub struct BalancerConfig {
    /// The endpoints. Default: none, of which nothing is ever selected.
    pub endpoints: Vec<ModelEndpoint>,
    /// Whether an endpoint that is down is passed over. Default true.
    pub failover: bool,
}

impl Default for BalancerConfig {
    fn default() -> Self {
        Self { endpoints: Vec::new(), failover: true }
    }
}

/// What a balancer has seen.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadBalancerStats {
    /// The endpoints, in the order configured.
    pub endpoints: Vec<EndpointStats>,
    /// How many of them are up.
    pub healthy: usize,
}

/// What a balancer has seen of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointStats {
    /// Its name.
    pub id: String,
    /// Its weight.
    pub weight: u32,
    /// Whether its circuit is closed.
    pub healthy: bool,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// The last hour's calls.
    pub calls: u64,
    /// The share of them that succeeded; none without a call.
    pub success_rate: Option<f64>,
    /// The moving average of its latencies, in milliseconds.
    pub latency_ema_ms: Option<f64>,
    /// The 99th percentile of its last 128 latencies, in milliseconds; 0 before the first.
    pub latency_p99_ms: f64,
}

/// Failures in a row after which an endpoint is down.
const FAILURES: u32 = 3;

/// How long the outcome of a probe is waited for before there is another.
const PROBED: Duration = Duration::from_secs(60);

/// Selects endpoints in proportion to their weights, as evenly spread as they allow, within their rates. One that failed
/// three times in a row is down. After a minute, doubled with each failure up to 64 times, it is selected once, and up
/// again at its next success.
pub struct LoadBalancer {
    endpoints: Vec<Endpoint>,
    router: Option<SmartRouter>,
    failover: bool,
    clock: Arc<dyn Clock>,
}

struct Endpoint {
    told: ModelEndpoint,
    circuit: CircuitBreaker,
    limiter: Option<RateLimiter>,
    /// The selection that finds out whether it is up again, and when it was made.
    probe: Mutex<Option<(Permit, Tick)>>,
}

impl LoadBalancer {
    /// A balancer over the endpoints of `config`.
    ///
    /// # Panics
    /// When there are more than 64 endpoints, two of one name, none with a weight, or a rate is not a number or below 0.
    #[must_use]
    pub fn new(config: BalancerConfig) -> Self {
        Self::with_clock(config, Arc::new(SystemClock::new()))
    }

    /// The same on `clock`.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn with_clock(config: BalancerConfig, clock: Arc<dyn Clock>) -> Self {
        let target = |told: &ModelEndpoint| (ProviderId::from(told.id.as_str()), Target { weight: told.weight });
        let routed = RouterConfig::from(Strategy::Weighted);
        let router = (!config.endpoints.is_empty()).then(|| {
            SmartRouter::try_named(routed, config.endpoints.iter().map(target)).unwrap_or_else(|e| panic!("{e}"))
        });
        let endpoints = config.endpoints.into_iter().map(|told| Endpoint::new(told, &clock)).collect();
        Self { endpoints, router, failover: config.failover, clock }
    }

    /// The endpoint whose turn it is, of those that are up and within their rates; none when there is none.
    #[must_use]
    pub fn select(&self) -> Option<ModelEndpoint> {
        let router = self.router.as_ref()?;
        let now = self.clock.now();
        let mut plan = router.plan();
        let usable = |index: usize| !self.failover || self.endpoints[index].is_available(now);
        while let Some(index) = plan.next(usable) {
            let endpoint = &self.endpoints[index];
            // Before the circuit: what is over its rate must not use up a probe.
            if endpoint.limiter.as_ref().is_some_and(|limiter| limiter.check_and_consume().is_err()) {
                continue;
            }
            if self.failover && !endpoint.admits(now) {
                continue;
            }
            return Some(self.shown(index, router));
        }
        None
    }

    /// Takes in that an endpoint answered after `latency_ms` milliseconds: it is up. A name that is none of theirs, and
    /// a time that is none, change nothing.
    pub fn mark_success(&self, id: &str, latency_ms: f64) {
        let latency = Duration::try_from_secs_f64(latency_ms / 1000.0);
        if let (Some((index, router)), Ok(latency)) = (self.find(id), latency) {
            self.endpoints[index].succeeded(latency);
            router.record(index, Observed { latency, ..Observed::default() }, self.clock.now());
        }
    }

    /// Takes in that an endpoint failed. A name that is none of theirs changes nothing.
    pub fn mark_failure(&self, id: &str) {
        if let Some((index, router)) = self.find(id) {
            let now = self.clock.now();
            self.endpoints[index].failed(now);
            router.record(index, Observed { failed: true, ..Observed::default() }, now);
        }
    }

    /// What the balancer has seen.
    #[must_use]
    pub fn stats(&self) -> LoadBalancerStats {
        let known = self.router.as_ref().map(|router| router.health(self.clock.now())).unwrap_or_default();
        let shown = self.endpoints.iter().zip(known).map(|(endpoint, known)| EndpointStats {
            id: endpoint.told.id.clone(),
            weight: endpoint.told.weight,
            healthy: endpoint.is_up(),
            consecutive_failures: known.consecutive_failures,
            calls: known.calls,
            success_rate: known.success_rate,
            latency_ema_ms: known.mean.map(millis),
            latency_p99_ms: known.p99.map_or(0.0, millis),
        });
        let endpoints: Vec<_> = shown.collect();
        LoadBalancerStats { healthy: endpoints.iter().filter(|endpoint| endpoint.healthy).count(), endpoints }
    }

    fn find(&self, id: &str) -> Option<(usize, &SmartRouter)> {
        let router = self.router.as_ref()?;
        Some((router.index_of(id)?, router))
    }

    fn shown(&self, index: usize, router: &SmartRouter) -> ModelEndpoint {
        let endpoint = &self.endpoints[index];
        let p99 = router.health_of(index, self.clock.now()).p99.map_or(0.0, millis);
        ModelEndpoint { healthy: endpoint.is_up(), latency_p99_ms: p99, ..endpoint.told.clone() }
    }
}

impl Endpoint {
    fn new(told: ModelEndpoint, clock: &Arc<dyn Clock>) -> Self {
        let circuit = CircuitBreaker::builder()
            .failure_threshold(FAILURES)
            .failure_rate(None)
            .anomaly(None)
            .half_open_requests(1)
            .clock(clock.clone())
            .build();
        if !told.healthy {
            (0..FAILURES).for_each(|_| circuit.record_failure());
        }
        let limiter = (told.max_rps > 0.0).then(|| {
            // As many at once as in a second, at least one.
            let burst = told.max_rps.ceil().clamp(1.0, f64::from(u32::MAX)) as u32;
            RateLimiter::new(TokenBucketConfig::new(told.max_rps, burst)).with_clock(clock.clone())
        });
        Self { told, circuit, limiter, probe: Mutex::default() }
    }

    fn is_up(&self) -> bool {
        self.circuit.state() == CircuitState::Closed
    }

    /// Whether the circuit would let a selection pass. A probe of which nobody told in time is given up.
    fn is_available(&self, now: Tick) -> bool {
        let mut probe = self.probe();
        if probe.as_ref().is_some_and(|(_, at)| now.since(*at) >= PROBED) {
            *probe = None;
        }
        self.circuit.is_available(now).is_ok()
    }

    /// Whether the circuit lets a selection pass; while it is not closed, as a probe.
    fn admits(&self, now: Tick) -> bool {
        let Ok(permit) = self.circuit.admit(now) else { return false };
        if !self.is_up() {
            *self.probe() = Some((permit, now));
        }
        true
    }

    fn probe(&self) -> MutexGuard<'_, Option<(Permit, Tick)>> {
        self.probe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn succeeded(&self, latency: Duration) {
        self.probe().take();
        if !self.is_up() {
            self.circuit.reset();
        }
        self.circuit.record_success(latency);
    }

    fn failed(&self, now: Tick) {
        let probe = self.probe().take();
        match probe {
            Some((permit, _)) => permit.record(Outcome::Failure, now),
            None => self.circuit.record_failure(),
        }
    }
}

impl fmt::Debug for LoadBalancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Vec<_> = self.endpoints.iter().map(|endpoint| &endpoint.told).collect();
        f.debug_struct("LoadBalancer")
            .field("endpoints", &told)
            .field("failover", &self.failover)
            .finish_non_exhaustive()
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}
