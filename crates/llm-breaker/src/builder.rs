//! Sets a circuit up, a setting at a time.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use llm_core::{Clock, SystemClock, Transition};

use crate::breaker::CircuitBreaker;
use crate::circuit::Circuit;
use crate::config::{Anomaly, CircuitBreakerConfig, ConfigError, FailureRate};
use crate::health::Health;
use crate::shared::{Listener, Shared};

impl CircuitBreaker {
    /// Begins to set a circuit up.
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::default()
    }
}

/// Sets a [`CircuitBreaker`] up.
#[must_use]
pub struct CircuitBreakerBuilder {
    config: CircuitBreakerConfig,
    clock: Arc<dyn Clock>,
    listener: Option<Listener>,
    seed: u64,
}

impl Default for CircuitBreakerBuilder {
    fn default() -> Self {
        Self {
            config: CircuitBreakerConfig::default(),
            clock: Arc::new(SystemClock::new()),
            listener: None,
            seed: RandomState::new().hash_one("circuit"),
        }
    }
}

impl fmt::Debug for CircuitBreakerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl CircuitBreakerBuilder {
    /// Takes all settings from `config`.
    pub fn config(mut self, config: CircuitBreakerConfig) -> Self {
        self.config = config;
        self
    }

    /// Failures in a row that open the circuit; 0 is off.
    pub const fn failure_threshold(mut self, failures: u32) -> Self {
        self.config.failures = failures;
        self
    }

    /// The share of failures that opens the circuit; `None` is off.
    pub const fn failure_rate(mut self, rate: Option<FailureRate>) -> Self {
        self.config.failure_rate = rate;
        self
    }

    /// The slowness that opens the circuit; `None` is off.
    pub const fn anomaly(mut self, anomaly: Option<Anomaly>) -> Self {
        self.config.anomaly = anomaly;
        self
    }

    /// Deviations above its baseline that make a call an outlier. Whether a few of them open the circuit says
    /// [`Anomaly::outliers`].
    pub fn failure_threshold_z_score(mut self, z: f64) -> Self {
        self.config.anomaly = Some(Anomaly { z, ..self.config.anomaly.unwrap_or_default() });
        self
    }

    /// Probes that must succeed to close it.
    pub const fn success_threshold(mut self, successes: u32) -> Self {
        self.config.success_threshold = successes;
        self
    }

    /// Probes that may be out at one time.
    pub const fn half_open_requests(mut self, probes: u32) -> Self {
        self.config.half_open_requests = probes;
        self
    }

    /// The wait before the first probe, in seconds.
    pub const fn timeout_seconds(mut self, seconds: u64) -> Self {
        self.config.open_for = Duration::from_secs(seconds);
        self
    }

    /// The clock of [`call`](CircuitBreaker::call) and of the records without a permit.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells `listener` of every change of state, outside of any lock.
    pub fn on_transition(mut self, listener: impl Fn(&Transition) + Send + Sync + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Fixes the random lengthening of the waits, for tests that must repeat.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The circuit, closed.
    ///
    /// # Panics
    /// When the settings contradict each other; [`try_build`](Self::try_build) says so instead.
    #[must_use]
    pub fn build(self) -> CircuitBreaker {
        match self.try_build() {
            Ok(breaker) => breaker,
            Err(error) => panic!("{error}"),
        }
    }

    /// The circuit, closed.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting and its bound.
    pub fn try_build(self) -> Result<CircuitBreaker, ConfigError> {
        self.config.check()?;
        let shared = Shared {
            circuit: Circuit::new(&self.config, self.seed),
            health: Health::default(),
            config: self.config,
            listener: self.listener,
        };
        Ok(CircuitBreaker::new(shared, self.clock))
    }
}
