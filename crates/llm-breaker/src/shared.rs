//! What the clones of a circuit and its permits share.

use llm_core::{Tick, Transition};

use crate::circuit::Circuit;
use crate::config::CircuitBreakerConfig;
use crate::health::Health;
use crate::state::{Change, Outcome};
use crate::timing::Timing;

pub(crate) type Listener = Box<dyn Fn(&Transition) + Send + Sync>;

/// A circuit, what it has seen, its settings, and who hears of its changes.
pub(crate) struct Shared {
    pub(crate) circuit: Circuit,
    pub(crate) health: Health,
    pub(crate) config: CircuitBreakerConfig,
    pub(crate) listener: Option<Listener>,
}

impl Shared {
    /// Counts a result; without a `generation` it is seen and changes nothing.
    #[inline]
    pub(crate) fn record(&self, generation: Option<u32>, outcome: Outcome, timing: Option<&Timing>, now: Tick) {
        self.health.record(outcome, timing.map(|timing| timing.latency), now);
        if let Some(generation) = generation {
            let change = self.circuit.record(&self.config, generation, outcome, timing, now);
            self.tell(change);
        }
    }

    pub(crate) fn tell(&self, change: Option<Change>) {
        if let (Some(Change { from, to, cause }), Some(listener)) = (change, &self.listener) {
            listener(&Transition { from: from.as_str(), to: to.as_str(), reason: cause.to_string() });
        }
    }
}

#[cfg(all(test, not(llm_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_circuit_is_small() {
        let size = size_of::<Circuit>() + size_of::<Health>();
        assert!(size <= 192, "{size} bytes");
    }
}
