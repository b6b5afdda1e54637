//! The targets of a router with all that is known of them, shared by its clones.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc as Shared;

use llm_core::sync::{AtomicU64, Ordering};
use llm_core::{HashKey, Price, ProviderId, hash128};

use crate::config::{ConfigError, RouterConfig, Strategy, Target};
use crate::random::draw;
use crate::sequence::sequence;
use crate::statistics::Statistics;

/// Most targets of one router: a plan keeps a bit for each.
pub(crate) const MAX_TARGETS: usize = 64;

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) config: RouterConfig,
    pub(crate) targets: Box<[Statistics]>,
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
    pub(crate) turn: AtomicU64,
    pub(crate) sla_misses: AtomicU64,
    seed: u64,
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
        let key = |entry: &Entry| hash128(HashKey::fixed(0), &[entry.name.as_str().as_bytes()]) as u64;
        Ok(Self {
            targets: entries.iter().map(|entry| Statistics::new(&config, entry.price.as_ref())).collect(),
            names: entries.iter().map(|entry| entry.name.clone()).collect(),
            keys: entries.iter().map(key).collect(),
            weights,
            sequence,
            fallbacks,
            chain: (!chain.is_empty()).then_some(chain),
            turn: AtomicU64::new(0),
            sla_misses: AtomicU64::new(0),
            seed: config.seed.unwrap_or_else(|| RandomState::new().hash_one("router")),
            config,
        })
    }

    /// The next decision's place in the rotation, or its random bits, whichever the strategy goes by.
    pub(crate) fn turn(&self) -> (usize, Option<u64>) {
        // Relaxed: the counter hands out places and publishes nothing else.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        match self.config.strategy {
            Strategy::Weighted | Strategy::Fallback => ((turn % (self.sequence.len() as u64).max(1)) as usize, None),
            _ => (0, Some(draw(self.seed, turn))),
        }
    }

    /// One bit for each target.
    pub(crate) fn all(&self) -> u64 {
        match self.targets.len() {
            0 => 0,
            count => u64::MAX >> (MAX_TARGETS - count),
        }
    }
}
