//! The router: targets, a strategy, and one decision a request.

use llm_core::sync::{Arc, AtomicU64, Ordering};
use serde::Deserialize;

use crate::plan::Plan;
use crate::sequence::sequence;

/// How the first candidate is chosen. Those not chosen are the fallbacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Strategy {
    /// In proportion to the weights, as evenly spread as they allow: smooth weighted round robin.
    #[default]
    Weighted,
    /// In the order listed.
    Fallback,
}

/// One of the targets of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its share of the first choices under [`Strategy::Weighted`]; 0 makes it a fallback only.
    pub weight: u32,
}

/// Why targets do not make a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is nothing to choose from.
    #[error("targets: at least one is needed")]
    NoTargets,
    /// A plan keeps its candidates in one word.
    #[error("targets: {0} are too many, at most 64 fit a route")]
    TooMany(usize),
    /// Nothing would ever be chosen first.
    #[error("weight: at least one target needs a weight above 0")]
    NoWeight,
}

/// Takes one decision a request, without locks or allocations. Clones share their place in the rotation.
#[derive(Clone, Debug)]
pub struct SmartRouter(Arc<Rotation>);

#[derive(Debug)]
struct Rotation {
    /// The first choices of one full turn.
    sequence: Box<[u8]>,
    /// All targets in the order in which they are fallbacks.
    fallbacks: Box<[u8]>,
    turn: AtomicU64,
}

impl SmartRouter {
    /// Most targets of one router.
    pub const MAX_TARGETS: usize = 64;

    /// A router over `targets`.
    ///
    /// # Errors
    /// [`ConfigError`] when there are no targets, too many, or none that can be chosen.
    pub fn try_new(strategy: Strategy, targets: &[Target]) -> Result<Self, ConfigError> {
        match targets.len() {
            0 => return Err(ConfigError::NoTargets),
            1..=Self::MAX_TARGETS => {}
            more => return Err(ConfigError::TooMany(more)),
        }
        let listed = (0..).zip(targets).map(|(index, _): (u8, _)| index);
        let rotation = match strategy {
            Strategy::Fallback => (Box::from([0]), listed.collect::<Box<[u8]>>()),
            Strategy::Weighted => {
                let weights: Vec<u32> = targets.iter().map(|target| target.weight).collect();
                if weights.iter().all(|weight| *weight == 0) {
                    return Err(ConfigError::NoWeight);
                }
                let mut fallbacks: Vec<u8> = listed.collect();
                fallbacks.sort_by_key(|index| std::cmp::Reverse(weights[usize::from(*index)]));
                (sequence(&weights), fallbacks.into())
            }
        };
        let (sequence, fallbacks) = rotation;
        Ok(Self(Arc::new(Rotation { sequence, fallbacks, turn: AtomicU64::new(0) })))
    }

    /// Decides for one request.
    pub fn plan(&self) -> Plan<'_> {
        // Relaxed: the counter hands out places and publishes nothing else.
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        let place = (turn % self.0.sequence.len() as u64) as usize;
        Plan::new(&self.0.sequence, &self.0.fallbacks, place)
    }
}
