//! The counters of one model of one provider.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use llm_core::{AttemptRecord, Money, TargetObserver, Usage};

use super::histogram::{Counts, DURATIONS, FINE_DURATIONS, FIRST_TOKENS, Histogram, PACES, TOKENS};
use super::sharded::Sharded;
use super::snapshot::Snapshot;
use super::{ERROR_TYPES, OPERATIONS, micros, place_of, place_of_error};
use crate::families;

/// Which model of which provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    /// The configured name.
    pub(crate) provider: String,
    /// The provider's name in the conventions' words.
    pub(crate) system: String,
    /// The configured name.
    pub(crate) model: String,
}

/// What the calls of a model of a provider came to.
#[derive(Debug)]
pub(crate) struct Target {
    labels: Labels,
    active: Sharded<AtomicI64>,
    operations: [OnceLock<Calls>; OPERATIONS.len()],
}

/// The calls of one operation.
#[derive(Debug)]
struct Calls {
    copies: Sharded<Counters>,
    failed: [OnceLock<Box<Histogram<81>>>; ERROR_TYPES.len()],
}

/// What one thread counts.
#[derive(Debug)]
struct Counters {
    /// Finely, for the percentiles of dashboards; shown to scrapers in the conventions' buckets.
    answered: Histogram<81>,
    input: Histogram<14>,
    output: Histogram<14>,
    first_token: Histogram<16>,
    pace: Histogram<13>,
    /// In units of [`Money`], so that nothing is lost to rounding.
    cost: AtomicU64,
    unpriced: AtomicU64,
    classes: [AtomicU64; CLASSES.len()],
}

/// Part of the tokens of a call.
type Part = fn(&Usage) -> Option<u64>;

/// Tokens that are part of input or output and cost something else.
const CLASSES: [(&str, Part); 3] = [
    ("cache_read", |usage| usage.cache_read),
    ("cache_write", |usage| usage.cache_write),
    ("reasoning", |usage| usage.reasoning),
];

impl Target {
    pub(crate) fn new(labels: Labels) -> Self {
        Self { labels, active: Sharded::new(AtomicI64::default), operations: Default::default() }
    }

    /// The provider's configured name.
    pub(super) fn provider(&self) -> &str {
        &self.labels.provider
    }

    /// How long calls took, in finer buckets than [`show`](Self::show) has.
    pub(super) fn durations(&self, counts: &mut Counts) {
        for calls in self.operations.iter().filter_map(OnceLock::get) {
            calls.copies.iter().for_each(|copy| copy.answered.read(counts));
            calls.failed.iter().filter_map(OnceLock::get).for_each(|failed| failed.read(counts));
        }
    }

    /// Shows what was counted, as each family has it.
    pub(super) fn show(&self, shot: &mut Snapshot) {
        let Labels { provider, model, .. } = &self.labels;
        let active = self.active.iter().map(|copy| copy.load(Relaxed)).sum();
        shot.level(families::REQUEST_ACTIVE, &[provider], active);
        for (operation, calls) in OPERATIONS.iter().zip(&self.operations) {
            if let Some(calls) = calls.get() {
                calls.show(&self.labels, operation.as_str(), shot);
            }
        }
        // A target that is known has these series from the start, so that their first rise can be seen.
        shot.unobserved(families::REQUEST_DURATION, &[provider, model], &DURATIONS);
        for direction in ["input", "output"] {
            shot.count(families::REQUEST_TOKENS, &[provider, direction], 0);
        }
    }
}

// Relaxed, all of them: counts publish nothing else.
impl TargetObserver for Target {
    fn attempt_started(&self) {
        self.active.mine().fetch_add(1, Relaxed);
    }

    fn attempt_ended(&self, record: &AttemptRecord) {
        self.active.mine().fetch_sub(1, Relaxed);
        self.operations[place_of(record.operation)].get_or_init(Calls::new).ended(record);
    }
}

impl Calls {
    fn new() -> Self {
        Self { copies: Sharded::new(Counters::new), failed: Default::default() }
    }

    fn ended(&self, record: &AttemptRecord) {
        let copy = self.copies.mine();
        let duration = micros(record.duration);
        match record.error {
            None => copy.answered.observe(duration),
            Some(kind) => {
                let failed =
                    self.failed[place_of_error(kind)].get_or_init(|| Box::new(Histogram::new(&FINE_DURATIONS)));
                failed.observe(duration);
            }
        }
        if let Some(first) = record.first_token {
            let first = micros(first);
            copy.first_token.observe(first);
            let rest = record.usage.map_or(0, |usage| usage.output_total()).saturating_sub(1);
            if rest > 0 && record.error.is_none() {
                copy.pace.observe(duration.saturating_sub(first) / rest);
            }
        }
        if let Some(usage) = &record.usage {
            copy.used(usage, record.cost);
        }
    }

    fn show(&self, labels: &Labels, operation: &str, shot: &mut Snapshot) {
        let Labels { provider, system, model } = labels;
        let copies = || self.copies.iter();
        let mut answered = Counts::default();
        copies().for_each(|copy| copy.answered.read(&mut answered));
        let answered = answered.folded(&DURATIONS);
        shot.counts(families::REQUEST_DURATION, &[provider, model], answered.clone());
        shot.counts(families::CLIENT_DURATION, &[operation, system, model, ""], answered);
        for (error, failed) in ERROR_TYPES.iter().zip(&self.failed) {
            let mut counts = Counts::default();
            failed.get().into_iter().for_each(|failed| failed.read(&mut counts));
            let counts = counts.folded(&DURATIONS);
            shot.counts(families::REQUEST_DURATION, &[provider, model], counts.clone());
            let count = shot.counts(families::CLIENT_DURATION, &[operation, system, model, error], counts);
            shot.count_seen(families::PROVIDER_ERRORS, &[provider, error], count);
        }
        let mut tokens = |direction: &str, of: fn(&Counters) -> &Histogram<14>| {
            let labels = [operation, system, model, direction];
            shot.histogram(families::CLIENT_TOKENS, &labels, copies().map(of));
            let total = copies().map(|copy| of(copy).sum()).sum();
            shot.count(families::REQUEST_TOKENS, &[provider, direction], total);
        };
        tokens("input", |copy| &copy.input);
        tokens("output", |copy| &copy.output);
        shot.histogram(families::FIRST_TOKEN, &[provider, model], copies().map(|copy| &copy.first_token));
        let labels = [operation, system.as_str(), model.as_str()];
        shot.histogram(families::SERVER_FIRST_TOKEN, &labels, copies().map(|copy| &copy.first_token));
        shot.histogram(families::SERVER_PER_TOKEN, &labels, copies().map(|copy| &copy.pace));
        let sum = |of: fn(&Counters) -> &AtomicU64| copies().map(|copy| of(copy).load(Relaxed)).sum::<u64>();
        let units = i64::try_from(sum(|copy| &copy.cost)).unwrap_or(i64::MAX);
        // What nobody knows the price of costs not nothing: it has no series.
        if units > 0 {
            shot.amount(families::REQUEST_COST, &[provider, model], Money::from_units(units).as_dollars());
        }
        let unpriced = sum(|copy| &copy.unpriced);
        if units > 0 || unpriced > 0 {
            shot.count(families::UNPRICED, &[provider, model], unpriced);
        }
        for (at, (class, _)) in CLASSES.iter().enumerate() {
            let count = copies().map(|copy| copy.classes[at].load(Relaxed)).sum();
            shot.count_seen(families::TOKEN_CLASSES, &[provider, class], count);
        }
    }
}

impl Counters {
    fn new() -> Self {
        Self {
            answered: Histogram::new(&FINE_DURATIONS),
            input: Histogram::new(&TOKENS),
            output: Histogram::new(&TOKENS),
            first_token: Histogram::new(&FIRST_TOKENS),
            pace: Histogram::new(&PACES),
            cost: AtomicU64::default(),
            unpriced: AtomicU64::default(),
            classes: Default::default(),
        }
    }

    fn used(&self, usage: &Usage, cost: Option<Money>) {
        self.input.observe(usage.input_total());
        self.output.observe(usage.output_total());
        for ((_, of), class) in CLASSES.iter().zip(&self.classes) {
            if let Some(tokens @ 1..) = of(usage) {
                class.fetch_add(tokens, Relaxed);
            }
        }
        match cost {
            Some(cost) => self.cost.fetch_add(u64::try_from(cost.units()).unwrap_or(0), Relaxed),
            None => self.unpriced.fetch_add(1, Relaxed),
        };
    }
}
