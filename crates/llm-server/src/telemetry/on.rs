//! Metrics, and traces where there is a collector.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Uri};
use llm_breaker::CircuitState;
use llm_core::{AboutAnswer, Dialect, Envelope, Observer, ProviderId, RequestId, RequestSettings, Tick};
use llm_pipeline::Pipeline;
use llm_providers::wire;
use llm_telemetry::{Arrival, BodyReader, CircuitChange, OtlpConfig, ProviderFacts, Totals};

pub(crate) use llm_telemetry::Watch;

use crate::config::{Environment, Kind, Loaded, Provider};

/// The process's metrics and traces. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Telemetry(Arc<llm_telemetry::Telemetry>);

/// The variables that name a collector where the configuration does not, the first that is set first.
const COLLECTORS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "JAEGER_ENDPOINT"];

impl Telemetry {
    /// # Errors
    /// When the configured collector cannot be sent to.
    pub(crate) fn start(loaded: &Loaded) -> Result<Self, Box<dyn std::error::Error>> {
        let settings = &loaded.config.observability;
        let mut builder = llm_telemetry::Telemetry::builder()
            .sampling(settings.sampling())
            .propagates(settings.trace_propagation)
            .log_requests(settings.log_requests)
            .reader(Reader);
        let collector = settings.tracing_endpoint.as_deref().map(OtlpConfig::new);
        if let Some(collector) = collector.or_else(|| of_the_environment(&loaded.environment)) {
            tracing::info!(endpoint = collector.endpoint, "traces are sent to a collector");
            builder = builder.otlp(&collector)?;
        }
        Ok(Self(Arc::new(builder.try_build()?)))
    }

    /// What the path tells.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        self.0.clone()
    }

    /// Learns of what `providers` are, before the path asks for their series.
    pub(crate) fn describe(&self, providers: &[Provider]) {
        for provider in providers {
            self.0.describe(&ProviderId::from(provider.name.as_str()), facts(provider));
        }
    }

    /// Follows a request of the data plane, if it is traced or logged.
    pub(crate) fn watch<B>(
        &self,
        request: &Request<B>,
        route: &'static str,
        id: &RequestId,
        received: Tick,
    ) -> Option<Watch> {
        let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
        self.0.watch(&Arrival { method, route, path, headers, id, received })
    }

    /// Counts our own time of a request.
    pub(crate) fn overhead(&self, ours: Duration) {
        self.0.overhead(ours);
    }

    /// What `/metrics` says, and its content type.
    pub(crate) fn show(&self, pipeline: &Pipeline, accept: Option<&str>) -> Option<(&'static str, String)> {
        let sharing = pipeline.sharing();
        self.0.set_flights(sharing.active_requests, sharing.joined);
        if let Some(answers) = pipeline.answers() {
            self.0.set_answers(answers.entries, answers.evictions);
        }
        if let Some(similar) = pipeline.similarity() {
            self.0.set_similarity(similar.hits, similar.misses, similar.mean_distance);
        }
        let circuits = pipeline.circuits();
        self.0.set_circuits(circuits.iter().map(|circuit| (circuit.provider.as_str(), word(circuit.stats.state))));
        let failures = circuits.iter().map(|circuit| (circuit.provider.as_str(), circuit.stats.probe_failures));
        self.0.set_probe_failures(failures);
        let tallies = pipeline.tallies();
        let misses = tallies.iter().map(|tally| (tally.model.as_str(), tally.sla_misses));
        self.0.set_routing(pipeline.fallbacks(), misses);
        self.0.set_decisions(tallies.iter().map(|tally| (tally.model.as_str(), tally.allowed, tally.denied)));
        Some(self.0.render(accept))
    }

    /// Whether anything is counted.
    pub(crate) const fn measures(&self) -> bool {
        true
    }

    /// What was counted since the start, and the latest changes of circuits.
    pub(crate) fn totals(&self) -> Option<(Totals, Vec<CircuitChange>)> {
        Some((self.0.totals(), self.0.circuit_changes()))
    }

    /// Sends what is still held of spans.
    pub(crate) async fn close(self, patience: Duration) {
        // It blocks until the collector has answered.
        let closed = tokio::task::spawn_blocking(move || self.0.close(patience));
        if tokio::time::timeout(patience, closed).await.is_err() {
            tracing::warn!("spans are lost: the collector did not take them in time");
        }
    }
}

/// The collector that the environment names. One that cannot be used does not keep the process from starting.
fn of_the_environment(environment: &Environment) -> Option<OtlpConfig> {
    let mut named = COLLECTORS.iter().filter_map(|name| Some((name, environment.get(name)?)));
    let (name, endpoint) = named.find(|(_, endpoint)| !endpoint.is_empty())?;
    let collector = OtlpConfig::new(endpoint);
    match collector.check() {
        Ok(()) => Some(collector),
        Err(error) => {
            tracing::warn!(variable = name, %error, "there are no traces");
            None
        }
    }
}

/// The circuit's state in the words of its transitions.
const fn word(state: CircuitState) -> &'static str {
    match state {
        CircuitState::Closed => "closed",
        CircuitState::Open => "open",
        CircuitState::HalfOpen => "half-open",
    }
}

fn facts(provider: &Provider) -> ProviderFacts {
    let system = match provider.kind {
        Kind::OpenAi => "openai",
        Kind::AzureOpenAi => "azure.ai.openai",
        Kind::Anthropic => "anthropic",
        Kind::Gemini => "gcp.gemini",
        Kind::VertexAi => "gcp.vertex_ai",
        Kind::Bedrock => "aws.bedrock",
        _ => match provider.preset() {
            // The conventions' own spelling.
            Some("mistral") => "mistral_ai",
            Some("xai") => "x_ai",
            Some(preset) => preset,
            None => &provider.name,
        },
    };
    let address = match (&provider.base_url, provider.kind) {
        (Some(url), _) => url.parse::<Uri>().ok(),
        (None, Kind::OpenAi) => Some(Uri::from_static("https://api.openai.com")),
        (None, Kind::Anthropic) => Some(Uri::from_static("https://api.anthropic.com")),
        (None, Kind::Gemini) => Some(Uri::from_static("https://generativelanguage.googleapis.com")),
        (None, Kind::Bedrock) => {
            let region = provider.region.as_deref().unwrap_or_default();
            format!("https://bedrock-runtime.{region}.amazonaws.com").parse().ok()
        }
        (None, Kind::VertexAi) => match provider.location.as_deref() {
            None | Some("global") => Some(Uri::from_static("https://aiplatform.googleapis.com")),
            Some(location) => format!("https://{location}-aiplatform.googleapis.com").parse().ok(),
        },
        (None, _) => None,
    };
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    ProviderFacts {
        system: system.into(),
        address: address.as_ref().and_then(Uri::host).map(Box::from),
        port: address.as_ref().map(port),
    }
}

/// Reads what traces tell of bodies.
#[derive(Debug)]
struct Reader;

impl BodyReader for Reader {
    fn request(&self, envelope: &Envelope) -> RequestSettings {
        wire::read_settings(envelope)
    }

    fn answer(&self, dialect: Dialect, bytes: &[u8], about: &mut AboutAnswer) {
        wire::read_about(dialect, bytes, about);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_called_what_the_conventions_call_them() {
        let mut local = Provider::new("local", Kind::OpenAiCompatible);
        local.base_url = Some("http://127.0.0.1:11434/v1".to_owned());
        let vertex = Provider { location: Some("europe-west4".to_owned()), ..Provider::new("v", Kind::VertexAi) };
        let bedrock = Provider { region: Some("us-east-1".to_owned()), ..Provider::new("b", Kind::Bedrock) };
        let (google, amazon) = ("europe-west4-aiplatform.googleapis.com", "bedrock-runtime.us-east-1.amazonaws.com");
        for (provider, system, address, port) in [
            (&vertex, "gcp.vertex_ai", Some(google), Some(443)),
            (&bedrock, "aws.bedrock", Some(amazon), Some(443)),
            (&local, "local", Some("127.0.0.1"), Some(11434)),
            (&Provider::new("mine", Kind::OpenAi), "openai", Some("api.openai.com"), Some(443)),
            (&Provider::new("echo", Kind::Echo), "echo", None, None),
        ] {
            let facts = facts(provider);
            assert_eq!((&*facts.system, facts.address.as_deref(), facts.port), (system, address, port));
        }
    }
}
