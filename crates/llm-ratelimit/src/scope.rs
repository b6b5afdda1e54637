//! Limits that are looked up once for many requests.

use std::fmt;

use llm_core::Tick;
use llm_core::sync::Arc;

use crate::admission::Admission;
use crate::bucket;
use crate::cell::{Cell, Cost, Refusal};
use crate::hierarchy::{Denial, Hierarchy};

/// The limits of certain names, looked up.
pub struct Scope {
    hierarchy: Hierarchy,
    limits: Box<[Limit]>,
    rates: Rates,
}

struct Limit {
    cell: Arc<Cell>,
    table: usize,
    name: Box<str>,
}

/// What limits there are, as far as it helps to know.
#[derive(Clone, Copy)]
enum Rates {
    /// Each limits the rate of requests and nothing else.
    Requests,
    /// Each limits the rates of requests and tokens and nothing else.
    Both,
    /// Each limits rates.
    Some,
    /// There are other limits.
    AndMore,
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
        let all = |test: fn(&Cell) -> bool| limits.iter().all(|limit| test(&limit.cell));
        let rates = if !all(|cell| cell.rules().has_only_rates()) {
            Rates::AndMore
        } else if all(|cell| cell.rates().map(|(which, _)| which).eq([0])) {
            Rates::Requests
        } else if all(|cell| cell.rates().count() == 2) {
            Rates::Both
        } else {
            Rates::Some
        };
        Scope { hierarchy: self.clone(), limits, rates }
    }
}

impl Scope {
    /// Takes one request, and what it costs, for good; its place among those under way is free again at once.
    ///
    /// # Errors
    /// [`Denial`] names the first level that is short. Nothing was taken then.
    pub fn check(&self, cost: Cost, now: Tick) -> Result<(), Denial> {
        let limits = &*self.limits;
        let taken = match (self.rates, limits.len()) {
            (Rates::AndMore, _) => return self.admit(cost, now).map(|mut admission| admission.sent()),
            (Rates::Requests, 1) => take_requests::<1>(limits, now),
            (Rates::Requests, 2) => take_requests::<2>(limits, now),
            (Rates::Requests, 3) => take_requests::<3>(limits, now),
            (Rates::Requests, 4) => take_requests::<4>(limits, now),
            (Rates::Both, 1) => take_both::<1>(limits, cost, now),
            (Rates::Both, 2) => take_both::<2>(limits, cost, now),
            (Rates::Both, 3) => take_both::<3>(limits, cost, now),
            (Rates::Both, 4) => take_both::<4>(limits, cost, now),
            _ => Err(0),
        };
        taken.or_else(|taken| self.take_rest(taken, cost, now))
    }

    /// Takes of the rates one after the other, of which `taken` have been taken of; two of each limit are counted.
    #[cold]
    fn take_rest(&self, taken: usize, cost: Cost, now: Tick) -> Result<(), Denial> {
        if taken == 0 {
            // Most denials are found before anything is taken.
            let short = self.limits.iter().find_map(|limit| Some((limit, limit.cell.is_short(cost.tokens, now)?)));
            if let Some((limit, short)) = short {
                return Err(self.denial(limit, limit.cell.refusal(&short, now)));
            }
        }
        let first = taken / 2;
        for (at, limit) in self.limits.iter().enumerate().skip(first) {
            let which = if at == first { taken % 2 } else { 0 };
            if let Err(short) = limit.cell.take_rates_from(which, cost.tokens, now) {
                let present = self.hierarchy.inner.present();
                limit.cell.return_rates(Some(&short), cost.tokens, now, present);
                let before = &self.limits[..at];
                before.iter().for_each(|limit| limit.cell.return_rates(None, cost.tokens, now, present));
                return Err(self.denial(limit, limit.cell.refusal(&short, now)));
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
            match limit.cell.take(cost, now, || self.hierarchy.inner.present()) {
                Ok(taken) => admission.push(limit.cell.clone(), taken),
                // What others have given is given back with the admission.
                Err(refusal) => return Err(self.denial(limit, refusal)),
            }
        }
        Ok(admission)
    }
}

/// Takes of `N` rates of requests. All words are looked at before the first is changed: a look would wait for the
/// change before it. The number of rates, two for each limit, that were taken of when one is short or somebody else was
/// faster.
#[inline(always)]
fn take_requests<const N: usize>(limits: &[Limit], now: Tick) -> Result<(), usize> {
    let Ok(limits) = <&[Limit; N]>::try_from(limits) else { return Err(0) };
    let rates = limits.each_ref().map(|limit| limit.cell.requests());
    let spent = rates.map(|(gauge, bucket)| {
        let seen = bucket.look();
        (seen, gauge.spend_one(seen, bucket::at(now)))
    });
    if spent.iter().any(|(_, (_, fits))| !fits) {
        return Err(0);
    }
    for (at, ((_, bucket), (seen, (next, _)))) in rates.into_iter().zip(spent).enumerate() {
        bucket.swap(seen, next).map_err(|_| 2 * at)?;
    }
    Ok(())
}

/// As [`take_requests`], of as many rates of tokens, too.
#[inline(always)]
fn take_both<const N: usize>(limits: &[Limit], cost: Cost, now: Tick) -> Result<(), usize> {
    let Ok(limits) = <&[Limit; N]>::try_from(limits) else { return Err(0) };
    let word = bucket::at(now);
    let spent = limits.each_ref().map(|limit| {
        let ((one, requests), (many, tokens)) = (limit.cell.requests(), limit.cell.tokens());
        let seen = [requests.look(), tokens.look()];
        (seen, [one.spend_one(seen[0], word), many.spend_many(seen[1], cost.tokens, word)])
    });
    if spent.iter().any(|(_, [(_, one), (_, many)])| !(one & many)) {
        return Err(0);
    }
    for (at, (limit, (seen, [(one, _), (many, _)]))) in limits.iter().zip(spent).enumerate() {
        limit.cell.requests().1.swap(seen[0], one).map_err(|_| 2 * at)?;
        limit.cell.tokens().1.swap(seen[1], many).map_err(|_| 2 * at + 1)?;
    }
    Ok(())
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
    fn an_admission_that_finds_no_place_leaves_every_level_as_it_was() {
        loom::model(|| {
            let mut places = table("b", 3);
            places.tokens = Some(MeterConfig::Cap(CapConfig { cap: 20, per: Duration::from_secs(60) }));
            places.concurrency = Some(1);
            let scope = scope(vec![table("a", 3), places]);
            let cost = Cost::exact(6, 0);
            let other = {
                let scope = scope.clone();
                loom::thread::spawn(move || scope.admit(cost, NOW).map(|mut admission| admission.sent()).is_ok())
            };
            let held = scope.admit(cost, NOW).map(|mut admission| admission.sent());
            let (mine, theirs) = (u64::from(held.is_ok()), u64::from(other.join().unwrap()));
            assert!(mine + theirs >= 1, "one has the place");
            let sent = mine + theirs;
            assert_eq!(left(&scope), [3 - sent, 3 - sent, 20 - 6 * sent, 1]);
        });
    }

    #[test]
    fn what_two_settle_at_once_is_what_both_have_used() {
        loom::model(|| {
            let mut tokens = table("a", 4);
            tokens.tokens = Some(MeterConfig::Rate { rate: 20.0, per: Duration::from_secs(3600), burst: Some(20) });
            let scope = scope(vec![tokens]);
            let settle = |scope: &Scope, used: u64| {
                let mut admission = scope.admit(Cost::exact(6, 0), NOW).unwrap();
                admission.settle(Cost::exact(used, 0), NOW);
            };
            let other = {
                let scope = scope.clone();
                loom::thread::spawn(move || settle(&scope, 2))
            };
            settle(&scope, 9);
            other.join().unwrap();
            assert_eq!(left(&scope), [2, 9]);
        });
    }

    #[test]
    fn places_and_reservations_come_back_to_zero() {
        loom::model(|| {
            let mut tokens = table("a", 2);
            tokens.tokens = Some(MeterConfig::Cap(CapConfig { cap: 10, per: Duration::from_secs(60) }));
            tokens.concurrency = Some(2);
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
                assert_eq!(left(&scope), [1, 7, 2]);
            } else {
                other.join().unwrap();
                assert_eq!(left(&scope), [2, 10, 2]);
            }
        });
    }
}
