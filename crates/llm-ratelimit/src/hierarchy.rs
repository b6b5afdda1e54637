//! Levels of limits, all of which a request must pass.

use std::fmt;
use std::sync::Arc as SharedArc;
use std::time::Duration;

use llm_core::sync::Arc;
use llm_core::{Clock, Tick};
use serde::Serialize;

use crate::admission::Admission;
use crate::cell::{Cell, Cost, Left, Refusal, Taken};
use crate::config::ConfigError;
use crate::rules::{LimitConfig, Resource, Rules};
use crate::shelf::Shelf;

/// Limits in levels (an organisation's, a key's, a model's, …) and resources, of which one admission takes all
/// or nothing. Cheap to clone; clones share all state.
///
/// A level is a word; a request belongs to a name at each level that it knows of. Tables are charged in their
/// order: put the narrowest first. A denial, once returned, has changed no level; while it is being found, what
/// it took for a moment may refuse somebody else.
#[derive(Clone)]
pub struct Hierarchy {
    inner: SharedArc<Inner>,
}

struct Inner {
    tables: Box<[Table]>,
    /// None: the machine's clock.
    clock: Option<SharedArc<dyn Clock>>,
}

struct Table {
    config: LimitConfig,
    names: Names,
}

enum Names {
    /// One name.
    One(Arc<Cell>),
    /// Every name, each by itself; those for which there is no room share a cell.
    Each { rules: Rules, cells: SharedArc<Shelf<Cell>>, crowd: Arc<Cell> },
}

/// A request was denied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} of {level} {name} used up: {left} of {limit} left", resource.as_str())]
pub struct Denial {
    /// The level.
    pub level: Box<str>,
    /// The name at that level.
    pub name: Box<str>,
    /// What is short.
    pub resource: Resource,
    /// How much there is at most.
    pub limit: u64,
    /// How much there is at the moment.
    pub left: u64,
    /// The wait that suffices, if nobody else comes; none where waiting does not help, or nobody knows.
    pub wait: Option<Duration>,
}

/// What a name has left of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitStats {
    /// The level.
    pub level: Box<str>,
    /// The name.
    pub name: Box<str>,
    /// The resource.
    pub resource: Resource,
    /// How much there is at most.
    pub limit: u64,
    /// How much is left.
    pub remaining: u64,
    /// How long until it is whole again if nobody comes; 0 for concurrency.
    pub reset_ms: u64,
}

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// How much there is at most.
    pub limit: u64,
    /// How much is left.
    pub left: u64,
    /// How long until it is whole again if nobody comes.
    pub reset: Duration,
}

/// The tightest limits that a request is under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headroom {
    /// Of those on requests.
    pub requests: Option<Room>,
    /// Of those on tokens.
    pub tokens: Option<Room>,
}

/// Names that a table with `*` keeps apart at most.
const MOST_NAMES: usize = 1_000_000;

impl Hierarchy {
    /// Limits by `tables`, all unused.
    ///
    /// # Errors
    /// [`ConfigError`] names the key of the table and its bound.
    pub fn try_new(tables: Vec<LimitConfig>) -> Result<Self, ConfigError> {
        let tables = tables.into_iter().map(|config| Table::try_new(config, None, Tick::ZERO));
        Ok(Self { inner: SharedArc::new(Inner { tables: tables.collect::<Result<_, _>>()?, clock: None }) })
    }

    /// The same limits on `clock`, unused. All users need one clock.
    ///
    /// # Errors
    /// As [`try_new`](Self::try_new).
    pub fn with_clock(self, clock: SharedArc<dyn Clock>) -> Result<Self, ConfigError> {
        let configs = self.inner.tables.iter().map(|table| table.config.clone());
        let tables = configs.map(|config| Table::try_new(config, None, Tick::ZERO)).collect::<Result<_, _>>()?;
        Ok(Self { inner: SharedArc::new(Inner { tables, clock: Some(clock) }) })
    }

    /// Limits by `tables` that carry on from these at `now`: tables of the same level and name keep what was
    /// used. Admissions under way are settled where they were made; where a table has changed, those under way no
    /// longer count towards its concurrency.
    ///
    /// # Errors
    /// As [`try_new`](Self::try_new).
    pub fn adopt(&self, tables: Vec<LimitConfig>, now: Tick) -> Result<Self, ConfigError> {
        let table = |config: LimitConfig| {
            let same = |old: &&Table| old.config.level == config.level && old.config.name == config.name;
            let old = self.inner.tables.iter().find(same);
            Table::try_new(config, old, now)
        };
        let tables = tables.into_iter().map(table).collect::<Result<_, _>>()?;
        Ok(Self { inner: SharedArc::new(Inner { tables, clock: self.inner.clock.clone() }) })
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.tables.is_empty()
    }

    /// Whether a table limits `resource`.
    #[must_use]
    pub fn limits(&self, resource: Resource) -> bool {
        self.inner.tables.iter().any(|table| match resource {
            Resource::Requests => table.config.requests.is_some(),
            Resource::Tokens => table.config.tokens.is_some(),
            Resource::Money => table.config.money.is_some(),
            Resource::Concurrency => table.config.concurrency.is_some(),
        })
    }

    /// Whether a table limits names of `level`.
    #[must_use]
    pub fn has_level(&self, level: &str) -> bool {
        self.inner.tables.iter().any(|table| table.config.level == level)
    }

    /// Takes one request, and what it is expected to cost, of every table that matches one of `names`
    /// (level, name) at `now`.
    ///
    /// # Errors
    /// [`Denial`] names the first level that is short. Nothing was taken then.
    pub fn admit(&self, names: &[(&str, &str)], cost: Cost, now: Tick) -> Result<Admission, Denial> {
        let mut admission = Admission::new(self.inner.clock.clone());
        for (table, name) in self.matching(names) {
            let cell = table.cell(name, now);
            match cell.take(cost, now) {
                Ok(taken) => admission.push(cell, taken),
                Err(refusal) => {
                    admission.give_back(now);
                    return Err(table.denial(name, refusal));
                }
            }
        }
        Ok(admission)
    }

    /// The limits of `names`, looked up once for many requests.
    #[must_use]
    pub fn scope(&self, names: &[(&str, &str)], now: Tick) -> Scope {
        let limits = self.matching(names).map(|(table, name)| Limit {
            table: self.inner.tables.iter().position(|known| std::ptr::eq(known, table)).unwrap_or_default(),
            name: name.into(),
            cell: table.cell(name, now),
        });
        Scope { hierarchy: self.clone(), limits: limits.collect() }
    }

    fn matching<'a>(&'a self, names: &'a [(&str, &str)]) -> impl Iterator<Item = (&'a Table, &'a str)> {
        self.inner.tables.iter().flat_map(move |table| {
            let here = names.iter().filter(|(level, name)| table.matches(level, name));
            here.map(move |(_, name)| (table, *name))
        })
    }

    /// What `names` have left at `now`.
    #[must_use]
    pub fn left(&self, names: &[(&str, &str)], now: Tick) -> Vec<LimitStats> {
        let mut shown = Vec::new();
        for (table, name) in self.matching(names) {
            table.cell(name, now).left(now, |left| shown.push(table.stats(name, left)));
        }
        shown
    }

    /// What the tightest limits of `names` have left at `now`.
    #[must_use]
    pub fn headroom(&self, names: &[(&str, &str)], now: Tick) -> Headroom {
        let mut headroom = Headroom::default();
        for (table, name) in self.matching(names) {
            table.cell(name, now).left(now, |Left { resource, limit, left, reset }| {
                let tightest = match resource {
                    Resource::Requests => &mut headroom.requests,
                    Resource::Tokens => &mut headroom.tokens,
                    Resource::Money | Resource::Concurrency => return,
                };
                if tightest.is_none_or(|room| left < room.left) {
                    *tightest = Some(Room { limit, left, reset });
                }
            });
        }
        headroom
    }

    /// What every name has left that is kept at the moment.
    #[must_use]
    pub fn stats(&self, now: Tick) -> Vec<LimitStats> {
        let mut shown = Vec::new();
        for table in self.inner.tables.iter() {
            let mut show = |name: &str, cell: &Cell| cell.left(now, |left| shown.push(table.stats(name, left)));
            match &table.names {
                Names::One(cell) => show(&table.config.name, cell),
                Names::Each { cells, .. } => cells.each(|name, cell| show(name, cell)),
            }
        }
        shown
    }
}

impl Table {
    fn try_new(config: LimitConfig, old: Option<&Self>, now: Tick) -> Result<Self, ConfigError> {
        let rules = Rules::try_new(&config)?;
        let names = if config.name == "*" {
            match old {
                Some(Self { names: Names::Each { rules: known, cells, crowd }, .. }) if *known == rules => {
                    Names::Each { rules, cells: cells.clone(), crowd: crowd.clone() }
                }
                _ => {
                    let cells = Shelf::new(MOST_NAMES);
                    if let Some(Self { names: Names::Each { cells: old, .. }, .. }) = old {
                        old.each(|name, cell| drop(cells.get(name, now, || cell.converted(&rules, now))));
                    }
                    let crowd = Arc::new(Cell::new(rules.clone()));
                    Names::Each { rules, cells: SharedArc::new(cells), crowd }
                }
            }
        } else {
            Names::One(match old {
                Some(Self { names: Names::One(cell), .. }) if *cell.rules() == rules => cell.clone(),
                Some(Self { names: Names::One(cell), .. }) => Arc::new(cell.converted(&rules, now)),
                _ => Arc::new(Cell::new(rules)),
            })
        };
        Ok(Self { config, names })
    }

    fn matches(&self, level: &str, name: &str) -> bool {
        *self.config.level == *level && (matches!(self.names, Names::Each { .. }) || *self.config.name == *name)
    }

    fn cell(&self, name: &str, now: Tick) -> Arc<Cell> {
        match &self.names {
            Names::One(cell) => cell.clone(),
            Names::Each { rules, cells, crowd } => {
                cells.get(name, now, || Cell::new(rules.clone())).unwrap_or_else(|| crowd.clone())
            }
        }
    }

    fn denial(&self, name: &str, refusal: Refusal) -> Denial {
        let Refusal { resource, limit, left, wait } = refusal;
        Denial { level: self.config.level.as_str().into(), name: name.into(), resource, limit, left, wait }
    }

    fn stats(&self, name: &str, left: Left) -> LimitStats {
        LimitStats {
            level: self.config.level.as_str().into(),
            name: name.into(),
            resource: left.resource,
            limit: left.limit,
            remaining: left.left,
            reset_ms: u64::try_from(left.reset.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX),
        }
    }
}

impl fmt::Debug for Hierarchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.inner.tables.iter().map(|table| &table.config)).finish()
    }
}

/// The limits of certain names, looked up.
pub struct Scope {
    hierarchy: Hierarchy,
    limits: Box<[Limit]>,
}

struct Limit {
    table: usize,
    name: Box<str>,
    cell: Arc<Cell>,
}

impl Scope {
    /// Takes one request, and what it costs, for good; its place among those under way is free again at once.
    ///
    /// # Errors
    /// [`Denial`] names the first level that is short. Nothing was taken then.
    pub fn check(&self, cost: Cost, now: Tick) -> Result<(), Denial> {
        const NONE: Option<Taken> = None;
        let mut taken = [NONE; 4];
        if self.limits.len() > taken.len() {
            return self.admit(cost, now).map(|mut admission| admission.sent());
        }
        for (at, limit) in self.limits.iter().enumerate() {
            match limit.cell.take(cost, now) {
                Ok(part) => {
                    limit.cell.leave();
                    taken[at] = Some(part);
                }
                Err(refusal) => {
                    for (limit, part) in self.limits.iter().zip(taken.iter_mut().flatten()) {
                        limit.cell.give_back(part, now);
                    }
                    return Err(self.denial(limit, refusal));
                }
            }
        }
        Ok(())
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
    use super::*;
    use crate::rules::{CapConfig, MeterConfig};

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
