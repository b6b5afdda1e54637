//! Sets a router up over named providers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use llm_core::{Clock, Price, ProviderId, SystemClock};

use crate::config::{ConfigError, RouterConfig, Strategy, Target};
use crate::list_price::per_token;
use crate::table::{Entry, Table};

/// What a router is to be good at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Optimization {
    /// [`Strategy::Cost`].
    #[default]
    Cost,
    /// [`Strategy::Latency`].
    Latency,
    /// [`Strategy::Reliability`].
    Reliability,
}

impl From<Optimization> for Strategy {
    fn from(goal: Optimization) -> Self {
        match goal {
            Optimization::Cost => Self::Cost,
            Optimization::Latency => Self::Latency,
            Optimization::Reliability => Self::Reliability,
        }
    }
}

/// Sets a [`SmartRouter`](crate::SmartRouter) up. Without a goal it optimises cost.
#[must_use]
pub struct SmartRouterBuilder {
    config: RouterConfig,
    providers: Vec<(ProviderId, f64)>,
    fallbacks: Vec<String>,
    clock: Arc<dyn Clock>,
}

impl Default for SmartRouterBuilder {
    fn default() -> Self {
        Self {
            config: Strategy::Cost.into(),
            providers: Vec::new(),
            fallbacks: Vec::new(),
            clock: Arc::new(SystemClock::new()),
        }
    }
}

impl fmt::Debug for SmartRouterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmartRouterBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl SmartRouterBuilder {
    /// Adds a provider with its price in dollars per 1000 tokens, in and out alike, from 0 to 2. A price for each
    /// direction is set with [`set_price`](crate::SmartRouter::set_price).
    pub fn add_provider(mut self, name: impl Into<ProviderId>, usd_per_1k: f64) -> Self {
        self.providers.push((name.into(), usd_per_1k));
        self
    }

    /// What the router is to be good at.
    pub fn optimize_for(self, goal: Optimization) -> Self {
        self.strategy(goal.into())
    }

    /// How the first candidate is chosen.
    pub const fn strategy(mut self, strategy: Strategy) -> Self {
        self.config.strategy = strategy;
        self
    }

    /// Who is asked when the first choice fails, in this order, and nobody else. Without a list all others are,
    /// the best first.
    pub fn fallback_providers(mut self, names: Vec<String>) -> Self {
        self.fallbacks = names;
        self
    }

    /// The 95th percentile that [`Strategy::Arbitrage`] asks.
    pub const fn sla(mut self, p95: Duration) -> Self {
        self.config.sla = Some(p95);
        self
    }

    /// The share of decisions that may go to a provider of which too little is known: 0 to 1.
    pub const fn exploration(mut self, share: f64) -> Self {
        self.config.exploration = share;
        self
    }

    /// Where the random draws begin, for decisions that repeat.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// Takes all settings from `config`.
    pub const fn config(mut self, config: RouterConfig) -> Self {
        self.config = config;
        self
    }

    /// Where the calls without a `now` read the time.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The table that the settings describe, and the clock.
    pub(crate) fn parts(self) -> Result<(Table, Arc<dyn Clock>), ConfigError> {
        let entry = |(name, usd): (ProviderId, f64)| {
            let each = per_token(usd).ok_or_else(|| ConfigError::Price(name.as_str().into(), usd))?;
            Ok(Entry { name, target: Target { weight: 1 }, price: Some(Price::per_token(each, each)) })
        };
        let entries = self.providers.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        Ok((Table::try_new(self.config, &entries, &self.fallbacks)?, self.clock))
    }
}
