//! What was taken of the levels for a request, until it is known what it used.

use std::sync::Arc as SharedArc;

use llm_core::sync::Arc;
use llm_core::{Clock, SystemClock, Tick};

use crate::cell::{Cell, Cost, INLINE, Refusal, Taken};
use crate::rules::Resource;

/// A request's place under its limits. Dropped before it was [`sent`](Self::sent), everything is given back; after
/// that only its places among those under way are freed, and what was reserved stays spent unless it is settled.
#[must_use = "an admission that is dropped is given back"]
pub struct Admission {
    /// As many as most hierarchies have; no allocation for them.
    first: [Option<Held>; INLINE],
    more: Vec<Held>,
    sent: bool,
    /// None: the machine's clock.
    clock: Option<SharedArc<dyn Clock>>,
}

struct Held {
    cell: Arc<Cell>,
    taken: Taken,
}

impl Admission {
    pub(crate) const fn new(clock: Option<SharedArc<dyn Clock>>) -> Self {
        const NONE: Option<Held> = None;
        Self { first: [NONE; INLINE], more: Vec::new(), sent: false, clock }
    }

    pub(crate) fn push(&mut self, cell: Arc<Cell>, taken: Taken) {
        let held = Held { cell, taken };
        match self.first.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(held),
            None => self.more.push(held),
        }
    }

    fn held(&mut self) -> impl Iterator<Item = &mut Held> {
        self.first.iter_mut().flatten().chain(&mut self.more)
    }

    /// The request goes out: from here on it counts.
    pub const fn sent(&mut self) {
        self.sent = true;
    }

    /// The request reached nobody after all.
    pub const fn unsent(&mut self) {
        self.sent = false;
    }

    /// Whether the request went out.
    #[must_use]
    pub const fn is_sent(&self) -> bool {
        self.sent
    }

    /// Replaces what was reserved by what was `used`, at `now`: the surplus is given back, an excess charged. Places
    /// among those under way are kept until the drop.
    pub fn settle(&mut self, used: Cost, now: Tick) {
        self.sent = true;
        self.held().for_each(|held| held.cell.settle(&mut held.taken, used, now));
    }

    /// Reserves `more` of what is capped by period.
    ///
    /// # Errors
    /// [`Exhausted`] when a level has no more of it; then nothing more was reserved.
    pub fn extend(&mut self, more: Cost, now: Tick) -> Result<(), Exhausted> {
        let mut done = 0;
        let mut refusal = None;
        for held in self.held() {
            match held.cell.extend(&mut held.taken, more, now) {
                Ok(()) => done += 1,
                Err(short) => {
                    refusal = Some(short);
                    break;
                }
            }
        }
        let Some(Refusal { resource, limit, .. }) = refusal else { return Ok(()) };
        for held in self.held().take(done) {
            held.cell.retract(&mut held.taken, more, now);
        }
        Err(Exhausted { resource, limit })
    }

    /// Gives everything back at `now`, the present.
    pub fn give_back(mut self, now: Tick) {
        self.undo(now);
    }

    fn undo(&mut self, now: Tick) {
        if !std::mem::replace(&mut self.sent, true) {
            self.held().for_each(|held| held.cell.give_back(&mut held.taken, now));
        }
    }
}

/// A request has used what it had reserved, and there is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} used up: the limit is {limit}", resource.as_str())]
pub struct Exhausted {
    /// What is short.
    pub resource: Resource,
    /// How much there is at most.
    pub limit: u64,
}

/// What the limits' clock says.
pub(crate) fn present(clock: Option<&SharedArc<dyn Clock>>) -> Tick {
    clock.map_or_else(|| SystemClock::new().now(), |clock| clock.now())
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.sent {
            self.undo(present(self.clock.as_ref()));
        }
        self.held().for_each(|held| held.cell.leave());
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("sent", &self.sent).finish_non_exhaustive()
    }
}
