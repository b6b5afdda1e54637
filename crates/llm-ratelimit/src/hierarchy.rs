//! Levels of limits, all of which a request must pass.

use std::fmt;
use std::sync::Arc as SharedArc;
use std::time::Duration;

use llm_core::sync::Arc;
use llm_core::{Clock, Tick};
use serde::Serialize;

use crate::admission::{Admission, present};
use crate::cell::{Cell, Cost, Left, Refusal};
use crate::config::ConfigError;
use crate::rules::{LimitConfig, Resource, Rules};
use crate::shelf::Shelf;
use crate::text::same;

/// Limits in levels (an organisation's, a key's, a model's, …) and resources, of which one admission takes all
/// or nothing. Cheap to clone; clones share all state.
///
/// A level is a word; a request belongs to a name at each level that it knows of. Tables are charged in their
/// order: put the narrowest first. A denial, once returned, has changed no level; while it is being found, what
/// it took for a moment may refuse somebody else.
#[derive(Clone)]
pub struct Hierarchy {
    pub(crate) inner: SharedArc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) tables: Box<[Table]>,
    /// Whether nothing is limited but by rates: then a request needs no list of what it holds.
    has_only_rates: bool,
    /// None: the machine's clock.
    pub(crate) clock: Option<SharedArc<dyn Clock>>,
}

pub(crate) struct Table {
    config: LimitConfig,
    names: Names,
}

enum Names {
    /// One name.
    One(Arc<Cell>),
    /// Every name, each by itself; those for which there is no room share a cell.
    Each { rules: Rules, cells: SharedArc<Shelf<Cell>>, crowd: Arc<Cell> },
}

impl Inner {
    pub(crate) fn present(&self) -> Tick {
        present(self.clock.as_ref())
    }
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

/// The limits of which the least is left, in comparison with how much there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tightest {
    /// The limits, the tightest first.
    pub limits: Vec<LimitStats>,
    /// Names that are kept at the moment, over all tables.
    pub kept: usize,
    /// Of these, those that were looked at.
    pub seen: usize,
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

/// Names that a table with `*` keeps apart; however they spread, at most half as many again.
const MOST_NAMES: usize = 1_000_000;

impl Hierarchy {
    /// Limits by `tables`, all unused.
    ///
    /// # Errors
    /// [`ConfigError`] names the key of the table and its bound.
    pub fn try_new(tables: Vec<LimitConfig>) -> Result<Self, ConfigError> {
        let tables = tables.into_iter().map(|config| Table::try_new(config, None, Tick::ZERO));
        Ok(Self::of(tables.collect::<Result<_, _>>()?, None))
    }

    /// The same limits on `clock`, unused. All users need one clock.
    ///
    /// # Errors
    /// As [`try_new`](Self::try_new).
    pub fn with_clock(self, clock: SharedArc<dyn Clock>) -> Result<Self, ConfigError> {
        let configs = self.inner.tables.iter().map(|table| table.config.clone());
        let tables = configs.map(|config| Table::try_new(config, None, Tick::ZERO)).collect::<Result<_, _>>()?;
        Ok(Self::of(tables, Some(clock)))
    }

    fn of(tables: Box<[Table]>, clock: Option<SharedArc<dyn Clock>>) -> Self {
        let has_only_rates = tables.iter().all(|table| table.rules().has_only_rates());
        Self { inner: SharedArc::new(Inner { tables, has_only_rates, clock }) }
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
        Ok(Self::of(tables, self.inner.clock.clone()))
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
            match cell.take(cost, now, || self.inner.present()) {
                Ok(taken) => admission.push(cell, taken),
                // What others have given is given back with the admission.
                Err(refusal) => return Err(table.denial(name, refusal)),
            }
        }
        Ok(admission)
    }

    /// Takes one request, and what it costs, for good, of every table that matches one of `names`; its places among
    /// those under way are free again at once. Nothing is allocated for names that are known.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn check(&self, names: &[(&str, &str)], cost: Cost, now: Tick) -> Result<(), Denial> {
        if !self.inner.has_only_rates {
            return self.admit(names, cost, now).map(|mut admission| admission.sent());
        }
        for (at, (table, name)) in self.matching(names).enumerate() {
            if let Err(taken) = table.try_rates(name, cost, now) {
                return self.check_rest(names, at, taken, cost, now);
            }
        }
        Ok(())
    }

    /// Takes of the matching tables from the one at `first` on, of which `taken` rates have been taken of.
    #[cold]
    fn check_rest(
        &self,
        names: &[(&str, &str)],
        first: usize,
        mut taken: usize,
        cost: Cost,
        now: Tick,
    ) -> Result<(), Denial> {
        for (at, (table, name)) in self.matching(names).enumerate().skip(first) {
            let which = std::mem::take(&mut taken);
            let refusal = table.with(name, now, |cell| {
                let short = cell.take_rates_from(which, cost.tokens, now).err()?;
                cell.return_rates(Some(&short), cost.tokens, now, self.inner.present());
                Some(cell.refusal(&short, now))
            });
            if let Some(refusal) = refusal {
                let present = self.inner.present();
                for (table, name) in self.matching(names).take(at) {
                    table.with(name, now, |cell| cell.return_rates(None, cost.tokens, now, present));
                }
                return Err(table.denial(name, refusal));
            }
        }
        Ok(())
    }

    /// The tables that match, each with the name that it matches.
    pub(crate) fn matching<'a>(&'a self, names: &'a [(&str, &str)]) -> impl Iterator<Item = (&'a Table, &'a str)> {
        self.inner.tables.iter().enumerate().filter_map(move |(at, table)| {
            // Callers mostly name their levels in the order of the tables.
            let likely = names.get(at).filter(|(level, name)| table.matches(level, name));
            let (_, name) = likely.or_else(|| names.iter().find(|(level, name)| table.matches(level, name)))?;
            Some((table, *name))
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

    /// The `most` limits of which the least is left. Of each table with `*` only 10,000 names are looked at: the cost
    /// is bounded, however many there are.
    #[must_use]
    pub fn tightest(&self, most: usize, now: Tick) -> Tightest {
        let mut found = Tightest::default();
        let mut least: Vec<LimitStats> = Vec::new();
        for table in self.inner.tables.iter() {
            let mut show = |name: &str, cell: &Cell| {
                cell.left(now, |left| {
                    let at = least
                        .partition_point(|known| is_tighter((known.remaining, known.limit), (left.left, left.limit)));
                    if at < most {
                        least.truncate(most - 1);
                        least.insert(at, table.stats(name, left));
                    }
                });
            };
            let (kept, seen) = match &table.names {
                Names::One(cell) => {
                    show(&table.config.name, cell);
                    (1, 1)
                }
                Names::Each { cells, .. } => {
                    let kept = cells.each_of(MOST_SEEN, |name, cell| show(name, cell));
                    (kept, kept.min(MOST_SEEN))
                }
            };
            found.kept += kept;
            found.seen += seen;
        }
        found.limits = least;
        found
    }
}

/// Whether less is left of the first of two limits, each with how much is left and how much there is. Of those with the
/// same share left, the one seen first stays first.
fn is_tighter((left, limit): (u64, u64), (other_left, other_limit): (u64, u64)) -> bool {
    u128::from(left) * u128::from(other_limit) <= u128::from(other_left) * u128::from(limit)
}

/// Names of a table with `*` that [`Hierarchy::tightest`] looks at.
const MOST_SEEN: usize = 10_000;

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

    fn rules(&self) -> &Rules {
        match &self.names {
            Names::One(cell) => cell.rules(),
            Names::Each { rules, .. } => rules,
        }
    }

    #[inline]
    fn matches(&self, level: &str, name: &str) -> bool {
        same(&self.config.level, level) && (matches!(self.names, Names::Each { .. }) || same(&self.config.name, name))
    }

    /// As [`Cell::try_rates`] of the cell of `name`; a name that is not known yet is not tried.
    #[inline]
    fn try_rates(&self, name: &str, cost: Cost, now: Tick) -> Result<(), usize> {
        match &self.names {
            Names::One(cell) => cell.try_rates(cost.tokens, now),
            Names::Each { cells, .. } => cells.known(name, |cell| cell.try_rates(cost.tokens, now)).unwrap_or(Err(0)),
        }
    }

    pub(crate) fn cell(&self, name: &str, now: Tick) -> Arc<Cell> {
        match &self.names {
            Names::One(cell) => cell.clone(),
            Names::Each { rules, cells, crowd } => {
                cells.get(name, now, || Cell::new(rules.clone())).unwrap_or_else(|| crowd.clone())
            }
        }
    }

    /// Shows the cell of `name`, without holding it any longer.
    fn with<T>(&self, name: &str, now: Tick, show: impl FnOnce(&Cell) -> T) -> T {
        match &self.names {
            Names::One(cell) => show(cell),
            Names::Each { rules, cells, crowd } => {
                cells.with(name, now, || Cell::new(rules.clone()), |cell| show(cell.unwrap_or(crowd)))
            }
        }
    }

    pub(crate) fn denial(&self, name: &str, refusal: Refusal) -> Denial {
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

#[cfg(test)]
#[cfg(not(llm_loom))]
mod tests {
    use llm_core::ManualClock;

    use super::*;
    use crate::rules::{CapConfig, MeterConfig};

    const HOUR: Duration = Duration::from_secs(3600);
    const RATE: MeterConfig = MeterConfig::Rate { rate: 2.0, per: HOUR, burst: Some(2) };
    const CAP: MeterConfig = MeterConfig::Cap(CapConfig { cap: 2, per: HOUR });

    /// Limits with a table that has room for `most` keys, and the present.
    fn keys(most: usize, requests: MeterConfig) -> (Hierarchy, Tick) {
        let (level, name) = ("key".into(), "*".into());
        let config = LimitConfig { level, name, requests: Some(requests), ..LimitConfig::default() };
        let rules = Rules::try_new(&config).unwrap();
        let crowd = Arc::new(Cell::new(rules.clone()));
        let names = Names::Each { rules, cells: SharedArc::new(Shelf::new(most)), crowd };
        let clock = ManualClock::new();
        let now = clock.now();
        (Hierarchy::of([Table { config, names }].into(), Some(SharedArc::new(clock))), now)
    }

    #[test]
    fn names_that_there_is_no_room_for_are_not_kept_and_share_a_limit() {
        for requests in [RATE, CAP] {
            let (limits, now) = keys(100, requests);
            let ask = |name: usize| limits.check(&[("key", &name.to_string())], Cost::default(), now).is_ok();
            let admitted = (0..10_000).filter(|name| ask(*name)).count();
            // One each for those that are kept, and two that all others share.
            assert_eq!((limits.tightest(0, now).kept, admitted), (100, 102));
            assert!((0..100).all(ask), "those that are kept have theirs");
            assert!(!(0..10_000).any(ask));
            assert_eq!(limits.tightest(0, now).kept, 100);
        }
    }

    #[test]
    fn what_is_admitted_of_the_others_is_given_back_to_all_of_them() {
        let (limits, now) = keys(1, CAP);
        let admit = |name: &str| limits.admit(&[("key", name)], Cost::default(), now);
        admit("kept").unwrap().sent();
        let mut first = admit("a").unwrap();
        let second = admit("b").unwrap();
        assert_eq!(admit("c").unwrap_err().left, 0);
        first.sent();
        drop(second);
        assert!(admit("c").is_ok());
        assert_eq!(limits.tightest(0, now).kept, 1);
    }
}
