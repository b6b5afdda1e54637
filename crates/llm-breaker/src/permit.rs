//! A call's leave to pass, and what it must tell afterwards.

use std::fmt;
use std::sync::Arc;

use llm_core::Tick;

use crate::shared::Shared;
use crate::state::Outcome;
use crate::timing::Timing;

/// A call's leave to pass. Dropped, its outcome is [`Outcome::Ignored`] and a probe's place is free again.
///
/// It belongs to the state in which it was given: a result that comes after a change counts for nothing.
#[must_use = "a permit that is dropped tells the circuit nothing"]
pub struct Permit {
    shared: Option<Arc<Shared>>,
    generation: Option<u32>,
}

impl Permit {
    /// Leave beside the rules, of a circuit that only watches or of one that is only slow, is of no generation.
    pub(crate) const fn new(shared: Arc<Shared>, generation: Option<u32>) -> Self {
        Self { shared: Some(shared), generation }
    }

    /// Tells how the call ended, at `now`.
    #[inline]
    pub fn record(self, outcome: Outcome, now: Tick) {
        self.end(outcome, None, now);
    }

    /// Tells how the call ended, at `now`, and how long it took. The time of a failure is not looked at.
    #[inline]
    pub fn record_timed(self, outcome: Outcome, timing: Timing, now: Tick) {
        self.end(outcome, Some(&timing), now);
    }

    #[inline]
    fn end(mut self, outcome: Outcome, timing: Option<&Timing>, now: Tick) {
        if let Some(shared) = self.shared.take() {
            shared.record(self.generation, outcome, timing, now);
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.record(self.generation, Outcome::Ignored, None, Tick::ZERO);
        }
    }
}

/// A [`Permit`] that borrows its circuit.
#[must_use = "a permit that is dropped tells the circuit nothing"]
pub struct Pass<'a> {
    shared: &'a Shared,
    generation: Option<u32>,
}

impl<'a> Pass<'a> {
    /// As [`Permit::new`].
    pub(crate) const fn new(shared: &'a Shared, generation: Option<u32>) -> Self {
        Self { shared, generation }
    }

    /// Tells how the call ended, at `now`.
    #[inline]
    pub fn record(self, outcome: Outcome, now: Tick) {
        self.end(outcome, None, now);
    }

    /// Tells how the call ended, at `now`, and how long it took. The time of a failure is not looked at.
    #[inline]
    pub fn record_timed(self, outcome: Outcome, timing: Timing, now: Tick) {
        self.end(outcome, Some(&timing), now);
    }

    #[inline]
    fn end(self, outcome: Outcome, timing: Option<&Timing>, now: Tick) {
        let (shared, generation) = (self.shared, self.generation);
        // It has nothing to say any more when it is dropped, and holds nothing.
        std::mem::forget(self);
        shared.record(generation, outcome, timing, now);
    }
}

impl Drop for Pass<'_> {
    #[inline]
    fn drop(&mut self) {
        self.shared.record(self.generation, Outcome::Ignored, None, Tick::ZERO);
    }
}

impl fmt::Debug for Pass<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("generation", &self.generation).finish_non_exhaustive()
    }
}
