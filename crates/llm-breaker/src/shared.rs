//! What the clones of a circuit and its permits share.

use std::fmt;

use llm_core::{Tick, Transition};

use crate::circuit::{Cause, Change, Circuit, Outcome};
use crate::config::CircuitBreakerConfig;

pub(crate) type Listener = Box<dyn Fn(&Transition) + Send + Sync>;

/// A circuit, its settings, and who hears of its changes.
pub(crate) struct Shared {
    pub(crate) circuit: Circuit,
    pub(crate) config: CircuitBreakerConfig,
    pub(crate) listener: Option<Listener>,
}

impl Shared {
    pub(crate) fn record(&self, generation: u32, outcome: Outcome, now: Tick) {
        let change = self.circuit.record(&self.config, generation, outcome, now);
        self.tell(change);
    }

    pub(crate) fn tell(&self, change: Option<Change>) {
        if let (Some(Change { from, to, cause }), Some(listener)) = (change, &self.listener) {
            listener(&Transition { from: from.as_str(), to: to.as_str(), reason: cause.to_string() });
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures(count) => write!(f, "{count} failures in a row"),
            Self::Waited(span) => write!(f, "probes after {span:.1?}"),
            Self::ProbesFailed { failures, wait } => write!(f, "{failures} probes failed, next after {wait:.1?}"),
            Self::ProbesSucceeded(count) => write!(f, "{count} probes succeeded"),
            Self::Reset => f.write_str("reset"),
        }
    }
}
