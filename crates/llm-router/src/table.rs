//! The targets of a router with all that is known of them, shared by its clones.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc as Shared;

use llm_core::sync::{Arc, AtomicU32, AtomicU64, Ordering};
use llm_core::{HashKey, Price, ProviderId, Tick, hash128};

use crate::config::{ConfigError, RouterConfig, Strategy, Target};
use crate::ledger::Rules;
use crate::list_price::ListPrice;
use crate::random::{after, draw};
use crate::sequence::sequence;
use crate::statistics::Statistics;

/// Most targets of one router: a plan keeps a bit for each.
pub(crate) const MAX_TARGETS: usize = 64;

/// Odd, its bits evenly mixed: it takes near times far apart.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) config: RouterConfig,
    /// What is known of each. Whoever calls one holds it too: so are the calls in flight counted.
    pub(crate) targets: Box<[Arc<Statistics>]>,
    /// Side by side: who goes by cost reads them all.
    pub(crate) prices: Box<[ListPrice]>,
    /// Interned; a decision's chain of fallbacks shares them.
    pub(crate) names: Shared<[ProviderId]>,
    pub(crate) weights: Box<[u32]>,
    /// What a target's rendezvous hashes begin with: its name's hash, so that it keeps its prefixes when others
    /// come and go.
    pub(crate) keys: Box<[u64]>,
    /// The first choices of one full turn, for the strategies that keep one.
    pub(crate) sequence: Box<[u8]>,
    /// All targets in the order in which they are fallbacks, for the strategies that keep one.
    pub(crate) fallbacks: Box<[u8]>,
    /// Who follows the first choice and in which order, where the configuration says so.
    pub(crate) chain: Option<Box<[u8]>>,
    /// The place in the rotation, for the strategies that keep one, else the state of the random draws.
    turn: AtomicU64,
    /// Who was the best of the last decision that looked at all.
    likely: AtomicU32,
    /// One bit for each target.
    pub(crate) all: u64,
    pub(crate) sla_misses: AtomicU64,
    /// Seconds that a failure counts as.
    pub(crate) penalty: f32,
    /// Draws below it explore.
    explored: u64,
}

/// One target as its router is told of it.
pub(crate) struct Entry {
    pub(crate) name: ProviderId,
    pub(crate) target: Target,
    pub(crate) price: Option<Price>,
}

impl Table {
    /// A table of `entries`, which may be none.
    pub(crate) fn try_new(config: RouterConfig, entries: &[Entry], chain: &[String]) -> Result<Self, ConfigError> {
        config.validate()?;
        if entries.len() > MAX_TARGETS {
            return Err(ConfigError::TooMany(entries.len()));
        }
        for (index, entry) in entries.iter().enumerate() {
            if entries[..index].iter().any(|earlier| earlier.name == entry.name) {
                return Err(ConfigError::Duplicate(entry.name.clone()));
            }
        }
        let place = |name: &String| {
            let found = entries.iter().position(|entry| entry.name == name.as_str());
            found.map(|index| index as u8).ok_or_else(|| ConfigError::UnknownFallback(name.clone()))
        };
        let chain = chain.iter().map(place).collect::<Result<Box<[u8]>, _>>()?;
        let weights: Box<[u32]> = entries.iter().map(|entry| entry.target.weight).collect();
        let weighted = matches!(config.strategy, Strategy::Weighted | Strategy::Prefix);
        if weighted && !entries.is_empty() && weights.iter().all(|weight| *weight == 0) {
            return Err(ConfigError::NoWeight);
        }
        let mut fallbacks: Box<[u8]> = (0..entries.len() as u8).collect();
        let sequence = match config.strategy {
            Strategy::Weighted => {
                fallbacks.sort_by_key(|index| std::cmp::Reverse(weights[usize::from(*index)]));
                sequence(&weights)
            }
            _ => Box::default(),
        };
        let rules = Rules::new(&config);
        let rotates = matches!(config.strategy, Strategy::Weighted | Strategy::Fallback);
        let seed = config.seed.unwrap_or_else(|| RandomState::new().hash_one("router"));
        let key = |entry: &Entry| hash128(HashKey::fixed(0), &[entry.name.as_str().as_bytes()]) as u64;
        Ok(Self {
            targets: entries.iter().map(|_| Arc::new(Statistics::new(rules))).collect(),
            prices: entries.iter().map(|entry| ListPrice::new(entry.price.as_ref())).collect(),
            names: entries.iter().map(|entry| entry.name.clone()).collect(),
            keys: entries.iter().map(key).collect(),
            weights,
            sequence,
            fallbacks,
            chain: (!chain.is_empty()).then_some(chain),
            turn: AtomicU64::new(if rotates { 0 } else { draw(seed, 0) | 1 }),
            likely: AtomicU32::new(0),
            all: u64::MAX.checked_shr((MAX_TARGETS - entries.len()) as u32).unwrap_or(0),
            sla_misses: AtomicU64::new(0),
            penalty: config.penalty.as_secs_f32(),
            // Saturates: a share of 1 is every draw but one.
            explored: (config.exploration * 2f64.powi(64)) as u64,
            config,
        })
    }

    /// The table with what `old` knows of targets of the same names. What it is told from there on, it keeps to itself.
    pub(crate) fn with_known(mut self, old: &Self) -> Self {
        for (target, name) in self.targets.iter_mut().zip(&*self.names) {
            if let Some(index) = old.names.iter().position(|known| known == name) {
                *target = Arc::new(old.targets[index].copy());
            }
        }
        self
    }

    /// The next decision's place in the rotation, or its random bits, whichever the strategy goes by, and 0.
    #[inline]
    pub(crate) fn turn(&self, now: Tick) -> (usize, u64) {
        // Relaxed: the word hands out places or numbers and publishes nothing else.
        if matches!(self.config.strategy, Strategy::Weighted | Strategy::Fallback) {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            return ((turn % (self.sequence.len() as u64).max(1)) as usize, 0);
        }
        // Two decisions that meet may take the same number: their times tell them apart, and a bus lock is saved.
        let state = self.turn.load(Ordering::Relaxed);
        self.turn.store(after(state), Ordering::Relaxed);
        (0, state ^ now.as_nanos().wrapping_mul(SPREAD))
    }

    // Relaxed, both: a wrong guess costs a closer look, no more.
    pub(crate) fn likely(&self) -> usize {
        self.likely.load(Ordering::Relaxed) as usize % MAX_TARGETS
    }

    pub(crate) fn expect(&self, index: usize) {
        self.likely.store(index as u32, Ordering::Relaxed);
    }

    /// Whether the decision with these random bits is one that goes to the unknown.
    pub(crate) const fn explores(&self, draw: u64) -> bool {
        draw != 0 && draw < self.explored
    }

    /// Whether enough is known of any target.
    pub(crate) fn knows_any(&self, now: Tick) -> bool {
        self.targets.iter().any(|target| target.allowance(target.age(now)).is_none())
    }
}

#[cfg(all(test, llm_loom))]
mod loom_tests {
    use super::*;

    #[test]
    fn two_decisions_never_have_the_same_place_in_the_rotation() {
        loom::model(|| {
            let entry = |name: &str| Entry { name: name.into(), target: Target { weight: 1 }, price: None };
            let table = Table::try_new(Strategy::Weighted.into(), &[entry("a"), entry("b")], &[]).unwrap();
            let table = Arc::new(table);
            let other = {
                let table = table.clone();
                loom::thread::spawn(move || table.turn(Tick::ZERO).0)
            };
            let ours = table.turn(Tick::ZERO).0;
            assert_ne!(ours, other.join().unwrap());
        });
    }
}
