//! Limits that are looked up once for many requests.

use std::fmt;

use llm_core::Tick;
use llm_core::sync::Arc;

use crate::admission::Admission;
use crate::cell::{Cell, Cost, INLINE, Marks, Refusal, Short};
use crate::hierarchy::{Denial, Hierarchy};

/// The limits of certain names, looked up.
pub struct Scope {
    hierarchy: Hierarchy,
    limits: Box<[Limit]>,
    /// Whether they are few and only rates.
    has_only_rates: bool,
}

struct Limit {
    cell: Arc<Cell>,
    table: usize,
    name: Box<str>,
}

impl Hierarchy {
    /// The limits of `names`, looked up once for many requests.
    #[must_use]
    pub fn scope(&self, names: &[(&str, &str)], now: Tick) -> Scope {
        let tables = &self.inner.tables;
        let limits = self.matching(names).map(|(table, name)| Limit {
            cell: table.cell(name, now),
            table: tables.iter().position(|known| std::ptr::eq(known, table)).unwrap_or_default(),
            name: name.into(),
        });
        let limits: Box<[Limit]> = limits.collect();
        let has_only_rates = limits.len() <= INLINE && limits.iter().all(|limit| limit.cell.rules().has_only_rates());
        Scope { hierarchy: self.clone(), limits, has_only_rates }
    }
}

impl Scope {
    /// Takes one request, and what it costs, for good; its place among those under way is free again at once.
    ///
    /// # Errors
    /// [`Denial`] names the first level that is short. Nothing was taken then.
    pub fn check(&self, cost: Cost, now: Tick) -> Result<(), Denial> {
        if !self.has_only_rates {
            return self.admit(cost, now).map(|mut admission| admission.sent());
        }
        let mut marks = [Marks::default(); INLINE];
        for (at, limit) in self.limits.iter().enumerate() {
            match limit.cell.take_rates(cost.tokens, now) {
                Ok(taken) => marks[at] = taken,
                Err(short) => return Err(self.undone(at, &marks, short, cost, now)),
            }
        }
        Ok(())
    }

    /// Gives back what the limits before `at`, which is `short`, have given.
    #[cold]
    fn undone(&self, at: usize, marks: &[Marks], short: Short, cost: Cost, now: Tick) -> Denial {
        for (limit, marks) in self.limits[..at].iter().zip(marks) {
            limit.cell.return_rates(*marks, cost.tokens, now);
        }
        let limit = &self.limits[at];
        self.denial(limit, limit.cell.refusal(short, now))
    }

    fn denial(&self, limit: &Limit, refusal: Refusal) -> Denial {
        self.hierarchy.inner.tables[limit.table].denial(&limit.name, refusal)
    }

    /// As [`check`](Self::check), with what was taken in hand.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn admit(&self, cost: Cost, now: Tick) -> Result<Admission, Denial> {
        let mut admission = Admission::new(self.hierarchy.inner.clock.clone());
        for limit in &self.limits {
            match limit.cell.take(cost, now) {
                Ok(taken) => admission.push(limit.cell.clone(), taken),
                Err(refusal) => {
                    admission.give_back(now);
                    return Err(self.denial(limit, refusal));
                }
            }
        }
        Ok(admission)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.limits.iter().map(|limit| &limit.name)).finish()
    }
}

#[cfg(test)]
#[cfg(llm_loom)]
mod loom_tests {
    use std::sync::Arc as SharedArc;
    use std::time::Duration;

    use super::*;
    use crate::rules::{CapConfig, LimitConfig, MeterConfig};

    const NOW: Tick = Tick::from_nanos(1_000_000_000);

    fn table(level: &str, requests: u32) -> LimitConfig {
        let hour = Duration::from_secs(3600);
        LimitConfig {
            level: level.into(),
            name: "n".into(),
            requests: Some(MeterConfig::Rate { rate: requests.into(), per: hour, burst: Some(requests) }),
            ..LimitConfig::default()
        }
    }

    fn scope(tables: Vec<LimitConfig>) -> Arc<Scope> {
        let clock = SharedArc::new(llm_core::ManualClock::at(NOW));
        let limits = Hierarchy::try_new(tables).unwrap().with_clock(clock).unwrap();
        Arc::new(limits.scope(&[("a", "n"), ("b", "n")], NOW))
    }

    fn left(scope: &Scope) -> Vec<u64> {
        let mut all = Vec::new();
        scope.limits.iter().for_each(|limit| limit.cell.left(NOW, |left| all.push(left.left)));
        all
    }

    #[test]
    fn a_denied_admission_leaves_every_level_as_it_was() {
        loom::model(|| {
            let scope = scope(vec![table("a", 2), table("b", 1)]);
            let other = {
                let scope = scope.clone();
                loom::thread::spawn(move || scope.check(Cost::default(), NOW).is_ok())
            };
            let mine = scope.check(Cost::default(), NOW).is_ok();
            assert!(mine != other.join().unwrap(), "the second level has one");
            assert_eq!(left(&scope), [1, 0]);
        });
    }

    #[test]
    fn places_and_reservations_come_back_to_zero() {
        loom::model(|| {
            let mut tokens = table("a", 2);
            tokens.tokens = Some(MeterConfig::Cap(CapConfig { cap: 10, per: Duration::from_secs(60) }));
            tokens.concurrency = Some(1);
            let scope = scope(vec![tokens]);
            let cost = Cost::exact(6, 0);
            let other = {
                let scope = scope.clone();
                loom::thread::spawn(move || drop(scope.admit(cost, NOW)))
            };
            if let Ok(mut admission) = scope.admit(cost, NOW) {
                admission.settle(Cost::exact(3, 0), NOW);
                drop(admission);
                other.join().unwrap();
                assert_eq!(left(&scope), [1, 7, 1]);
            } else {
                other.join().unwrap();
                assert_eq!(left(&scope), [2, 10, 1]);
            }
        });
    }
}
