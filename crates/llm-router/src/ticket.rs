//! A call in flight.

use std::time::Duration;

use llm_core::Tick;
use llm_core::sync::Arc;

use crate::statistics::{Observed, Statistics};

/// A call in flight to a target, counted until this is dropped. Dropped without a record, the call counts neither
/// as a success nor as a failure: the caller gave it up.
#[derive(Debug)]
#[must_use = "a ticket that is dropped at once counts no call"]
pub struct Ticket {
    /// The calls in flight are those that hold it.
    target: Arc<Statistics>,
    index: usize,
    began: Tick,
}

impl Ticket {
    pub(crate) fn new(target: &Arc<Statistics>, index: usize, began: Tick) -> Self {
        Self { target: target.clone(), index, began }
    }

    /// The target called.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// The time since the call began.
    #[must_use]
    pub const fn elapsed(&self, now: Tick) -> Duration {
        now.since(self.began)
    }

    /// Ends the call at `now` and takes in how it went.
    pub fn record(self, observed: Observed, now: Tick) {
        self.target.record(&observed, now);
    }
}

#[cfg(all(test, llm_loom))]
mod loom_tests {
    use super::*;
    use crate::config::{RouterConfig, Strategy};
    use crate::ledger::Rules;
    use crate::statistics::in_flight;

    const NOW: Tick = Tick::from_nanos(3_600_000_000_000);

    #[test]
    fn no_call_stays_in_flight_after_its_ticket() {
        loom::model(|| {
            let target = Arc::new(Statistics::new(Rules::new(&RouterConfig::from(Strategy::Latency))));
            let theirs = Ticket::new(&target, 0, NOW);
            let other = loom::thread::spawn(move || drop(theirs));
            let ours = Ticket::new(&target, 0, NOW);
            assert!((1..=2).contains(&in_flight(&target)), "the own call is counted");
            drop(ours);
            other.join().unwrap();
            assert_eq!(in_flight(&target), 0);
        });
    }
}
