//! The router: one decision a request, and what is learned from its outcome.

use std::fmt;
use std::sync::Arc as Shared;
use std::time::Duration;

use llm_core::sync::{Arc, Ordering};
use llm_core::{Clock, CompletionRequest, Price, ProviderId, SystemClock, Tick};

use crate::builder::SmartRouterBuilder;
use crate::config::{ConfigError, RouterConfig, Strategy, Target};
use crate::decision::{Candidate, Decision, FallbackChain, RouteError};
use crate::demand::Demand;
use crate::plan::Plan;
use crate::rank::View;
use crate::statistics::{Observed, TargetHealth, health};
use crate::table::{Entry, MAX_TARGETS, Table};
use crate::ticket::Ticket;

/// Takes one decision a request, without locks or allocations. Clones share the targets' statistics.
#[derive(Clone)]
pub struct SmartRouter {
    table: Arc<Table>,
    clock: Shared<dyn Clock>,
    #[cfg(feature = "client")]
    pub(crate) providers: crate::bound::Providers,
}

impl SmartRouter {
    /// Most targets of one router.
    pub const MAX_TARGETS: usize = MAX_TARGETS;

    /// A router over `targets`, which are named by their index.
    ///
    /// # Errors
    /// [`ConfigError`] when there are no targets, too many, or none that can be chosen, or a setting is out of
    /// its range.
    pub fn try_new(config: impl Into<RouterConfig>, targets: &[Target]) -> Result<Self, ConfigError> {
        let named = targets.iter().enumerate().map(|(index, target)| (index.to_string().into(), *target));
        Self::try_named(config, named)
    }

    /// A router over named targets. Under [`Strategy::Prefix`] a target keeps its prefixes under its name.
    ///
    /// # Errors
    /// As [`try_new`](Self::try_new), and when two have the same name.
    pub fn try_named(
        config: impl Into<RouterConfig>,
        targets: impl IntoIterator<Item = (ProviderId, Target)>,
    ) -> Result<Self, ConfigError> {
        let entry = |(name, target)| Entry { name, target, price: None };
        let entries: Vec<_> = targets.into_iter().map(entry).collect();
        if entries.is_empty() {
            return Err(ConfigError::NoTargets);
        }
        Ok(Self::new(Table::try_new(config.into(), &entries, &[])?, Shared::new(SystemClock::new())))
    }

    /// Begins to set a router up.
    pub fn builder() -> SmartRouterBuilder {
        SmartRouterBuilder::default()
    }

    pub(crate) fn new(table: Table, clock: Shared<dyn Clock>) -> Self {
        Self {
            #[cfg(feature = "client")]
            providers: crate::bound::Providers::none(table.targets.len()),
            table: Arc::new(table),
            clock,
        }
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The router's settings.
    #[must_use]
    pub fn config(&self) -> &RouterConfig {
        &self.table.config
    }

    /// The targets' names, by index.
    #[must_use]
    pub fn names(&self) -> &[ProviderId] {
        &self.table.names
    }

    /// The target of that name.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.table.names.iter().position(|known| *known == name)
    }

    /// Sets a target's price per token; without one its cost is what its calls cost on average. A direction dearer
    /// than $2,147 a million tokens counts as that.
    ///
    /// # Panics
    /// When there is no such target.
    pub fn set_price(&self, index: usize, price: Option<Price>) {
        self.table.prices[index].set(price.as_ref());
    }

    /// Decides for a request of which nothing is known: 1000 tokens in, 500 out. Reads the router's clock where
    /// the strategy goes by time.
    pub fn plan(&self) -> Plan<'_> {
        let now = match self.table.config.strategy {
            Strategy::Weighted | Strategy::Fallback => Tick::ZERO,
            _ => self.clock.now(),
        };
        self.plan_for(&Demand::default(), now)
    }

    /// Decides for one request at `now`.
    #[inline]
    pub fn plan_for(&self, demand: &Demand, now: Tick) -> Plan<'_> {
        Plan::new(&self.table, *demand, now)
    }

    /// Counts a call to a target as in flight, until the ticket is dropped or records how it went.
    ///
    /// # Panics
    /// When there is no such target.
    pub fn begin(&self, index: usize, now: Tick) -> Ticket {
        Ticket::new(&self.table.targets[index], index, now)
    }

    /// Takes in how a call to a target went, for callers without a [`Ticket`].
    ///
    /// # Panics
    /// When there is no such target.
    pub fn record(&self, index: usize, observed: Observed, now: Tick) {
        self.table.targets[index].record(&observed, now);
    }

    /// Decides for one request at `now` among the usable targets, with predictions and the whole chain.
    ///
    /// # Errors
    /// [`RouteError::NoProvider`] when none is usable.
    pub fn choose(
        &self,
        demand: &Demand,
        now: Tick,
        mut usable: impl FnMut(usize) -> bool,
    ) -> Result<Decision, RouteError> {
        let mut plan = self.plan_for(demand, now);
        let index = plan.next(&mut usable).ok_or(RouteError::NoProvider)?;
        let reason = plan.reason().ok_or(RouteError::NoProvider)?;
        let view = View::new(&self.table, *demand, now, 0);
        Ok(Decision {
            provider: self.table.names[index].clone(),
            index,
            predicted_latency_ms: view.predicted_seconds(index).map_or(0.0, |seconds| f64::from(seconds) * 1000.0),
            predicted_cost: view.predicted_cost(index).map_or(0.0, |cost| cost.as_dollars()),
            fallback_chain: FallbackChain::new(self.table.names.clone(), plan.rest(usable)),
            reason,
        })
    }

    /// Decides for `request` by the router's clock, every provider taken for usable.
    ///
    /// # Errors
    /// [`RouteError::NoProvider`] when the router has none.
    pub async fn route(&self, request: &CompletionRequest) -> Result<Decision, RouteError> {
        self.choose(&Demand::of(request), self.clock.now(), |_| true)
    }

    /// Takes in that a provider answered after `latency_ms` milliseconds. A provider that the router does not have,
    /// and a time that is none, change nothing. A failure is told with [`record`](Self::record).
    pub fn update_metrics(&self, provider: &ProviderId, latency_ms: f64) {
        let latency = Duration::try_from_secs_f64(latency_ms / 1000.0);
        if let (Some(index), Ok(latency)) = (self.index_of(provider.as_str()), latency) {
            self.record(index, Observed { latency, ..Observed::default() }, self.clock.now());
        }
    }

    /// All targets in the order in which a request at `now` would find them if all were usable and none explored.
    /// It changes nothing, and leaves the draws and turns of the strategies that take some aside.
    #[must_use]
    pub fn explain(&self, demand: &Demand, now: Tick) -> Vec<Candidate> {
        let view = View::new(&self.table, *demand, now, 0);
        let share = view.share(self.table.all);
        let mut ranks: Vec<_> = (0..self.table.targets.len()).map(|index| (index, view.rank(index, share))).collect();
        ranks.sort_by(|a, b| a.1.order(&b.1));
        let candidate = |(index, rank): (usize, crate::rank::Rank)| Candidate {
            index,
            name: self.table.names[index].clone(),
            score: rank.score,
            predicted_latency: view.predicted_seconds(index).and_then(|s| Duration::try_from_secs_f32(s).ok()),
            predicted_cost: view.predicted_cost(index),
            reason: rank.reason,
        };
        ranks.into_iter().map(candidate).collect()
    }

    /// The targets' health at `now`, by index.
    #[must_use]
    pub fn health(&self, now: Tick) -> Vec<TargetHealth> {
        let named = self.table.targets.iter().zip(&*self.table.names);
        named.map(|(target, name)| health(target, name, now)).collect()
    }

    /// A target's health at `now`.
    ///
    /// # Panics
    /// When there is no such target.
    #[must_use]
    pub fn health_of(&self, index: usize, now: Tick) -> TargetHealth {
        health(&self.table.targets[index], &self.table.names[index], now)
    }

    /// Decisions of [`Strategy::Arbitrage`] that found no usable target of which enough is known within the limit.
    #[must_use]
    pub fn total_sla_misses(&self) -> u64 {
        // Relaxed: a count for people.
        self.table.sla_misses.load(Ordering::Relaxed)
    }

    #[cfg(feature = "client")]
    pub(crate) fn now(&self) -> Tick {
        self.clock.now()
    }
}

impl fmt::Debug for SmartRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SmartRouter");
        debug.field("config", &self.table.config).field("names", &self.table.names).finish_non_exhaustive()
    }
}

impl SmartRouterBuilder {
    /// The router. One without providers decides nothing: [`RouteError::NoProvider`].
    ///
    /// # Errors
    /// [`ConfigError`] when a name is listed twice or a fallback is not, or a price or a setting is out of its
    /// range.
    pub fn try_build(self) -> Result<SmartRouter, ConfigError> {
        let (table, clock) = self.parts()?;
        Ok(SmartRouter::new(table, clock))
    }

    /// The router.
    ///
    /// # Panics
    /// Where [`try_build`](Self::try_build) is an error.
    #[must_use]
    pub fn build(self) -> SmartRouter {
        self.try_build().unwrap_or_else(|error| panic!("{error}"))
    }
}
