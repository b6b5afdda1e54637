//! The series and the observer that moves them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use llm_core::{AttemptRecord, ErrorKind, ModelId, Observer, ProviderId, RequestRecord, TargetObserver, Transition};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::classic;
use crate::labels::{Build, Change, Denied, Direction, Failure, Provider, Request, Shared, Target};

/// The process's metrics.
pub struct Telemetry {
    registry: Registry,
    series: Series,
}

#[derive(Clone)]
struct Series {
    duration: Family<Target, Histogram, Durations>,
    first_token: Family<Target, Histogram, FirstTokens>,
    tokens: Family<Direction, Counter>,
    cost: Family<Target, Counter<f64, AtomicU64>>,
    unpriced: Family<Target, Counter>,
    active: Family<Provider, Gauge>,
    errors: Family<Failure, Counter>,
    requests: Family<Request, Counter>,
    attempts: Counter,
    shared: Family<Shared, Counter>,
    circuits: Family<Change, Counter>,
    denied: Family<Denied, Counter>,
    keys_refused: Family<Provider, Counter>,
    flights: Gauge,
    joined: Counter,
    saved: Counter<f64, AtomicU64>,
    answers: Gauge,
    evicted: Counter,
}

/// Seconds, doubling from 10 ms to 82 s.
#[derive(Clone, Copy)]
struct Durations;

impl MetricConstructor<Histogram> for Durations {
    fn new_metric(&self) -> Histogram {
        Histogram::new((0..14).map(|doublings| 0.01 * f64::from(1 << doublings)))
    }
}

/// Seconds to the first token.
#[derive(Clone, Copy)]
struct FirstTokens;

impl MetricConstructor<Histogram> for FirstTokens {
    fn new_metric(&self) -> Histogram {
        Histogram::new([0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0])
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telemetry(..)")
    }
}

impl Telemetry {
    /// Series that stand at zero.
    #[must_use]
    pub fn new() -> Self {
        let series = Series {
            duration: Family::new_with_constructor(Durations),
            first_token: Family::new_with_constructor(FirstTokens),
            tokens: Family::default(),
            cost: Family::default(),
            unpriced: Family::default(),
            active: Family::default(),
            errors: Family::default(),
            requests: Family::default(),
            attempts: Counter::default(),
            shared: Family::default(),
            circuits: Family::default(),
            denied: Family::default(),
            keys_refused: Family::default(),
            flights: Gauge::default(),
            joined: Counter::default(),
            saved: Counter::default(),
            answers: Gauge::default(),
            evicted: Counter::default(),
        };
        let mut registry = Registry::with_prefix("llmkit");
        let s = &series;
        registry.register("build", "The running version", Info::new(Build { version: env!("CARGO_PKG_VERSION") }));
        registry.register(
            "request_duration_seconds",
            "Calls to providers, to the end of the answer",
            s.duration.clone(),
        );
        registry.register(
            "time_to_first_token_seconds",
            "From sending to a stream's first content",
            s.first_token.clone(),
        );
        registry.register(
            "request_tokens",
            "Tokens as providers reported them, cached input included",
            s.tokens.clone(),
        );
        registry.register("request_cost", "Dollars, where the price is known", s.cost.clone());
        registry.register("unpriced_requests", "Calls whose tokens have no known price", s.unpriced.clone());
        registry.register("request_active", "Calls to providers under way", s.active.clone());
        registry.register("provider_errors", "Calls that failed, those behind a retry too", s.errors.clone());
        registry.register("requests", "Requests answered or refused", s.requests.clone());
        registry.register("attempts", "Calls made for requests", s.attempts.clone());
        registry.register("shared_requests", "Requests by whose call answered them", s.shared.clone());
        registry.register("circuit_transitions", "Changes of circuits", s.circuits.clone());
        registry.register("limit_denials", "Requests and attempts that a limit denied", s.denied.clone());
        registry.register("keys_refused", "Keys of ours that providers have refused", s.keys_refused.clone());
        registry.register("flights_active", "Different calls in flight that can be joined", s.flights.clone());
        registry.register("flights_joined", "Requests that joined a call in flight", s.joined.clone());
        registry.register(
            "saved_cost",
            "Dollars that shared calls and finished answers would have cost",
            s.saved.clone(),
        );
        registry.register("cache_entries", "Finished answers that are kept", s.answers.clone());
        registry.register("cache_evictions", "Finished answers that were forgotten to make room", s.evicted.clone());
        Self { registry, series }
    }

    /// Takes over what the finished answers count themselves: how many are kept, and how many made room.
    pub fn set_answers(&self, kept: usize, evicted: u64) {
        self.series.answers.set(i64::try_from(kept).unwrap_or(i64::MAX));
        self.series.evicted.inner().store(evicted, Ordering::Relaxed);
    }

    /// Takes over what sharing counts itself: calls in flight, and how many requests have joined one.
    pub fn set_flights(&self, active: usize, joined: u64) {
        self.series.flights.set(i64::try_from(active).unwrap_or(i64::MAX));
        self.series.joined.inner().store(joined, Ordering::Relaxed);
    }

    /// The series as text, and the text's content type: OpenMetrics where `accept` asks for it, else Prometheus'
    /// classic format.
    #[must_use]
    pub fn render(&self, accept: Option<&str>) -> (&'static str, String) {
        let mut text = String::with_capacity(8 * 1024);
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
            return ("application/openmetrics-text; version=1.0.0; charset=utf-8", text);
        }
        ("text/plain; version=0.0.4; charset=utf-8", classic::rewritten(&text))
    }
}

/// The handles of one target, looked up once.
struct Handles {
    provider: String,
    duration: Histogram,
    first_token: Histogram,
    input: Counter,
    output: Counter,
    /// Not there before something has a known cost: 0 would be a claim.
    cost: OnceLock<Counter<f64, AtomicU64>>,
    costs: Family<Target, Counter<f64, AtomicU64>>,
    target: Target,
    unpriced: Counter,
    active: Gauge,
    errors: Family<Failure, Counter>,
}

impl Observer for Telemetry {
    fn target(&self, provider: &ProviderId, model: &ModelId) -> Arc<dyn TargetObserver> {
        let s = &self.series;
        let provider = provider.to_string();
        let target = Target { provider: provider.clone(), model: model.to_string() };
        let towards = |direction| s.tokens.get_or_create_owned(&Direction { provider: provider.clone(), direction });
        Arc::new(Handles {
            duration: s.duration.get_or_create_owned(&target),
            first_token: s.first_token.get_or_create_owned(&target),
            input: towards("input"),
            output: towards("output"),
            cost: OnceLock::new(),
            costs: s.cost.clone(),
            unpriced: s.unpriced.get_or_create_owned(&target),
            active: s.active.get_or_create_owned(&Provider { provider: provider.clone() }),
            errors: s.errors.clone(),
            provider,
            target,
        })
    }

    fn request_ended(&self, record: &RequestRecord<'_>) {
        let s = &self.series;
        let operation = record.operation.as_str();
        let outcome = record.error.map_or("ok", ErrorKind::as_str);
        s.requests.get_or_create(&Request { operation, outcome }).inc();
        if record.error.is_none() {
            s.shared.get_or_create(&Shared { sharing: record.sharing.as_str() }).inc();
        }
        if let Some(saved) = record.saved {
            s.saved.inc_by(saved.as_dollars());
        }
        if record.sharing != llm_core::Sharing::Joined {
            s.attempts.inc_by(record.attempts.into());
        }
    }

    // By provider alone: callers choose names of models.
    fn circuit_changed(&self, provider: &ProviderId, model: &ModelId, transition: &Transition) {
        let Transition { from, to, reason } = transition;
        tracing::warn!(%provider, %model, from, to, reason, "circuit changed");
        self.series.circuits.get_or_create(&Change { provider: provider.to_string(), from, to }).inc();
    }

    fn limit_denied(&self, level: &str, resource: &'static str) {
        self.series.denied.get_or_create(&Denied { level: level.to_owned(), resource }).inc();
    }

    fn key_refused(&self, provider: &ProviderId, key: &str) {
        tracing::error!(%provider, key, "the provider refuses the key: it is left out until the configuration is reloaded");
        self.series.keys_refused.get_or_create(&Provider { provider: provider.to_string() }).inc();
    }
}

impl TargetObserver for Handles {
    fn attempt_started(&self) {
        self.active.inc();
    }

    fn attempt_ended(&self, record: &AttemptRecord) {
        self.active.dec();
        self.duration.observe(record.duration.as_secs_f64());
        if let Some(first) = record.first_token {
            self.first_token.observe(first.as_secs_f64());
        }
        if let Some(usage) = &record.usage {
            self.input.inc_by(usage.input_total());
            self.output.inc_by(usage.output_total());
            match record.cost {
                Some(cost) => {
                    let series = self.cost.get_or_init(|| self.costs.get_or_create_owned(&self.target));
                    series.inc_by(cost.as_dollars());
                }
                None => drop(self.unpriced.inc()),
            }
        }
        if let Some(kind) = record.error {
            let failure = Failure { provider: self.provider.clone(), error_type: kind.as_str() };
            self.errors.get_or_create(&failure).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::time::Duration;

    use llm_core::{Money, Operation, Sharing, Usage};

    use super::*;

    fn busy() -> Telemetry {
        let telemetry = Telemetry::new();
        let target = telemetry.target(&"open\"ai".into(), &"fast".into());
        for (millis, error) in [(5, None), (700, None), (90_000, Some(ErrorKind::Timeout))] {
            target.attempt_started();
            target.attempt_ended(&AttemptRecord {
                duration: Duration::from_millis(millis),
                first_token: Some(Duration::from_millis(millis / 2)),
                usage: Some(Usage { input: 10, cache_read: Some(5), output: 3, ..Usage::default() }),
                cost: Some(Money::from_units(1_000_000_000)),
                error,
            });
        }
        target.attempt_started();
        let record = RequestRecord {
            operation: Operation::Chat,
            model: None,
            sharing: Sharing::Miss,
            attempts: 2,
            saved: None,
            error: Some(ErrorKind::RateLimited),
        };
        telemetry.request_ended(&record);
        let transition = Transition { from: "closed", to: "open", reason: "5 failures in a row".into() };
        telemetry.circuit_changed(&"open\"ai".into(), &"m".into(), &transition);
        telemetry
    }

    /// The samples by name and labels; panics on what a scraper would refuse.
    fn samples(text: &str) -> HashMap<String, f64> {
        let (mut types, mut samples) = (HashSet::new(), HashMap::new());
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(types.insert(rest.split(' ').next().unwrap().to_owned()), "two types: {line}");
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let family = name.split('{').next().unwrap();
                let stem =
                    ["_bucket", "_sum", "_count", "_total", "_info"].iter().find_map(|end| family.strip_suffix(end));
                assert!(types.contains(family) || stem.is_some_and(|stem| types.contains(stem)), "no type: {line}");
                assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
            }
        }
        samples
    }

    #[test]
    fn both_formats_are_well_formed_and_say_the_same() {
        let telemetry = busy();
        let (classic_type, classic) = telemetry.render(None);
        let (open_type, open) = telemetry.render(Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"));
        assert!(classic_type.starts_with("text/plain") && open_type.starts_with("application/openmetrics-text"));
        assert!(open.ends_with("# EOF\n") && !classic.contains("# EOF") && !classic.contains("# UNIT"));
        assert!(classic.contains("# TYPE llmkit_request_tokens_total counter\n"));
        assert_eq!(samples(&classic), samples(&open));
    }

    #[test]
    fn buckets_are_cumulative_up_to_the_count() {
        let samples = samples(&busy().render(None).1);
        let labels = "provider=\"open\\\"ai\",model=\"fast\"";
        let bucket = |le: &str| {
            let of = |name: String| samples.get(&name).copied();
            of(format!("llmkit_request_duration_seconds_bucket{{le=\"{le}\",{labels}}}"))
                .unwrap_or_else(|| panic!("{le}"))
        };
        assert_eq!(
            (bucket("0.01"), bucket("0.64"), bucket("1.28"), bucket("81.92"), bucket("+Inf")),
            (1.0, 1.0, 2.0, 2.0, 3.0)
        );
        assert_eq!(samples[&format!("llmkit_request_duration_seconds_count{{{labels}}}")], 3.0);
    }

    #[test]
    fn what_has_no_known_price_has_no_cost_and_is_counted() {
        let telemetry = Telemetry::new();
        let target = telemetry.target(&"p".into(), &"m".into());
        let usage = Some(Usage { input: 10, ..Usage::default() });
        let record = AttemptRecord { duration: Duration::ZERO, first_token: None, usage, cost: None, error: None };
        target.attempt_ended(&record);
        let unpriced = samples(&telemetry.render(None).1);
        assert_eq!(unpriced["llmkit_unpriced_requests_total{provider=\"p\",model=\"m\"}"], 1.0);
        let cost = "llmkit_request_cost_total{provider=\"p\",model=\"m\"}";
        assert!(!unpriced.contains_key(cost));
        target.attempt_ended(&AttemptRecord { cost: Some(Money::ZERO), ..record });
        assert_eq!(samples(&telemetry.render(None).1).get(cost), Some(&0.0));
    }

    #[test]
    fn what_happened_is_counted_under_the_specified_names() {
        let samples = samples(&busy().render(None).1);
        let provider = "provider=\"open\\\"ai\"";
        let expected = [
            (format!("llmkit_request_tokens_total{{{provider},direction=\"input\"}}"), 45.0),
            (format!("llmkit_request_tokens_total{{{provider},direction=\"output\"}}"), 9.0),
            (format!("llmkit_request_cost_total{{{provider},model=\"fast\"}}"), 0.003),
            (format!("llmkit_request_active{{{provider}}}"), 1.0),
            (format!("llmkit_provider_errors_total{{{provider},error_type=\"timeout\"}}"), 1.0),
            ("llmkit_requests_total{operation=\"chat\",outcome=\"rate_limit\"}".to_owned(), 1.0),
            ("llmkit_attempts_total".to_owned(), 2.0),
            (format!("llmkit_circuit_transitions_total{{{provider},from=\"closed\",to=\"open\"}}"), 1.0),
        ];
        for (name, value) in expected {
            let found = samples.get(&name).unwrap_or_else(|| panic!("{name} is missing"));
            assert!((found - value).abs() < 1e-9, "{name} is {found}");
        }
    }
}
