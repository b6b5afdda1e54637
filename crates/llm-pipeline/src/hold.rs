//! What a request holds of its caller's limits while it is under way.

use std::fmt;

use llm_core::{Error, ErrorKind, Tick, boxed};
use llm_ratelimit::{Admission, Charge, Cost, Exhausted};

/// What a request holds of its caller's limits, from its admission to the end of its answer. Dropped before anything
/// was sent, all of it is given back; afterwards what was reserved stays spent unless it is settled. Where nothing is
/// limited it is nothing.
#[derive(Debug, Default)]
pub(crate) struct Hold(Option<Box<Held>>);

#[derive(Default)]
struct Held {
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
        if admission.is_none() && charge.is_none() {
            return Self(None);
        }
        Self(Some(boxed(|| Held { admission, charge, cost, ..Held::default() })))
    }

    /// An attempt begins. When one before it may have been charged without saying, it needs a reservation of its own.
    pub(crate) fn begin(&mut self, now: Tick) -> Result<(), Exhausted> {
        self.0.as_mut().map_or(Ok(()), |held| held.begin(now))
    }

    /// The attempt failed.
    pub(crate) fn failed(&mut self, error: &Error) {
        if let Some(held) = &mut self.0 {
            held.failed(error);
        }
    }

    /// There will be no further attempt.
    pub(crate) fn close(&mut self, now: Tick) {
        if let Some(held) = self.0.as_mut().filter(|held| held.sent) {
            held.settle(Cost::default(), now);
        }
    }

    /// The answer has ended and `used` so much; none where nobody said: then what was reserved stays spent.
    pub(crate) fn end(&mut self, used: Option<Cost>, now: Tick) {
        let Some(held) = &mut self.0 else { return };
        match used {
            Some(used) => held.settle(used, now),
            None => held.settled = true,
        }
    }

    /// Reserves more for an answer that is longer than what was reserved.
    pub(crate) fn extend(&mut self, more: Cost, now: Tick) -> Result<(), Exhausted> {
        let admission = self.0.as_mut().and_then(|held| held.admission.as_mut());
        admission.map_or(Ok(()), |admission| admission.extend(more, now))
    }
}

impl Held {
    fn begin(&mut self, now: Tick) -> Result<(), Exhausted> {
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

    fn failed(&mut self, error: &Error) {
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

    fn settle(&mut self, used: Cost, now: Tick) {
        if let Some(admission) = self.admission.as_mut().filter(|_| !self.settled) {
            let money = self.owed.money.saturating_add(used.money);
            admission.settle(Cost::exact(self.owed.tokens + used.tokens, money), now);
        }
        self.settled = true;
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("cost", &self.cost).field("owed", &self.owed).finish_non_exhaustive()
    }
}

/// Whether a provider that answered so charges nothing: it refused the request, and said so.
pub(crate) fn is_free(error: &Error) -> bool {
    error.is_unsent() || error.upstream_status().is_some() && error.kind() != ErrorKind::StreamInterrupted
}
