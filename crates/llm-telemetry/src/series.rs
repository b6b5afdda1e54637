//! What is counted. The path's calls end in a few additions to the calling thread's own copy of a counter; the
//! families that say the same in other words are added up when somebody asks.

mod histogram;
mod sharded;
mod snapshot;
mod table;
mod target;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use llm_core::{ErrorKind, Money, Operation, ProviderId, RequestRecord, Sharing, Transition};
use parking_lot::Mutex;

pub(crate) use self::histogram::Counts;
use self::histogram::{ATTEMPTS, DURATIONS, FINE_DURATIONS, Histogram, OVERHEADS};
use self::sharded::Sharded;
pub(crate) use self::snapshot::{Snapshot, Value};
pub use self::table::MOST_LABELS;
use self::table::{OTHER, Table};
use self::target::{Labels, Target};
use crate::families;

/// All counters.
#[derive(Debug, Default)]
pub(crate) struct Series {
    targets: Table<Labels, Target>,
    requests: [OnceLock<Requests>; OPERATIONS.len()],
    sharing: [AtomicU64; SHARINGS.len()],
    overhead: OnceLock<Sharded<Histogram<14>>>,
    attempts: OnceLock<Sharded<Histogram<6>>>,
    transitions: Table<(String, &'static str, &'static str), AtomicU64>,
    denials: Table<(String, &'static str), AtomicU64>,
    keys_refused: Table<String, AtomicU64>,
    flights_active: AtomicI64,
    flights_joined: AtomicU64,
    /// In 10⁻¹² dollar.
    saved: AtomicU64,
    shown: Mutex<Shown>,
    pub(crate) spans: SpanCounts,
}

/// Requests of one operation, by their outcome. Counted finely for the percentiles of dashboards, and shown to scrapers
/// in the conventions' buckets.
#[derive(Debug)]
struct Requests {
    answered: Sharded<Histogram<81>>,
    failed: [OnceLock<Box<Histogram<81>>>; ERROR_TYPES.len()],
}

/// Spans by what became of them.
#[derive(Debug, Default)]
pub(crate) struct SpanCounts {
    pub(crate) made: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// What others count and is taken over when somebody asks.
#[derive(Debug, Default)]
struct Shown {
    circuits: BTreeMap<(String, &'static str), i64>,
    probe_failures: BTreeMap<String, u32>,
    fallbacks: u64,
    sla_misses: BTreeMap<String, u64>,
    decisions: BTreeMap<String, (u64, u64)>,
    answers: Option<(usize, u64)>,
    similarity: Option<(u64, u64, f64)>,
}

/// `labels`, or `other` where there are too many.
fn bounded<K: Ord, V>(rows: &BTreeMap<K, V>, labels: K, other: K) -> K {
    if rows.len() < MOST_LABELS || rows.contains_key(&labels) { labels } else { other }
}

const OPERATIONS: [Operation; 4] = [Operation::Chat, Operation::Embeddings, Operation::Models, Operation::Forward];
const SHARINGS: [Sharing; 4] = [Sharing::Miss, Sharing::Joined, Sharing::Hit, Sharing::Bypass];

/// What can go wrong, in the words of `llm_core::ErrorKind`. The last stands for any other.
const ERROR_TYPES: [&str; 12] = [
    "rate_limit",
    "auth",
    "invalid_request",
    "not_found",
    "timeout",
    "overloaded",
    "server_error",
    "connection",
    "stream_interrupted",
    "content_filter",
    "cancelled",
    OTHER,
];

fn place_of_error(kind: ErrorKind) -> usize {
    let word = kind.as_str();
    ERROR_TYPES.iter().position(|known| *known == word).unwrap_or(ERROR_TYPES.len() - 1)
}

/// The place of `operation`. One that is not listed counts as the first.
fn place_of(operation: Operation) -> usize {
    OPERATIONS.iter().position(|known| *known == operation).unwrap_or_default()
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

// Relaxed, in all that follows: counts publish nothing else.
impl Series {
    /// The counters of a model of a provider; `system` is the provider's name in the conventions' words.
    pub(crate) fn target(&self, provider: &str, system: &str, model: &str) -> Arc<Target> {
        let labels = |provider: &str, system: &str, model: &str| Labels {
            provider: provider.to_owned(),
            system: system.to_owned(),
            model: model.to_owned(),
        };
        self.targets.row(
            &labels(provider, system, model),
            || labels(OTHER, OTHER, OTHER),
            |labels| Target::new(labels.clone()),
        )
    }

    pub(crate) fn request_ended(&self, record: &RequestRecord<'_>) {
        let requests = self.requests[place_of(record.operation)].get_or_init(Requests::new);
        let micros = micros(record.duration);
        match record.error {
            None => {
                requests.answered.mine().observe(micros);
                if let Some(at) = SHARINGS.iter().position(|known| *known == record.sharing) {
                    self.sharing[at].fetch_add(1, Relaxed);
                }
            }
            Some(kind) => requests.failed(place_of_error(kind)).observe(micros),
        }
        if let Some(saved) = record.saved {
            self.saved.fetch_add(u64::try_from(saved.units()).unwrap_or(0), Relaxed);
        }
        // A follower's calls are its leader's, and a hit has none.
        if !matches!(record.sharing, Sharing::Joined | Sharing::Hit) {
            let attempts = self.attempts.get_or_init(|| Sharded::new(|| Histogram::new(&ATTEMPTS)));
            attempts.mine().observe(record.attempts.into());
        }
    }

    pub(crate) fn overhead(&self, ours: Duration) {
        let overhead = self.overhead.get_or_init(|| Sharded::new(|| Histogram::new(&OVERHEADS)));
        overhead.mine().observe(u64::try_from(ours.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn circuit_changed(&self, provider: &ProviderId, transition: &Transition) {
        let labels = (provider.to_string(), transition.from, transition.to);
        let other = || (OTHER.to_owned(), transition.from, transition.to);
        self.transitions.row(&labels, other, |_| AtomicU64::default()).fetch_add(1, Relaxed);
    }

    pub(crate) fn limit_denied(&self, level: &str, resource: &'static str) {
        let other = || (OTHER.to_owned(), resource);
        self.denials.row(&(level.to_owned(), resource), other, |_| AtomicU64::default()).fetch_add(1, Relaxed);
    }

    pub(crate) fn key_refused(&self, provider: &ProviderId) {
        let other = || OTHER.to_owned();
        self.keys_refused.row(&provider.to_string(), other, |_| AtomicU64::default()).fetch_add(1, Relaxed);
    }

    pub(crate) fn set_flights(&self, active: usize, joined: u64) {
        self.flights_active.store(i64::try_from(active).unwrap_or(i64::MAX), Relaxed);
        self.flights_joined.store(joined, Relaxed);
    }

    pub(crate) fn set_answers(&self, kept: usize, evicted: u64) {
        self.shown.lock().answers = Some((kept, evicted));
    }

    pub(crate) fn set_similarity(&self, hits: u64, misses: u64, mean_distance: f64) {
        self.shown.lock().similarity = Some((hits, misses, mean_distance));
    }

    pub(crate) fn set_circuits<'a>(&self, circuits: impl Iterator<Item = (&'a str, &'static str)>) {
        let mut counted = BTreeMap::new();
        for (provider, state) in circuits {
            let labels = bounded(&counted, (provider.to_owned(), state), (OTHER.to_owned(), state));
            *counted.entry(labels).or_default() += 1;
        }
        self.shown.lock().circuits = counted;
    }

    pub(crate) fn set_probe_failures<'a>(&self, failures: impl Iterator<Item = (&'a str, u32)>) {
        let mut most: BTreeMap<String, u32> = BTreeMap::new();
        for (provider, failures) in failures {
            let labels = bounded(&most, provider.to_owned(), OTHER.to_owned());
            let most = most.entry(labels).or_default();
            *most = failures.max(*most);
        }
        self.shown.lock().probe_failures = most;
    }

    pub(crate) fn set_routing<'a>(&self, fallbacks: u64, sla_misses: impl Iterator<Item = (&'a str, u64)>) {
        let mut counted: BTreeMap<String, u64> = BTreeMap::new();
        for (model, misses) in sla_misses {
            let labels = bounded(&counted, model.to_owned(), OTHER.to_owned());
            *counted.entry(labels).or_default() += misses;
        }
        let mut shown = self.shown.lock();
        (shown.fallbacks, shown.sla_misses) = (fallbacks, counted);
    }

    pub(crate) fn set_decisions<'a>(&self, decisions: impl Iterator<Item = (&'a str, u64, u64)>) {
        let mut counted: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (model, allowed, denied) in decisions {
            let labels = bounded(&counted, model.to_owned(), OTHER.to_owned());
            let (all_allowed, all_denied) = counted.entry(labels).or_default();
            *all_allowed += allowed;
            *all_denied += denied;
        }
        self.shown.lock().decisions = counted;
    }

    /// How long requests took, in finer buckets than [`snapshot`](Self::snapshot) has.
    pub(crate) fn durations(&self) -> Counts {
        let mut counts = Counts::default();
        for requests in self.requests.iter().filter_map(OnceLock::get) {
            requests.answered.iter().for_each(|copy| copy.read(&mut counts));
            requests.failed.iter().filter_map(OnceLock::get).for_each(|failed| failed.read(&mut counts));
        }
        counts
    }

    /// How long calls to each provider took, in finer buckets than [`snapshot`](Self::snapshot) has.
    pub(crate) fn call_durations(&self) -> BTreeMap<String, Counts> {
        let mut durations: BTreeMap<String, Counts> = BTreeMap::new();
        self.targets.each(|_, target| target.durations(durations.entry(target.provider().to_owned()).or_default()));
        durations
    }

    /// Everything that was counted.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut shot = Snapshot::default();
        self.targets.each(|_, target| target.show(&mut shot));
        for (operation, requests) in OPERATIONS.iter().zip(&self.requests) {
            if let Some(requests) = requests.get() {
                requests.show(operation.as_str(), &mut shot);
            }
        }
        for (sharing, count) in SHARINGS.iter().zip(&self.sharing) {
            shot.count_seen(families::SHARED, &[sharing.as_str()], count.load(Relaxed));
        }
        shot.histogram(families::OVERHEAD, &[], self.overhead.get().into_iter().flat_map(Sharded::iter));
        shot.histogram(families::REQUEST_ATTEMPTS, &[], self.attempts.get().into_iter().flat_map(Sharded::iter));
        let attempts = shot.sum_of(families::REQUEST_ATTEMPTS);
        shot.count(families::ATTEMPTS, &[], attempts as u64);
        self.transitions.each(|(provider, from, to), count| {
            shot.count(families::CIRCUIT_TRANSITIONS, &[provider, from, to], count.load(Relaxed));
        });
        self.denials.each(|(level, resource), count| {
            shot.count(families::LIMIT_DENIALS, &[level, resource], count.load(Relaxed));
        });
        self.keys_refused.each(|provider, count| {
            shot.count(families::KEYS_REFUSED, &[provider], count.load(Relaxed));
        });
        let shown = self.shown.lock();
        for ((provider, state), count) in &shown.circuits {
            shot.level(families::CIRCUITS, &[provider, state], *count);
        }
        for (provider, failures) in &shown.probe_failures {
            shot.level(families::PROBE_FAILURES, &[provider], i64::from(*failures));
        }
        shot.count(families::FALLBACKS, &[], shown.fallbacks);
        for (model, misses) in &shown.sla_misses {
            shot.count_seen(families::SLA_MISSES, &[model], *misses);
        }
        for (model, (allowed, denied)) in &shown.decisions {
            shot.count(families::LIMIT_DECISIONS, &[model, "allowed"], *allowed);
            shot.count(families::LIMIT_DECISIONS, &[model, "denied"], *denied);
        }
        if let Some((kept, evicted)) = shown.answers {
            shot.level(families::CACHE_ENTRIES, &[], i64::try_from(kept).unwrap_or(i64::MAX));
            shot.count(families::CACHE_EVICTIONS, &[], evicted);
        }
        if let Some((hits, misses, mean)) = shown.similarity {
            shot.count(families::SEMANTIC_HITS, &[], hits);
            shot.count(families::SEMANTIC_MISSES, &[], misses);
            shot.mean(families::SIMILARITY, &[], mean);
        }
        drop(shown);
        let saved = i64::try_from(self.saved.load(Relaxed)).unwrap_or(i64::MAX);
        shot.amount(families::SAVED_COST, &[], Money::from_units(saved).as_dollars());
        shot.level(families::FLIGHTS_ACTIVE, &[], self.flights_active.load(Relaxed));
        shot.count(families::FLIGHTS_JOINED, &[], self.flights_joined.load(Relaxed));
        let SpanCounts { made, sent, failed } = &self.spans;
        for (outcome, count) in [("made", made), ("sent", sent), ("failed", failed)] {
            shot.count_seen(families::SPANS, &[outcome], count.load(Relaxed));
        }
        shot.level(families::BUILD, &[env!("CARGO_PKG_VERSION")], 1);
        shot
    }
}

impl Requests {
    fn new() -> Self {
        Self { answered: Sharded::new(|| Histogram::new(&FINE_DURATIONS)), failed: Default::default() }
    }

    fn failed(&self, error: usize) -> &Histogram<81> {
        self.failed[error].get_or_init(|| Box::new(Histogram::new(&FINE_DURATIONS)))
    }

    fn show(&self, operation: &str, shot: &mut Snapshot) {
        let mut counts = Counts::default();
        self.answered.iter().for_each(|copy| copy.read(&mut counts));
        let answered = shot.counts(families::SERVER_DURATION, &[operation, ""], counts.folded(&DURATIONS));
        shot.count_seen(families::REQUESTS, &[operation, "ok"], answered);
        for (error, failed) in ERROR_TYPES.iter().zip(&self.failed) {
            let mut counts = Counts::default();
            failed.get().into_iter().for_each(|failed| failed.read(&mut counts));
            let failed = shot.counts(families::SERVER_DURATION, &[operation, error], counts.folded(&DURATIONS));
            shot.count_seen(families::REQUESTS, &[operation, error], failed);
        }
    }
}
