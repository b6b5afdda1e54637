//! The cheapest provider within a limit on its latency, by name: a face of [`Strategy::Arbitrage`].

use std::sync::Arc as Shared;
use std::time::Duration;

use llm_core::sync::Mutex;
use llm_core::{Clock, Money, Price, ProviderId, SystemClock};

use crate::config::{ConfigError, Strategy, Target};
use crate::demand::Demand;
use crate::list_price::per_token;
use crate::smart_router::SmartRouter;
use crate::statistics::Observed;
use crate::table::{Entry, Table};

/// A provider and what it costs.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderProfile {
    /// Its name.
    pub name: String,
    /// Dollars per 1000 input tokens, from 0 to 2.
    pub cost_per_1k_input_tokens: f64,
    /// Dollars per 1000 output tokens, from 0 to 2.
    pub cost_per_1k_output_tokens: f64,
    /// Of equally dear ones the least number comes first.
    pub priority: u32,
}

/// Selects the cheapest provider whose 95th percentile of the last 128 latencies is within a limit, else the fastest;
/// for callers who name providers and limits call by call. What it is told of their calls, it learns as every router
/// does: a provider that is not known yet gets a small share of the calls while another is.
///
/// Costs are compared for calls of the size that the recorded ones had on average.
pub struct ArbitrageEngine {
    book: Mutex<Book>,
    clock: Shared<dyn Clock>,
}

struct Book {
    /// By priority, the earlier registered first.
    profiles: Vec<ProviderProfile>,
    router: SmartRouter,
    /// Of the routers before this one.
    misses: u64,
    /// Of the successes, and their tokens.
    calls: u64,
    input_tokens: u64,
    output_tokens: u64,
}

impl ArbitrageEngine {
    /// An engine without providers.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(SystemClock::new())
    }

    /// An engine that reads the time from `clock`.
    #[must_use]
    pub fn with_clock(clock: impl Clock) -> Self {
        let clock: Shared<dyn Clock> = Shared::new(clock);
        let table = Table::try_new(Strategy::Arbitrage.into(), &[], &[]).expect("the defaults are in range");
        let router = SmartRouter::new(table, clock.clone());
        let book = Book { profiles: Vec::new(), router, misses: 0, calls: 0, input_tokens: 0, output_tokens: 0 };
        Self { book: Mutex::new(book), clock }
    }

    /// Adds a provider, or changes the price and the priority of the one of that name. What is known of the providers
    /// stays known.
    ///
    /// # Panics
    /// Where [`try_register`](Self::try_register) is an error.
    pub fn register(&self, profile: ProviderProfile) {
        self.try_register(profile).unwrap_or_else(|error| panic!("{error}"));
    }

    /// As [`register`](Self::register).
    ///
    /// # Errors
    /// [`ConfigError`] when there would be more than 64 providers, or a price is out of its range; then nothing changes.
    pub fn try_register(&self, profile: ProviderProfile) -> Result<(), ConfigError> {
        let mut book = self.book.lock();
        let mut profiles = book.profiles.clone();
        match profiles.iter_mut().find(|known| known.name == profile.name) {
            Some(known) => *known = profile,
            None => profiles.push(profile),
        }
        profiles.sort_by_key(|profile| profile.priority);
        let entries = profiles.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let table = Table::try_new(Strategy::Arbitrage.into(), &entries, &[])?.with_known(book.router.table());
        book.misses += book.router.total_sla_misses();
        book.router = SmartRouter::new(table, self.clock.clone());
        book.profiles = profiles;
        Ok(())
    }

    /// Takes in that a provider answered a call of so many tokens after `latency`. A name that is not registered changes
    /// nothing.
    pub fn record_success(&self, name: &str, input_tokens: u64, output_tokens: u64, latency: Duration) {
        let mut book = self.book.lock();
        let Some(index) = book.router.index_of(name) else { return };
        book.calls += 1;
        book.input_tokens = book.input_tokens.saturating_add(input_tokens);
        book.output_tokens = book.output_tokens.saturating_add(output_tokens);
        let observed = Observed { latency, output_tokens: Some(output_tokens), ..Observed::default() };
        book.router.record(index, observed, self.clock.now());
    }

    /// Takes in that a provider failed after `latency`, which counts as 30 s at least. A name that is not registered
    /// changes nothing.
    pub fn record_failure(&self, name: &str, latency: Duration) {
        let book = self.book.lock();
        if let Some(index) = book.router.index_of(name) {
            book.router.record(index, Observed { latency, failed: true, ..Observed::default() }, self.clock.now());
        }
    }

    /// The cheapest provider whose 95th percentile is within `sla`, else the fastest; without a limit the cheapest. None
    /// without providers.
    #[must_use]
    pub fn select_provider(&self, sla: Option<Duration>) -> Option<ProviderProfile> {
        self.select_usable(sla, |_| true)
    }

    /// The same among the providers that can be asked at the moment: whose circuits are closed, for one.
    #[must_use]
    pub fn select_usable(&self, sla: Option<Duration>, usable: impl Fn(&str) -> bool) -> Option<ProviderProfile> {
        let book = self.book.lock();
        let typical = Demand::default();
        let demand = Demand {
            input_tokens: book.input_tokens.checked_div(book.calls).unwrap_or(typical.input_tokens),
            output_tokens: book.output_tokens.checked_div(book.calls).unwrap_or(typical.output_tokens),
            within: sla,
            ..typical
        };
        let (router, profiles) = (book.router.clone(), book.profiles.clone());
        drop(book);
        let index = router.plan_for(&demand, self.clock.now()).next(|index| usable(&profiles[index].name))?;
        profiles.into_iter().nth(index)
    }

    /// Selections that found no provider of which enough is known within their limit.
    #[must_use]
    pub fn total_sla_misses(&self) -> u64 {
        let book = self.book.lock();
        book.misses + book.router.total_sla_misses()
    }

    /// What is known of the providers, those of the least priority number first.
    #[must_use]
    pub fn health(&self) -> Vec<crate::TargetHealth> {
        self.book.lock().router.health(self.clock.now())
    }
}

impl Default for ArbitrageEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for ArbitrageEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArbitrageEngine").field("profiles", &self.book.lock().profiles).finish_non_exhaustive()
    }
}

fn entry(profile: &ProviderProfile) -> Result<Entry, ConfigError> {
    let each = |usd| per_token(usd).ok_or_else(|| ConfigError::Price(profile.name.clone(), usd));
    let (input, output): (Money, Money) =
        (each(profile.cost_per_1k_input_tokens)?, each(profile.cost_per_1k_output_tokens)?);
    let price = Price::per_token(input, output);
    Ok(Entry { name: ProviderId::from(profile.name.as_str()), target: Target { weight: 1 }, price: Some(price) })
}
