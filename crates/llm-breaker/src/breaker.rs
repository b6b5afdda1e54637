//! The shell around a circuit: shared, with a clock, and telling of its changes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use llm_core::{Clock, Distribution, Tick};

use crate::anomaly::Scores;
use crate::config::CircuitBreakerConfig;
use crate::health::HealthMetrics;
use crate::permit::{Pass, Permit};
use crate::shared::Shared;
use crate::state::{CircuitState, Outcome, Refused};
use crate::timing::{IntoLatency, Timing};

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
    /// Slowness alone has opened it and kept it from closing; see [`CircuitBreaker::admit_anyway`].
    pub anomaly: bool,
    /// How long it is held, whatever its state.
    pub held_for: Option<Duration>,
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
    pub(crate) fn new(shared: Shared, clock: Arc<dyn Clock>) -> Self {
        Self { shared: Arc::new(shared), clock }
    }

    /// The circuit's settings.
    #[must_use]
    pub fn config(&self) -> &CircuitBreakerConfig {
        &self.shared.config
    }

    /// Leave for a call at `now`. While the circuit is closed this is a load of its word, and one of its hold.
    ///
    /// # Errors
    /// [`Refused`] says after how long a probe may pass.
    #[inline]
    pub fn admit(&self, now: Tick) -> Result<Permit, Refused> {
        self.leave(now).map(|generation| Permit::new(self.shared.clone(), generation))
    }

    /// As [`admit`](Self::admit), for a call that ends before its caller lets go of the circuit: the leave borrows it,
    /// which spares two atomic operations.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    #[inline]
    pub fn pass(&self, now: Tick) -> Result<Pass<'_>, Refused> {
        self.leave(now).map(|generation| Pass::new(&self.shared, generation))
    }

    /// The generation that the call's result belongs to; none when it changes nothing.
    #[inline]
    fn leave(&self, now: Tick) -> Result<Option<u32>, Refused> {
        match self.shared.circuit.free(now) {
            Some(generation) => Ok(Some(generation)),
            None => self.leave_guarded(now),
        }
    }

    #[cold]
    fn leave_guarded(&self, now: Tick) -> Result<Option<u32>, Refused> {
        match self.shared.circuit.admit(&self.shared.config, now) {
            Ok((generation, change)) => {
                self.shared.tell(change);
                Ok(Some(generation))
            }
            Err(_) if self.shared.config.shadow => Ok(None),
            Err(refused) => Err(refused),
        }
    }

    /// As [`admit`](Self::admit), and if that refuses for slowness alone, leave all the same: for a caller with
    /// nowhere else to go. What comes of such a call changes nothing.
    ///
    /// # Errors
    /// [`Refused`] when failures have opened the circuit or it is held.
    pub fn admit_anyway(&self, now: Tick) -> Result<Permit, Refused> {
        match self.admit(now) {
            Err(_) if self.shared.circuit.only_slow(now) => Ok(Permit::new(self.shared.clone(), None)),
            admitted => admitted,
        }
    }

    /// Whether a call would get leave at `now`; another may come between.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    #[inline]
    pub fn is_available(&self, now: Tick) -> Result<(), Refused> {
        if self.shared.circuit.free(now).is_some() { Ok(()) } else { self.available_guarded(now) }
    }

    #[cold]
    fn available_guarded(&self, now: Tick) -> Result<(), Refused> {
        match self.shared.circuit.available(&self.shared.config, now) {
            Err(refused) if !self.shared.config.shadow => Err(refused),
            _ => Ok(()),
        }
    }

    /// Makes a call if the circuit lets it, and takes its time; an error counts as a failure.
    ///
    /// # Errors
    /// [`CallError::Refused`] when the circuit is open, [`CallError::Failed`] with the call's own error.
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, CallError<E>> {
        let began = self.clock.now();
        let permit = self.pass(began)?;
        let result = call.await;
        let outcome = if result.is_ok() { Outcome::Success } else { Outcome::Failure };
        let now = self.clock.now();
        permit.record_timed(outcome, now.since(began).into(), now);
        result.map_err(CallError::Failed)
    }

    /// Counts a success of a call that asked for no leave. Its latency is a `Duration`, milliseconds as `f64`, an
    /// option of either, or `()` when it is not known.
    pub fn record_success(&self, latency: impl IntoLatency) {
        let timing = latency.into_latency().map(Timing::from);
        self.record(Outcome::Success, timing.as_ref());
    }

    /// Counts a failure of a call that asked for no leave.
    pub fn record_failure(&self) {
        self.record(Outcome::Failure, None);
    }

    /// While the circuit is half-open only probes count, and they hold a permit.
    fn record(&self, outcome: Outcome, timing: Option<&Timing>) {
        self.shared.record(self.shared.circuit.generation(), outcome, timing, self.clock.now());
    }

    /// Keeps all calls out until `until` and changes nothing else: what an answer asks for that says when to come
    /// again. The later of two holds wins. A shadow circuit is never held.
    pub fn hold_until(&self, until: Tick) {
        if !self.shared.config.shadow {
            self.shared.circuit.hold_until(until);
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
        let look = self.shared.circuit.look(now);
        CircuitBreakerStats {
            state: look.state,
            consecutive_failures: look.failures,
            probe_failures: look.trips,
            next_probe_in: look.next_probe_in,
            anomaly: look.anomaly,
            held_for: look.held_for,
        }
    }

    /// How far `timing` lies above what this circuit's calls usually take. Nothing is learnt from it.
    #[must_use]
    pub fn scores(&self, timing: &Timing) -> Scores {
        self.shared.circuit.scores(timing)
    }

    /// What the circuit has seen of its calls.
    #[must_use]
    pub fn health_metrics(&self) -> HealthMetrics {
        self.shared.health.metrics(self.clock.now())
    }

    /// The latencies behind [`health_metrics`](Self::health_metrics) at `now`, to be put together with those of others.
    #[must_use]
    pub fn latencies(&self, now: Tick) -> Distribution {
        self.shared.health.recent(now)
    }

    /// Closes the circuit, whatever it has seen, and ends a hold. What is usual for its calls stays learnt.
    pub fn reset(&self) {
        let change = self.shared.circuit.reset();
        self.shared.tell(change);
    }

    #[cfg(feature = "tower")]
    pub(crate) fn now(&self) -> Tick {
        self.clock.now()
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker").field("config", &self.shared.config).finish_non_exhaustive()
    }
}
