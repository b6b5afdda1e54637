//! What a request holds of its caller's limits while it is under way.

use std::fmt;

use llm_core::{Error, ErrorKind, Tick};
use llm_ratelimit::{Admission, Charge, Cost, Exhausted};

/// What a request holds of its caller's limits, from its admission to the end of its answer. Dropped before anything
/// was sent, all of it is given back; afterwards what was reserved stays spent unless it is settled.
#[derive(Default)]
pub(crate) struct Hold {
    admission: Option<Admission>,
    charge: Option<Charge>,
    /// What is reserved for an attempt.
    cost: Cost,
    /// What earlier attempts may have cost, which nobody said.
    owed: Cost,
    /// Whether what is reserved belongs to one of those.
    used_up: bool,
    sent: bool,
    settled: bool,
}

impl Hold {
    pub(crate) fn new(admission: Option<Admission>, charge: Option<Charge>, cost: Cost) -> Self {
        Self { admission, charge, cost, ..Self::default() }
    }

    /// An attempt begins. When one before it may have been charged without saying, it needs a reservation of its own.
    pub(crate) fn begin(&mut self, now: Tick) -> Result<(), Exhausted> {
        if let Some(admission) = &mut self.admission {
            if self.used_up {
                admission.extend(self.cost, now)?;
                self.used_up = false;
            }
            admission.sent();
        }
        if let Some(charge) = &mut self.charge {
            charge.sent();
        }
        Ok(())
    }

    /// The attempt failed.
    pub(crate) fn failed(&mut self, error: &Error) {
        if error.is_unsent() {
            if !self.sent {
                self.admission.iter_mut().for_each(Admission::unsent);
                self.charge.iter_mut().for_each(Charge::unsent);
            }
            return;
        }
        self.sent = true;
        if !is_free(error) {
            let Cost { tokens, money, bound } = self.cost;
            let money = self.owed.money.saturating_add(bound.unwrap_or(money));
            self.owed = Cost::exact(self.owed.tokens + tokens, money);
            self.used_up = true;
        }
    }

    /// There will be no further attempt.
    pub(crate) fn close(&mut self, now: Tick) {
        if self.sent {
            self.settle(Cost::default(), now);
        }
    }

    /// The answer has ended and `used` so much; none where nobody said: then what was reserved stays spent.
    pub(crate) fn end(&mut self, used: Option<Cost>, now: Tick) {
        match used {
            Some(used) => self.settle(used, now),
            None => self.settled = true,
        }
    }

    fn settle(&mut self, used: Cost, now: Tick) {
        if let Some(admission) = self.admission.as_mut().filter(|_| !self.settled) {
            let money = self.owed.money.saturating_add(used.money);
            admission.settle(Cost::exact(self.owed.tokens + used.tokens, money), now);
        }
        self.settled = true;
    }

    /// Reserves more for an answer that is longer than what was reserved.
    pub(crate) fn extend(&mut self, more: Cost, now: Tick) -> Result<(), Exhausted> {
        self.admission.as_mut().map_or(Ok(()), |admission| admission.extend(more, now))
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("cost", &self.cost).field("owed", &self.owed).finish_non_exhaustive()
    }
}

/// Whether a provider that answered so charges nothing: it refused the request, and said so.
pub(crate) fn is_free(error: &Error) -> bool {
    error.is_unsent() || error.upstream_status().is_some() && error.kind() != ErrorKind::StreamInterrupted
}
