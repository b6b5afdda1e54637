//! A call's leave to pass, and what it must tell afterwards.

use std::fmt;
use std::sync::Arc;

use llm_core::Tick;

use crate::circuit::Outcome;
use crate::shared::Shared;

/// A call's leave to pass. Dropped, its outcome is [`Outcome::Ignored`] and a probe's place is free again.
///
/// It belongs to the state in which it was given: a result that comes after a change counts for nothing.
#[must_use = "a permit that is dropped tells the circuit nothing"]
pub struct Permit {
    shared: Option<Arc<Shared>>,
    generation: u32,
}

impl Permit {
    pub(crate) const fn new(shared: Arc<Shared>, generation: u32) -> Self {
        Self { shared: Some(shared), generation }
    }

    /// Leave of a circuit that only watches and would have refused.
    pub(crate) const fn untold() -> Self {
        Self { shared: None, generation: 0 }
    }

    /// Tells how the call ended, at `now`.
    pub fn record(mut self, outcome: Outcome, now: Tick) {
        if let Some(shared) = self.shared.take() {
            shared.record(self.generation, outcome, now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.record(self.generation, Outcome::Ignored, Tick::ZERO);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("generation", &self.generation).finish_non_exhaustive()
    }
}
