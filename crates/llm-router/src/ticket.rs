//! A call in flight.

use std::time::Duration;

use llm_core::Tick;
use llm_core::sync::Arc;

use crate::statistics::Observed;
use crate::table::Table;

/// A call in flight to a target, counted until this is dropped. Dropped without a record, the call counts neither
/// as a success nor as a failure: the caller gave it up.
#[derive(Debug)]
#[must_use = "a ticket that is dropped at once counts no call"]
pub struct Ticket {
    table: Arc<Table>,
    index: usize,
    began: Tick,
}

impl Ticket {
    pub(crate) fn new(table: Arc<Table>, index: usize, began: Tick) -> Self {
        table.targets[index].begin();
        Self { table, index, began }
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
        self.table.targets[self.index].record(&observed, &self.table.config, now);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.table.targets[self.index].end();
    }
}

#[cfg(all(test, llm_loom))]
mod loom_tests {
    use super::*;
    use crate::config::{RouterConfig, Strategy, Target};
    use crate::table::Entry;

    const NOW: Tick = Tick::from_nanos(3_600_000_000_000);

    fn table() -> Arc<Table> {
        let config = RouterConfig { seed: Some(1), ..Strategy::Latency.into() };
        let entry = Entry { name: "a".into(), target: Target { weight: 1 }, price: None };
        Arc::new(Table::try_new(config, &[entry], &[]).unwrap())
    }

    #[test]
    fn no_call_stays_in_flight_after_its_ticket() {
        loom::model(|| {
            let table = table();
            let other = {
                let table = table.clone();
                loom::thread::spawn(move || drop(Ticket::new(table, 0, NOW)))
            };
            let ticket = Ticket::new(table.clone(), 0, NOW);
            assert!(table.targets[0].in_flight() >= 1, "the own call is counted");
            drop(ticket);
            other.join().unwrap();
            assert_eq!(table.targets[0].in_flight(), 0);
        });
    }
}
