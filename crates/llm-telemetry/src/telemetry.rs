//! The observer that moves the series and follows requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use llm_core::{
    ModelId, NoObserver, Observer, ProviderId, RequestId, RequestObserver, RequestRecord, TargetObserver, Tick,
    Transition,
};
use parking_lot::RwLock;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::changes::{Changes, CircuitChange};
use crate::classic;
use crate::facts::BodyReader;
use crate::follow::{Arrival, Followed, Watch};
use crate::hub::{Hub, ProviderFacts, Traces};
use crate::sampling::{Sampler, Sampling, SamplingError};
use crate::series::Series;
use crate::span::SpanSink;
use crate::totals::Totals;
use crate::tracing_context::TracingContext;

/// A process's metrics, and those of its requests that are followed.
pub struct Telemetry {
    registry: Registry,
    metrics: bool,
    series: Arc<Series>,
    changes: Changes,
    hub: Arc<Hub>,
}

/// What a [`Telemetry`] does. By default: metrics, no traces, no line a request.
#[derive(Debug)]
pub struct TelemetryBuilder {
    metrics: bool,
    sink: Option<Box<dyn SpanSink>>,
    sampling: Sampling,
    propagates: bool,
    log_requests: bool,
    reader: Option<Box<dyn BodyReader>>,
    series: Arc<Series>,
}

impl Default for TelemetryBuilder {
    fn default() -> Self {
        Self {
            metrics: true,
            sink: None,
            sampling: Sampling::default(),
            propagates: true,
            log_requests: false,
            reader: None,
            series: Arc::default(),
        }
    }
}

impl TelemetryBuilder {
    /// Whether attempts and requests are counted. Default: they are.
    #[must_use]
    pub const fn metrics(mut self, metrics: bool) -> Self {
        self.metrics = metrics;
        self
    }

    /// Sends spans to `sink`. Without one there are no traces.
    #[must_use]
    pub fn sink(mut self, sink: impl SpanSink) -> Self {
        self.sink = Some(Box::new(sink));
        self
    }

    /// Sends spans to a collector.
    ///
    /// # Errors
    /// [`OtlpError`](crate::OtlpError) when it cannot be sent to.
    #[cfg(feature = "otlp")]
    pub fn otlp(mut self, config: &crate::OtlpConfig) -> Result<Self, crate::OtlpError> {
        self.sink = Some(Box::new(crate::otlp::Otlp::try_new(config, self.series.clone())?));
        Ok(self)
    }

    /// Sets which requests are traced. Default: all, up to 10 new traces a second.
    #[must_use]
    pub const fn sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// Whether providers are sent `traceparent` and `tracestate`. Default: they are. `baggage` is never sent.
    #[must_use]
    pub const fn propagates(mut self, propagates: bool) -> Self {
        self.propagates = propagates;
        self
    }

    /// Whether each request leaves a line in the log. Default: it does not.
    #[must_use]
    pub const fn log_requests(mut self, log_requests: bool) -> Self {
        self.log_requests = log_requests;
        self
    }

    /// Lets spans say what `reader` finds in bodies.
    #[must_use]
    pub fn reader(mut self, reader: impl BodyReader) -> Self {
        self.reader = Some(Box::new(reader));
        self
    }

    /// Puts it together.
    ///
    /// # Errors
    /// [`SamplingError`] when the sampling is none.
    pub fn try_build(self) -> Result<Telemetry, SamplingError> {
        let sampler = Sampler::try_new(self.sampling)?;
        let propagates = self.propagates;
        let series = self.series;
        let mut registry = Registry::default();
        registry.register_collector(Box::new(series.clone()));
        let hub = Hub {
            series: series.clone(),
            traces: self.sink.map(|sink| Traces { sink, sampler, propagates }),
            log_requests: self.log_requests,
            reader: self.reader,
            providers: RwLock::default(),
        };
        Ok(Telemetry { registry, metrics: self.metrics, series, changes: Changes::default(), hub: Arc::new(hub) })
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
    /// Metrics alone.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().try_build().expect("the default sampling is one")
    }

    /// Begins to put one together.
    #[must_use]
    pub fn builder() -> TelemetryBuilder {
        TelemetryBuilder::default()
    }

    /// Says what spans and series tell of `provider`. To be told before the path asks for its
    /// [`target`](Observer::target)s.
    pub fn describe(&self, provider: &ProviderId, facts: ProviderFacts) {
        self.hub.describe(provider, facts);
    }

    /// Follows a request that has come in over HTTP, if it is traced or logged.
    #[must_use]
    pub fn watch(&self, arrival: &Arrival<'_>) -> Option<Watch> {
        Followed::over_http(&self.hub, arrival)
    }

    /// Follows a request of the library, if it is traced or logged. Its span is called `name`, such as
    /// `client.complete`; `received` is on the path's clock.
    #[must_use]
    pub fn follow(
        &self,
        context: Option<&TracingContext>,
        name: &'static str,
        id: &RequestId,
        received: Tick,
    ) -> Option<Arc<dyn RequestObserver>> {
        Followed::in_process(&self.hub, context, name, id, received)
    }

    /// Counts our own time of a request.
    pub fn overhead(&self, ours: Duration) {
        self.series.overhead(ours);
    }

    /// Takes over what sharing counts itself: calls in flight, and how many requests have joined one.
    pub fn set_flights(&self, active: usize, joined: u64) {
        self.series.set_flights(active, joined);
    }

    /// Takes over what the finished answers count themselves: how many are kept, and how many made room.
    pub fn set_answers(&self, kept: usize, evicted: u64) {
        self.series.set_answers(kept, evicted);
    }

    /// Takes over what the index of near-duplicates counts itself, and the bits in which the latest differed on average.
    pub fn set_similarity(&self, hits: u64, misses: u64, mean_distance: f64) {
        self.series.set_similarity(hits, misses, mean_distance);
    }

    /// Takes over how the circuits stand: each with its provider and its state (`closed`, `open`, `half_open`).
    pub fn set_circuits<'a>(&self, circuits: impl Iterator<Item = (&'a str, &'static str)>) {
        self.series.set_circuits(circuits);
    }

    /// Takes over how often in a row the probes of each provider's circuits have failed.
    pub fn set_probe_failures<'a>(&self, failures: impl Iterator<Item = (&'a str, u32)>) {
        self.series.set_probe_failures(failures);
    }

    /// Takes over what routing counts itself: calls to another target than the one before, and by configured model the
    /// requests for which no target was known to be fast enough.
    pub fn set_routing<'a>(&self, fallbacks: u64, sla_misses: impl Iterator<Item = (&'a str, u64)>) {
        self.series.set_routing(fallbacks, sla_misses);
    }

    /// Takes over what limits have decided: calls that passed and calls that did not, by configured model.
    pub fn set_decisions<'a>(&self, decisions: impl Iterator<Item = (&'a str, u64, u64)>) {
        self.series.set_decisions(decisions);
    }

    /// The series as text, and the text's content type: OpenMetrics where `accept` asks for it, else Prometheus'
    /// classic format.
    #[must_use]
    pub fn render(&self, accept: Option<&str>) -> (&'static str, String) {
        let mut text = String::with_capacity(16 * 1024);
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
            return ("application/openmetrics-text; version=1.0.0; charset=utf-8", text);
        }
        ("text/plain; version=0.0.4; charset=utf-8", classic::rewritten(&text))
    }

    /// What was counted since the start, in few words. Costs about as much as [`render`](Self::render).
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals::of(&self.series)
    }

    /// The latest changes of circuits, 64 at most, the latest first.
    #[must_use]
    pub fn circuit_changes(&self) -> Vec<CircuitChange> {
        self.changes.latest()
    }

    /// Sends what is still held of spans, and takes no more. Blocks for `patience` at most: not for a runtime's threads.
    pub fn close(&self, patience: Duration) {
        if let Some(traces) = &self.hub.traces {
            traces.sink.close(patience);
        }
    }
}

impl Observer for Telemetry {
    fn target(&self, provider: &ProviderId, model: &ModelId) -> Arc<dyn TargetObserver> {
        if !self.metrics {
            return Arc::new(NoObserver);
        }
        let facts = self.hub.provider(provider);
        self.series.target(provider.as_str(), &facts.system, model.as_str())
    }

    fn request_ended(&self, record: &RequestRecord<'_>) {
        if self.metrics {
            self.series.request_ended(record);
        }
    }

    // By provider alone: callers choose names of models.
    fn circuit_changed(&self, provider: &ProviderId, model: &ModelId, transition: &Transition) {
        let Transition { from, to, reason } = transition;
        tracing::warn!(%provider, %model, from, to, reason, "circuit changed");
        self.series.circuit_changed(provider, transition);
        self.changes.add(provider, model, transition);
    }

    fn limit_denied(&self, level: &str, resource: &'static str) {
        self.series.limit_denied(level, resource);
    }

    fn key_refused(&self, provider: &ProviderId, key: &str) {
        tracing::error!(%provider, key, "the provider refuses the key: it is left out until the configuration is reloaded");
        self.series.key_refused(provider);
    }
}
