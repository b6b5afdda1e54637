//! What was counted since the start, in few words: what dashboards are drawn from.

use std::collections::BTreeMap;

use crate::families::{self, Family};
use crate::series::Snapshot;
use crate::series::Value;

/// What was counted since the start; the same counts that [`render`](crate::Telemetry::render) writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Requests by their outcome: `ok`, or what kind of error.
    pub outcomes: BTreeMap<String, u64>,
    /// Requests by whose call answered them: `miss`, `joined`, `hit`, `bypass`.
    pub sharing: BTreeMap<String, u64>,
    /// From the arrival of requests to the end of their answers.
    pub duration: Distribution,
    /// Our own time of requests, up to the head of their answers.
    pub overhead: Distribution,
    /// Dollars that shared calls and finished answers would have cost.
    pub saved: f64,
    /// Calls whose tokens have no known price.
    pub unpriced: u64,
    /// Calls to providers, by the provider's configured name.
    pub providers: BTreeMap<String, ProviderTotals>,
}

/// Calls to one provider.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderTotals {
    /// Calls under way.
    pub active: i64,
    /// From sending to the end of the answer.
    pub duration: Distribution,
    /// From sending to a stream's first content.
    pub first_token: Distribution,
    /// Calls that failed, by what kind of error.
    pub errors: BTreeMap<String, u64>,
    /// Tokens asked with, cached ones included.
    pub input_tokens: u64,
    /// Tokens answered with, reasoning included.
    pub output_tokens: u64,
    /// Dollars, where the price is known.
    pub cost: f64,
}

/// How observations of time are spread.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Upper bounds of the buckets, in seconds, rising; above the last there is one bucket more. Empty where nothing
    /// was ever observed.
    pub bounds: Vec<f64>,
    /// Observations in each bucket, not those below it.
    pub counts: Vec<u64>,
    /// All that was observed, in seconds.
    pub sum: f64,
}

impl Totals {
    pub(crate) fn of(shot: &Snapshot) -> Self {
        let mut totals = Self::default();
        each(shot, families::REQUESTS, |labels, value| {
            *totals.outcomes.entry(label(labels, "outcome")).or_default() += count(value);
        });
        each(shot, families::SHARED, |labels, value| {
            *totals.sharing.entry(label(labels, "sharing")).or_default() += count(value);
        });
        each(shot, families::SERVER_DURATION, |_, value| totals.duration.add(value));
        each(shot, families::OVERHEAD, |_, value| totals.overhead.add(value));
        each(shot, families::SAVED_COST, |_, value| totals.saved += amount(value));
        let mut by_provider = |family, take: fn(&mut ProviderTotals, &Labels<'_>, &Value)| {
            each(shot, family, |labels, value| {
                take(totals.providers.entry(label(labels, "provider")).or_default(), labels, value);
            });
        };
        by_provider(families::REQUEST_ACTIVE, |provider, _, value| {
            provider.active += if let Value::Level(level) = value { *level } else { 0 };
        });
        by_provider(families::REQUEST_DURATION, |provider, _, value| provider.duration.add(value));
        by_provider(families::FIRST_TOKEN, |provider, _, value| provider.first_token.add(value));
        by_provider(families::PROVIDER_ERRORS, |provider, labels, value| {
            *provider.errors.entry(label(labels, "error_type")).or_default() += count(value);
        });
        by_provider(families::REQUEST_TOKENS, |provider, labels, value| {
            let direction = label(labels, "direction");
            let tokens = if direction == "input" { &mut provider.input_tokens } else { &mut provider.output_tokens };
            *tokens += count(value);
        });
        by_provider(families::REQUEST_COST, |provider, _, value| provider.cost += amount(value));
        each(shot, families::UNPRICED, |_, value| totals.unpriced += count(value));
        totals
    }
}

impl Distribution {
    /// All observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn add(&mut self, value: &Value) {
        if let Value::Histogram(more) = value {
            self.bounds.clone_from(&more.bounds);
            self.counts.resize(more.buckets.len(), 0);
            self.counts.iter_mut().zip(&more.buckets).for_each(|(count, more)| *count += more);
            self.sum += more.sum;
        }
    }
}

type Labels<'a> = [(&'static str, &'a str)];

fn each(shot: &Snapshot, family: &'static Family, mut see: impl FnMut(&Labels<'_>, &Value)) {
    shot.samples(family).for_each(|(labels, value)| see(&labels, value));
}

fn label(labels: &Labels<'_>, name: &str) -> String {
    labels.iter().find(|(known, _)| *known == name).map_or_else(String::new, |(_, value)| (*value).to_owned())
}

const fn count(value: &Value) -> u64 {
    if let Value::Count(count) = value { *count } else { 0 }
}

const fn amount(value: &Value) -> f64 {
    if let Value::Amount(amount) = value { *amount } else { 0.0 }
}
