//! The shell around a circuit: shared, with a clock, and telling of its changes.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use llm_core::{Clock, SystemClock, Tick, Transition};

use crate::circuit::{Circuit, CircuitState, Outcome, Refused};
use crate::config::{CircuitBreakerConfig, ConfigError};
use crate::permit::Permit;
use crate::shared::{Listener, Shared};

/// A circuit. Cheap to clone; clones share the state.
#[derive(Clone)]
pub struct CircuitBreaker {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
}

/// What a look at a circuit shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitBreakerStats {
    /// Where it stands.
    pub state: CircuitState,
    /// Failures in a row while closed; those that opened it while open; those of the round while half-open.
    pub consecutive_failures: u32,
    /// Rounds of probes in a row that failed.
    pub probe_failures: u32,
    /// How long it stays open; zero when a probe is due.
    pub next_probe_in: Option<Duration>,
}

/// Why [`CircuitBreaker::call`] gave no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E> {
    /// The circuit is open; the call was not made.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The call failed.
    #[error("{0}")]
    Failed(E),
}

impl CircuitBreaker {
    /// Begins to set a circuit up.
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::default()
    }

    /// The circuit's settings.
    #[must_use]
    pub fn config(&self) -> &CircuitBreakerConfig {
        &self.shared.config
    }

    /// Leave for a call at `now`. While the circuit is closed this is one load.
    ///
    /// # Errors
    /// [`Refused`] says after how long a probe may pass.
    pub fn admit(&self, now: Tick) -> Result<Permit, Refused> {
        match self.shared.circuit.admit(&self.shared.config, now) {
            Ok((generation, change)) => {
                self.shared.tell(change);
                Ok(Permit::new(self.shared.clone(), generation))
            }
            Err(_) if self.shared.config.shadow => Ok(Permit::untold()),
            Err(refused) => Err(refused),
        }
    }

    /// Whether a call would get leave at `now`; another may come between.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn is_available(&self, now: Tick) -> Result<(), Refused> {
        match self.shared.circuit.available(&self.shared.config, now) {
            Err(refused) if !self.shared.config.shadow => Err(refused),
            _ => Ok(()),
        }
    }

    /// Makes a call if the circuit lets it; an error counts as a failure.
    ///
    /// # Errors
    /// [`CallError::Refused`] when the circuit is open, [`CallError::Failed`] with the call's own error.
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, CallError<E>> {
        let permit = self.admit(self.clock.now())?;
        let result = call.await;
        let outcome = if result.is_ok() { Outcome::Success } else { Outcome::Failure };
        permit.record(outcome, self.clock.now());
        result.map_err(CallError::Failed)
    }

    /// Counts a success of a call that asked for no leave.
    pub fn record_success(&self) {
        self.record(Outcome::Success);
    }

    /// Counts a failure of a call that asked for no leave.
    pub fn record_failure(&self) {
        self.record(Outcome::Failure);
    }

    /// While the circuit is half-open only probes count, and they hold a permit.
    fn record(&self, outcome: Outcome) {
        if self.state() == CircuitState::Closed {
            self.shared.record(self.shared.circuit.generation(), outcome, self.clock.now());
        }
    }

    /// Where the circuit stands.
    #[must_use]
    pub fn state(&self) -> CircuitState {
        self.stats(self.clock.now()).state
    }

    /// What a look at the circuit shows at `now`.
    #[must_use]
    pub fn stats(&self, now: Tick) -> CircuitBreakerStats {
        let look = self.shared.circuit.look(&self.shared.config, now);
        CircuitBreakerStats {
            state: look.state,
            consecutive_failures: look.failures,
            probe_failures: look.trips,
            next_probe_in: look.next_probe_in,
        }
    }

    /// Closes the circuit, whatever it has seen.
    pub fn reset(&self) {
        let change = self.shared.circuit.reset();
        self.shared.tell(change);
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker").field("config", &self.shared.config).finish_non_exhaustive()
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

    /// Failures in a row that open the circuit.
    pub const fn failure_threshold(mut self, failures: u32) -> Self {
        self.config.failures = failures;
        self
    }

    /// Probes that must succeed to close it.
    pub const fn success_threshold(mut self, successes: u32) -> Self {
        self.config.success_threshold = successes;
        self
    }

    /// Calls that a round of probes admits.
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
        let shared = Shared { circuit: Circuit::new(self.seed), config: self.config, listener: self.listener };
        Ok(CircuitBreaker { shared: Arc::new(shared), clock: self.clock })
    }
}
