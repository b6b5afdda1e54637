//! One decision, to be shown and to be acted on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use llm_core::{Money, ProviderId};
use serde::{Serialize, Serializer};

use crate::reason::Reason;

/// Who is asked, what that will take, and who is asked when it fails. Its making allocates nothing.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Decision {
    /// The provider that is asked first.
    pub provider: ProviderId,
    /// Its index among the router's targets.
    pub index: usize,
    /// The expected time of its answer, in milliseconds; 0 until it has given one.
    pub predicted_latency_ms: f64,
    /// The expected cost in dollars; 0 where no price is known.
    pub predicted_cost: f64,
    /// Who is asked after it, in order.
    pub fallback_chain: FallbackChain,
    /// Why it is asked first.
    pub reason: Reason,
}

/// Why a router made no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The router has no target, or none that is usable.
    #[error("no provider is usable")]
    NoProvider,
}

/// Providers in the order in which they are asked: indexes inline, names shared with the router.
#[derive(Clone)]
pub struct FallbackChain {
    names: Arc<[ProviderId]>,
    order: [u8; crate::table::MAX_TARGETS],
    length: u8,
}

impl FallbackChain {
    pub(crate) const fn new(names: Arc<[ProviderId]>, rest: ([u8; crate::table::MAX_TARGETS], u8)) -> Self {
        Self { names, order: rest.0, length: rest.1 }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length as usize
    }

    /// Whether nobody is asked after the first.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The providers' indexes among the router's targets.
    pub fn indexes(&self) -> impl Iterator<Item = usize> {
        self.order[..self.len()].iter().map(|index| usize::from(*index))
    }

    /// The providers' names.
    pub fn iter(&self) -> impl Iterator<Item = &ProviderId> {
        self.indexes().map(|index| &self.names[index])
    }
}

impl fmt::Debug for FallbackChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The names, in order.
impl Serialize for FallbackChain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// One target in the order in which a request would find them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Candidate {
    /// The target.
    pub index: usize,
    /// Its name.
    pub name: ProviderId,
    /// What the strategy goes by, lower is better: dollars, seconds, a share or a hash. Candidates compare by it
    /// only while their reasons are equal.
    pub score: f32,
    /// The expected time of its answer; none until it has given one.
    #[serde(rename = "predicted_latency_ms", serialize_with = "millis")]
    pub predicted_latency: Option<Duration>,
    /// The expected cost; none where no price is known.
    #[serde(rename = "predicted_cost_usd", serialize_with = "dollars")]
    pub predicted_cost: Option<Money>,
    /// Why it stands there.
    pub reason: Reason,
}

fn millis<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    span.map(|span| span.as_secs_f64() * 1000.0).serialize(serializer)
}

fn dollars<S: Serializer>(cost: &Option<Money>, serializer: S) -> Result<S::Ok, S::Error> {
    cost.map(Money::as_dollars).serialize(serializer)
}
