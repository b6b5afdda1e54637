//! What a router is told: its strategy, its targets and its bounds.

use std::time::Duration;

use llm_core::ProviderId;
use serde::{Deserialize, Serialize};

/// How the first candidate is chosen. Those not chosen are the fallbacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Strategy {
    /// In proportion to the weights, as evenly spread as they allow: smooth weighted round robin.
    #[default]
    Weighted,
    /// In the order listed.
    Fallback,
    /// The least expected cost of a success; among costs within a hundredth, the fewer calls in flight.
    Cost,
    /// The least expected time, in which a failure counts as [`RouterConfig::penalty`], and calls in flight weigh.
    Latency,
    /// The least share of failures; among shares within a hundredth, the faster.
    Reliability,
    /// The cheapest whose 95th percentile of the last 128 latencies is within [`RouterConfig::sla`], else the
    /// fastest. Equal costs go to the first listed.
    Arbitrage,
    /// The better of two drawn at random, by `peak-EWMA latency × (calls in flight + 1)`.
    PeakEwma,
    /// The least expected time, calls in flight left aside; a share of [`RouterConfig::exploration`] is drawn at
    /// random: an ε-greedy bandit.
    Bandit,
    /// The target that owns the prompt's prefix by weighted rendezvous hashing, unless it has more than
    /// [`RouterConfig::load_bound`] times its share of the calls in flight; then the next in line.
    Prefix,
}

/// What the strategies go by. A [`Strategy`] alone becomes one with the defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouterConfig {
    /// How the first candidate is chosen.
    pub strategy: Strategy,
    /// The 95th percentile that [`Strategy::Arbitrage`] asks of a target; without one every target meets it.
    pub sla: Option<Duration>,
    /// The share of decisions that may go to a target of which too little is known, and the ε of
    /// [`Strategy::Bandit`]: 0 to 1. Default 0.03.
    pub exploration: f64,
    /// The span over which an average forgets all but a third, above zero. A target without an outcome for
    /// three spans is unknown again. Default 10 s.
    pub decay: Duration,
    /// What a failed call counts as, when it took less: the time that a caller would have waited, above zero.
    /// Default 30 s.
    pub penalty: Duration,
    /// How far above its share of the calls in flight [`Strategy::Prefix`] fills a target: at least 1.
    /// Default 1.25.
    pub load_bound: f64,
    /// Where the router's random draws begin. Without one each router begins elsewhere.
    pub seed: Option<u64>,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            sla: None,
            exploration: 0.03,
            decay: Duration::from_secs(10),
            penalty: Duration::from_secs(30),
            load_bound: 1.25,
            seed: None,
        }
    }
}

impl From<Strategy> for RouterConfig {
    fn from(strategy: Strategy) -> Self {
        Self { strategy, ..Self::default() }
    }
}

/// One of the targets of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its share of the first choices under [`Strategy::Weighted`], and of the prefixes under
    /// [`Strategy::Prefix`]; 0 makes it a fallback only.
    pub weight: u32,
}

/// Why targets do not make a router.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
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
    /// Two targets could not be told apart.
    #[error("targets: `{0}` is listed twice")]
    Duplicate(ProviderId),
    /// A fallback is none of the targets.
    #[error("fallback_providers: `{0}` is not a provider of this router")]
    UnknownFallback(String),
    /// A price is negative, not a number, or above $2 a thousand tokens.
    #[error("price of `{0}`: {1} is not from 0 to 2 dollars per thousand tokens")]
    Price(String, f64),
    /// A share is none.
    #[error("exploration: {0} is not from 0 to 1")]
    Exploration(f64),
    /// A target could not even have its share.
    #[error("load_bound: {0} is below 1")]
    LoadBound(f64),
    /// A span is empty.
    #[error("{0}: a span above zero is needed")]
    NoSpan(&'static str),
}

impl RouterConfig {
    /// Refuses what is out of its range.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if !(0.0..=1.0).contains(&self.exploration) {
            return Err(ConfigError::Exploration(self.exploration));
        }
        if !(self.load_bound >= 1.0 && self.load_bound.is_finite()) {
            return Err(ConfigError::LoadBound(self.load_bound));
        }
        let spans = [("decay", Some(self.decay)), ("penalty", Some(self.penalty)), ("sla", self.sla)];
        match spans.into_iter().find(|(_, span)| *span == Some(Duration::ZERO)) {
            Some((name, _)) => Err(ConfigError::NoSpan(name)),
            None => Ok(()),
        }
    }

    /// How long a target's statistics hold without an outcome.
    pub(crate) fn stale(&self) -> Duration {
        self.decay * 3
    }
}
